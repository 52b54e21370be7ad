"""The folder in which a trained model travels, to the hub and back: its files, and its config.json read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.checks import parse_json
from shared.errors import DataError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
FORMAT = "lsvit-model"
VERSION = 1


def read_config(file: Path) -> Mapping[str, Any] | None:
    """What ``config.json`` says of a model that `lsvit-train export` has written; None where it is another's.

    What it holds is written by ``train/trained/portable.py`` and not checked here. Raises DataError where the file
    cannot be read, or is of a version that this program does not know.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}; remove it or fetch it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    if content.get("version") != VERSION:
        raise DataError(
            f"{file} has version {content.get('version')!r}, this program reads version {VERSION}; export it again"
        )
    return content
