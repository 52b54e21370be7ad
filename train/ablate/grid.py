"""The grid of an ablation: rows of configurations, from a TOML file or built in."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from shared.errors import UsageError
from train.run.config.fields import flags, requested_splits
from train.run.config.files import read_toml
from train.run.config.resolve import resolve
from train.run.config.values import Value

# Keys of `run` that the study settles itself.
SETTLED_KEYS = ("name", "runs", "seed", "shards", "shard_cache", "shard_cache_gb", "manifests")


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One configuration of the study."""

    name: str
    folder: str
    """The name in letters, digits and hyphens."""
    compared_to: str
    """The name of an earlier row, empty for the first."""
    keys: Mapping[str, Value]
    """Every key of RunConfig that a row may set, with its value."""


def default_grid(*, base: Mapping[str, Value]) -> list[GridRow]:
    """The built-in grid, ``base`` being the keys that it leaves open."""
    text = files("train.ablate").joinpath("default_grid.toml").read_text(encoding="utf-8")
    return parse_grid(tomllib.loads(text), base=base, origin="the built-in grid")


def read_grid(path: Path, *, base: Mapping[str, Value]) -> list[GridRow]:
    """The grid of a TOML file. Raises UsageError where there is none, DataError where it is no TOML."""
    content = read_toml(path, absent=f"no grid at {path}; name a TOML file with --grid, or leave it out")
    return parse_grid(content, base=base, origin=str(path))


def parse_grid(content: Mapping[str, Any], *, base: Mapping[str, Value], origin: str) -> list[GridRow]:
    """Check and complete the rows: row over ``like`` over [base] over ``base``. Raises UsageError where it is wrong."""
    if strange := sorted(set(content) - {"base", "row"}):
        raise UsageError(f"{origin} has an unknown key {strange[0]!r}; it holds [base] and [[row]] tables alone")
    entries = content.get("row", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{origin} has no [[row]]; each row is a configuration to be measured")
    shared = {**base, **_keys(content.get("base", {}), origin=f"[base] of {origin}")}
    own: dict[str, Mapping[str, Value]] = {}
    rows: list[GridRow] = []
    for entry in entries:
        row = _row(dict(entry), shared, own, origin)
        if any(row.folder == other.folder for other in rows):
            raise UsageError(f"{origin} has two rows of the name {row.name!r} (or nearly so); give each its own")
        if same := [other.name for other in rows if other.keys == row.keys]:
            raise UsageError(f"rows {same[0]!r} and {row.name!r} of {origin} are the same configuration; drop one")
        rows.append(row)
    return rows


def _row(
    entry: dict[str, Any], shared: Mapping[str, Value], own: dict[str, Mapping[str, Value]], origin: str
) -> GridRow:
    """One row; ``own`` maps the names of the rows before it to their keys, and gets this one's."""
    name = entry.pop("name", None)
    if not isinstance(name, str) or not re.search(r"\w", name):
        raise UsageError(f'a [[row]] of {origin} has no name; write name = "..."')
    like = entry.pop("like", "")
    compared_to = entry.pop("compared_to", like or next(iter(own), ""))
    for key, other in (("like", like), ("compared_to", compared_to)):
        if other and (not isinstance(other, str) or other not in own):
            raise UsageError(f"row {name!r} of {origin}: {key} is {other!r}, which is no row above it")
    keys = {**(own[like] if like else {}), **_keys(entry, origin=f"row {name!r} of {origin}")}
    own[name] = keys
    config = resolve(command_line={**shared, **keys}, file={})
    if len(requested_splits(config.split)) > 1:
        raise UsageError(f"row {name!r} of {origin}: split is {config.split!r}; an ablation takes one split")
    folder = re.sub(r"\W+", "-", name.casefold().replace("+", "plus ")).strip("-")
    complete = {key: value for key, value in dataclasses.asdict(config).items() if key not in SETTLED_KEYS}
    return GridRow(name=name, folder=folder, compared_to=compared_to, keys=complete)


def _keys(content: Any, *, origin: str) -> dict[str, Value]:
    if not isinstance(content, dict):
        raise UsageError(f"{origin} must be a table of keys")
    known = flags()
    keys: dict[str, Value] = {}
    for written, value in content.items():
        key = written.replace("-", "_")
        if key in SETTLED_KEYS:
            raise UsageError(f"{origin} sets {written!r}, which `lsvit-train ablate` settles itself")
        if key not in known:
            raise UsageError(f"{origin} has an unknown key {written!r}; `lsvit-train run --help` lists the keys")
        keys[key] = value
    return keys
