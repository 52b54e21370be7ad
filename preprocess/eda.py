"""`hmdb-prep eda`: reads manifests and shards, prints the tables, writes the report."""

from __future__ import annotations

from pathlib import Path

from preprocess.eda_images import missing_shards, read_small_pictures, read_thumbnails
from preprocess.eda_plots import draw_plots
from preprocess.eda_report import render_report, shown_clips
from preprocess.eda_summary import summarize
from preprocess.eda_tables import print_summary
from preprocess.near_duplicates import find_near_duplicates
from shared.console import say
from shared.manifests import read_dataset, read_manifests, read_quarantine, write_atomically


def run_eda(*, manifests: Path, shards: Path, out: Path) -> Path:
    """Print the tables of a data set and write its HTML report to ``out``, which is returned.

    Where shards are not at hand the report has no pictures and looks for no near duplicates, and says so. Raises
    DataError where manifests are absent or damaged, or shards are damaged or belong to another data set.
    """
    dataset = read_dataset(manifests)
    summary = summarize(read_manifests(manifests), dataset, read_quarantine(manifests))
    absent = missing_shards(summary.clips, shards)
    duplicates, thumbnails, note = None, {}, ""
    if absent:
        note = f"no pictures and no near duplicates: {len(absent)} shards, such as {absent[0]}, are not in {shards}"
    else:
        duplicates = find_near_duplicates(summary.clips, read_small_pictures(summary.clips, shards, dataset))
        thumbnails = read_thumbnails(shown_clips(summary, duplicates), shards, dataset)
    print_summary(summary, duplicates)
    if note:
        say(note)
    plots = draw_plots(summary)
    page = render_report(summary, duplicates, plots=plots, thumbnails=thumbnails, note=note)
    write_atomically(out, page)
    say(f"wrote the report to {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return out
