"""What others report of HMDB51: the table stands in README.md, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.hmdb51.roads import ROOT
from shared.errors import DataError

COLUMNS = ("method", "HMDB51", "source")


def literature() -> list[list[str]]:
    """The rows of README's table, with the columns of COLUMNS. Raises DataError where it is not there."""
    return rows_of((ROOT / "README.md").read_text(encoding="utf-8"), COLUMNS)


def rows_of(page: str, columns: Sequence[str]) -> list[list[str]]:
    """The rows of the table with these columns in a Markdown page."""
    lines = iter(page.splitlines())
    head = "| " + " | ".join(columns) + " |"
    if head not in lines:  # goes through the lines as far as the head
        raise DataError(f"README.md has no table with the columns {', '.join(columns)}; take it from the repository")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
