"""Reads a balancing plan (``hmdb-prep balance``) and checks that it belongs to the rows at hand."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError, UsageError
from shared.manifests import BALANCE_FOLDER

PLAN_COLUMNS = ("kind", "class_name", "label", "clip_id", "neighbor_id", "lam")


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A clip to train on: the stored one, or (1 - lam)·anchor + lam·neighbour. neighbor_id is empty for the
    former.
    """

    clip_id: str
    neighbor_id: str = ""
    lam: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows to train on, in the file's order, without the dropped ones. sha256: of the CSV file."""

    path: Path
    sha256: str
    strategy: str
    rows: tuple[PlanRow, ...]


def plan_name(split: str) -> str:
    """The file stem of a split's plan: split1, split2, split3 or full."""
    return split if split in ("full", "all") else f"split{split}"


def find_plan(choice: str, *, manifests: Path, split: str, dataset_id: str) -> tuple[Path | None, str]:
    """The plan that ``--plan`` asks for, None for no plan, and a sentence that says so.

    ``auto`` takes ``balance/<split>.csv`` where it is there and its dataset_id is this one. Raises UsageError
    where a file is named that is not there.
    """
    if choice == "none":
        return None, "no balancing plan (--plan none)"
    if choice != "auto":
        if not Path(choice).is_file():
            raise UsageError(f"no plan at {choice}; name a CSV file, auto or none with --plan")
        return Path(choice), f"balancing plan {choice}"
    path = manifests / BALANCE_FOLDER / f"{plan_name(split)}.csv"
    if not path.is_file():
        return None, f"no balancing plan at {path}"
    if _read_facts(path).get("dataset_id") != dataset_id:
        return None, f"the balancing plan {path} is of another data set and is not used; run `hmdb-prep balance`"
    return path, f"balancing plan {path}"


def read_plan(
    path: Path, *, dataset_id: str, split: str, training: dict[str, str], held_out: frozenset[str]
) -> tuple[Plan, int]:
    """Read and check a plan; returns it and the number of rows left out for naming a held-out validation
    clip.

    training: clip_id -> class_name of all training rows of the split, those of the validation part included.
    Raises DataError where the plan is of another data set or split, damaged, or names a clip outside the
    training rows.
    """
    facts = _read_facts(path)
    if facts.get("dataset_id") != dataset_id:
        raise DataError(f"{path} is a plan of another data set; run `hmdb-prep balance` again, or use --plan none")
    if _split_of(facts) != split:
        raise DataError(f"{path} is the plan of split {_split_of(facts)}, this run trains on {split}; use --plan auto")
    content = path.read_bytes()
    rows = [row for row in _read_rows(path, content, training) if row is not None]
    kept = [row for row in rows if row.clip_id not in held_out and row.neighbor_id not in held_out]
    if not kept:
        raise DataError(f"{path} leaves no clip to train on; run `hmdb-prep balance` again, or use --plan none")
    plan = Plan(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        strategy=str(facts.get("strategy", "unknown")),
        rows=tuple(kept),
    )
    return plan, len(rows) - len(kept)


def _read_facts(path: Path) -> dict[str, object]:
    beside = path.with_suffix(".json")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{beside}, which belongs to the plan {path}, cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise DataError(f"{beside} is no description of a plan; run `hmdb-prep balance` again")
    return facts


def _split_of(facts: dict[str, object]) -> str:
    return str(facts.get("split")).removeprefix("split").removeprefix("_")


def _read_rows(path: Path, content: bytes, training: dict[str, str]) -> list[PlanRow | None]:
    try:
        lines = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file: {error}") from error
    if lines and not set(PLAN_COLUMNS) <= set(lines[0]):
        raise DataError(f"{path} lacks columns of a plan; it needs {', '.join(PLAN_COLUMNS)}")
    return [_read_row(f"{path} row {number}", line, training) for number, line in enumerate(lines, start=1)]


def _read_row(place: str, line: dict[str, str], training: dict[str, str]) -> PlanRow | None:
    """A row to train on, None for a dropped one."""
    kind, clip_id, neighbor_id = line["kind"], line["clip_id"], line["neighbor_id"]
    if kind not in ("real", "synthetic", "dropped"):
        raise DataError(f"{place}: kind is {kind!r}; it must be real, synthetic or dropped")
    for name in (clip_id, neighbor_id) if kind == "synthetic" else (clip_id,):
        if name not in training:
            raise DataError(
                f"{place} names {name!r}, which is not among the training rows; run `hmdb-prep balance` again"
            )
        if training[name] != line["class_name"]:
            raise DataError(f"{place}: {name} is of class {training[name]}, not {line['class_name']}")
    if kind == "dropped":
        return None
    if kind == "real":
        return PlanRow(clip_id=clip_id)
    try:
        lam = float(line["lam"])
    except (TypeError, ValueError):
        lam = -1.0
    if not 0 <= lam <= 1:
        raise DataError(f"{place}: lam is {line['lam']!r}; it must be from 0 to 1")
    return PlanRow(clip_id=clip_id, neighbor_id=neighbor_id, lam=lam)
