"""The model that a run has trained, ready to answer, with all that it needs to know of its input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from shared.errors import DataError
from train.model.lsvit import LSViT
from train.model.weight_files import CHECKPOINTS_FOLDER
from train.run.checkpoint import RunFacts, Which, checkpoint_path, read_checkpoint


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A trained model, in evaluation mode, with all that is needed to feed it."""

    path: Path
    """The checkpoint it came from."""
    model: LSViT
    """Of a run with EMA these are the averaged weights."""
    facts: RunFacts
    epoch: int
    """Finished epochs."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device


def load_model(run_folder: Path, *, which: Which = "best", device: torch.device | str = "cpu") -> LoadedModel:
    """Load the model of a run's folder (that of one split). Raises DataError where there is none to load.

    ``best`` falls back to ``last`` where the run has written no ``best`` yet (an interrupted first epoch).
    """
    path = _existing_checkpoint(run_folder, which)
    checkpoint = read_checkpoint(path)
    facts = checkpoint.facts
    try:
        with torch.device("meta"):  # start values, which take seconds for the large presets, would be overwritten
            model = LSViT(facts.model_config)
        model.load_state_dict(checkpoint.model if checkpoint.average is None else checkpoint.average, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: the weights do not fit the model it describes") from error
    model.adopt_normalisation(mean=facts.model_config.mean, std=facts.model_config.std)  # in no state
    return LoadedModel(path=path, model=model.to(device).eval(), facts=facts, epoch=checkpoint.progress.epoch)


def _existing_checkpoint(run_folder: Path, which: Which) -> Path:
    for candidate in (checkpoint_path(run_folder, which), checkpoint_path(run_folder, "last")):
        if candidate.is_file():
            return candidate
    parts = sorted(path.parent.parent.name for path in run_folder.glob(f"*/{CHECKPOINTS_FOLDER}/last.pt"))
    if parts:
        raise DataError(f"{run_folder} holds several splits; name one of them: {', '.join(parts)}")
    raise DataError(f"no checkpoint in {run_folder / CHECKPOINTS_FOLDER}; train one with `lsvit-train run`")
