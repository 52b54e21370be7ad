"""The model that a run has trained, ready to answer, with all that it needs to know of its input."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.errors import DataError
from shared.terminal.console import counted, say
from train.learn.precision import answering_precision, in_words, use_fast_products
from train.model.lsvit import LSViT
from train.model.weights.files import CHECKPOINTS_FOLDER
from train.run.checkpoint import RunFacts, Which, checkpoint_path, read_checkpoint
from train.run.progress import EpochRow, Progress
from train.trained.portable import Origin, StoredModel, init_name, is_portable, read_portable


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A trained model, in evaluation mode, with all that is needed to feed it."""

    path: Path
    """The checkpoint it came from, or an exported model's file of weights."""
    model: LSViT
    """Of a run with EMA these are the averaged weights."""
    facts: RunFacts
    origin: Origin
    precision: str
    """In which the model answers: none, fp16 or bf16, as in its validation; none on the CPU."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.origin.epoch

    @property
    def measured(self) -> EpochRow | None:
        """What was measured when the checkpoint was written; None where that was not the end of an epoch."""
        return self.origin.measured

    @property
    def folder(self) -> Path:
        """The run's folder, of one split, or that of an exported model."""
        parent = self.path.parent
        return parent.parent if parent.name == CHECKPOINTS_FOLDER else parent

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device


def load_model(run_folder: Path, *, which: Which = "best", device: torch.device | str = "cpu") -> LoadedModel:
    """Load the model of a run's folder (that of one split), or an exported one. Raises DataError where there is none.

    ``best`` falls back to ``last``, and says so, where it is gone or the first epoch is not over. On a GPU it also says
    in which precision the model answers.
    """
    stored = read_portable(run_folder) if _is_export(run_folder) else _of_run(run_folder, which)
    facts, device = stored.facts, torch.device(device)
    precision = answering_precision(stored.origin.amp, device)
    if device.type == "cuda":
        use_fast_products(device)
        say(f"computing on {in_words(precision, device)}", to=sys.stderr)
    try:
        with torch.device("meta"):  # start values, which take seconds for the large presets, would be overwritten
            model = LSViT(facts.model_config)
        model.load_state_dict(stored.tensors, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise DataError(f"{stored.path}: the weights do not fit the model it describes") from error
    model.adopt_normalisation(mean=facts.model_config.mean, std=facts.model_config.std)  # in no state
    return LoadedModel(
        path=stored.path,
        model=model.to(device).eval(),
        facts=facts,
        origin=stored.origin,
        precision=precision,
    )


def _is_export(folder: Path) -> bool:
    """Whether it holds an exported model and no checkpoint, which would come first."""
    return not (folder / CHECKPOINTS_FOLDER).is_dir() and is_portable(folder)


def _of_run(folder: Path, which: Which) -> StoredModel:
    path = _existing_checkpoint(folder, which)
    checkpoint = read_checkpoint(path)
    progress, val_fraction = checkpoint.progress, checkpoint.config.get("val_fraction")
    if path.stem != which:
        say(f"note: {_why_not_best(folder, progress)}", to=sys.stderr)
    origin = Origin(
        epoch=progress.epoch,
        amp=str(checkpoint.config.get("amp", "auto")),
        val_fraction=val_fraction if isinstance(val_fraction, float) and 0 <= val_fraction <= 0.5 else 0.0,
        init=init_name(checkpoint.config),
        measured=progress.history[-1] if progress.history and not progress.step_in_epoch else None,
    )
    tensors = checkpoint.model if checkpoint.average is None else checkpoint.average
    return StoredModel(path=path, facts=checkpoint.facts, origin=origin, tensors=tensors)


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
