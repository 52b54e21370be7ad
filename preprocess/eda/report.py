"""The report as one HTML file: no request leaves it, and no name in the data can run as a script.

``shared.pages.page`` escapes the names and forbids every other script; plots and thumbnails are data URIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from preprocess.eda.findings.finding import Findings
from preprocess.eda.names import EXPLANATION, head_name, shown_name
from preprocess.eda.near_duplicates import MAX_PAIRS, NearDuplicates
from preprocess.eda.offsets import APART, PICTURE_COLUMNS, STANDARD_ERRORS
from preprocess.eda.plots import Plot
from preprocess.eda.summary import OUTLIERS, SHORTFALL_SHARE, Outliers, Summary, extreme_clips
from preprocess.eda.tables import MAX_PAGE_ROWS, cell_text
from shared.manifests.files import SPLIT_COLUMNS
from shared.pages.page import render_page
from shared.pages.tables import Cell, Table

CLIPS_A_KIND = 12  # thumbnails of each kind of outlier, at most; of a small data set a quarter of its clips
PAIRS_SHOWN = 12  # near duplicates with thumbnails
MAX_CLIPS_LISTED = 20_000  # in the table at the end: some 3 MB of the page
CLIP_COLUMNS = (
    "clip_id", "split1", "split_full", "num_frames", "num_padded", "width", "height",
    *PICTURE_COLUMNS, "saturation_mean", "crop_loss", "shard", "row",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A clip's picture (a data URI) with what stands under it."""

    picture: str
    clip_id: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two clips that look alike. note: what they have to do with each other."""

    first: Thumbnail
    second: Thumbnail
    note: str


def shown_clips(summary: Summary, duplicates: NearDuplicates | None) -> pd.DataFrame:
    """The clips of which the report shows a thumbnail: rows of ``summary.clips``, some perhaps twice."""
    parts = [_extremes(summary, kind) for kind in OUTLIERS]
    if duplicates is not None:
        shown = duplicates.pairs.head(PAIRS_SHOWN)
        parts += [summary.clips.iloc[shown["row_a"].to_numpy()], summary.clips.iloc[shown["row_b"].to_numpy()]]
    return pd.concat(parts)


def _extremes(summary: Summary, kind: Outliers) -> pd.DataFrame:
    count = min(CLIPS_A_KIND, -(-len(summary.clips) // 4))
    return extreme_clips(summary.clips, kind, count=count)


def render_report(
    summary: Summary,
    duplicates: NearDuplicates | None,
    findings: Findings,
    *,
    plots: dict[str, Plot],
    thumbnails: dict[str, str],
    remarks: Sequence[str],
) -> str:
    """The HTML page. thumbnails: data URIs by clip_id; without any (a remark says why) their sections are left out."""
    content = {
        "summary": summary,
        "findings": findings,
        "figures": _figures(summary),
        "plots": plots,
        "measures": {column: shown_name(column) for column in PICTURE_COLUMNS},
        "tables": _tables(summary, duplicates),
        "clips": _clip_rows(listed_clips(summary.clips)),
        "rests": _rests(summary),
        "outliers": _outliers(summary, thumbnails) if thumbnails else [],
        "pairs": _pairs(duplicates, thumbnails) if duplicates is not None and thumbnails else [],
        "duplicates": duplicates,
        "max_pairs": MAX_PAIRS,
        "apart": APART,
        "standard_errors": STANDARD_ERRORS,
        "explanation": EXPLANATION,
        "shortfall_share": SHORTFALL_SHARE,
        "remarks": remarks,
    }
    return render_page("preprocess.eda", "eda", content, has_tables=True)


def _figures(summary: Summary) -> list[tuple[str, str]]:
    """The numbers at the top of the page: value and label."""
    clips, dataset = summary.clips, summary.dataset
    return [
        (f"{len(clips):,}", "clips"),
        (f"{len(summary.classes):,}", "classes"),
        (f"{clips['source'].nunique():,}", "sources"),
        (f"{summary.imbalance:.2f}", "imbalance ratio"),
        (f"{dataset.num_segments} × {dataset.frames_per_segment}", "stored frames a clip"),
        (dataset.size.replace("x", "×"), "size" if dataset.size == "native" else f"size, fit {dataset.fit}"),
        (f"{int((clips['num_padded'] > 0).sum()):,}", "padded clips"),
        (f"{len(summary.quarantine):,}", "quarantined videos"),
    ]


def _tables(summary: Summary, duplicates: NearDuplicates | None) -> dict[str, Table]:
    tables = {
        "classes": _class_table(summary),
        "frames": table_of("frames", summary.frame_counts),
        "crop": table_of("crop", summary.crop_losses),
        "splits": table_of("splits", summary.splits),
        "leaks": table_of("leaks", summary.leaks),
        "tags": table_of("tags", summary.tags),
        **{name: table_of(name, frame.head(MAX_PAGE_ROWS)) for name, frame in _lists(summary).items()},
    }
    if duplicates is not None:
        tables["pair_counts"] = table_of(
            "pair_counts", pd.DataFrame(duplicates.counts().items(), columns=["pairs", "count"])
        )
        tables["pairs"] = table_of("pairs", _pair_rows(duplicates))
    return tables


def _lists(summary: Summary) -> dict[str, pd.DataFrame]:
    """The tables with a row for each clip or file that something is to be said of: they may be long."""
    return {
        "shortfalls": summary.shortfalls,
        "decode_errors": summary.decode_errors,
        "notes": summary.notes,
        "quarantine": summary.quarantine,
        "left_out": summary.left_out,
    }


def _rests(summary: Summary) -> dict[str, int]:
    """How many rows of each list, and how many clips, are not in the page."""
    rests = {name: max(0, len(frame) - MAX_PAGE_ROWS) for name, frame in _lists(summary).items()}
    return rests | {"clips": max(0, len(summary.clips) - MAX_CLIPS_LISTED)}


def listed_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips that the page lists one by one: all, or MAX_CLIPS_LISTED of them, evenly spread over the rows."""
    count = min(len(clips), MAX_CLIPS_LISTED)
    return clips.iloc[np.arange(count) * len(clips) // max(count, 1)]


def table_of(name: str, frame: pd.DataFrame) -> Table:
    """A table with the frame's columns and rows; texts and numbers as in the terminal."""
    columns = tuple(str(column) for column in frame.columns)
    rows = tuple(
        tuple(Cell(text=cell_text(value, column), key=_key(value)) for value, column in zip(row, columns, strict=True))
        for row in frame.itertuples(index=False)
    )
    return Table(name=name, columns=columns, rows=rows)


def _key(value: object) -> str | float:
    if isinstance(value, float) and value != value:
        return -1.0
    return float(value) if isinstance(value, (int, float)) else str(value)


def _class_table(summary: Summary) -> Table:
    largest = int(summary.classes["clips"].max())
    rows = []
    for name in map(str, summary.classes.index):
        clips, sources, to_median = _numbers(summary.classes, name, ("clips", "sources", "to_median"))
        cells = [
            Cell(text=name, key=name),
            Cell(text=f"{clips:.0f}", key=clips, bar=clips / largest),
            Cell(text=f"{sources:.0f}", key=sources),
            Cell(text=f"{to_median:.2f}", key=to_median),
        ]
        values = _numbers(summary.statistics, name, PICTURE_COLUMNS)
        offsets = _numbers(summary.offsets, name, PICTURE_COLUMNS)
        for column, value, offset in zip(PICTURE_COLUMNS, values, offsets, strict=True):
            mark = ("high" if offset > 0 else "low") if summary.apart.loc[name, column] else ""
            cells.append(Cell(text=f"{value:.2f}", key=value, mark=mark))
        rows.append(tuple(cells))
    columns = ("class", "clips", "sources", "to median", *map(head_name, PICTURE_COLUMNS))
    return Table(name="classes", columns=columns, rows=tuple(rows))


def _numbers(frame: pd.DataFrame, row: str, columns: Sequence[str]) -> list[float]:
    return [float(frame[column].loc[row]) for column in columns]


def _pair_rows(duplicates: NearDuplicates) -> pd.DataFrame:
    pairs = duplicates.pairs
    across = pairs[list(SPLIT_COLUMNS)].to_numpy()
    names = [", ".join(split for split, crosses in zip(SPLIT_COLUMNS, row, strict=True) if crosses) for row in across]
    return pd.DataFrame(
        {
            "clip": pairs["clip_a"],
            "looks like": pairs["clip_b"],
            "bits apart": pairs["distance"],
            "correlation": pairs["correlation"].round(3),
            "source": pairs["same_source"].map({True: "same", False: "different"}),
            "class": pairs["same_class"].map({True: "same", False: "different"}),
            "train against test in": names,
        }
    )


def _outliers(summary: Summary, thumbnails: dict[str, str]) -> list[tuple[str, list[Thumbnail]]]:
    groups = []
    for kind in OUTLIERS:
        members = _extremes(summary, kind)
        shown = [
            Thumbnail(picture=thumbnails[clip_id], clip_id=clip_id, caption=f"{shown_name(kind.column)} {value:.2f}")
            for clip_id, value in zip(members["clip_id"], members[kind.column], strict=True)
        ]
        groups.append((kind.title, shown))
    return groups


def _pairs(duplicates: NearDuplicates, thumbnails: dict[str, str]) -> list[Pair]:
    shown = []
    for _, pair in duplicates.pairs.head(PAIRS_SHOWN).iterrows():
        a, b = str(pair["clip_a"]), str(pair["clip_b"])
        crossed = [split for split in SPLIT_COLUMNS if pair[split]]
        source = "same source" if pair["same_source"] else "different sources"
        note = f"{pair['distance']} bits apart, {source}" + (f", across {', '.join(crossed)}" if crossed else "")
        first, second = (Thumbnail(picture=thumbnails[name], clip_id=name, caption="") for name in (a, b))
        shown.append(Pair(first=first, second=second, note=note))
    return shown


def _clip_rows(clips: pd.DataFrame) -> dict[str, Sequence[object]]:
    """The clips for the table at the end: the page's script makes rows of them as they come into view."""
    chosen = clips[list(CLIP_COLUMNS)].round(3)
    numeric = [bool(pd.api.types.is_numeric_dtype(chosen[column])) for column in CLIP_COLUMNS]
    return {
        "columns": [head_name(column) for column in CLIP_COLUMNS],
        "numeric": numeric,
        "rows": chosen.to_numpy(dtype=object).tolist(),
    }
