"""Tables of HTML pages that sort and filter: what ``templates/tables.html.j2`` shows."""

from __future__ import annotations

import functools
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table cell. key: what it sorts by; mark: ``high`` or ``low`` where it deviates; bar: 0 to 1, drawn behind."""

    text: str
    key: str | float
    mark: str = ""
    bar: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that sorts and filters. name: its id in the page."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @functools.cached_property  # asked for at every cell
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether all its keys are numbers."""
        if not self.rows:
            return (False,) * len(self.columns)
        return tuple(all(isinstance(row[i].key, (int, float)) for row in self.rows) for i in range(len(self.columns)))
