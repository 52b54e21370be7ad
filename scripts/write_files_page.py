"""Writes docs/files.md, one line a file, from the first sentence of each: `python scripts/write_files_page.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "files.md"
PACKAGES = ("shared", "preprocess", "train", "hmdb51_lsvit")
INTRODUCTION = """# Every file

Written by `python scripts/write_files_page.py` from the first sentence of each file; a test fails when it is
out of date. [architecture.md](architecture.md) says how the folders work together.
"""


def folders() -> Iterator[Path]:
    """Every folder of the packages that holds code, from the top down."""
    for package in PACKAGES:
        yield from sorted({file.parent for file in (ROOT / package).rglob("*.py")})


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
    found = re.match(r".+?(?<! al)\.(?= |$)", text)  # a name may end in "et al."
    return found[0] if found else text


def lines_of(folder: Path) -> Iterator[str]:
    """The row of a folder, then one for each of its files."""
    yield row(f"{folder.relative_to(ROOT)}/", first_sentence(folder / "__init__.py"))
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield row(str(file.relative_to(ROOT)), first_sentence(file))
    others = [file for pattern in ("*.toml", "templates/*") for file in sorted(folder.glob(pattern))]
    if others:
        yield f"| {', '.join(f'`{file.relative_to(ROOT)}`' for file in others)} | |"


def row(name: str, text: str) -> str:
    """A row of the table."""
    return f"| `{name}` | {text.replace('``', '`').replace('|', chr(92) + '|')} |"


def page() -> str:
    """The text of docs/files.md."""
    rows = [line for folder in folders() for line in lines_of(folder)]
    return "\n".join([INTRODUCTION, "| file | what it holds |", "| --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
