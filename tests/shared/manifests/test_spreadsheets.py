"""Manifests that went through a spreadsheet or another system's editor: read right, or refused with the remedy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_dataset import MadeDataset, make_dataset

from shared.errors import DataError
from shared.manifests.files import read_manifests

Cells = list[list[str]]


@pytest.fixture
def made(tmp_path: Path) -> MadeDataset:
    return make_dataset(tmp_path, clips_per_class=2)


def saved(cells: Cells, *, delimiter: str = ",", lineterminator: str = "\r\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=lineterminator, quoting=quoting).writerows(cells)  # type: ignore[arg-type]
    return text.getvalue()


def resave(made: MadeDataset, write: Callable[[Cells], bytes]) -> None:
    file = made.manifests / "clips" / "walk.csv"
    file.write_bytes(write(list(csv.reader(io.StringIO(file.read_text())))))


def with_column(cells: Cells, name: str, change: Callable[[str], str]) -> Cells:
    place = cells[0].index(name)
    return [cells[0], *([*row[:place], change(row[place]), *row[place + 1 :]] for row in cells[1:])]


@pytest.mark.parametrize(
    "write",
    [
        lambda cells: saved(cells).encode(),
        lambda cells: saved(cells).encode("utf-8-sig"),
        lambda cells: saved(cells, lineterminator="\r").encode(),
        lambda cells: saved(cells, quoting=csv.QUOTE_ALL).encode("utf-8-sig"),
        lambda cells: saved([cells[0], *cells[:0:-1]]).encode(),
        lambda cells: saved([row[::-1] for row in cells]).encode(),
        lambda cells: saved([[*row, "note"] for row in cells]).encode(),
        lambda cells: saved([[*cells[0], "note"], *cells[1:], []]).encode(),
    ],
    ids=[
        "crlf",
        "byte order mark",
        "cr",
        "quoted",
        "rows sorted",
        "columns moved",
        "a column more",
        "its cells left out",
    ],
)
def test_what_changes_no_value_is_read(made: MadeDataset, write: Callable[[Cells], bytes]) -> None:
    before = read_manifests(made.manifests)
    resave(made, write)
    pd.testing.assert_frame_equal(read_manifests(made.manifests), before)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda cells: saved(cells, delimiter=";").encode(), "not separated by commas"),
        (lambda cells: saved(cells, delimiter="\t").encode(), "not separated by commas"),
        (lambda cells: saved(cells).encode("utf-16"), "cannot be read as a manifest"),
        (lambda cells: saved(with_column(cells, "row", lambda text: f"{text}.0")).encode(), "column row"),
        (lambda cells: saved(with_column(cells, "crc32", lambda text: "1.2E+09")).encode(), "column crc32"),
        (lambda cells: saved(with_column(cells, "blur", lambda text: text.replace(".", ","))).encode(), "column blur"),
        (lambda cells: saved(with_column(cells, "blur", lambda text: "#DIV/0!")).encode(), "column blur"),
        (lambda cells: saved(with_column(cells, "clip_id", lambda text: "02.Jan")).encode(), "02.Jan"),
        (lambda cells: saved([*cells, cells[1]]).encode(), "twice"),
        (lambda cells: saved([row[1:] for row in cells]).encode(), "lacks the column clip_id"),
    ],
)
def test_what_changes_values_is_refused_with_the_remedy(
    made: MadeDataset, write: Callable[[Cells], bytes], message: str
) -> None:
    resave(made, write)
    with pytest.raises(DataError, match=message) as caught:
        read_manifests(made.manifests)
    assert "hmdb-prep merge" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
