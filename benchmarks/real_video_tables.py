"""What a study on real video found: each row's accuracy, by class and quarter of motion too, and by clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.real_video_rows import Entry
from shared.files import write_csv, write_text
from shared.terminal.tables import markdown_table
from train.evaluate.groups import quarters_of
from train.evaluate.intervals import mean_interval
from train.evaluate.texts import interval_text

Floats = npt.NDArray[np.float64]

GROUP_COLUMNS = (
    "row",
    "start",
    "group",
    "num_clips",
    "top1_percent",
    "to_first_percent",
    "low_percent",
    "high_percent",
)


def interval(values: Floats, sources: Sequence[str]) -> str:
    """The 95 % interval of the mean of values, float64 (N,) in [-1, 1], over draws of sources; in percent."""
    return interval_text(mean_interval(values, sources))


def spread(values: Floats) -> str:
    """Mean ± standard deviation (n - 1) of the seeds, the figure alone where there is one."""
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def write_table(entries: Sequence[Entry], measured: Sequence[Floats], clips: pd.DataFrame, folder: Path) -> str:
    """The table of what was measured, and each clip's share of right answers, into files; the table.

    measured: of each entry, 1 where a clip was right, float64 (seeds, N) in the order of the clips.
    """
    sources, classes = list(clips["source"]), clips["class_name"]
    rows, first = [], measured[0].mean(axis=0)
    for entry, right in zip(entries, measured, strict=True):
        by_seed, by_clip = 100 * right.mean(axis=1), right.mean(axis=0)
        of_classes = 100 * pd.Series(by_clip).groupby(classes).mean().mean()
        difference = by_clip - first
        rows.append((
            entry.row.name, entry.label, spread(by_seed),
            interval(by_clip, sources), f"{of_classes:.1f}", f"{100 * difference.mean():+.1f}",
            interval(difference, sources),
        ))  # fmt: skip
    columns = ("row", "start", f"top-1 %, {len(measured[0])} seeds", "95 %, by source", "mean class %",
               "to the first row", "95 %")  # fmt: skip
    table = "\n".join(markdown_table(columns, rows)) + "\n"
    write_text(folder / "table.md", table)
    names = [f"{entry.row.name} {entry.label}" for entry in entries]
    shares = np.stack([right.mean(axis=0) for right in measured], axis=1).tolist()
    lines = zip(clips["clip_id"], sources, shares, strict=True)
    write_csv(
        folder / "clips.csv", ("clip_id", "source", *names), [(clip, source, *own) for clip, source, own in lines]
    )
    return table


def write_groups(entries: Sequence[Entry], measured: Sequence[Floats], clips: pd.DataFrame, folder: Path) -> None:
    """groups.csv: top-1 of each class and each quarter of motion, and how far it is from the first row's, in percent.

    The interval is that of the difference, by source, empty where there is none. measured: as `write_table` takes it.
    """
    quarters, classes = quarters_of(clips["motion"].to_numpy(np.float64)), clips["class_name"]
    groups = {f"motion {quarter}": quarters == quarter for quarter in sorted({*quarters.tolist()})}
    groups |= {name: (classes == name).to_numpy() for name in sorted(set(classes))}
    sources, first, lines = clips["source"].to_numpy(), measured[0].mean(axis=0), []
    for entry, right in zip(entries, measured, strict=True):
        for group, inside in groups.items():
            own = right.mean(axis=0)[inside]
            difference = own - first[inside]
            texts = [f"{100 * value:.2f}" for value in (own.mean(), difference.mean())]
            if difference.any() and len(set(sources[inside])) > 1:  # else all draws would say the same
                ends = mean_interval(difference, list(sources[inside]))
                texts += [f"{100 * ends.low:.2f}", f"{100 * ends.high:.2f}"]
            else:
                texts += ["", ""]
            lines.append((entry.row.name, entry.label, group, int(inside.sum()), *texts))
    write_csv(folder / "groups.csv", GROUP_COLUMNS, lines)
