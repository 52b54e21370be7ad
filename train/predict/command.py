"""P(action | video) from raw video files."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from shared.errors import UsageError
from shared.files import check_target, is_standard_output
from shared.manifests.left_out import left_out_line
from shared.next_command import Places, say_next_line
from shared.terminal.console import counted, say
from shared.video.shape import FASTEST_FPS
from train.data.views import parse_views
from train.learn.processes import choose_device
from train.predict.answering import Floats, answer_all
from train.predict.inputs import Inputs, find_inputs, shared_ids
from train.predict.next_step import after_prediction, after_timelines
from train.predict.output import Answer, CsvFormat, print_answers, write_answers, write_json
from train.predict.timeline import Timeline, answer_over_time
from train.predict.timeline_output import print_timelines, write_timelines_csv, write_timelines_json
from train.predict.windows import Windowing, make_windowing
from train.trained.answers import printable
from train.trained.calibration import Calibration, read_calibration, tempered
from train.trained.folders import find_run, run_name
from train.trained.model import LoadedModel, load_model

_MUCH_LONGER = 3.0  # than the longest clip that was trained on


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
    picture: Path | None
    """None where none is wanted."""
    window: float | None
    """Seconds; None for one answer a video."""
    stride: float | None
    fps: float | None
    """Frames a second of frame folders, for windows; None where it is not given."""
    views: str
    calibrated: bool
    device: str
    batch_size: int
    workers: int

    @property
    def is_for_programs(self) -> bool:
        """Whether standard output is left to programs, which read JSON or CSV there."""
        return self.json or (self.csv is not None and is_standard_output(self.csv))

    @property
    def words(self) -> TextIO:
        """Where sentences go."""
        return sys.stderr if self.is_for_programs else sys.stdout


def predict(run: str, videos: Sequence[str], options: PredictOptions) -> int:
    """Answer for every video and print or write the answers. Returns the exit code: 1 where a video failed."""
    parse_views(options.views)
    windowing = make_windowing(window=options.window, stride=options.stride)
    _check_options(options)
    inputs = find_inputs(videos)
    folder = find_run(run, runs=options.runs)
    for note in _notes_on(inputs, options):
        say(note, to=options.words)
    loaded = load_model(folder, device=choose_device(options.device))
    calibration = read_calibration(loaded) if options.calibrated else None
    origin = f"{run_name(folder)}, {loaded.path.name}, epoch {loaded.epoch}"
    if calibration is not None:
        origin += f", calibrated with temperature {calibration.temperature:.2f}"
    if loaded.facts.synthetic:
        origin += "; trained on the embedded synthetic data set, which says nothing about HMDB51"
    if windowing is not None:
        failed, following = _predict_over_time(run, loaded, inputs, options, windowing, calibration, origin=origin)
    else:
        failed = _predict_whole(loaded, inputs, options, calibration, origin=origin)
        following = after_prediction(run, videos[0], places=Places(runs=options.runs))
    if options.is_for_programs and loaded.facts.synthetic:
        say(f"note: {origin}", to=sys.stderr)
    if following and not failed and not options.is_for_programs:
        say_next_line(following)
    return 1 if failed else 0


def _predict_whole(
    loaded: LoadedModel, inputs: Inputs, options: PredictOptions, calibration: Calibration | None, *, origin: str
) -> bool:
    """One answer for each video; returns whether any failed."""
    answers = answer_all(
        loaded,
        inputs.videos,
        views=parse_views(options.views),
        batch_size=options.batch_size,
        num_workers=options.workers,
    )
    if calibration is not None:
        answers = [_calibrated(answer, calibration) for answer in answers]
    class_names = loaded.facts.class_names
    if options.json:
        write_json(answers, class_names)
    elif not options.is_for_programs:
        print_answers(answers, class_names, top=options.top, title=f"P(action | video) by {origin}")
    if note := _note_on_length(answers, longest=loaded.facts.longest_seconds):
        say(note, to=options.words)
    if options.csv is not None:
        num_rows = write_answers(options.csv, answers, class_names, form=options.csv_format)
        say(f"wrote {counted(num_rows, 'video')} to {options.csv}", to=options.words)
    return any(answer.error for answer in answers)


def _predict_over_time(
    run: str,
    loaded: LoadedModel,
    inputs: Inputs,
    options: PredictOptions,
    windowing: Windowing,
    calibration: Calibration | None,
    *,
    origin: str,
) -> tuple[bool, str]:
    """An answer for each window of each video; returns whether any video failed, and the command that follows."""
    timelines = [
        answer_over_time(
            loaded,
            each,
            views=parse_views(options.views),
            windowing=windowing,
            batch_size=options.batch_size,
            folder_fps=options.fps or 0.0,
        )
        for each in inputs.videos
    ]
    if calibration is not None:
        timelines = [_calibrated_timeline(timeline, calibration) for timeline in timelines]
    class_names = loaded.facts.class_names
    if options.json:
        write_timelines_json(timelines, class_names)
    elif not options.is_for_programs:
        title = f"P(action | {options.window:g} s of the video) by {origin}"
        print_timelines(timelines, class_names, top=options.top, title=title)
    if options.csv is not None:
        num_rows = write_timelines_csv(options.csv, timelines, class_names)
        say(f"wrote {counted(num_rows, 'window')} to {options.csv}", to=options.words)
    if options.picture is not None:
        from train.predict.timeline_picture import write_picture

        note = write_picture(options.picture, timelines, class_names)
        say(f"drew {options.picture}" + (f"; {note}" if note else ""), to=options.words)
    following = after_timelines(run, timelines, places=Places(runs=options.runs))
    return any(timeline.error for timeline in timelines), following


def _check_options(options: PredictOptions) -> None:
    """Raise UsageError for options that do not go together, DataError where nothing can be written to --csv."""
    if options.json and options.csv is not None and is_standard_output(options.csv):
        raise UsageError(f"--json and --csv {options.csv} both write to standard output; leave one of them out")
    if options.csv is not None:
        check_target(options.csv)
    if options.window is None:
        for name, value in (("--picture", options.picture), ("--fps", options.fps)):
            if value is not None:
                raise UsageError(f"{name} is for predictions over time; it needs --window SECONDS")
        return
    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise UsageError(f"--picture is {options.picture}; it is written as PNG, so its name must end with .png")
    if options.fps is not None and not 0 < options.fps <= FASTEST_FPS:
        raise UsageError(f"--fps is {options.fps:g}; it must be above 0 and at most {FASTEST_FPS:g}")
    if options.csv_format == "competition":
        raise UsageError("--csv-format competition has one row a video, and --window gives many; leave one of them out")


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
            f"note: {counted(len(several), 'id')} of {options.csv} may stand in several rows: {printable(first)} is "
            f"{printable(videos[0])} and {printable(videos[1])}, for one; give such videos names of their own"
        )


def _note_on_length(answers: Sequence[Answer], *, longest: float) -> str:
    """A word on videos that are much longer than the clips that were trained on. longest: of these, 0 if unknown."""
    long = [answer for answer in answers if not answer.error and answer.seconds > _MUCH_LONGER * longest > 0]
    if not long:
        return ""
    first = max(long, key=lambda answer: answer.seconds)
    which = printable(first.video) + (f", the longest of {len(long)}," if len(long) > 1 else "")
    return (
        f"note: {which} is shown for {first.seconds:.0f} s, and the longest training clip for {longest:.1f} s: one "
        f"answer for all of it says little; --window {max(1, round(longest)):d} answers over time"
    )


def _calibrated(answer: Answer, calibration: Calibration) -> Answer:
    return dataclasses.replace(answer, probabilities=_tempered(answer.probabilities, calibration))


def _calibrated_timeline(timeline: Timeline, calibration: Calibration) -> Timeline:
    windows = [
        dataclasses.replace(window, probabilities=_tempered(window.probabilities, calibration))
        for window in timeline.windows
    ]
    return dataclasses.replace(timeline, windows=tuple(windows))


def _tempered(probabilities: Floats | None, calibration: Calibration) -> Floats | None:
    return None if probabilities is None else tempered(probabilities[None], calibration.temperature)[0]
