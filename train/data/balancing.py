"""Which balancing plan a run trains on, and that it fits the data set, the split and the rows at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import PlanRow, plan_path, read_plan, read_plan_info


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What of a balancing plan is trained on."""

    sha256: str
    """Checksum of the CSV file."""
    strategy: str
    rows: tuple[PlanRow, ...]
    """Real and synthetic rows, in the file's order."""
    val_fraction: float
    """The --val-fraction that the plan was made for: its classes are equal under that one alone."""
    num_left_out: int
    """Real and synthetic rows that are not among them, as they show a clip held out for validation."""
    num_unmentioned: int
    """Clips to train on that stand nowhere in the plan: 0 if it is whole and made for this validation part."""


def find_plan(choice: str, *, manifests: Path, split: str, dataset_id: str) -> tuple[Path | None, str]:
    """The plan that ``--plan`` asks for, None for no plan, and a sentence that says so.

    ``auto`` takes the split's own plan where it is there and its dataset_id is this one; split ``all`` has none.
    Raises UsageError where a file is named that is not there, or one for split ``all``; DataError where the JSON of
    the split's own plan is absent or damaged.
    """
    if choice == "none":
        return None, "no balancing plan"
    if split == "all":
        if choice != "auto":
            raise UsageError(f"--plan is {choice}, but split all has no balancing plan; leave --plan out")
        return None, "no balancing plan: split all has none"
    if choice != "auto":
        if not Path(choice).is_file():
            raise UsageError(f"no plan at {choice}; name a CSV file, auto or none with --plan")
        return Path(choice), f"balancing plan {choice}"
    path = plan_path(manifests, split)
    if not path.is_file():
        return None, f"no balancing plan at {path}; `hmdb-prep balance --split {split}` makes one"
    if read_plan_info(path).dataset_id != dataset_id:
        remedy = f"run `hmdb-prep balance --split {split}`"
        return None, f"the balancing plan {path} is of another data set and is not used; {remedy}"
    return path, f"balancing plan {path}"


def read_training_plan(
    path: Path, *, dataset_id: str, split: str, training: Mapping[str, tuple[str, int]], held_out: frozenset[str]
) -> TrainingPlan:
    """Read a plan, check that it fits, and leave out its dropped rows and those that show a clip of ``held_out``.

    training: clip_id -> (class_name, label) of all training rows of the split, those of the validation part included.
    Raises DataError where the plan is damaged, of another data set or split, names a clip outside the training rows or
    gives it another class, or leaves nothing to train on.
    """
    plan = read_plan(path)
    remedy = f"run `hmdb-prep balance --split {split}` again, or use --plan none"
    if plan.info.dataset_id != dataset_id:
        raise DataError(f"{path} is a plan of another data set; {remedy}")
    if plan.info.split != split:
        raise DataError(
            f"{path} is the plan of split {plan.info.split}, this run trains on {split}; name that split's plan with "
            f"--plan, or make it with `hmdb-prep balance --split {split}`"
        )
    for number, row in enumerate(plan.rows, start=2):
        _check_row(f"{path} line {number}", row, training, remedy)
    shown = [row for row in plan.rows if row.kind != "dropped"]
    kept = tuple(row for row in shown if held_out.isdisjoint(_names(row)))
    if not kept:
        raise DataError(f"{path} leaves no clip to train on; {remedy}")
    mentioned = {name for row in plan.rows for name in _names(row)}
    return TrainingPlan(
        sha256=plan.sha256,
        strategy=plan.info.strategy,
        rows=kept,
        val_fraction=plan.info.val_fraction,
        num_left_out=len(shown) - len(kept),
        num_unmentioned=len(training.keys() - held_out - mentioned),
    )


def _names(row: PlanRow) -> tuple[str, ...]:
    """The clips that a row names: two where it is synthetic."""
    return (row.clip_id, row.neighbor_id) if row.kind == "synthetic" else (row.clip_id,)


def _check_row(place: str, row: PlanRow, training: Mapping[str, tuple[str, int]], remedy: str) -> None:
    for name in _names(row):
        if name not in training:
            raise DataError(f"{place} names {name!r}, which is not among the training rows; {remedy}")
        class_name, label = training[name]
        if (row.class_name, row.label) != (class_name, label):
            wrong = f"{row.class_name} (label {row.label})"
            raise DataError(f"{place}: {name} is of class {class_name} (label {label}), not {wrong}; {remedy}")
