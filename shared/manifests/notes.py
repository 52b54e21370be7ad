"""Notes on videos that gave a clip: what a user should know of them and no column of the manifests says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.files import write_csv
from shared.manifests.columns import read_texts

if TYPE_CHECKING:
    import pandas as pd

NOTES_FILE = "notes.csv"


@dataclass(frozen=True, kw_only=True)
class NoteRow:
    """A note on one video."""

    path: str
    note: str


NOTE_COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(NoteRow))


def write_notes(folder: Path, rows: Sequence[NoteRow]) -> None:
    """Write ``notes.csv``, sorted by path; where there is nothing to note there is no such file."""
    if not rows:
        (folder / NOTES_FILE).unlink(missing_ok=True)
        return
    ordered = sorted(rows, key=lambda row: row.path)
    write_csv(folder / NOTES_FILE, NOTE_COLUMNS, [dataclasses.astuple(row) for row in ordered])


def read_notes(folder: Path) -> pd.DataFrame:
    """The notes: columns path and note, both str. Empty where there is no such file."""
    return read_texts(folder / NOTES_FILE, NOTE_COLUMNS)
