"""The model that a run has trained, ready to answer, with all that it needs to know of its input."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.console import counted, say
from shared.errors import DataError
from train.learn.precision import answering_precision, in_words, use_fast_products
from train.model.lsvit import LSViT
from train.model.weight_files import CHECKPOINTS_FOLDER
from train.run.checkpoint import RunFacts, Which, checkpoint_path, read_checkpoint
from train.run.progress import EpochRow, Progress


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
    precision: str
    """In which the model answers: none, fp16 or bf16, as in its validation; none on the CPU."""
    val_fraction: float
    """Share of the split's training clips that it was validated on; 0 where the checkpoint does not say."""
    measured: EpochRow | None
    """What was measured when the checkpoint was written; None where that was not the end of an epoch."""

    @property
    def folder(self) -> Path:
        """The run's folder, of one split."""
        return self.path.parent.parent

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device


def load_model(run_folder: Path, *, which: Which = "best", device: torch.device | str = "cpu") -> LoadedModel:
    """Load the model of a run's folder (that of one split). Raises DataError where there is none to load.

    ``best`` falls back to ``last``, and says so, where it is gone or the first epoch is not over. On a GPU it also says
    in which precision the model answers.
    """
    path = _existing_checkpoint(run_folder, which)
    checkpoint = read_checkpoint(path)
    if path.stem != which:
        say(f"note: {_why_not_best(run_folder, checkpoint.progress)}", to=sys.stderr)
    device = torch.device(device)
    precision = answering_precision(str(checkpoint.config.get("amp", "auto")), device)
    if device.type == "cuda":
        use_fast_products(device)
        say(f"computing on {in_words(precision, device)}", to=sys.stderr)
    facts = checkpoint.facts
    try:
        with torch.device("meta"):  # start values, which take seconds for the large presets, would be overwritten
            model = LSViT(facts.model_config)
        model.load_state_dict(checkpoint.model if checkpoint.average is None else checkpoint.average, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: the weights do not fit the model it describes") from error
    model.adopt_normalisation(mean=facts.model_config.mean, std=facts.model_config.std)  # in no state
    progress, val_fraction = checkpoint.progress, checkpoint.config.get("val_fraction")
    return LoadedModel(
        path=path,
        precision=precision,
        model=model.to(device).eval(),
        facts=facts,
        epoch=progress.epoch,
        val_fraction=val_fraction if isinstance(val_fraction, float) and 0 <= val_fraction <= 0.5 else 0.0,
        measured=progress.history[-1] if progress.history and not progress.step_in_epoch else None,
    )


def _why_not_best(run_folder: Path, progress: Progress) -> str:
    """Why ``last.pt`` is taken in the place of ``best.pt``; progress: that of ``last.pt``."""
    if not progress.best_epoch:
        return f"{run_folder} has not finished an epoch: taking last.pt, after step {progress.step}"
    best = checkpoint_path(run_folder, "best")
    return (
        f"{best}, of epoch {progress.best_epoch}, is missing: taking last.pt, after {counted(progress.epoch, 'epoch')}"
    )


def _existing_checkpoint(run_folder: Path, which: Which) -> Path:
    for candidate in (checkpoint_path(run_folder, which), checkpoint_path(run_folder, "last")):
        if candidate.is_file():
            return candidate
    parts = sorted(path.parent.parent.name for path in run_folder.glob(f"*/{CHECKPOINTS_FOLDER}/last.pt"))
    if parts:
        raise DataError(f"{run_folder} holds several splits; name one of them: {', '.join(parts)}")
    raise DataError(f"no checkpoint in {run_folder / CHECKPOINTS_FOLDER}; train one with `lsvit-train run`")
