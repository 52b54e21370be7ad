"""Manifests: one CSV row a clip and one JSON file a data set. Reading and writing; nothing here decodes or measures.

docs/format.md describes every column and key with an example.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared.checks import check_clip_names, check_name, from_builtins, parse_json
from shared.errors import DataError, UsageError
from shared.files import read_versioned_json, write_csv, write_text
from shared.manifests.columns import DTYPES, REMEDY, read_columns, read_texts, remade

if TYPE_CHECKING:
    import pandas as pd

CLIPS_FOLDER = "clips"
DATASET_FILE = "dataset.json"
QUARANTINE_FILE = "quarantine.csv"
BALANCE_FOLDER = "balance"
SPLITS_FILE = "splits.csv"  # where splits of one's own are kept: beside the shards, the videos or the checkpoints
DATASET_FORMAT = "hmdb-clip-dataset"
DATASET_VERSION = 1
SPLIT_COLUMNS = ("split1", "split2", "split3", "split_full")


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """A clip's manifest row. The fields are the columns, in order; docs/format.md gives their meaning and units.

    A field with a default is younger than the format: rows without it are read.
    """

    clip_id: str
    class_name: str
    label: int
    path: str
    source: str
    split1: str
    split2: str
    split3: str
    split_full: str
    body: str
    camera_motion: str
    num_people: str
    viewpoint: str
    quality: str
    codec: str
    fps: float
    width: int
    height: int
    num_frames: int
    num_frames_header: int
    duration_seconds: float
    num_padded: int
    decode_errors: int = 0
    decoder: str
    shard: str
    row: int
    crc32: int
    brightness: float
    brightness_std: float
    contrast: float
    blur: float
    colorfulness: float
    red_mean: float
    green_mean: float
    blue_mean: float
    red_std: float
    green_std: float
    blue_std: float
    saturation_mean: float
    hue_hist_0: float
    hue_hist_1: float
    hue_hist_2: float
    hue_hist_3: float
    hue_hist_4: float
    hue_hist_5: float
    hue_hist_6: float
    hue_hist_7: float
    motion: float


MANIFEST_COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(ClipRow))
_values = operator.attrgetter(*MANIFEST_COLUMNS)  # of a row, in order; dataclasses.astuple would copy each of them
_LATER_COLUMNS = {"decode_errors": "0"}  # which manifests written before lack, and what is read there
_KINDS = {field.name: str(field.type) for field in dataclasses.fields(ClipRow)}
STATISTIC_COLUMNS: tuple[str, ...] = MANIFEST_COLUMNS[MANIFEST_COLUMNS.index("brightness") :]


@dataclass(frozen=True, kw_only=True)
class QuarantineRow:
    """A video that gave no clip."""

    path: str
    stage: str  # what failed: name, open, decode, crash or timeout
    error: str


QUARANTINE_COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(QuarantineRow))


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A shard as dataset.json lists it."""

    file: str
    num_clips: int
    num_bytes: int
    sha256: str  # of the whole file, in hexadecimal


@dataclass(frozen=True, kw_only=True)
class ColourStatistics:
    """Mean and standard deviation of R, G and B over the training clips of one split, in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What dataset.json says; counts are in clips. A field with a default is younger than the format."""

    dataset_id: str
    size: str  # ``HxW`` or ``native``
    fit: str
    num_segments: int
    frames_per_segment: int
    clips_per_shard: int
    seed: int
    synthetic: bool
    class_names: tuple[str, ...]
    num_videos: int
    num_clips: int
    num_quarantined: int
    clips_per_class: dict[str, int]
    clips_per_split: dict[str, dict[str, int]]
    rgb: dict[str, ColourStatistics]  # by split column
    shards: tuple[ShardEntry, ...]
    folder_fps: float = 0.0  # frames a second of the frame folders; 0 where it is not known
    source_pattern: str = ""  # of --source-pattern; empty: the rules for names
    splits_sha256: str = ""  # of the splits.csv beside the shards; empty: official and seeded splits


def row_to_json(row: ClipRow) -> str:
    """A manifest row as one line of JSON, keys in column order: what a shard keeps of its clips."""
    return json.dumps(dict(zip(MANIFEST_COLUMNS, _values(row), strict=True)), ensure_ascii=False)


def row_from_json(text: str) -> ClipRow:
    """The inverse of ``row_to_json``. Raises DataError where keys are missing, unknown or of another type, or a name
    leads out of its folder.
    """
    try:
        row = from_builtins(ClipRow, parse_json(text))
        check_clip_names(class_name=row.class_name, clip_id=row.clip_id, path=row.path, shard=row.shard)
    except ValueError as error:
        raise DataError(f"a manifest row is damaged: {error}") from error
    return row


