"""The tables of a run's report: its classes, data, configuration, model and environment."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from train.learn.metrics import precision_recall
from train.learn.precision import half_precision
from train.learn.processes import choose_device
from train.run.checkpoint import RunFacts
from train.run.config.fields import RunConfig
from train.run.progress import Timing


@dataclass(frozen=True, kw_only=True)
class FactTable:
    """A table and its heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ValidatedClass:
    """A class with validation clips, or for which some were taken. Precision and recall lie in [0, 1]."""

    name: str
    num_clips: int
    num_predicted: int
    precision: float
    recall: float


def validated_classes(confusion: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> tuple[ValidatedClass, ...]:
    """The classes by rising recall. confusion: int64 (classes, classes), true class by row."""
    precision, recall = precision_recall(confusion)
    tested, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    classes = [
        ValidatedClass(
            name=name,
            num_clips=int(tested[label]),
            num_predicted=int(predicted[label]),
            precision=float(precision[label]),
            recall=float(recall[label]),
        )
        for label, name in enumerate(class_names)
        if tested[label] or predicted[label]
    ]
    return tuple(sorted(classes, key=lambda each: (not each.num_clips, each.recall)))


def data_table(facts: RunFacts) -> FactTable:
    """What was learnt from."""
    rows = (
        ("data set id", facts.dataset_id),
        ("split", facts.split),
        ("classes", str(len(facts.class_names))),
        ("stored frames", f"{facts.size.height}x{facts.size.width}, fit {facts.size.fit}"),
        ("segments x frames of a segment", f"{facts.shape.num_segments} x {facts.shape.frames_per_segment}"),
        ("plan (SHA-256)", facts.plan_sha256 or "none"),
    )
    return FactTable(title="Data", columns=("what", "value"), rows=rows)


def configuration_table(config: RunConfig, facts: RunFacts, choices: Mapping[str, tuple[str, str]]) -> FactTable:
    """Every flag with the value that it had; beside it what was asked for, where that left the choice open.

    choices: what the run noted when it began: of a key what was asked for and what was chosen.
    """
    device, model = choose_device(config.device), facts.model_config
    chosen = {
        **{key: getattr(model, key) for key in ("embed_dim", "depth", "num_heads", "patch_size", "motion_init")},
        "normalisation": f"mean {model.mean}, std {model.std}",
        "plan": facts.plan_sha256 or "none",
        "device": device.type,
        "amp": half_precision(config.amp, device),
    }
    rows = []
    for key, value in dataclasses.asdict(config).items():
        asked, noted = choices.get(key, ("", ""))
        if key in chosen and value in ("auto", 0):
            rows.append((key, _text(chosen[key]), _text(value)))
        else:  # a value that was given later counts as asked for
            rows.append((key, _text(value), asked if noted == str(value) else ""))
    return FactTable(title="Configuration", columns=("key", "value", "asked for"), rows=tuple(rows))


def _text(value: object) -> str:
    """A value as one would type it; nothing is said to be none."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


def model_table(facts: RunFacts) -> FactTable:
    """The shape of the model."""
    rows = tuple((key, _text(value)) for key, value in dataclasses.asdict(facts.model_config).items())
    return FactTable(title="Model", columns=("key", "value"), rows=rows)


def environment_table(timing: list[Timing]) -> FactTable:
    """Where the run trained, and how fast."""
    seconds = sum(row.seconds for row in timing)
    clips = sum(row.seconds * row.clips_per_second for row in timing)
    waited = sum(row.seconds * row.data_wait_share for row in timing)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = (
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("system", platform.platform()),
        ("CPU cores, torch threads", f"{os.cpu_count()}, {torch.get_num_threads()}"),
        ("GPU", ", ".join(devices) or "none"),
        ("training time", f"{seconds / 60:.1f} minutes, {clips / seconds:.1f} clips/s" if seconds else "none"),
        ("waiting for data", f"{100 * waited / seconds:.1f} % of it" if seconds else "none"),
    )
    return FactTable(title="Environment", columns=("what", "value"), rows=rows)
