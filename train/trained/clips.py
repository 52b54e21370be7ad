"""Clips as they lie in the shards, given to a trained model: probabilities and features of manifest rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from shared.console import progress
from shared.errors import DataError
from shared.manifests import Dataset
from train.data.prefetch import Prefetcher
from train.data.reader import ClipReader
from train.data.samples import make_table
from train.data.views import Views, candidate_rows, evaluation_views
from train.learn.inference import view_probabilities
from train.trained.model import LoadedModel

if TYPE_CHECKING:
    import pandas as pd

NO_NUMBERS = "the model's answer is no number (NaN): its training has diverged; train it anew with a smaller --lr"


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


def stored_probabilities(
    loaded: LoadedModel, clips: pd.DataFrame, *, shards: Path, views: Views, batch_size: int
) -> npt.NDArray[np.float64]:
    """P(class | clip) of manifest rows, the mean over all views: float64 (N, classes), rows summing to 1."""

    def classify(pictures: torch.Tensor) -> torch.Tensor:
        return view_probabilities(loaded.model, pictures, amp_dtype=None)

    rows = candidate_rows(views, num_segments=loaded.num_segments, frames_per_segment=loaded.frames_per_segment)
    total = torch.zeros(len(clips), len(loaded.class_names), dtype=torch.float64)
    with progress(f"evaluating split {loaded.split}", len(clips) * len(rows)) as advance:
        for candidate in rows:
            batches = _read_batches(loaded, clips, candidate, shards=shards, batch_size=batch_size)
            for start, answers in _apply(loaded, batches, classify, num_crops=views.num_crops, advance=advance):
                total[start : start + len(answers)] += answers
    result: npt.NDArray[np.float64] = (total / len(rows)).numpy()
    return result


def stored_features(
    loaded: LoadedModel, clips: pd.DataFrame, *, shards: Path, batch_size: int
) -> npt.NDArray[np.float32]:
    """What the model's head sees of manifest rows, one view: float32 (N, D)."""

    def embed(pictures: torch.Tensor) -> torch.Tensor:
        return loaded.model.forward_features(pictures.flatten(0, 1))

    (rows,) = candidate_rows(Views(), num_segments=loaded.num_segments, frames_per_segment=loaded.frames_per_segment)
    features = np.empty((len(clips), loaded.config.embed_dim), dtype=np.float32)
    with progress("embedding", len(clips)) as advance:
        batches = _read_batches(loaded, clips, rows, shards=shards, batch_size=batch_size)
        for start, answers in _apply(loaded, batches, embed, num_crops=1, advance=advance):
            features[start : start + len(answers)] = answers.float().numpy()
    return features


def _apply(
    loaded: LoadedModel,
    batches: Iterator[tuple[int, torch.Tensor]],
    function: Callable[[torch.Tensor], torch.Tensor],
    *,
    num_crops: int,
    advance: Callable[[int], None],
) -> Iterator[tuple[int, torch.Tensor]]:
    """``function`` of the views (b, S, T, 3, h, w) of each batch, on the host, with the position of its first clip.

    Raises DataError where it is not finite.
    """
    device = next(loaded.model.parameters()).device
    with Prefetcher(batches, ahead=2) as stream:
        for start, frames in stream:
            with torch.inference_mode():
                pictures = evaluation_views(frames.to(device), image_size=loaded.image_size, num_crops=num_crops)
                answers = function(pictures).cpu()
            if not answers.isfinite().all():
                raise DataError(NO_NUMBERS)
            yield start, answers
            advance(len(frames))


def _read_batches(
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
