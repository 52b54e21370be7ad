"""Measures a run on the test clips of its split, or its splits, as they lie in the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from shared.console import progress
from shared.errors import DataError, UsageError
from shared.manifests import Dataset, read_dataset, read_manifests
from shared.splits import part_of
from train.checkpoint import LoadedModel, load_model
from train.config import requested_splits
from train.dataset import make_table
from train.distributed import choose_device
from train.eval_transform import evaluation_views
from train.evaluation import SplitResult, split_result
from train.evaluation_output import Evaluation, print_evaluation, write_evaluation
from train.inference import view_probabilities
from train.run_folders import find_run, run_name, split_folders
from train.stream import ClipReader, Prefetcher
from train.views import Views, candidate_rows, parse_views

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of the command. splits: empty for every split the run has."""

    runs: Path
    shards: Path
    manifests: Path
    splits: str
    views: str
    json: bool
    device: str
    batch_size: int


def evaluate(run: str, options: EvaluateOptions) -> Evaluation:
    """Measure the run, write its evaluation folders and print the result."""
    if options.batch_size < 1:
        raise UsageError(f"--batch-size is {options.batch_size}; it must be at least 1")
    views = parse_views(options.views)
    folder = find_run(run, runs=options.runs)
    dataset, frame = read_dataset(options.manifests), read_manifests(options.manifests)
    results: list[SplitResult] = []
    folders: list[Path] = []
    for split_folder in _chosen_folders(folder, options.splits):
        loaded = load_model(split_folder, device=choose_device(options.device))
        _check_split(loaded, options.splits)
        check_dataset(loaded, dataset)
        results.append(_evaluate_split(loaded, frame, views=views, options=options))
        folders.append(split_folder)
    evaluation = Evaluation(
        run=run_name(folder), folder=folder, views=views, dataset_id=dataset.dataset_id, results=tuple(results)
    )
    written = write_evaluation(evaluation, split_folders=folders)
    print_evaluation(evaluation, as_json=options.json, written=written)
    return evaluation


def _chosen_folders(folder: Path, splits: str) -> list[Path]:
    """The folder of each split that is to be measured. Raises DataError for a split that the run does not have."""
    found = split_folders(folder)
    if not found:
        return [folder]
    wanted = requested_splits(splits) if splits else tuple(found)
    for split in wanted:
        if split not in found:
            raise DataError(
                f"{folder} has no split {split}, it has {', '.join(found)}; train it with "
                f"`lsvit-train run --split {split}`, or leave it out of --splits"
            )
    return [found[split] for split in wanted]


def _check_split(loaded: LoadedModel, splits: str) -> None:
    if splits and loaded.split not in requested_splits(splits):
        raise UsageError(
            f"--splits is {splits}, but this run was trained on split {loaded.split}: the test clips of another split "
            f"are among its training clips. Leave --splits out, or train with `lsvit-train run --split {splits}`"
        )


def check_dataset(loaded: LoadedModel, dataset: Dataset) -> None:
    """Raise DataError where the manifests are of another data set than the one the model was trained on."""
    if loaded.dataset_id == dataset.dataset_id:
        return
    pairs = (
        ("classes", ", ".join(loaded.class_names), ", ".join(dataset.class_names)),
        ("frames", loaded.num_segments, dataset.num_segments),
        ("frames a segment", loaded.frames_per_segment, dataset.frames_per_segment),
        ("fit", loaded.fit, dataset.fit),
        ("size", f"{loaded.height}x{loaded.width}", dataset.size),
    )
    differing = [f"{name} {own} -> {other}" for name, own, other in pairs if own != other]
    raise DataError(
        f"the run was trained on data set {loaded.dataset_id[:12]}, these manifests are of {dataset.dataset_id[:12]} "
        f"(different: {'; '.join(differing) or 'the videos'}); "
        "name the folders it was trained on with --shards and --manifests"
    )


