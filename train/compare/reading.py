"""What `evaluate` and the training of a run have left in its folders, read back for a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.checks import parse_json
from shared.errors import DataError
from train.data.views import Views
from train.evaluate.clip_results import CLIPS_CSV, ClipResult, read_clip_results
from train.evaluate.output import JSON_FILE, evaluation_folder
from train.model.weights.files import CHECKPOINTS_FOLDER
from train.run.folder import saved_config
from train.run.progress import EpochRow, read_metrics, read_timing
from train.trained.folders import find_run, run_name, split_folders

_NO_CHOICE = ("name", "split", "runs", "shards", "manifests", "device", "workers", "tracker")
"""What makes no other model; runs are compared split by split."""


@dataclass(frozen=True, kw_only=True)
class SplitEvaluation:
    """What a run has done on the test clips of one split."""

    split: str
    dataset_id: str
    num_classes: int
    clips: Mapping[str, ClipResult]
    """By clip_id."""
    parameters: int
    epochs: int
    """After which the model was measured: of best.pt the best epoch."""
    minutes: float
    """Of training, as far as it was noted."""
    history: tuple[EpochRow, ...]
    remarks: tuple[str, ...]
    is_old: bool
    """Whether the run was trained on since it was evaluated."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run with all its splits that were evaluated."""

    name: str
    splits: Mapping[str, SplitEvaluation]
    options: Mapping[str, str]
    """What it was trained with, as far as that makes another model; empty where no configuration was kept."""


def read_run(run: str, *, runs: Path) -> EvaluatedRun:
    """Read a run by its path or its name below ``runs``. Raises DataError where it was not evaluated in one view."""
    folder = find_run(run, runs=runs, written="the evaluation that is compared")
    parts = list(split_folders(folder).values()) or [folder]
    found = {part: each for part in parts if (each := _read_split(part)) is not None}
    if not found:
        where = evaluation_folder(parts[0], views=Views(), calibrated=False) / CLIPS_CSV
        raise DataError(f"{run_name(folder)} was not evaluated: no {where}; run `lsvit-train evaluate {run}`")
    return EvaluatedRun(
        name=run_name(folder), splits={each.split: each for each in found.values()}, options=_options(next(iter(found)))
    )


def _read_split(folder: Path) -> SplitEvaluation | None:
    """The evaluation in the folder of one split; None where there is none, or one of a version without clips.csv."""
    place = evaluation_folder(folder, views=Views(), calibrated=False)
    if not (place / CLIPS_CSV).is_file() or not (place / JSON_FILE).is_file():
        return None
    content, split = _read_json(place / JSON_FILE)
    return SplitEvaluation(
        split=str(split["split"]),
        dataset_id=str(content["dataset_id"]),
        num_classes=len(split["classes"]),
        clips={clip.clip_id: clip for clip in read_clip_results(place / CLIPS_CSV)},
        parameters=int(split["model"]["parameters"]),
        epochs=int(split["model"]["epoch"]),
        minutes=sum(row.seconds for row in read_timing(folder)) / 60,
        history=tuple(read_metrics(folder)),
        remarks=tuple(split["remarks"]),
        is_old=_changed(folder / CHECKPOINTS_FOLDER / str(split["model"]["checkpoint"]), place / JSON_FILE),
    )


def _read_json(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of metrics.json, and the one split in it."""
    try:
        content: dict[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        (split,) = content["splits"]
        for key in ("split", "classes", "remarks"):
            split[key]
        int(split["model"]["parameters"]), int(split["model"]["epoch"]), str(split["model"]["checkpoint"])
        content["dataset_id"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); make it again with `lsvit-train evaluate`") from error
    return content, split


def _changed(checkpoint: Path, evaluation: Path) -> bool:
    return checkpoint.is_file() and checkpoint.stat().st_mtime > evaluation.stat().st_mtime


def _options(folder: Path) -> dict[str, str]:
    """Of a run's part: there stands what was chosen, in the folder of several splits what was asked for."""
    config = saved_config(folder)
    if config is None:
        return {}
    return {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in _NO_CHOICE}
