"""The CSV files of the manifests, column by column: a clip has many, and most programs need few of them."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shared.checks import check_clip_names
from shared.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DTYPES = {"str": "str", "int": "int64", "float": "float64"}
"""Of a column, by the type of its field."""
REMEDY = "run `hmdb-prep merge` to make it again"

Columns = dict[str, npt.NDArray[Any]]


def remade(message: str) -> DataError:
    """The error that a file of the manifests is damaged, with the way out."""
    return DataError(f"{message}; {REMEDY}")


def read_columns(
    file: Path, *, kinds: Mapping[str, str], later: Mapping[str, str], wanted: Collection[str], shards: dict[str, str]
) -> Columns:
    """Some columns of the manifest of one class: int64 or float64 (N,), texts as object (N,).

    kinds: every column of a manifest and the type of its field: str, int or float. later: columns that old files lack,
    and what is read there. wanted: the columns to read, clip_id and class_name among them. shards: the names of shards
    read so far, each held once.
    Raises DataError where the file is damaged, lacks any column, or holds a value of another type in one of ``wanted``.
    """
    columns = {}
    for name, texts in _cells(file, kinds=kinds, later=later, wanted=wanted).items():
        try:
            columns[name] = _converted(texts, kinds[name], known=shards if name == "shard" else {})
        except (ValueError, OverflowError) as error:
            raise remade(f"{file}: column {name}: {error}") from error
        if name in ("label", "row") and columns[name].min(initial=0) < 0:
            raise remade(f"{file}: column {name}: {columns[name].min()} is negative")
    _check_names(file, columns)
    return columns


def _cells(
    file: Path, *, kinds: Mapping[str, str], later: Mapping[str, str], wanted: Collection[str]
) -> dict[str, list[str]]:
    """The texts of the columns ``wanted``. All others are let go of row by row, so that memory does not hold them."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = next(reader, [])
            places = _places(file, header, kinds=kinds, later=later)
            found = [name for name in places if name in wanted]
            pick = operator.itemgetter(*[places[name] for name in found])
            rows = [pick(row) for row in _whole_rows(reader, last=max(places.values()), width=len(header))]
    except (ValueError, OSError, csv.Error) as error:
        raise remade(f"{file} cannot be read as a manifest ({error})") from error
    cells = {name: [row[place] for row in rows] for place, name in enumerate(found)}
    return cells | {name: [later[name]] * len(rows) for name in wanted if name not in places}


def _places(file: Path, header: Sequence[str], *, kinds: Mapping[str, str], later: Mapping[str, str]) -> dict[str, int]:
    """Where each column stands in a row. Raises DataError where one is missing that old files have too."""
    if not header:
        raise ValueError("it is empty")
    if len(header) < 2:
        raise remade(f"{file} is not separated by commas (spreadsheets may save semicolons or tabs)")
    missing = [name for name in kinds if name not in header and name not in later]
    if missing:
        raise remade(f"{file} lacks the column {missing[0]}")
    return {name: header.index(name) for name in kinds if name in header}


def _whole_rows(reader: Any, *, last: int, width: int) -> Iterator[list[str]]:
    """The rows of a ``csv.reader``, empty lines left out.

    Raises ValueError for a row that has more cells than the header's ``width``, or none in column ``last``: what it
    holds may stand in wrong columns.
    """
    for row in reader:
        if not row:
            continue
        if not last < len(row) <= width:
            raise ValueError(f"line {reader.line_num} has {len(row)} cells, the header {width}")
        yield row


def _converted(texts: list[str], kind: str, *, known: dict[str, str]) -> npt.NDArray[Any]:
    """Texts as what a field's type says, equal ones as one object of ``known``. Python converts, digit for digit."""
    if kind == "str":
        return np.array([known.setdefault(text, text) for text in texts], dtype=object)
    converter: Callable[[str], float] = int if kind == "int" else float
    return np.array([converter(text) for text in texts], dtype=DTYPES[kind])


def _check_names(file: Path, columns: Columns) -> None:
    """Raise DataError where a name leads out of its folder; path and shard are looked at where they were read."""
    nothing = np.full(len(columns["clip_id"]), "", dtype=object)
    names = (columns.get(name, nothing).tolist() for name in ("class_name", "clip_id", "path", "shard"))
    for class_name, clip_id, path, shard in zip(*names, strict=True):
        try:
            check_clip_names(class_name=class_name, clip_id=clip_id, path=path, shard=shard)
        except ValueError as error:
            raise remade(f"{file}: {error}") from error


def read_texts(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file of texts. Empty where there is no such file; raises DataError where it is damaged."""
    import pandas as pd

    if not file.is_file():
        return pd.DataFrame({column: pd.Series(dtype=str) for column in columns})
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")[list(columns)]
    except (ValueError, KeyError, OSError) as error:
        raise remade(f"{file} cannot be read ({error})") from error