def _evaluate_split(loaded: LoadedModel, frame: pd.DataFrame, *, views: Views, options: EvaluateOptions) -> SplitResult:
    test, training = _test_and_training(frame, split=loaded.split)
    probabilities = stored_probabilities(
        loaded, test, shards=options.shards, views=views, batch_size=options.batch_size
    )
    return split_result(
        split=loaded.split,
        class_names=loaded.class_names,
        clip_ids=list(test["clip_id"]),
        labels=test["label"].to_numpy(np.int64),
        probabilities=probabilities,
        tags=_tags(test, training, num_segments=loaded.num_segments),
        remarks=_remarks(loaded),
    )


def _test_and_training(frame: pd.DataFrame, *, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    if split == "all":
        return frame, frame
    test = part_of(frame, split=split, part="test")
    if test.empty:
        raise DataError(f"split {split} has no test clips in these manifests; there is nothing to measure")
    return test, part_of(frame, split=split, part="train")


def _remarks(loaded: LoadedModel) -> list[str]:
    remarks = []
    if loaded.split == "all":
        remarks.append("a sanity check, not a result: measured on the very clips that the run was trained on")
    if loaded.synthetic:
        remarks.append("measured on the embedded synthetic data set: the numbers say nothing about HMDB51")
    return remarks


def _tags(test: pd.DataFrame, training: pd.DataFrame, *, num_segments: int) -> dict[str, list[str]]:
    seen = set(training["source"])
    tags = {tag: [str(value) for value in test[tag]] for tag in ("camera_motion", "quality", "viewpoint")}
    tags["length"] = ["padded" if frames < num_segments else "full" for frames in test["num_frames"]]
    tags["source"] = ["seen" if source in seen else "new" for source in test["source"]]
    return tags


def stored_probabilities(
    loaded: LoadedModel, clips: pd.DataFrame, *, shards: Path, views: Views, batch_size: int
) -> npt.NDArray[np.float64]:
    """P(class | clip) of manifest rows, the mean over all views: float64 (N, classes), rows summing to 1."""
    rows = candidate_rows(views, num_segments=loaded.num_segments, frames_per_segment=loaded.frames_per_segment)
    total = torch.zeros(len(clips), len(loaded.class_names), dtype=torch.float64)
    device = next(loaded.model.parameters()).device

    def classify(frames: torch.Tensor) -> torch.Tensor:
        pictures = evaluation_views(frames.to(device), image_size=loaded.image_size, num_crops=views.num_crops)
        return view_probabilities(loaded.model, pictures, amp_dtype=None).cpu()

    title = f"evaluating split {loaded.split}"
    with progress(title, len(clips) * len(rows), unit="clips") as advance:
        for candidate in rows:
            batches = read_stored(loaded, clips, candidate, shards=shards, batch_size=batch_size)
            _add_probabilities(total, batches, classify, advance)
    result: npt.NDArray[np.float64] = (total / len(rows)).numpy()
    return result


def _add_probabilities(
    total: torch.Tensor,
    batches: Iterator[tuple[int, torch.Tensor]],
    classify: Callable[[torch.Tensor], torch.Tensor],
    advance: Callable[[int], None],
) -> None:
    with torch.inference_mode(), Prefetcher(batches, ahead=2) as stream:
        for start, frames in stream:
            total[start : start + len(frames)] += classify(frames)
            advance(len(frames))


def read_stored(
    loaded: LoadedModel, clips: pd.DataFrame, rows: npt.NDArray[np.int64], *, shards: Path, batch_size: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Batches of stored clips, ``rows`` (T,) of each: the position of the first, and uint8 (b, T, H, W, 3)."""
    reader = ClipReader(shards, make_table(clips), dataset_id=loaded.dataset_id)
    layout = reader.layout
    try:
        for start in range(0, len(clips), batch_size):
            count = min(batch_size, len(clips) - start)
            frames = torch.empty((count, len(rows), layout.height, layout.width, 3), dtype=torch.uint8)
            for place, out in enumerate(frames.numpy()):
                reader.read(start + place, rows, out)
            yield start, frames
    finally:
        reader.close()
