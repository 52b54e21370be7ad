"""Clips as they lie in the shards, given to a trained model: probabilities and features of manifest rows."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import DataError
from shared.manifests.files import SPLITS_FILE, Dataset
from shared.shards.data_sets import short_id
from shared.shards.places import ShardsPlace
from shared.splits.own_files import SplitTable, read_kept_table
from shared.terminal.console import counted, progress, say
from train.data.loader.reader import BatchReader, ClipReader
from train.data.samples import make_table, table_of_split
from train.data.views import Views
from train.learn.inference import clip_answers, probabilities_of
from train.learn.precision import amp_dtype
from train.learn.processes import Processes, memory_errors
from train.run.seen import NOTHING_KNOWN, seen_test_clips
from train.trained.model import LoadedModel

if TYPE_CHECKING:
    import pandas as pd

NO_NUMBERS = "the model's answer is no number (NaN): its training has diverged; train it anew with a smaller --lr"
SMALLER_BATCHES = "use a smaller --batch-size, or --device cpu"
_READING_THREADS = 2


def check_dataset(loaded: LoadedModel, dataset: Dataset) -> None:
    """Raise DataError where the manifests are of another data set than the one the model was trained on."""
    facts = loaded.facts
    if facts.dataset_id == dataset.dataset_id:
        return
    pairs = (
        ("classes", ", ".join(facts.class_names), ", ".join(dataset.class_names)),
        ("frames", facts.shape.num_segments, dataset.num_segments),
        ("frames a segment", facts.shape.frames_per_segment, dataset.frames_per_segment),
        ("fit", facts.size.fit, dataset.fit),
        ("size", f"{facts.size.height}x{facts.size.width}", dataset.size),
    )
    differing = [f"{name} {own} -> {other}" for name, own, other in pairs if own != other]
    raise DataError(
        f"the run was trained on data set {short_id(facts.dataset_id)}, these manifests are of "
        f"{short_id(dataset.dataset_id)} (different: {'; '.join(differing) or 'the videos'}); "
        "name the folders it was trained on with --shards and --manifests"
    )


def check_split(loaded: LoadedModel, frame: pd.DataFrame) -> None:
    """Raise DataError where the model's split is another one now than it was trained with. frame: all manifest rows.

    Of a run from before splits were noted it is not known; a line says so.
    """
    noted, now = loaded.facts.split_sha256, table_of_split(frame, split=loaded.facts.split)
    if now is None or noted == now.sha256:
        return
    place = f"split {loaded.facts.split} of {loaded.folder}"
    if not noted:
        say(f"note: {place} is not noted, as it was trained by an earlier version: not checked", to=sys.stderr)
        return
    then = read_kept_table(loaded.folder)
    is_kept = then is not None and then.sha256 == noted
    changed = _changed_clips(then, now) if then is not None and is_kept else ""
    remedy = f"`hmdb-prep merge --splits {loaded.folder / SPLITS_FILE if is_kept else 'PATH'}`"
    raise DataError(
        f"{place} has changed since it was trained{changed}, so clips that it has seen may test it; put the old split "
        f"back with {remedy}, or train anew"
    )


def check_unseen(loaded: LoadedModel, frame: pd.DataFrame) -> None:
    """Raise DataError where the model's weights were trained on test clips of its split.

    Of weights from before that was noted it is not known; a line says so.
    """
    facts = loaded.facts
    seen = seen_test_clips(facts.trained_on, frame, split=facts.split, dataset_id=facts.dataset_id)
    if seen:
        raise DataError(f"{loaded.folder} cannot be tested: {seen}; begin with weights that have not seen them")
    if not facts.trained_on.is_known:
        say(f"note: {loaded.folder}: {NOTHING_KNOWN}", to=sys.stderr)


def _changed_clips(then: SplitTable, now: SplitTable) -> str:
    """How many clips have another part now, and the first of them."""
    names = sorted(name for name in now.parts if then.parts.get(name) != now.parts[name])
    if not names:
        return ""
    was, is_now = then.parts.get(names[0], ("absent",))[0], now.parts[names[0]][0]
    return f" ({counted(len(names), 'clip')}, such as {names[0]}: {was} -> {is_now})"


def stored_probabilities(
    loaded: LoadedModel,
    clips: pd.DataFrame,
    *,
    shards: ShardsPlace,
    views: Views,
    batch_size: int,
    named: Collection[str] = (),
) -> npt.NDArray[np.float64]:
    """P(class | clip) of manifest rows, the mean over all views: float64 (N, classes), rows summing to 1.

    named: all shards of the manifests, where ``clips`` are only some of their rows.
    """
    answer = probabilities_of(loaded.model, amp_dtype=amp_dtype(loaded.precision))
    title = f"evaluating split {loaded.facts.split}"
    with (
        _open_clips(loaded, clips, shards, named=named) as reader,
        progress(title, len(clips) * views.num_candidates) as advance,
    ):
        return clip_answers(
            lambda crops: _finite(answer(crops)),
            reader,
            np.arange(len(clips)),
            width=len(loaded.facts.class_names),
            image_size=loaded.model.config.image_size,
            batch_size=batch_size,
            processes=Processes(device=loaded.device),
            views=views,
            advance=advance,
        )


def stored_features(
    loaded: LoadedModel, clips: pd.DataFrame, *, shards: ShardsPlace, batch_size: int
) -> npt.NDArray[np.float32]:
    """What the model's head sees of manifest rows, one view: float32 (N, D)."""
    with _open_clips(loaded, clips, shards) as reader, progress("embedding", len(clips)) as advance:
        features = clip_answers(
            lambda crops: _finite(loaded.model.forward_features(crops.flatten(0, 1))),
            reader,
            np.arange(len(clips)),
            width=loaded.model.config.embed_dim,
            image_size=loaded.model.config.image_size,
            batch_size=batch_size,
            processes=Processes(device=loaded.device),
            advance=advance,
        )
    return features.astype(np.float32)


def _finite(answers: torch.Tensor) -> torch.Tensor:
    if not answers.isfinite().all():
        raise DataError(NO_NUMBERS)
    return answers


@contextmanager
def _open_clips(
    loaded: LoadedModel, clips: pd.DataFrame, shards: ShardsPlace, *, named: Collection[str] = ()
) -> Iterator[BatchReader]:
    """A reader of manifest rows by their places in ``clips``."""
    reader = ClipReader(shards, make_table(clips), dataset_id=loaded.facts.dataset_id, named=named)
    batches = BatchReader(reader, num_threads=_READING_THREADS, pinned=loaded.device.type == "cuda")
    try:
        with memory_errors(SMALLER_BATCHES):
            yield batches
    finally:
        batches.close()
        reader.close()
