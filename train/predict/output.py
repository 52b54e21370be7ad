"""Predictions as a table in the terminal, as JSON and as CSV."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.files import write_csv
from shared.terminal.console import counted, print_table, say, write_out
from train.predict.inputs import ids_of
from train.trained.answers import printable, ranked

CsvFormat = Literal["probabilities", "competition"]

_BAR_CELLS = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What is said of a video: probabilities or an error."""

    video: str
    probabilities: npt.NDArray[np.float64] | None = None
    """P(action | video), (classes,), summing to 1."""
    error: str = ""
    seconds: float = 0.0
    """How long the video is shown; 0 where it does not say."""


def bar(share: float, *, cells: int = _BAR_CELLS) -> str:
    """A share in [0, 1] as a bar of at most ``cells`` characters, in steps of an eighth."""
    eighths = round(share * cells * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def print_answers(answers: Sequence[Answer], class_names: Sequence[str], *, top: int, title: str) -> None:
    """A table of the ``top`` classes of each video with bars; errors go to standard error."""
    rows: list[tuple[str, ...]] = []
    for answer in answers:
        if answer.probabilities is None:
            continue
        for place, label in enumerate(ranked(answer.probabilities)[:top]):
            share = float(answer.probabilities[label])
            name = printable(answer.video) if place == 0 else ""
            rows.append((name, class_names[label], f"{100 * share:.2f} %", bar(share)))
    if rows:
        print_table(title, ("video", "action", "probability", ""), rows)
    say_errors([(answer.video, answer.error) for answer in answers])


def say_errors(videos: Sequence[tuple[str, str]]) -> None:
    """Say on standard error what is wrong with videos, each given with its error, empty where there is none."""
    failed = [(video, error) for video, error in videos if error]
    for video, error in failed:
        say(f"error: {printable(video)}: {error}", to=sys.stderr)
    if failed and len(videos) > 1:
        say(f"{len(failed)} of {counted(len(videos), 'video')} gave no answer", to=sys.stderr)


def write_json(answers: Sequence[Answer], class_names: Sequence[str]) -> None:
    """Print ``[{"video", "predictions": [{"action", "probability"}]}]``, or ``{"video", "error"}``, every class."""
    content: list[dict[str, object]] = []
    for answer in answers:
        if answer.probabilities is None:
            content.append({"video": answer.video, "error": answer.error})
            continue
        content.append({"video": answer.video, "predictions": as_predictions(answer.probabilities, class_names)})
    write_out(json.dumps(content, indent=2))


def as_predictions(shares: npt.NDArray[np.float64], class_names: Sequence[str]) -> list[dict[str, object]]:
    """Probabilities (classes,) as ``[{"action", "probability"}]``, every class, the most probable first."""
    return [{"action": class_names[label], "probability": float(shares[label])} for label in ranked(shares)]


def write_answers(path: Path, answers: Sequence[Answer], class_names: Sequence[str], *, form: CsvFormat) -> int:
    """Write a CSV file of one row a video; returns the number of rows.

    probabilities: ``video, action, probability, error`` and a column for each class; a video that failed has only its
    name and error. competition: ``id,class``, without those that failed; the id is the name of the file without its
    suffix, or of the frame folder.
    """
    if form == "competition":
        answered = [(answer.video, answer.probabilities) for answer in answers if answer.probabilities is not None]
        ids = ids_of(video for video, _ in answered)
        best = [
            (printable(each), class_names[ranked(shares)[0]]) for each, (_, shares) in zip(ids, answered, strict=True)
        ]
        write_csv(path, ("id", "class"), best)
        return len(best)
    rows: list[list[object]] = []
    for answer in answers:
        shares = answer.probabilities
        if shares is None:
            rows.append([printable(answer.video), "", "", answer.error, *[""] * len(class_names)])
        else:
            label = ranked(shares)[0]
            values = [float(share) for share in shares]
            rows.append([printable(answer.video), class_names[label], values[label], "", *values])
    write_csv(path, ("video", "action", "probability", "error", *class_names), rows)
    return len(rows)
