"""Configurations as TOML files: those of ``--config``, and the one that a run keeps, with what it chose itself."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.errors import DataError, UsageError
from train.run.config.fields import RunConfig, flags
from train.run.config.resolve import LEFT_OPEN
from train.run.config.values import Value, checked

_CHOICE_COLUMNS = ("key", "asked", "chosen")


def read_toml(path: Path, *, absent: str) -> dict[str, Any]:
    """What a TOML file holds. Raises UsageError (``absent``) where there is none, DataError where it is no TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise UsageError(absent) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no TOML file: {error}") from error


def read_config(path: Path) -> dict[str, Value]:
    """Read a flat TOML file of configuration keys (underscores or hyphens alike).

    Raises UsageError for an unknown key, naming the nearest valid one, and DataError where the file is no TOML.
    """
    content = read_toml(path, absent=f"no configuration at {path}; name a TOML file with --config")
    known = flags()
    values: dict[str, Value] = {}
    for written, value in content.items():
        key = written.replace("-", "_")
        if key not in known:
            raise UsageError(f"{path} has an unknown key {written!r}{_nearest(key, list(known))}")
        values[key] = checked(key, value, *known[key])
    return values


def write_config(path: Path, config: RunConfig) -> None:
    """Write the configuration as TOML, every key; the file is whole or absent."""
    import tomli_w

    from shared.files import write_text

    content = {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }
    write_text(path, tomli_w.dumps(content))


def write_choices(path: Path, keys: Iterable[str], config: RunConfig) -> None:
    """Write the choices that were left to the program, as they were asked for and made: a row each.

    Rows that an earlier start left stay where the configuration still has what was chosen then.
    """
    from shared.files import write_csv

    rows = {key: row for key, row in read_choices(path).items() if row[1] == str(getattr(config, key, None))}
    for key in keys:
        asked, chosen = str(LEFT_OPEN[key]), str(getattr(config, key))
        if asked != chosen:
            rows[key] = asked, chosen
    write_csv(path, _CHOICE_COLUMNS, [(key, *row) for key, row in rows.items()])


def read_choices(path: Path) -> dict[str, tuple[str, str]]:
    """Of each choice that was left to the program what was asked for and what was chosen.

    Empty where there is no such table, as in runs of earlier versions.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0]: (row[1], row[2]) for row in csv.reader(file) if len(row) == len(_CHOICE_COLUMNS)}
    except (FileNotFoundError, ValueError, csv.Error):
        return {}


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; `lsvit-train run --help` lists the keys"
