"""`hmdb-prep eda`: reads manifests and shards, prints the tables, writes the report."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from preprocess.eda.findings.conclusions import conclude
from preprocess.eda.images import read_looks, read_thumbnails
from preprocess.eda.near_duplicates import NearDuplicates, find_near_duplicates
from preprocess.eda.plots import draw_plots
from preprocess.eda.report import render_report, shown_clips
from preprocess.eda.summary import Summary, summarize
from preprocess.eda.tables import print_summary
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.manifests.files import STATISTIC_COLUMNS, read_dataset, read_manifests, read_quarantine
from shared.manifests.left_out import read_left_out
from shared.manifests.notes import read_notes
from shared.next_command import Places, folder_options
from shared.pages.fonts import find_letters, note_on_missing
from shared.shards.data_sets import what_is_wrong
from shared.terminal.console import progress, say


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the shards show."""

    duplicates: NearDuplicates | None
    """None where the shards are not at hand."""
    thumbnails: dict[str, str]
    """Of clips that the report shows."""
    note: str = ""
    """Why nothing was seen; empty where something was."""


def run_eda(*, manifests: Path, shards: Path, out: Path) -> Path:
    """Print findings and tables of a data set and write its HTML report to ``out``, which is returned.

    Where shards are not at hand the report has no pictures and looks for no near duplicates, and says so. Raises
    DataError where manifests are absent or damaged, or shards are damaged or belong to another data set.
    """
    if out.is_dir() or not out.name:
        raise UsageError(f"--out is {out}, a folder; name the file of the report")
    dataset = read_dataset(manifests)
    clips = read_manifests(manifests)
    _check_numbers(clips, manifests)
    summary = summarize(
        clips,
        dataset,
        quarantine=read_quarantine(manifests),
        notes=read_notes(manifests),
        left_out=read_left_out(manifests),
    )
    seen = _look(summary, shards, dataset_id=dataset.dataset_id)
    duplicates = seen.duplicates
    words = folder_options(Places(shards=shards, manifests=manifests))
    findings = conclude(summary, duplicates, places="".join(f" {shlex.quote(word)}" for word in words))
    class_names = [str(name) for name in summary.classes.index]
    letters = find_letters(class_names)
    remarks = [text for text in (seen.note, _on_cut_search(duplicates), note_on_missing(letters, class_names)) if text]
    print_summary(summary, duplicates, findings)
    for remark in remarks:
        say(remark)
    plots = draw_plots(summary, families=letters.families)
    page = render_report(summary, duplicates, findings, plots=plots, thumbnails=seen.thumbnails, remarks=remarks)
    write_text(out, page)
    say(f"wrote the report to {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return out


def _look(summary: Summary, shards: Path, *, dataset_id: str) -> _Seen:
    """Look at the clips of the shards. Raises DataError where these are damaged or of another data set."""
    named = set(summary.clips["shard"])
    if not all((shards / name).is_file() for name in named):
        wrong = what_is_wrong(shards, named, dataset_id=dataset_id)
        return _Seen(duplicates=None, thumbnails={}, note=f"no pictures and no near duplicates: {wrong}")
    looks = read_looks(summary.clips, shards, dataset_id=dataset_id)
    with progress("comparing clips", len(summary.clips)) as advance:
        duplicates = find_near_duplicates(summary.clips, looks, advance=advance)
    thumbnails = read_thumbnails(shown_clips(summary, duplicates), shards, dataset_id=dataset_id)
    return _Seen(duplicates=duplicates, thumbnails=thumbnails)


def _on_cut_search(duplicates: NearDuplicates | None) -> str:
    if duplicates is None or duplicates.is_whole:
        return ""
    return (
        f"the search for near duplicates ended at {duplicates.num_pairs:,} pairs, there are more: thousands of clips "
        "show the same picture, such as a title or a test card"
    )


def _check_numbers(clips: pd.DataFrame, manifests: Path) -> None:
    """Raise DataError for a hand-edited row that cannot be drawn: statistics without end, sizes below one pixel."""
    endless = np.isinf(clips[list(STATISTIC_COLUMNS)].to_numpy()).any(axis=1)
    broken = endless | (clips[["width", "height", "num_frames"]].to_numpy() < 1).any(axis=1)
    if broken.any():
        clip_id = clips["clip_id"].iloc[int(broken.argmax())]
        raise DataError(f"{manifests}: the row of {clip_id} holds impossible numbers; run `hmdb-prep merge`")
