"""Checkpoints: written whole, and read with ``weights_only=True``, so that none is ever a way to run code."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from shared.checks import from_builtins
from shared.errors import DataError, UsageError, first_line
from shared.files import synchronise, whole_file
from shared.terminal.console import counted
from shared.video.resizing import FrameSize
from shared.video.sampling import check_frames_per_segment
from shared.video.shape import ClipShape
from train.model.config import ModelConfig
from train.model.weights.files import CHECKPOINT_FORMAT, CHECKPOINTS_FOLDER, UNREADABLE, is_whole
from train.model.weights.trained_on import UNKNOWN, TrainedOn
from train.run.progress import Progress

CHECKPOINT_VERSION = 1

Which = Literal["best", "last"]
State = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a checkpoint belongs to: a run is continued only where all of this is the same."""

    model_config: ModelConfig
    class_names: tuple[str, ...]
    shape: ClipShape
    """Of the stored clips; its size is known, as all clips of a run have one size."""
    dataset_id: str
    synthetic: bool
    """Whether the data set is the embedded one: numbers on it must be labelled so."""
    split: str
    plan_sha256: str
    """Checksum of the balancing plan's CSV file, empty without a plan."""
    split_sha256: str = ""
    """Checksum of ``splits.csv`` in the run's folder. Empty, like the next field, for split ``all`` and in checkpoints
    from before it was noted.
    """
    validation_sha256: str = ""
    """Checksum of the names of the clips that choose the best epoch."""
    longest_seconds: float = 0.0
    """How long the longest training clip is shown; 0 where its video does not say, and in checkpoints from before."""
    trained_on: TrainedOn = UNKNOWN
    """By this run and by those whose weights it began with; not known in checkpoints from before it was noted."""

    @property
    def size(self) -> FrameSize:
        """Height, width and fit of the stored frames."""
        assert self.shape.size is not None
        return self.shape.size

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the clip's shape among the rest; the model's image size, mean and std beside its config too."""
        return {
            "model_config": dataclasses.asdict(self.model_config),
            "class_names": list(self.class_names),
            "num_segments": self.shape.num_segments,
            "frames_per_segment": self.shape.frames_per_segment,
            **dataclasses.asdict(self.size),
            "dataset_id": self.dataset_id,
            "synthetic": self.synthetic,
            "split": self.split,
            "plan_sha256": self.plan_sha256,
            "split_sha256": self.split_sha256,
            "validation_sha256": self.validation_sha256,
            "longest_seconds": self.longest_seconds,
            "trained_on": dataclasses.asdict(self.trained_on),
            "image_size": self.model_config.image_size,
            "mean": list(self.model_config.mean),
            "std": list(self.model_config.std),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunFacts:
        """The inverse of ``to_dict``. Raises KeyError, ValueError or UsageError where a value is missing or wrong."""
        size = {key: values[key] for key in ("height", "width", "fit")}
        shape = {key: values[key] for key in ("num_segments", "frames_per_segment")}
        others = {key: values[key] for key in _OTHER_FACTS} | {
            key: values.get(key, default) for key, default in _LATER_FACTS.items()
        }
        return from_builtins(RunFacts, {**others, "shape": {**shape, "size": size}})

    def differences(self, other: RunFacts) -> list[str]:
        """What differs between two runs, as ``name: own -> other``; none stands for an empty text.

        What was noted of one of them alone is no difference, nor is what the split settles: the longest clip, and what
        was trained on.
        """
        own, others = self.to_dict(), other.to_dict()
        return [
            f"{key}: {'none' if value == '' else value} -> {'none' if others[key] == '' else others[key]}"
            for key, value in own.items()
            if key not in ("longest_seconds", "trained_on")
            and value != others[key]
            and (key not in _LATER_FACTS or (value and others[key]))
        ]


_OTHER_FACTS = ("model_config", "class_names", "dataset_id", "synthetic", "split", "plan_sha256")
_LATER_FACTS = {  # and what is read where they are absent
    "split_sha256": "",
    "validation_sha256": "",
    "longest_seconds": 0.0,
    "trained_on": dataclasses.asdict(UNKNOWN),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that a run needs to continue; the states are what the objects' own ``state_dict`` gives."""

    facts: RunFacts
    progress: Progress
    config: State
    """The run's resolved configuration; ``device`` and ``amp`` are what was used, where it left them open."""
    model: State
    average: State | None
    """The moving average of the weights (EMA), None without one."""
    optimizer: State
    scheduler: State
    """What the learning rate is computed from."""
    scaler: State
    rng: State
    """States of torch's generators, by device type. All other random numbers follow from the seed and ``progress``."""
    new_parameters: tuple[str, ...] = ()
    """What --init had nothing for, by name; none in checkpoints from before it was noted."""

    @property
    def is_of_old(self) -> bool:
        """Whether the optimiser's groups do not name their parameters: see ``make_optimizer``."""
        return not any("param_names" in group for group in self.optimizer.get("param_groups", []))


def checkpoint_path(run_folder: Path, which: Which) -> Path:
    """``<run>/checkpoints/<which>.pt``."""
    return run_folder / CHECKPOINTS_FOLDER / f"{which}.pt"


