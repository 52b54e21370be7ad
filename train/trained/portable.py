"""A trained model as a folder of three files that needs no run: what its config.json says, and how it is read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from shared.checks import from_builtins
from shared.errors import DataError, UsageError
from shared.missing_packages import PACKAGE
from train.model.weights.files import read_weights
from train.model.weights.portable import CONFIG_FILE, FORMAT, VERSION, WEIGHTS_FILE, read_config
from train.run.checkpoint import RunFacts, check_content
from train.run.progress import EpochRow

CALIBRATION_FILE = "calibration.json"
PIPELINE_TAG = "video-classification"  # as the hub calls it
LIBRARY = PACKAGE


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How weights came to be, and in which precision they answer."""

    epoch: int
    """Finished epochs."""
    amp: str
    """The run's ``amp``, by which a GPU answers; auto where it does not say."""
    val_fraction: float
    """Share of the split's training clips that it was validated on; 0 where the checkpoint does not say."""
    init: str
    """What the run began with: hf:REPO, the name of a file without its folders, or empty."""
    measured: EpochRow | None
    """What was measured when the checkpoint was written; None where that was not the end of an epoch."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction <= 0.5:
            raise ValueError(f"val_fraction is {self.val_fraction}")


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredModel:
    """What a checkpoint or an exported folder holds of a model, checked."""

    path: Path
    """The checkpoint, or the file of weights."""
    facts: RunFacts
    origin: Origin
    tensors: Mapping[str, Tensor]


def is_portable(folder: Path) -> bool:
    """Whether a folder holds a model that was exported for the hub, whole."""
    files = (folder / WEIGHTS_FILE, folder / CONFIG_FILE)
    return all(file.is_file() for file in files) and read_config(files[1]) is not None


def is_calibrated(folder: Path) -> bool:
    """Whether an exported model came with a calibration."""
    return (read_config(folder / CONFIG_FILE) or {}).get("calibrated") is True


def config_content(facts: RunFacts, origin: Origin, *, run: str, calibrated: bool) -> dict[str, object]:
    """The content of ``config.json``: what the hub and its libraries look for, then all that the model needs.

    run: the run's name. calibrated: whether a calibration.json lies beside.
    """
    labels = {str(label): name for label, name in enumerate(facts.class_names)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "library_name": LIBRARY,
        "model_type": "lsvit",
        "architectures": ["LSViT"],
        "pipeline_tag": PIPELINE_TAG,
        "id2label": labels,
        "label2id": {name: int(label) for label, name in labels.items()},
        "run": run,
        "calibrated": calibrated,
        "origin": dataclasses.asdict(origin),
        "facts": facts.to_dict(),
    }


def read_portable(folder: Path) -> StoredModel:
    """Read an exported model, in float32 also where somebody has halved its weights.

    Raises DataError where it is damaged, or its files do not belong together.
    """
    config, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    content = read_config(config) or {}
    try:
        facts = RunFacts.from_dict(content["facts"])
        origin = from_builtins(Origin, content["origin"])
        stored = read_weights(weights).tensors
        tensors = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
        check_content(weights, facts, tensors)
    except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{config} is damaged ({what}); fetch or export it again") from error
    return StoredModel(path=weights, facts=facts, origin=origin, tensors=tensors)


def init_name(config: Mapping[str, Any]) -> str:
    """What a run began with, by its configuration, in a form that may be shown to others: no folders of a machine."""
    init = str(config.get("init") or "")
    return init if init.startswith("hf:") else Path(init).name
