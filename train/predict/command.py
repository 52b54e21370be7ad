"""P(action | video) from raw video files."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.console import counted, progress, say
from shared.left_out import left_out_line
from shared.video.streams import VideoError
from train.data.views import Views, candidate_rows, evaluation_views, parse_views
from train.learn.inference import probabilities_of
from train.learn.precision import amp_dtype
from train.learn.processes import choose_device, memory_errors
from train.predict.inputs import Input, Inputs, find_inputs, shared_ids
from train.predict.output import Answer, CsvFormat, print_answers, write_answers, write_json
from train.predict.videos import ClipRequest, Frames, decode_all
from train.trained.answers import printable
from train.trained.calibration import Calibration, read_calibration, tempered
from train.trained.clips import NO_NUMBERS, SMALLER_BATCHES
from train.trained.folders import find_run, run_name
from train.trained.model import LoadedModel, load_model


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of the command."""

    runs: Path
    top: int
    """Classes of each video in the table."""
    json: bool
    csv: Path | None
    """None where no file is wanted."""
    csv_format: CsvFormat
    views: str
    calibrated: bool
    device: str
    batch_size: int
    workers: int


def predict(run: str, videos: Sequence[str], options: PredictOptions) -> int:
    """Answer for every video and print or write the answers. Returns the exit code: 1 where a video failed."""
    views = parse_views(options.views)
    inputs = find_inputs(videos)
    folder = find_run(run, runs=options.runs)
    for note in _notes_on(inputs, options):
        say(note, to=sys.stderr if options.json else sys.stdout)
    loaded = load_model(folder, device=choose_device(options.device))
    calibration = read_calibration(loaded) if options.calibrated else None
    answers = answer_all(loaded, inputs.videos, views=views, batch_size=options.batch_size, num_workers=options.workers)
    origin = f"{run_name(folder)}, {loaded.path.name}, epoch {loaded.epoch}"
    if calibration is not None:
        answers = [_calibrated(answer, calibration) for answer in answers]
        origin += f", calibrated with temperature {calibration.temperature:.2f}"
    if loaded.facts.synthetic:
        origin += "; trained on the embedded synthetic data set, which says nothing about HMDB51"
    if options.json:
        write_json(answers, loaded.facts.class_names)
        if loaded.facts.synthetic:
            say(f"note: {origin}", to=sys.stderr)
    else:
        print_answers(answers, loaded.facts.class_names, top=options.top, title=f"P(action | video) by {origin}")
    if options.csv is not None:
        num_rows = write_answers(options.csv, answers, loaded.facts.class_names, form=options.csv_format)
        say(f"wrote {counted(num_rows, 'video')} to {options.csv}", to=sys.stderr if options.json else sys.stdout)
    return 1 if any(answer.error for answer in answers) else 0


def _notes_on(inputs: Inputs, options: PredictOptions) -> Iterator[str]:
    """What is to be said of the videos before they are answered for: a sentence each."""
    if inputs.left_out:
        yield left_out_line(inputs.left_out)
    if options.csv is None or options.csv_format != "competition":
        return
    several = shared_ids([each.name for each in inputs.videos if not each.error])
    if several:
        first, videos = next(iter(several.items()))
        yield (
            f"note: {counted(len(several), 'id')} of {options.csv} will stand in several rows: {printable(first)} is "
            f"{printable(videos[0])} and {printable(videos[1])}, for one; give such videos names of their own"
        )


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


def _calibrated(answer: Answer, calibration: Calibration) -> Answer:
    if answer.probabilities is None:
        return answer
    (probabilities,) = tempered(answer.probabilities[None], calibration.temperature)
    return dataclasses.replace(answer, probabilities=probabilities)


def clip_views(frames: Frames, rows: npt.NDArray[np.int64], *, image_size: int, num_crops: int) -> torch.Tensor:
    """All C·S views of one clip: uint8 (T·K, H, W, 3), rows (C, T) -> float32 (C·S, T, 3, S, S) in [0, 1]."""
    candidates = torch.from_numpy(frames)[torch.from_numpy(rows)]  # (C, T, H, W, 3)
    return evaluation_views(candidates, image_size=image_size, num_crops=num_crops).flatten(0, 1)


def _read_clips(
    loaded: LoadedModel, inputs: Sequence[Input], *, views: Views, num_workers: int
) -> Iterator[tuple[Input, torch.Tensor | str]]:
    """Each input with the views of its clip, float32 (C·S, T, 3, S, S), or with what is wrong with it."""
    shape = loaded.facts.shape
    if views.num_candidates == 1:  # the middle candidate is the frame that K = 1 gives
        shape = dataclasses.replace(shape, frames_per_segment=1)
    rows = candidate_rows(views, num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)
    requests = [ClipRequest(path=Path(each.name), shape=shape) for each in inputs if not each.error]
    decoded = decode_all(requests, num_workers=num_workers)
    for each in inputs:
        result = VideoError("find", each.error) if each.error else next(decoded)
        if isinstance(result, VideoError):
            yield each, str(result)
        else:
            size = loaded.model.config.image_size
            yield each, clip_views(result, rows, image_size=size, num_crops=views.num_crops)


def _answer_batch(loaded: LoadedModel, batch: Sequence[tuple[Input, torch.Tensor | str]]) -> list[Answer]:
    clips = [views for _, views in batch if isinstance(views, torch.Tensor)]
    probabilities: Iterator[npt.NDArray[np.float64]] = iter(())
    if clips:
        with torch.inference_mode(), memory_errors(SMALLER_BATCHES):
            answer = probabilities_of(loaded.model, amp_dtype=amp_dtype(loaded.precision))
            shares = answer(torch.stack(clips).to(loaded.device))
        probabilities = iter(shares.cpu().numpy())
    return [
        _answer(each, error=views) if isinstance(views, str) else _answer(each, next(probabilities))
        for each, views in batch
    ]


def _answer(each: Input, probabilities: npt.NDArray[np.float64] | None = None, *, error: str = "") -> Answer:
    if probabilities is not None and not np.isfinite(probabilities).all():
        probabilities, error = None, NO_NUMBERS
    return Answer(video=each.name, probabilities=probabilities, error=error)
