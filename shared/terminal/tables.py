"""Tables as text: as wide as a terminal, and in Markdown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from shared.terminal.streams import wrapped

if TYPE_CHECKING:
    from rich.table import Table

LONGEST_WORD = 24  # characters that a column of a table keeps together
_SPACE_OF_A_COLUMN = 3  # around its text


def table_text(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, styled: bool) -> str:
    """A table under its title, in lines of at most ``width`` characters. Numbers align right.

    Where not even the words find room side by side, each row becomes a few lines. styled: with a terminal's control
    codes.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=styled)
    widths = column_widths([columns, *rows], available=width - _SPACE_OF_A_COLUMN * len(columns) - 1)
    with console.capture() as printed:
        console.print(Text(title, style="bold"))
        if widths is not None:
            console.print(_table(columns, rows, widths))
    lines = [line if styled else line.rstrip() for line in printed.get().removesuffix("\n").split("\n")]
    if widths is None:
        lines += [_row_text(columns, row, width=width) for row in rows]
    return "\n".join(lines)


def column_widths(lines: Sequence[Sequence[str]], *, available: int) -> list[int] | None:
    """Characters for each column, the widest narrowed until all fit; None where their words would have to be broken.

    Only words of more than LONGEST_WORD characters, such as paths, may be. lines: the head and the rows.
    """
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, cells)) for cells in columns]
    least = [
        min(LONGEST_WORD, max(cell_len(word) for cell in cells for word in [*cell.split(), ""])) for cells in columns
    ]
    while sum(widths) > available:
        narrowable = [index for index, width in enumerate(widths) if width > least[index]]
        if not narrowable:
            return None
        widths[max(narrowable, key=widths.__getitem__)] -= 1
    return widths


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", width=widths[index])
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _row_text(columns: Sequence[str], row: Sequence[str], *, width: int) -> str:
    """A row without a table: its first cell, then the others with their columns' names."""
    cells = [(column, cell.strip()) for column, cell in zip(columns[1:], row[1:], strict=True) if cell.strip()]
    others = "; ".join(f"{column}: {cell}" if column else cell for column, cell in cells)
    return wrapped(f"{row[0]}\n  {others}" if row[0] else f"  {others}", width)


def _is_number(cell: str) -> bool:
    return not cell or cell.strip().rstrip("%").lstrip("+-±").replace(".", "", 1).replace(",", "").isdigit()


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; a vertical bar in a cell is escaped."""
    cells = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