def write_clip_manifests(folder: Path, rows: Iterable[ClipRow]) -> None:
    """Write ``clips/<class>.csv``, rows sorted by clip_id, and remove manifests of classes that are no more."""
    clips = folder / CLIPS_FOLDER
    clips.mkdir(parents=True, exist_ok=True)
    by_class: dict[str, list[ClipRow]] = {}
    for row in rows:
        by_class.setdefault(row.class_name, []).append(row)
    for class_name, class_rows in by_class.items():
        ordered = sorted(class_rows, key=lambda row: row.clip_id)
        write_csv(clips / f"{class_name}.csv", MANIFEST_COLUMNS, [_values(row) for row in ordered])
    for stale in set(clips.glob("*.csv")) - {clips / f"{class_name}.csv" for class_name in by_class}:
        stale.unlink(missing_ok=True)


def write_quarantine(folder: Path, rows: Iterable[QuarantineRow]) -> None:
    """Write ``quarantine.csv``, sorted by path; with no rows it holds the header alone."""
    ordered = sorted(rows, key=lambda row: row.path)
    write_csv(folder / QUARANTINE_FILE, QUARANTINE_COLUMNS, [dataclasses.astuple(row) for row in ordered])


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write ``dataset.json``."""
    content = {"format": DATASET_FORMAT, "version": DATASET_VERSION, **dataclasses.asdict(dataset)}
    write_text(folder / DATASET_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_manifests(folder: Path | str, *, columns: Collection[str] = MANIFEST_COLUMNS) -> pd.DataFrame:
    """All clips of all classes, sorted by clip_id: the columns of ``ClipRow``, texts as str (empty, never missing).

    columns: the names of those to read, which takes less time and memory than all; they come in the manifests' order.
    Values are checked where they are read.
    Raises UsageError for the name of no column; DataError where there are no manifests, or a file misses columns or
    holds a value of another type.
    """
    import pandas as pd

    _check_columns(columns)
    folder = Path(folder)
    files = sorted((folder / CLIPS_FOLDER).glob("*.csv"))
    if not files:
        raise DataError(
            f"no manifests in {folder / CLIPS_FOLDER}; run `hmdb-prep extract`, or name the folder with --manifests"
        )
    wanted = {"clip_id", "class_name", *columns}  # rows are sorted and checked by these two
    shards: dict[str, str] = {}
    tables = [read_columns(file, kinds=_KINDS, later=_LATER_COLUMNS, wanted=wanted, shards=shards) for file in files]
    clip_ids = np.concatenate([table["clip_id"] for table in tables])
    order = np.argsort(clip_ids, kind="stable")
    twice = np.flatnonzero(clip_ids[order][1:] == clip_ids[order][:-1])
    if len(twice):
        clip_id = clip_ids[order][twice[0]]
        raise DataError(f"{folder}: clip {clip_id} stands in the manifests twice; run `hmdb-prep merge`")
    series = {}
    for name in MANIFEST_COLUMNS:  # column by column, so that the table is never twice in memory
        if name in columns:
            values = np.concatenate([table.pop(name) for table in tables])[order]
            series[name] = pd.Series(values, dtype=DTYPES[_KINDS[name]])
    return pd.DataFrame(series, copy=False)


def _check_columns(columns: Collection[str]) -> None:
    names = [columns] if isinstance(columns, str) else columns
    unknown = [name for name in names if name not in MANIFEST_COLUMNS]
    if unknown:
        raise UsageError(f"columns names {unknown[0]!r}, which manifests have not; docs/format.md lists their columns")
    if isinstance(columns, str):
        raise UsageError(f"columns is {columns!r}; it must be a list of names: columns=[{columns!r}]")


def read_quarantine(folder: Path) -> pd.DataFrame:
    """The quarantined videos: columns path, stage, error, all str. Empty where there is no such file."""
    return read_texts(folder / QUARANTINE_FILE, QUARANTINE_COLUMNS)


def read_dataset(folder: Path) -> Dataset:
    """What ``dataset.json`` says. Raises DataError where it is absent, damaged or of another version."""
    file = folder / DATASET_FILE
    content = read_versioned_json(
        file,
        kind=DATASET_FORMAT,
        version=DATASET_VERSION,
        absent="run `hmdb-prep extract`, or name the folder with --manifests",
        remedy=REMEDY,
    )
    try:
        dataset = from_builtins(Dataset, content)
        for name in (*dataset.class_names, *(entry.file for entry in dataset.shards)):
            check_name(name)
    except ValueError as error:
        raise remade(f"{file} is damaged ({error})") from error
    return dataset


def peek_dataset_id(folder: Path) -> str:
    """The dataset_id in ``dataset.json``, also of another version of it; empty where there is none to be read."""
    try:
        content = parse_json((folder / DATASET_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = content.get("dataset_id") if isinstance(content, dict) else None
    return found if isinstance(found, str) else ""
