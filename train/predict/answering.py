"""From videos to answers: each is decoded, cut into views and given to the model. One that fails costs only itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.terminal.console import progress
from shared.video.shape import ClipShape
from shared.video.streams import VideoError
from train.data.views import Views, candidate_rows, evaluation_views
from train.learn.inference import probabilities_of
from train.learn.precision import amp_dtype
from train.learn.processes import memory_errors
from train.predict.inputs import Input
from train.predict.output import Answer
from train.predict.videos import ClipRequest, DecodedVideo, Frames, decode_all
from train.trained.clips import NO_NUMBERS, SMALLER_BATCHES
from train.trained.model import LoadedModel

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def answer_all(
    loaded: LoadedModel, inputs: Sequence[Input], *, views: Views, batch_size: int, num_workers: int
) -> list[Answer]:
    """Decode and classify the videos, in order. One that gives no clip gets its reason, the others their answers."""
    clips = _read_clips(loaded, inputs, views=views, num_workers=num_workers)
    answers: list[Answer] = []
    with progress("predicting", len(inputs), unit="videos") as advance:
        while batch := list(islice(clips, batch_size)):
            answers += _answer_batch(loaded, batch)
            advance(len(batch))
    return answers


def shape_and_rows(loaded: LoadedModel, views: Views) -> tuple[ClipShape, Rows]:
    """The shape of the clip that has to be decoded for these views, and the rows (C, T) of each candidate in it."""
    shape = loaded.facts.shape
    if views.num_candidates == 1:  # the middle candidate is the frame that K = 1 gives
        shape = dataclasses.replace(shape, frames_per_segment=1)
    rows = candidate_rows(views, num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)
    return shape, rows


def clip_views(frames: Frames, rows: Rows, *, image_size: int, num_crops: int) -> torch.Tensor:
    """All C·S views of one clip: uint8 (T·K, H, W, 3), rows (C, T) -> float32 (C·S, T, 3, S, S) in [0, 1]."""
    candidates = torch.from_numpy(frames)[torch.from_numpy(rows)]  # (C, T, H, W, 3)
    return evaluation_views(candidates, image_size=image_size, num_crops=num_crops).flatten(0, 1)


def shares_of(loaded: LoadedModel, clips: Sequence[torch.Tensor]) -> Floats:
    """P(class | clip) of clips by their views, each float32 (C·S, T, 3, S, S): float64 (clips, classes)."""
    with torch.inference_mode(), memory_errors(SMALLER_BATCHES):
        answer = probabilities_of(loaded.model, amp_dtype=amp_dtype(loaded.precision))
        shares: Floats = answer(torch.stack(list(clips)).to(loaded.device)).cpu().double().numpy()
    return shares


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Viewed:
    """A video that was decoded: views float32 (C·S, T, 3, S, S), and for how many seconds it is shown."""

    views: torch.Tensor
    seconds: float


def _read_clips(
    loaded: LoadedModel, inputs: Sequence[Input], *, views: Views, num_workers: int
) -> Iterator[tuple[Input, _Viewed | str]]:
    """Each input with its views, or with what is wrong with it."""
    shape, rows = shape_and_rows(loaded, views)
    requests = [ClipRequest(path=Path(each.name), shape=shape) for each in inputs if not each.error]
    decoded = decode_all(requests, num_workers=num_workers)
    for each in inputs:
        result = VideoError("find", each.error) if each.error else next(decoded)
        if isinstance(result, DecodedVideo):
            size = loaded.model.config.image_size
            clip = clip_views(result.frames, rows, image_size=size, num_crops=views.num_crops)
            yield each, _Viewed(views=clip, seconds=result.seconds)
        else:
            yield each, str(result)


def _answer_batch(loaded: LoadedModel, batch: Sequence[tuple[Input, _Viewed | str]]) -> list[Answer]:
    clips = [video.views for _, video in batch if isinstance(video, _Viewed)]
    shares = iter(shares_of(loaded, clips) if clips else ())
    return [
        Answer(video=each.name, error=video)
        if isinstance(video, str)
        else _answer(each, next(shares), seconds=video.seconds)
        for each, video in batch
    ]


def _answer(each: Input, probabilities: Floats, *, seconds: float) -> Answer:
    if not np.isfinite(probabilities).all():
        return Answer(video=each.name, error=NO_NUMBERS)
    return Answer(video=each.name, probabilities=probabilities, seconds=seconds)
