"""Training on a balancing plan: which one is chosen, what is refused, and that validation clips never come in by it."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_dataset import CLASSES, MadeDataset, make_dataset
from made_plan import plan_row, write_made_plan

from preprocess import cli as hmdb_prep
from preprocess.balance.command import BalanceSettings, run_balance
from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import Plan, PlanRow
from train.data.balancing import TrainingPlan, find_plan, read_training_plan
from train.run.config.fields import RunConfig
from train.run.config.resolve import resolve
from train.run.config.values import Value
from train.run.data import RunData, open_data

TRAINING = {name: (name[:-2], CLASSES.index(name[:-2])) for name in ("walk/a", "walk/b", "walk/c", "run/a")}
ROWS = (
    plan_row("real", "walk/a"),
    plan_row("real", "walk/a"),
    plan_row("dropped", "walk/b"),
    plan_row("synthetic", "walk/a", "walk/c", lam=0.25),
    plan_row("real", "run/a"),
)


def write_plan(folder: Path, rows: Sequence[PlanRow] = ROWS, *, dataset_id: str = "d", split: str = "1") -> Path:
    return write_made_plan(folder / f"{split}.csv", rows, dataset_id=dataset_id, split=split)


def read(path: Path, *, held_out: frozenset[str] = frozenset()) -> TrainingPlan:
    return read_training_plan(path, dataset_id="d", split="1", training=TRAINING, held_out=held_out)


def test_rows_to_train_on(tmp_path: Path) -> None:
    plan = read(write_plan(tmp_path))
    assert [(row.clip_id, row.neighbor_id, row.lam) for row in plan.rows] == [
        ("run/a", "", 0.0),
        ("walk/a", "", 0.0),
        ("walk/a", "", 0.0),
        ("walk/a", "walk/c", 0.25),
    ]
    assert plan.strategy == "smote" and len(plan.sha256) == 64
    assert plan.num_left_out == 0 and plan.num_unmentioned == 0 and plan.val_fraction == 0


def test_what_shows_a_validation_clip_is_left_out(tmp_path: Path) -> None:
    plan = read(write_plan(tmp_path), held_out=frozenset({"walk/b", "walk/c", "run/a"}))
    assert [row.clip_id for row in plan.rows] == ["walk/a", "walk/a"] and plan.num_left_out == 2
    assert plan.num_unmentioned == 0
    with pytest.raises(DataError, match="leaves no clip"):
        read(write_plan(tmp_path), held_out=frozenset(TRAINING))


@pytest.mark.parametrize(("left", "unmentioned"), [(ROWS[:1], 3), (ROWS[:3], 2), (ROWS[3:4], 2), (ROWS[2:], 0)])
def test_training_rows_that_a_plan_omits_are_counted(
    tmp_path: Path, left: tuple[PlanRow, ...], unmentioned: int
) -> None:
    assert read(write_plan(tmp_path, left)).num_unmentioned == unmentioned


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (plan_row("real", "walk/z"), "names 'walk/z', which is not among the training rows"),
        (plan_row("dropped", "walk/z"), "names 'walk/z', which is not among the training rows"),
        (plan_row("synthetic", "walk/a", "walk/test", lam=0.5), "names 'walk/test'"),
        (
            dataclasses.replace(plan_row("real", "walk/a"), label=1),
            r"line \d+: walk/a is of class walk \(label 2\), not walk \(label 1\)",
        ),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: PlanRow, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write_plan(tmp_path, [*ROWS, row]))


def test_plans_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another data set"):
        read(write_plan(tmp_path, dataset_id="other"))
    with pytest.raises(DataError, match="plan of split 2, this run trains on 1"):
        read(write_plan(tmp_path, split="2"))


def test_damaged_plans_are_refused(tmp_path: Path) -> None:
    path = write_plan(tmp_path)
    path.write_text(path.read_text().replace("real,run,1,run/a,,0.0\n", ""))
    with pytest.raises(DataError, match="differ in the counts"):
        read(path)
    path = write_plan(tmp_path)
    path.write_text(path.read_text().replace("walk/c,0.25", "run/a,0.25"))
    with pytest.raises(DataError, match="'run/a' is no clip of class walk"):
        read(path)


def test_auto_takes_the_splits_own_plan_where_it_fits(tmp_path: Path) -> None:
    def find(choice: str, split: str = "1", dataset_id: str = "d") -> tuple[Path | None, str]:
        return find_plan(choice, manifests=tmp_path, split=split, dataset_id=dataset_id)

    assert find("auto")[0] is None
    path = write_plan(tmp_path / "balance")
    assert find("auto") == (path, f"balancing plan {path}")
    missing, said = find("auto", split="full")
    assert missing is None and "full.csv; `hmdb-prep balance --split full` makes one" in said
    other, said = find("auto", dataset_id="e")
    assert other is None and "another data set" in said
    assert find("none") == (None, "no balancing plan")
    assert find(str(path), split="2")[0] == path
    with pytest.raises(UsageError, match="no plan at"):
        find("absent.csv")
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"no .*1\.json; each plan has one"):
        find("auto")


def test_split_all_has_no_plan(tmp_path: Path) -> None:
    path = write_plan(tmp_path)
    for choice in ("auto", "none"):
        chosen, said = find_plan(choice, manifests=tmp_path, split="all", dataset_id="d")
        assert chosen is None and said.startswith("no balancing plan")
    with pytest.raises(UsageError, match="split all has no balancing plan"):
        find_plan(str(path), manifests=tmp_path, split="all", dataset_id="d")


def open_made(made: MadeDataset, **changes: Value) -> RunData:
    folders: dict[str, Value] = {"shards": str(made.shards), "manifests": str(made.manifests)}
    _, data = open_data(resolve(command_line={"val_fraction": 0.0, **folders, **changes}, file={}))
    data.reader.close()
    return data


def test_a_run_says_what_a_partial_plan_omits(made: MadeDataset, tmp_path: Path) -> None:
    rows = [plan_row("real", "walk/clip00"), plan_row("dropped", "walk/clip01"), plan_row("real", "run/clip00")]
    data = open_made(made, plan=str(write_made_plan(tmp_path / "partial.csv", rows)))
    assert [data.table.clip_id[clip] for clip in data.samples.clip] == ["run/clip00", "walk/clip00"]
    (note,) = [note for note in data.notes if "does not mention" in note]
    assert "does not mention 15 of the 18 training clips of split 1" in note


def test_a_plan_that_shows_a_test_clip_stops_the_run(made: MadeDataset, tmp_path: Path) -> None:
    rows = [plan_row("real", "walk/clip00"), plan_row("synthetic", "walk/clip00", "walk/clip06", lam=0.5)]
    plan = write_made_plan(tmp_path / "leak.csv", rows)
    with pytest.raises(DataError, match="'walk/clip06', which is not among the training rows"):
        open_made(made, plan=str(plan))


def balanced_for(made: MadeDataset, val_fraction: float) -> Plan:
    return run_balance(
        BalanceSettings(manifests=made.manifests, shards=made.shards, target="8", val_fraction=val_fraction)
    )


def test_what_balance_writes_is_trained_on_whole_and_even(tmp_path: Path) -> None:
    made = make_dataset(tmp_path)
    plan = balanced_for(made, 0.3)
    for seed in (0, 7):
        data = open_made(made, val_fraction=0.3, seed=seed)
        held_out = {data.table.clip_id[row] for row in data.rows.validation}
        assert held_out and not held_out & {name for row in plan.rows for name in (row.clip_id, row.neighbor_id)}
        assert len(data.samples) == len(plan.rows) == 24 and data.plan_sha256 == plan.sha256
        assert np.bincount(data.samples.label).tolist() == [8, 8, 8]
        shown = {
            data.table.source[clip] for clip in (*data.samples.clip, *data.samples.neighbor[data.samples.synthetic])
        }
        assert not shown & {data.table.source[row] for row in data.rows.validation}
        (note,) = [note for note in data.notes if "balancing plan" in note]
        num_synthetic = sum(row.kind == "synthetic" for row in plan.rows)
        assert note.endswith(f"1.csv (smote): 24 clips an epoch, {num_synthetic} of them synthetic")
        assert not any("the plan" in note for note in data.notes)


def test_the_defaults_of_balance_and_run_fit_each_other() -> None:
    balance = inspect.signature(hmdb_prep.balance).parameters["val_fraction"].default
    settings = BalanceSettings(manifests=Path(), shards=Path())
    assert balance == settings.val_fraction == RunConfig().val_fraction


@pytest.mark.parametrize("made_for", [None, 0.0])
def test_a_plan_for_all_rows_says_what_to_do(tmp_path: Path, made_for: float | None) -> None:
    made = make_dataset(tmp_path)
    plan = balanced_for(made, 0.0)
    if made_for is None:  # written before plans knew of a validation part
        file = plan.path.with_suffix(".json")
        content = json.loads(file.read_text())
        assert content.pop("val_fraction") == 0
        file.write_text(json.dumps(content))
    data = open_made(made, val_fraction=0.3)
    held_out = {data.table.clip_id[row] for row in data.rows.validation}
    shown = [row for row in plan.rows if not held_out & {row.clip_id, row.neighbor_id}]
    assert held_out and 0 < len(shown) < len(plan.rows) == 24
    assert len(data.samples) == len(shown) and sorted(data.samples.lam) == sorted(row.lam for row in shown)
    (note,) = [note for note in data.notes if "balancing plan" in note]
    assert note.endswith(f"; {24 - len(shown)} left out, as they show validation clips")
    (note,) = [note for note in data.notes if "the plan was made for" in note]
    assert note.startswith("the plan was made for --val-fraction 0 and this run has 0.3: classes are uneven; ")
    assert note.endswith("`hmdb-prep balance --split 1 --val-fraction 0.3` makes one that fits")
    assert not any("the plan" in note for note in open_made(made, val_fraction=0.0).notes)


def test_a_plan_for_fewer_rows_says_what_it_lacks(tmp_path: Path) -> None:
    made = make_dataset(tmp_path)
    balanced_for(made, 0.3)
    data = open_made(made, val_fraction=0.0)
    num_held_out = len(open_made(made, val_fraction=0.3).rows.validation)
    (note,) = [note for note in data.notes if "the plan" in note]
    assert f"for --val-fraction 0.3 and this run has 0: {num_held_out} of the 18 training clips are not in it" in note
