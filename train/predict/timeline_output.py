"""Predictions over time as a table in the terminal, as JSON and as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.files import write_csv
from shared.terminal.console import print_table, say, write_out
from train.predict.output import as_predictions, bar, say_errors
from train.predict.timeline import NOTHING_SHOWN, Stretch, Timeline, WindowAnswer, stretches
from train.trained.answers import printable, ranked

_MOST_ROWS = 100  # of one video in the terminal
_MOST_OTHERS = 2
_COLUMNS = ("video", "from", "to", "action", "probability", "", "then")


def time_text(seconds: float) -> str:
    """A time in a video, such as 0:07.50 or 1:02:03.00."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}" if hours else f"{minutes}"
    return (f"{hours}:" if hours else "") + f"{clock}:{rest // 100:02d}.{rest % 100:02d}"


def print_timelines(timelines: Sequence[Timeline], class_names: Sequence[str], *, top: int, title: str) -> None:
    """A row for each stretch of windows with the same best action: its mean probability, and what comes next.

    At most 100 rows of a video are printed. Errors go to standard error.
    """
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for timeline in timelines:
        found = list(stretches(timeline.windows))
        for place, stretch in enumerate(found[:_MOST_ROWS]):
            name = printable(timeline.video) if place == 0 else ""
            rows.append((name, *_cells(stretch, class_names, top=top)))
        if len(found) > _MOST_ROWS:
            notes.append(
                f"{printable(timeline.video)}: {len(found) - _MOST_ROWS} more rows are not shown; --csv, --json and "
                "--picture have all"
            )
    if rows:
        print_table(title, _COLUMNS, rows)
    for note in notes:
        say(note)
    say_errors([(timeline.video, timeline.error) for timeline in timelines])


def _cells(stretch: Stretch, class_names: Sequence[str], *, top: int) -> tuple[str, ...]:
    shares = stretch.mean
    best = stretch.label
    others = [label for label in ranked(shares) if label != best][: min(top - 1, _MOST_OTHERS)]
    return (
        time_text(stretch.windows[0].start),
        time_text(stretch.windows[-1].end),
        class_names[best],
        f"{100 * shares[best]:.2f} %",
        bar(float(shares[best]), cells=12),
        ", ".join(f"{class_names[label]} {100 * shares[label]:.2f} %" for label in others),
    )


def write_timelines_json(timelines: Sequence[Timeline], class_names: Sequence[str]) -> None:
    """Print ``[{"video", "windows": [{"start", "end", "num_frames", "predictions"}]}]``, or ``{"video", "error"}``.

    start and end in seconds; predictions as those of a whole video: every class, sorted; none where no frame is shown
    in the window. A window is one line, written as it is made, so that hours of windows take no memory.
    """
    write_out("[")
    for place, timeline in enumerate(timelines):
        comma = "," if place + 1 < len(timelines) else ""
        if timeline.error:
            write_out("  " + json.dumps({"video": timeline.video, "error": timeline.error}) + comma)
            continue
        write_out(f'  {{"video": {json.dumps(timeline.video)}, "windows": [')
        last = len(timeline.windows) - 1
        for number, window in enumerate(timeline.windows):
            write_out("    " + json.dumps(_as_json(window, class_names)) + ("," if number < last else ""))
        write_out("  ]}" + comma)
    write_out("]")


def _as_json(window: WindowAnswer, class_names: Sequence[str]) -> dict[str, object]:
    shares = window.probabilities
    return {
        "start": window.start,
        "end": window.end,
        "num_frames": window.num_frames,
        "predictions": [] if shares is None else as_predictions(shares, class_names),
    }


def write_timelines_csv(path: Path, timelines: Sequence[Timeline], class_names: Sequence[str]) -> int:
    """Write a row for each window: ``video, start, end, num_frames, action, probability, error`` and the classes.

    start and end in seconds. A video that failed is one row with its error. Returns the number of windows.
    """
    columns = ("video", "start", "end", "num_frames", "action", "probability", "error", *class_names)
    write_csv(path, columns, (row for timeline in timelines for row in _csv_rows(timeline, class_names)))
    return sum(len(timeline.windows) for timeline in timelines)


def _csv_rows(timeline: Timeline, class_names: Sequence[str]) -> Iterator[list[object]]:
    name, empty = printable(timeline.video), [""] * len(class_names)
    if timeline.error:
        yield [name, "", "", "", "", "", timeline.error, *empty]
    for window in timeline.windows:
        place = [name, window.start, window.end, window.num_frames]
        shares = window.probabilities
        if shares is None:
            yield [*place, "", "", NOTHING_SHOWN, *empty]
        else:
            best = ranked(shares)[0]
            yield [*place, class_names[best], float(shares[best]), "", *map(float, shares)]
