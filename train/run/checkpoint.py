"""Checkpoints: written atomically, read with ``weights_only=True``, so that one is never a way to run
code.
"""

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

from shared.checks import check_fields
from shared.errors import DataError, UsageError
from shared.video.sampling import check_frames_per_segment
from train.model.config import ModelConfig
from train.model.weight_files import UNREADABLE, is_whole
from train.run.progress import Progress

CHECKPOINT_FORMAT = "lsvit-checkpoint"
CHECKPOINT_VERSION = 1
CHECKPOINTS_FOLDER = "checkpoints"

Which = Literal["best", "last"]
State = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a checkpoint belongs to. height, width and fit: of the stored frames; plan_sha256: empty without a
    plan.

    synthetic: the data set is the embedded one, so numbers on it are to be labelled so.
    """

    model_config: ModelConfig
    class_names: tuple[str, ...]
    num_segments: int
    frames_per_segment: int
    height: int
    width: int
    fit: str
    dataset_id: str
    synthetic: bool
    split: str
    plan_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the model's image size, mean and std stand beside its config too."""
        values = dataclasses.asdict(self)
        values["class_names"] = list(self.class_names)
        values["image_size"] = self.model_config.image_size
        values["mean"] = list(self.model_config.mean)
        values["std"] = list(self.model_config.std)
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunFacts:
        """The inverse of ``to_dict``. Raises KeyError where something is missing."""
        return RunFacts(
            model_config=ModelConfig.from_dict(values["model_config"]),
            class_names=tuple(values["class_names"]),
            num_segments=values["num_segments"],
            frames_per_segment=values["frames_per_segment"],
            height=values["height"],
            width=values["width"],
            fit=values["fit"],
            dataset_id=values["dataset_id"],
            synthetic=values["synthetic"],
            split=values["split"],
            plan_sha256=values["plan_sha256"],
        )

    def differences(self, other: RunFacts) -> list[str]:
        """What differs between two runs, as ``name: own -> other``."""
        return [
            f"{field.name}: {getattr(self, field.name)} -> {getattr(other, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that a run needs to continue. States are those of the objects' own ``state_dict``; average:
    EMA.

    scheduler: what the learning rate is computed from. rng: torch's states, by device type; all other
    randomness is a pure function of the seed and the position that ``progress`` holds. config: the run's
    resolved configuration.
    """

    facts: RunFacts
    progress: Progress
    config: State
    model: State
    average: State | None
    optimizer: State
    scheduler: State
    scaler: State
    rng: State


def checkpoint_path(run_folder: Path, which: Which) -> Path:
    """``<run>/checkpoints/<which>.pt``."""
    return run_folder / CHECKPOINTS_FOLDER / f"{which}.pt"


def write_checkpoint(run_folder: Path, checkpoint: Checkpoint, *, is_best: bool) -> None:
    """Write ``last.pt``, and ``best.pt`` with the same content where asked.

    Each appears under its name whole or not at all. ``best`` goes first: a run killed between the two repeats
    the epoch and writes the same ``best`` again.
    """
    content = {
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
        "facts": checkpoint.facts.to_dict(),
        "progress": checkpoint.progress.to_dict(),
        **{name: getattr(checkpoint, name) for name in _STATES},
    }
    last, best = checkpoint_path(run_folder, "last"), checkpoint_path(run_folder, "best")
    last.parent.mkdir(parents=True, exist_ok=True)
    temporary = last.with_name(f".last.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        if is_best:
            _link(temporary, best)
        temporary.rename(last)
        _synchronise_folder(last.parent)
    finally:
        temporary.unlink(missing_ok=True)


_STATES = ("config", "model", "average", "optimizer", "scheduler", "scaler", "rng")


def _link(file: Path, name: Path) -> None:
    """Give ``file`` a second name, replacing what bore it: a hard link, a copy where the file system has
    none.
    """
    temporary = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:
        shutil.copyfile(file, temporary)
    temporary.rename(name)


def _synchronise_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint. Raises DataError where there is none, it is damaged, or holds more than data."""
    if not path.is_file():
        raise DataError(f"no checkpoint at {path}; train one with `lsvit-train run`")
    _check_zip(path)
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is no checkpoint of lsvit-train, or damaged: it holds more than tensors, numbers and text; "
            "that could run code and is never loaded"
        ) from error
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is no checkpoint of lsvit-train, or damaged: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise DataError(f"{path} is no checkpoint of lsvit-train; load bare weights with `lsvit-train run --init`")
    if content.get("version") != CHECKPOINT_VERSION:
        raise DataError(f"{path} has version {content.get('version')!r}, this program reads {CHECKPOINT_VERSION}")
    try:
        checkpoint = Checkpoint(
            facts=RunFacts.from_dict(content["facts"]),
            progress=Progress.from_dict(content["progress"]),
            **{name: content[name] for name in _STATES},
        )
        _check_content(path, checkpoint)
    except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
        raise DataError(f"{path} is damaged or of another version of lsvit-train: {error}") from error
    return checkpoint


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


def _check_content(path: Path, checkpoint: Checkpoint) -> None:
    """Raise DataError where facts and weights contradict each other, or the weights are no numbers."""
    facts, shape = checkpoint.facts, checkpoint.facts.model_config
    check_fields(facts)
    check_fields(checkpoint.progress)
    check_frames_per_segment(facts.frames_per_segment)
    if min(facts.height, facts.width) < 1 or facts.num_segments != shape.num_frames:
        raise DataError(f"{path} is damaged: {facts.num_segments} frames of {facts.height}x{facts.width} pixels")
    num_names, num_classes = len(checkpoint.facts.class_names), checkpoint.facts.model_config.num_classes
    if num_names != num_classes:
        raise DataError(f"{path} is damaged: it names {num_names} classes for a model of {num_classes}")
    for weights in (checkpoint.model, checkpoint.average or {}):
        if not all(map(is_whole, weights.values())):
            raise DataError(f"{path} is damaged: it holds weights that are no plain tensors")
        if len({name.split(".")[2] for name in weights if name.startswith("backbone.blocks.")}) not in (0, shape.depth):
            raise DataError(f"{path} is damaged: it describes {shape.depth} blocks and holds another number")
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise DataError(
                f"{path} holds weights that are no numbers (NaN or infinite): training has diverged; train anew with "
                "another --name and a smaller --lr"
            )
