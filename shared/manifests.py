"""Manifests: one CSV row a clip and one JSON file a data set. Reading and writing; nothing here decodes or measures.

docs/format.md describes every column and key with an example.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shared.checks import check_clip_names, check_name, from_builtins, parse_json
from shared.errors import DataError
from shared.files import read_versioned_json, write_csv, write_text

if TYPE_CHECKING:
    import pandas as pd

CLIPS_FOLDER = "clips"
DATASET_FILE = "dataset.json"
QUARANTINE_FILE = "quarantine.csv"
BALANCE_FOLDER = "balance"
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
_DTYPES = {"str": "str", "int": "int64", "float": "float64"}
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


def read_manifests(folder: Path | str) -> pd.DataFrame:
    """All clips of all classes, sorted by clip_id: the columns of ``ClipRow``, texts as str (empty, never missing).

    Raises DataError where there are no manifests, or a file misses columns or holds a value of another type.
    """
    import pandas as pd

    folder = Path(folder)
    files = sorted((folder / CLIPS_FOLDER).glob("*.csv"))
    if not files:
        raise DataError(
            f"no manifests in {folder / CLIPS_FOLDER}; run `hmdb-prep extract`, or name the folder with --manifests"
        )
    shards: dict[str, str] = {}
    tables = [_read_class_manifest(file, shards) for file in files]
    clip_ids = np.concatenate([table["clip_id"] for table in tables])
    order = np.argsort(clip_ids, kind="stable")
    twice = np.flatnonzero(clip_ids[order][1:] == clip_ids[order][:-1])
    if len(twice):
        clip_id = clip_ids[order][twice[0]]
        raise DataError(f"{folder}: clip {clip_id} stands in the manifests twice; run `hmdb-prep merge`")
    columns = {}
    for field in dataclasses.fields(ClipRow):  # column by column, so that the table is never twice in memory
        values = np.concatenate([table.pop(field.name) for table in tables])[order]
        columns[field.name] = pd.Series(values, dtype=_DTYPES[str(field.type)])
    return pd.DataFrame(columns, copy=False)


def _read_class_manifest(file: Path, shards: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of one file, texts as object arrays. shards: the names of shards read so far, each held once."""
    import pandas as pd

    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise _remade(f"{file} cannot be read as a manifest ({error})") from error
    if len(frame.columns) < 2:
        raise _remade(f"{file} is not separated by commas (spreadsheets may save semicolons or tabs)")
    for column, text in _LATER_COLUMNS.items():
        if column not in frame:
            frame[column] = text
    missing = [column for column in MANIFEST_COLUMNS if column not in frame]
    if missing:
        raise _remade(f"{file} lacks the column {missing[0]}")
    columns = {}
    for field in dataclasses.fields(ClipRow):
        texts = frame[field.name].to_numpy(dtype=object)
        try:
            columns[field.name] = _converted(texts, str(field.type))
        except (ValueError, OverflowError) as error:
            raise _remade(f"{file}: column {field.name}: {error}") from error
        if field.name in ("label", "row") and columns[field.name].min(initial=0) < 0:
            raise _remade(f"{file}: column {field.name}: {columns[field.name].min()} is negative")
    columns["shard"] = np.array([shards.setdefault(name, name) for name in columns["shard"]], dtype=object)
    _check_names(file, columns)
    return columns


def _converted(texts: npt.NDArray[np.object_], kind: str) -> npt.NDArray[Any]:
    """Texts as what a field's type says. Python converts: pandas' reader is off in the last digit in some versions."""
    if kind == "str":
        return texts
    converter: Callable[[str], float] = int if kind == "int" else float
    return np.array([converter(text) for text in texts], dtype=_DTYPES[kind])


def _check_names(file: Path, columns: dict[str, Any]) -> None:
    names = zip(columns["class_name"], columns["clip_id"], columns["path"], columns["shard"], strict=True)
    for class_name, clip_id, path, shard in names:
        try:
            check_clip_names(class_name=class_name, clip_id=clip_id, path=path, shard=shard)
        except ValueError as error:
            raise _remade(f"{file}: {error}") from error


_REMEDY = "run `hmdb-prep merge` to make it again"


def _remade(message: str) -> DataError:
    return DataError(f"{message}; {_REMEDY}")


def read_quarantine(folder: Path) -> pd.DataFrame:
    """The quarantined videos: columns path, stage, error, all str. Empty where there is no such file."""
    return read_texts(folder / QUARANTINE_FILE, QUARANTINE_COLUMNS)


def read_texts(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file of texts. Empty where there is no such file; raises DataError where it is damaged."""
    import pandas as pd

    if not file.is_file():
        return pd.DataFrame({column: pd.Series(dtype=str) for column in columns})
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")[list(columns)]
    except (ValueError, KeyError, OSError) as error:
        raise _remade(f"{file} cannot be read ({error})") from error


def read_dataset(folder: Path) -> Dataset:
    """What ``dataset.json`` says. Raises DataError where it is absent, damaged or of another version."""
    file = folder / DATASET_FILE
    content = read_versioned_json(
        file,
        kind=DATASET_FORMAT,
        version=DATASET_VERSION,
        absent="run `hmdb-prep extract`, or name the folder with --manifests",
        remedy=_REMEDY,
    )
    try:
        dataset = from_builtins(Dataset, content)
        for name in (*dataset.class_names, *(entry.file for entry in dataset.shards)):
            check_name(name)
    except ValueError as error:
        raise _remade(f"{file} is damaged ({error})") from error
    return dataset


def peek_dataset_id(folder: Path) -> str:
    """The dataset_id in ``dataset.json``, also of another version of it; empty where there is none to be read."""
    try:
        content = parse_json((folder / DATASET_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = content.get("dataset_id") if isinstance(content, dict) else None
    return found if isinstance(found, str) else ""
