"""Balancing plans: the clips that an epoch of training goes through, one CSV row each, and a JSON file beside it.

docs/balancing.md gives the meaning of every column and key with an example.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.checks import from_builtins
from shared.errors import DataError, UsageError
from shared.files import read_versioned_json, write_csv, write_text
from shared.manifests.files import BALANCE_FOLDER

PLAN_FORMAT = "hmdb-balancing-plan"
PLAN_VERSION = 1
PLAN_SPLITS = ("1", "2", "3", "full")

RowKind = Literal["real", "synthetic", "dropped"]
KINDS: tuple[RowKind, ...] = ("real", "synthetic", "dropped")


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One row of a plan. The fields are the columns, in order.

    real: the clip ``clip_id`` as it is; a row that stands n times is seen n times an epoch. synthetic: the clip
    (1 - lam)·anchor + lam·neighbour, frame by frame, of the clips ``clip_id`` and ``neighbor_id``, both of this class;
    lam in [0, 1]. dropped: ``clip_id`` is left out. For real and dropped rows neighbor_id is empty and lam 0.
    """

    kind: RowKind
    class_name: str
    label: int
    clip_id: str
    neighbor_id: str = ""
    lam: float = 0.0


PLAN_COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(PlanRow))


@dataclass(frozen=True, kw_only=True)
class PlanInfo:
    """What the JSON file beside a plan says. Counts are clips by class name, those of the validation part left out."""

    dataset_id: str
    split: str  # 1, 2, 3 or full
    val_fraction: float = 0.0  # share of the training rows left to validation; plans from before it was noted have all
    strategy: str
    target: str  # as asked for: median, mean, max or a number of clips
    target_count: int  # what that came to
    k: int  # neighbours that SMOTE draws from
    seed: int
    features: str  # ``descriptors`` or the name of the file given, empty where nothing was synthesised
    features_sha256: str  # of that file, else empty
    library_versions: dict[str, str]  # by package name
    counts_before: dict[str, int]
    counts_after: dict[str, int]  # of what is trained on
    imbalance_ratio_before: float  # largest over smallest class among those that have clips
    imbalance_ratio_after: float
    notes: tuple[str, ...]  # what the command said besides: a k that shrank, repetition, classes without clips


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan as read."""

    path: Path
    sha256: str  # of the CSV file, in hexadecimal
    info: PlanInfo
    rows: tuple[PlanRow, ...]  # as in the file, dropped ones included


def plan_path(manifests: Path, split: str) -> Path:
    """``<manifests>/balance/<split>.csv``: ``1.csv``, ``2.csv``, ``3.csv`` or ``full.csv``; the JSON has the same stem.

    Raises UsageError where ``split`` is none of 1, 2, 3 and full.
    """
    if split not in PLAN_SPLITS:
        raise UsageError(f"--split is {split}; a plan is made for one of {', '.join(PLAN_SPLITS)}")
    return manifests / BALANCE_FOLDER / f"{split}.csv"


def imbalance_ratio(counts: dict[str, int]) -> float:
    """The largest over the smallest class among those that have clips; 1 where there are none."""
    present = [count for count in counts.values() if count > 0]
    return max(present) / min(present) if present else 1.0


def write_plan(path: Path, rows: Sequence[PlanRow], info: PlanInfo) -> None:
    """Write the CSV file and the JSON beside it, rows sorted: the same rows and info give the same bytes.

    The order is by label, kind (real, synthetic, dropped), clip_id, neighbor_id, lam. A lam reads back exactly. The
    old JSON goes first and the new one comes last: a kill in between leaves no plan that looks complete.
    """
    rank = {kind: index for index, kind in enumerate(KINDS)}
    ordered = sorted(rows, key=lambda row: (row.label, rank[row.kind], row.clip_id, row.neighbor_id, row.lam))
    path.with_suffix(".json").unlink(missing_ok=True)
    write_csv(path, PLAN_COLUMNS, [_cells(row) for row in ordered])
    content = {"format": PLAN_FORMAT, "version": PLAN_VERSION, **dataclasses.asdict(info)}
    write_text(path.with_suffix(".json"), json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _cells(row: PlanRow) -> tuple[object, ...]:
    return (row.kind, row.class_name, int(row.label), row.clip_id, row.neighbor_id, repr(float(row.lam)))


def read_plan_info(path: Path) -> PlanInfo:
    """What the JSON file beside the plan ``path`` says. Raises DataError where it is absent, damaged or too new."""
    file = path.with_suffix(".json")
    content = read_versioned_json(
        file,
        kind=PLAN_FORMAT,
        version=PLAN_VERSION,
        absent="each plan has one; run `hmdb-prep balance` again",
        remedy="run `hmdb-prep balance` again",
    )
    try:
        return from_builtins(PlanInfo, content)
    except ValueError as error:
        raise DataError(f"{file} is damaged ({error}); run `hmdb-prep balance` again") from error


def read_plan(path: Path) -> Plan:
    """Read a plan and check it against the format and against its own JSON.

    Raises DataError where a file is absent or damaged, a row breaks the rules of ``PlanRow``, or the rows of a class
    are not as many as the JSON says. Whether the plan fits a data set is for the caller to check.
    """
    info = read_plan_info(path)
    try:
        content = path.read_bytes()
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except FileNotFoundError as error:
        raise DataError(f"no plan at {path}; run `hmdb-prep balance`") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a plan ({error}); run `hmdb-prep balance` again") from error
    if not lines or tuple(lines[0]) != PLAN_COLUMNS:
        raise DataError(f"{path} does not have the columns {', '.join(PLAN_COLUMNS)}; run `hmdb-prep balance` again")
    rows = tuple(_row_from(f"{path} line {number}", cells) for number, cells in enumerate(lines[1:], start=2))
    counts = Counter(row.class_name for row in rows if row.kind != "dropped")
    if counts != Counter(info.counts_after):
        raise DataError(f"{path} and its JSON differ in the counts of clips; run `hmdb-prep balance` again")
    return Plan(path=path, sha256=hashlib.sha256(content).hexdigest(), info=info, rows=rows)


def _row_from(place: str, cells: list[str]) -> PlanRow:
    if len(cells) != len(PLAN_COLUMNS):
        raise DataError(f"{place} has {len(cells)} cells instead of {len(PLAN_COLUMNS)}; run `hmdb-prep balance` again")
    kind, class_name, label, clip_id, neighbor_id, lam = cells
    known = next((known for known in KINDS if known == kind), None)
    if known is None:
        raise DataError(f"{place}: kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    for name in (clip_id, neighbor_id) if known == "synthetic" else (clip_id,):
        if not name.startswith(f"{class_name}/"):
            raise DataError(f"{place}: {name!r} is no clip of class {class_name}; run `hmdb-prep balance` again")
    value = _number(lam)
    if not 0 <= value <= 1:
        raise DataError(f"{place}: lam is {lam!r}; it must be from 0 to 1")
    if known != "synthetic" and (neighbor_id or value):
        raise DataError(f"{place}: a {known} row has neither neighbour nor lam; run `hmdb-prep balance` again")
    if not label.isdecimal():
        raise DataError(f"{place}: label is {label!r}; it must be a whole number")
    return PlanRow(
        kind=known, class_name=class_name, label=int(label), clip_id=clip_id, neighbor_id=neighbor_id, lam=value
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
