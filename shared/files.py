"""Text files that are written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shared.checks import parse_json
from shared.errors import DataError


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file (UTF-8, ``\\n``, floats in full precision) under a temporary name and rename it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never a part, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_versioned_json(file: Path, *, kind: str, version: int, absent: str, remedy: str) -> dict[str, Any]:
    """What the file says, less ``format`` and ``version``.

    absent, remedy: what to do where there is no such file, or where it is damaged or of another kind; errors end with
    it. Raises DataError in these cases and for another version.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no {file}; {absent}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); {remedy}") from error
    if not isinstance(content, dict) or content.pop("format", None) != kind:
        raise DataError(f"{file} is no {kind} file; {remedy}")
    found = content.pop("version", None)
    if found != version:
        raise DataError(f"{file} has version {found!r}, this program reads version {version}; make it again")
    return content