def write_checkpoint(run_folder: Path, checkpoint: Checkpoint, *, is_best: bool) -> None:
    """Write ``last.pt``, and ``best.pt`` with the same content where asked.

    Each appears under its name whole or not at all. ``best`` goes first: a run killed between the two repeats the
    epoch and writes the same ``best`` again. Raises DataError where it cannot be written, as on a full disk.
    """
    content = {
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
        "facts": checkpoint.facts.to_dict(),
        "progress": dataclasses.asdict(checkpoint.progress),
        **{name: getattr(checkpoint, name) for name in _STATES},
        "new_parameters": list(checkpoint.new_parameters),
    }
    last, best = checkpoint_path(run_folder, "last"), checkpoint_path(run_folder, "best")
    target = best if is_best else last
    try:
        with whole_file(target) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
        if is_best:
            with whole_file(last) as temporary:
                link_file(best, temporary)
    except (OSError, RuntimeError) as error:
        raise _unwritten(target, error) from error


_STATES = ("config", "model", "average", "optimizer", "scheduler", "scaler", "rng")


def link_file(file: Path, name: Path) -> None:
    """Give ``file`` a second name, replacing what bears it: a hard link, or a copy where there can be no links."""
    name.unlink()
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
        synchronise(name)


def _unwritten(path: Path, error: OSError | RuntimeError) -> DataError:
    """The error of a checkpoint that could not be written. torch may hide the system's error behind one of its own."""
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    reason = getattr(cause, "strerror", None) or first_line(cause)
    return DataError(f"cannot write {path}: {reason}; make room or choose another --runs, then continue with --resume")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, all of it on the host: what a GPU needs of it is moved there later.

    Raises DataError where there is none, it is damaged, or holds more than data.
    """
    if not path.is_file():
        raise DataError(f"no checkpoint at {path}; train one with `lsvit-train run`")
    _check_zip(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is no checkpoint of lsvit-train, or damaged: it holds more than tensors, numbers and text; "
            "that could run code and is never loaded"
        ) from error
    except UNREADABLE as error:
        raise DataError(f"{path} is no checkpoint of lsvit-train, or damaged: {first_line(error)}") from error
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise DataError(f"{path} is no checkpoint of lsvit-train; load bare weights with `lsvit-train run --init`")
    if content.get("version") != CHECKPOINT_VERSION:
        raise DataError(f"{path} has version {content.get('version')!r}, this program reads {CHECKPOINT_VERSION}")
    try:
        checkpoint = Checkpoint(
            facts=RunFacts.from_dict(content["facts"]),
            progress=from_builtins(Progress, content["progress"]),
            **{name: _state(content, name) for name in _STATES},
            new_parameters=from_builtins(tuple[str, ...], content.get("new_parameters", [])),
        )
        check_content(path, checkpoint.facts, checkpoint.model, *filter(None, [checkpoint.average]))
    except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
        raise DataError(f"{path} is damaged or of another version of lsvit-train: {error}") from error
    return checkpoint


def _state(content: State, name: str) -> Any:
    state = content[name]
    if not isinstance(state, dict) and (state is not None or name != "average"):
        raise TypeError(f"{name} is {type(state).__name__}")
    return state


def _check_zip(path: Path) -> None:
    """Raise DataError where a file is not the whole zip file that torch.save writes, by its checksums.

    torch.load does not look at them. Older pickles are not even looked at. torch.save compresses nothing, so a small
    file that would unpack to a huge one is refused.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
                raise DataError(f"{path} is no checkpoint of lsvit-train: it is compressed")
            damaged = file.testzip()
    except (zipfile.BadZipFile, zlib.error, *UNREADABLE) as error:
        raise DataError(f"{path} is no checkpoint of lsvit-train, or damaged: {error}") from error
    if damaged is not None:
        raise DataError(f"{path} is damaged: the checksum of {damaged} in it does not fit; use a copy, or train anew")


def check_content(path: Path, facts: RunFacts, *states: State) -> None:
    """Raise DataError where facts and weights contradict each other, or the weights are no numbers."""
    model = facts.model_config
    check_frames_per_segment(facts.shape.frames_per_segment)
    height, width, num_segments = facts.size.height, facts.size.width, facts.shape.num_segments
    if min(height, width) < 1 or num_segments != model.num_frames:
        raise DataError(f"{path} is damaged: {num_segments} frames of {height}x{width} pixels")
    num_names, num_classes = len(facts.class_names), model.num_classes
    if num_names != num_classes:
        raise DataError(f"{path} is damaged: it names {counted(num_names, 'class')} for a model of {num_classes}")
    for weights in states:
        if not all(map(is_whole, weights.values())):
            raise DataError(f"{path} is damaged: it holds weights that are no plain tensors")
        if len({name.split(".")[2] for name in weights if name.startswith("backbone.blocks.")}) not in (0, model.depth):
            raise DataError(f"{path} is damaged: it describes {model.depth} blocks and holds another number")
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise DataError(
                f"{path} holds weights that are no numbers (NaN or infinite): training has diverged; train anew with "
                "another --name and a smaller --lr"
            )
