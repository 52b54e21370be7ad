"""Balancing plans on disk: what is written reads back, and what breaks the format is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import (
    PLAN_COLUMNS,
    PlanInfo,
    PlanRow,
    imbalance_ratio,
    plan_path,
    read_plan,
    read_plan_info,
    write_plan,
)

ROWS = (
    PlanRow(kind="dropped", class_name="walk", label=1, clip_id="walk/c"),
    PlanRow(kind="synthetic", class_name="sit", label=0, clip_id="sit/a", neighbor_id="sit/b", lam=0.1 + 0.2),
    PlanRow(kind="real", class_name="walk", label=1, clip_id="walk/b"),
    PlanRow(kind="real", class_name="walk", label=1, clip_id="walk/a"),
    PlanRow(kind="real", class_name="walk", label=1, clip_id="walk/a"),
    PlanRow(kind="real", class_name="sit", label=0, clip_id="sit/b, (1)\u2028\x0b\r\n"),
    PlanRow(kind="real", class_name="sit", label=0, clip_id="sit/a"),
)
INFO = PlanInfo(
    dataset_id="d" * 64,
    split="1",
    strategy="smote",
    target="3",
    target_count=3,
    k=5,
    seed=0,
    features="descriptors",
    features_sha256="",
    library_versions={"imbalanced-learn": "0.14"},
    counts_before={"sit": 2, "walk": 4},
    counts_after={"sit": 3, "walk": 3},
    imbalance_ratio_before=2.0,
    imbalance_ratio_after=1.0,
    notes=("one nöte",),
)


def test_a_plan_reads_back_sorted(tmp_path: Path) -> None:
    path = tmp_path / "balance" / "1.csv"
    write_plan(path, ROWS, INFO)
    plan = read_plan(path)
    assert plan.info == INFO
    assert plan.path == path
    assert plan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [row.clip_id for row in plan.rows] == [
        "sit/a", "sit/b, (1)\u2028\x0b\r\n", "sit/a", "walk/a", "walk/a", "walk/b", "walk/c"
    ]  # fmt: skip
    assert sorted(map(dataclasses.astuple, plan.rows)) == sorted(map(dataclasses.astuple, ROWS))


def test_the_order_of_rows_does_not_matter_to_the_file(tmp_path: Path) -> None:
    write_plan(tmp_path / "a.csv", ROWS, INFO)
    write_plan(tmp_path / "b.csv", ROWS[::-1], INFO)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert read_plan(tmp_path / "a.csv").sha256 == read_plan(tmp_path / "b.csv").sha256


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_of_other_programs_are_read(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "1.csv"
    write_plan(path, ROWS[1:4], dataclasses.replace(INFO, counts_after={"sit": 1, "walk": 2}))
    rows = read_plan(path).rows
    path.write_bytes(path.read_bytes().replace(b"\n", line_end.encode()))
    assert read_plan(path).rows == rows


def test_the_description_can_be_read_by_people(tmp_path: Path) -> None:
    write_plan(tmp_path / "1.csv", ROWS, INFO)
    text = (tmp_path / "1.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "format": "hmdb-balancing-plan",\n  "version": 1,\n')
    assert text.endswith('\n  "notes": [\n    "one nöte"\n  ]\n}\n')


def test_a_plan_that_could_not_be_written_does_not_look_complete(tmp_path: Path) -> None:
    path = tmp_path / "1.csv"
    write_plan(path, ROWS, INFO)
    with pytest.raises(UnicodeEncodeError):
        write_plan(path, [dataclasses.replace(ROWS[0], clip_id="walk/\ud800")], INFO)
    assert not path.with_suffix(".json").exists()


@given(lam=st.floats(0, 1))
def test_lam_reads_back_exactly(lam: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "lam.csv"
    row = dataclasses.replace(ROWS[1], lam=lam)
    write_plan(path, [row], dataclasses.replace(INFO, counts_after={"sit": 1}))
    assert read_plan(path).rows == (row,)


def test_pandas_reads_the_right_types(tmp_path: Path) -> None:
    write_plan(tmp_path / "a.csv", ROWS, INFO)
    frame = pd.read_csv(tmp_path / "a.csv")
    assert tuple(frame.columns) == PLAN_COLUMNS
    assert frame["lam"].dtype == "float64"
    assert frame["label"].dtype == "int64"


def test_file_names(tmp_path: Path) -> None:
    assert [plan_path(tmp_path, split).name for split in ("1", "2", "3", "full")] == [
        "1.csv", "2.csv", "3.csv", "full.csv"
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--split is 4; a plan is made for one of 1, 2, 3, full"):
        plan_path(tmp_path, "4")


def test_imbalance_ratio_leaves_empty_classes_out() -> None:
    assert imbalance_ratio({"a": 6, "b": 4, "c": 0}) == 1.5
    assert imbalance_ratio({"a": 6, "b": 1, "c": 0}) == 6.0
    assert imbalance_ratio({}) == 1.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind,", "sort,", "does not have the columns kind, class_name, label, clip_id, neighbor_id, lam;"),
        ("real,walk", "kept,walk", "line 5: kind is 'kept'; it must be one of real, synthetic, dropped"),
        ("0.30000000000000004", "1.5", "line 4: lam is '1.5'"),
        ("0.30000000000000004", "nan", "line 4: lam is 'nan'"),
        ("0.30000000000000004", "", "line 4: lam is ''"),
        ("sit/b,0.3", "walk/b,0.3", "line 4: 'walk/b' is no clip of class sit"),
        ("walk/b,,0.0", "walk/b,walk/a,0.0", "line 7: a real row has neither neighbour nor lam"),
        ("real,walk,1,walk/b,,0.0\n", "", "and its JSON differ in the counts"),
        ("real,walk,1,walk/b,,0.0", "real,walk,one,walk/b,,0.0", "line 7: label is 'one'"),
        ("real,walk,1,walk/b,,0.0", "real,walk,1,walk/b", "line 7 has 4 cells instead of 6"),
        ("real,walk,1,walk/b", 'real,walk,1,"walk/b', "cannot be read as a plan"),
    ],
)
def test_a_damaged_plan_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "1.csv"
    write_plan(path, ROWS, INFO)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"1\.csv {message}"):
        read_plan(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "is no hmdb-balancing-plan file; run `hmdb-prep balance` again"),
        ("version", 2, "has version 2"),
        ("notes", None, "is damaged"),
        ("unknown", 1, "is damaged"),
        ("counts_after", [1], r"is damaged \(.*counts_after"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "1.csv"
    write_plan(path, ROWS, INFO)
    content = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(DataError, match=rf"1\.json {message}"):
        read_plan_info(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "1.csv"
    with pytest.raises(DataError, match=r"no .*1\.json; each plan has one; run `hmdb-prep balance` again"):
        read_plan(path)
    write_plan(path, ROWS, INFO)
    path.unlink()
    with pytest.raises(DataError, match=r"no plan at .*1\.csv"):
        read_plan(path)
