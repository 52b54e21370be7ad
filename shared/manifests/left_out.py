"""What a listing of videos leaves out, so that nothing is passed over in silence: one line, and a file of the names."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shared.checks import FORMULA_SIGNS
from shared.files import write_csv
from shared.manifests.columns import read_texts

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT_FILE = "left_out.csv"

Reason = Literal[
    "too deep",
    "no video by its suffix",
    "picture outside a clip's folder",
    "picture without a number",
    "beside the pictures of a clip",
    "beside the class folders",
    "frames of a video that is there",
    "hidden",
    "class without a video",
    "folder without a video",
    "link to a folder",
]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file or folder that is no video."""

    path: str
    """As it was found, or relative to the folder of videos."""
    reason: Reason
    """docs/format.md says of each what to do about it."""


LEFT_OUT_COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(LeftOut))


def left_out_line(rows: Sequence[LeftOut]) -> str:
    """All of it in one line, the most frequent reason first: ``left out: 12 too deep (a/b/x.avi), 3 hidden (.git)``."""
    firsts: dict[str, str] = {}
    for row in rows:
        firsts.setdefault(row.reason, row.path)
    counts = Counter(row.reason for row in rows).most_common()
    return "left out: " + ", ".join(f"{count} {reason} ({_shown(firsts[reason])})" for reason, count in counts)


def write_left_out(folder: Path, rows: Sequence[LeftOut]) -> None:
    """Write ``left_out.csv``, sorted by path; where nothing was left out there is no such file.

    A path that a spreadsheet would run as a formula is written with ``./`` before it.
    """
    if not rows:
        (folder / LEFT_OUT_FILE).unlink(missing_ok=True)
        return
    ordered = sorted(rows, key=lambda row: row.path)
    write_csv(folder / LEFT_OUT_FILE, LEFT_OUT_COLUMNS, [(_in_a_cell(row.path), row.reason) for row in ordered])


def read_left_out(folder: Path) -> pd.DataFrame:
    """What was left out: columns path and reason, both str. Empty where there is no such file."""
    return read_texts(folder / LEFT_OUT_FILE, LEFT_OUT_COLUMNS)


def _in_a_cell(path: str) -> str:
    shown = _shown(path)
    return f"./{shown}" if shown.startswith(FORMULA_SIGNS) else shown


def _shown(path: str) -> str:
    """A name as text: bytes that are not UTF-8 and control characters become escapes, as no rule is kept by these."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
