"""Reading a balancing plan: what is refused, what is used, and that validation clips never come in through it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.errors import DataError, UsageError
from train.plan import PLAN_COLUMNS, Plan, find_plan, plan_name, read_plan

TRAINING = {"walk/a": "walk", "walk/b": "walk", "walk/c": "walk", "run/a": "run"}
ROWS = [
    ("real", "walk", "2", "walk/a", "", ""),
    ("real", "walk", "2", "walk/a", "", ""),
    ("dropped", "walk", "2", "walk/b", "", ""),
    ("synthetic", "walk", "2", "walk/a", "walk/c", "0.25"),
    ("real", "run", "1", "run/a", "", ""),
]


def write_plan(folder: Path, rows: Sequence[Sequence[str]] = ROWS, *, dataset_id: str = "d", split: str = "1") -> Path:
    path = folder / f"{plan_name(split)}.csv"
    path.write_text("\n".join(",".join(row) for row in [PLAN_COLUMNS, *rows]) + "\n", encoding="utf-8")
    facts = {"dataset_id": dataset_id, "split": split, "strategy": "smote"}
    path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    return path


def read(path: Path, *, held_out: frozenset[str] = frozenset(), split: str = "1") -> tuple[Plan, int]:
    return read_plan(path, dataset_id="d", split=split, training=TRAINING, held_out=held_out)


def test_rows_to_train_on(tmp_path: Path) -> None:
    plan, left_out = read(write_plan(tmp_path))
    assert [(row.clip_id, row.neighbor_id, row.lam) for row in plan.rows] == [
        ("walk/a", "", 0.0),
        ("walk/a", "", 0.0),
        ("walk/a", "walk/c", 0.25),
        ("run/a", "", 0.0),
    ]
    assert left_out == 0 and plan.strategy == "smote" and len(plan.sha256) == 64


def test_what_shows_a_validation_clip_is_left_out(tmp_path: Path) -> None:
    plan, left_out = read(write_plan(tmp_path), held_out=frozenset({"walk/c", "run/a"}))
    assert [row.clip_id for row in plan.rows] == ["walk/a", "walk/a"] and left_out == 2
    with pytest.raises(DataError, match="leaves no clip"):
        read(write_plan(tmp_path), held_out=frozenset(TRAINING))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("real", "walk", "2", "walk/z", "", ""), "walk/z"),
        (("synthetic", "walk", "2", "walk/a", "walk/test", "0.5"), "walk/test"),
        (("synthetic", "walk", "2", "walk/a", "run/a", "0.5"), "is of class run"),
        (("synthetic", "walk", "2", "walk/a", "walk/b", "1.5"), "lam is '1.5'"),
        (("synthetic", "walk", "2", "walk/a", "walk/b", ""), "lam is ''"),
        (("copied", "walk", "2", "walk/a", "", ""), "kind is 'copied'"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write_plan(tmp_path, [*ROWS, row]))


def test_plans_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another data set"):
        read(write_plan(tmp_path, dataset_id="other"))
    with pytest.raises(DataError, match="plan of split 2"):
        read(write_plan(tmp_path, split="2"))
    path = write_plan(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read(path)
    broken = write_plan(tmp_path)
    broken.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks columns"):
        read(broken)


def test_auto_takes_the_splits_own_plan_where_it_fits(tmp_path: Path) -> None:
    balance = tmp_path / "balance"
    balance.mkdir()

    def find(choice: str, split: str = "1", dataset_id: str = "d") -> tuple[Path | None, str]:
        return find_plan(choice, manifests=tmp_path, split=split, dataset_id=dataset_id)

    assert find("auto")[0] is None
    path = write_plan(balance)
    assert find("auto") == (path, f"balancing plan {path}")
    assert find("auto", split="2")[0] is None
    other, said = find("auto", dataset_id="e")
    assert other is None and "another data set" in said
    assert find("none")[0] is None
    assert find(str(path), split="2")[0] == path
    with pytest.raises(UsageError, match="no plan at"):
        find("absent.csv")
