"""JSON files that name their format and its version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.errors import DataError
from shared.field_types import parse_json


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
