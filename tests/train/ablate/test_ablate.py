"""lsvit-train ablate: the grid, the table's arithmetic, and a small study from end to end, stopped and continued."""

from __future__ import annotations

import csv
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from made_dataset import MadeDataset, make_dataset
from trained import TINY

from shared.errors import DataError, UsageError
from shared.terminal.console import exit_code_of
from train.ablate.grid import default_grid, parse_grid, read_grid
from train.ablate.table import Ablation, CellResult, summarise, write_ablation
from train.cli import app
from train.run.config.values import Value
from train.trained.model import load_model

# The grid


def test_default_grid_varies_one_thing_at_a_time() -> None:
    rows = {row.name: row for row in default_grid(base={"epochs": 2, "smoothing": 0.3})}
    plain, both = rows["plain ViT"], rows["SMIF and LMI"]
    assert plain.keys["epochs"] == 2 and plain.keys["smoothing"] == 0.0  # the grid's [base] is what the study varies
    assert (plain.keys["smif"], plain.keys["lmi"]) == ("none", "none") and plain.compared_to == ""

    def changes(name: str) -> set[str]:
        row = rows[name]
        return {key for key, value in row.keys.items() if value != rows[row.compared_to].keys[key]}

    assert changes("+ SMIF") == {"smif"} and changes("+ LMI") == {"lmi"}
    assert changes("SMIF and LMI") == changes("SMIF and LMI, classic") == {"smif", "lmi"}
    for name, key in (
        ("+ TSN sampling", "sampling"),
        ("+ MixUp", "mixup"),
        ("+ CutMix", "cutmix"),
        ("+ label smoothing", "smoothing"),
        ("+ DropPath", "drop_path"),
        ("+ SMOTE plan", "plan"),
        ("normalised by 0.5", "normalisation"),
        ("normalised like ImageNet", "normalisation"),
        ("frames pooled by attention", "temporal_pool"),
        ("patches pooled by mean", "spatial_pool"),
        ("patches pooled by heatmap", "spatial_pool"),
    ):
        assert rows[name].compared_to == both.name and changes(name) == {key}
    assert len({row.folder for row in rows.values()}) == len(rows) == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has no .*row"),
        ({"rows": []}, "unknown key 'rows'"),
        ({"row": [{"smif": "none"}]}, "has no name"),
        ({"row": [{"name": "a", "smiff": "none"}]}, "row 'a' of it has an unknown key 'smiff'"),
        ({"row": [{"name": "a", "seed": 1}]}, "settles itself"),
        ({"row": [{"name": "a", "smif": "bold"}]}, "smif is 'bold'"),
        ({"row": [{"name": "a", "split": "1,2"}]}, "takes one split"),
        ({"row": [{"name": "a", "like": "b"}]}, "like is 'b'"),
        ({"row": [{"name": "a"}, {"name": "A ", "lmi": "none"}]}, "two rows"),
        ({"row": [{"name": "a"}, {"name": "b", "smif": "directional"}]}, "the same configuration"),
        ({"base": 3, "row": [{"name": "a"}]}, "must be a table"),
    ],
)
def test_a_wrong_grid_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_grid(content, base={}, origin="it")


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no grid at .*gone\.toml"):
        read_grid(tmp_path / "gone.toml", base={})
    (tmp_path / "bad.toml").write_text("[[row")
    with pytest.raises(DataError, match=r"bad\.toml is no TOML"):
        read_grid(tmp_path / "bad.toml", base={})


# The table


def cell(row: str, seed: int, top1: float) -> CellResult:
    return CellResult(
        row=row,
        seed=seed,
        split="1",
        num_clips=10,
        top1=top1,
        mean_class_accuracy=top1 / 2,
        milliseconds_per_step=5.0 + seed,
        num_parameters=7,
        dataset_id="d",
    )


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    plain, more = [0.5, 0.6, 0.4], [0.6, 0.8, 0.5]
    cells = [*(cell("plain", seed, value) for seed, value in enumerate(plain))]
    cells += [cell("more | less", seed, value) for seed, value in enumerate(more)]
    cells += [cell("one", 2, 0.3)]
    ablation = Ablation(
        title="study",
        compared_to={"plain": "", "more | less": "plain", "one": "plain", "never": "plain"},
        cells=tuple(cells),
        skipped={"never": "no plan"},
        remarks=("synthetic",),
    )
    first, second, third = summarise(ablation)
    assert first.difference is None and first.top1.mean == pytest.approx(0.5)
    assert first.top1.deviation == pytest.approx(np.std(plain, ddof=1))
    assert second.difference is not None
    assert second.difference.mean == pytest.approx(np.mean(np.subtract(more, plain)))
    assert second.difference.deviation == pytest.approx(np.std(np.subtract(more, plain), ddof=1))
    assert third.difference is not None
    assert third.difference.mean == pytest.approx(0.3 - 0.4) and third.difference.deviation is None
    assert third.difference.text(sign=True) == "-10.00"
    write_ablation(tmp_path, ablation)
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [row["row"] for row in rows] == ["plain", "more | less", "one"]
    assert math.isnan(float(rows[0]["difference"])) and float(rows[1]["top1"]) == pytest.approx(np.mean(more))
    text = (tmp_path / "summary.md").read_text()
    assert "more \\| less" in text and "+13.33 ± 5.77" in text and "Not run: never (no plan)." in text
    assert len(list(csv.DictReader((tmp_path / "results.csv").open()))) == 7
    assert (tmp_path / "summary.png").read_bytes()[:4] == b"\x89PNG"


# A study


def ablate_command(folder: Path, made: MadeDataset, rows: list[dict[str, Value]], *more: str, **base: Value) -> int:
    (folder / "grid.toml").write_text(tomli_w.dumps({"row": rows}))
    (folder / "base.toml").write_text(tomli_w.dumps({**TINY, "epochs": 1, "seed": 9, **base}))
    places = ["--runs", str(folder / "runs"), "--shards", str(made.shards), "--manifests", str(made.manifests)]
    files = ["--grid", str(folder / "grid.toml"), "--config", str(folder / "base.toml")]
    return exit_code_of(partial(app, ["ablate", *files, *places, *more], standalone_mode=False))


def test_a_study_is_run_and_continued(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Value]] = [
        {"name": "plain", "smif": "none", "lmi": "none"},
        {"name": "both"},
        {"name": "plan", "plan": "auto"},
    ]
    rows[0]["plan"] = rows[1]["plan"] = "none"
    assert ablate_command(tmp_path, made, rows, "--seeds", "1") == 0
    out = capsys.readouterr().out
    assert "not run: plan (no balancing plan" in out and "2 runs: 2 rows, 1 seed" in out
    assert "nothing about HMDB51" in out and out.splitlines()[-1].startswith("wrote ")
    study = tmp_path / "runs" / "ablation"
    first = (study / "both/seed0/timing.csv").read_text()
    assert load_model(study / "plain/seed0").model.config.smif == "none"
    # One seed more: what is done is not done again.
    assert ablate_command(tmp_path, made, rows, "--seeds", "2") == 0
    assert "[1/4] plain, seed 0" in capsys.readouterr().out
    assert (study / "both/seed0/timing.csv").read_text() == first
    cells = {(row["row"], row["seed"]): row for row in csv.DictReader((study / "results.csv").open())}
    assert set(cells) == {("plain", "0"), ("plain", "1"), ("both", "0"), ("both", "1")}
    saved = json.loads((study / "both/seed1/result.json").read_text())
    parameters = sum(each.numel() for each in load_model(study / "both/seed1").model.parameters())
    assert saved["num_parameters"] == parameters and saved["num_clips"] == 6 and saved["milliseconds_per_step"] > 0
    assert float(cells["both", "1"]["top1"]) == saved["top1"]
    # The same name with another configuration would mix two studies.
    assert ablate_command(tmp_path, made, rows, "--seeds", "2", lr=0.5) == 2
    assert "lr: " in capsys.readouterr().err


def test_results_of_a_split_that_has_changed_are_not_mixed_with_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_dataset(tmp_path / "made")
    rows: list[dict[str, Value]] = [{"name": "plain", "smif": "none", "lmi": "none", "plan": "none"}]
    assert ablate_command(tmp_path, made, rows, "--seeds", "1") == 0
    manifest = made.manifests / "clips" / "run.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace(",test,", ",train,", 1))
    assert ablate_command(tmp_path, made, rows, "--seeds", "1") == 1
    assert "has changed since it was trained (1 clip, such as run/clip06: test -> train)" in capsys.readouterr().err
    manifest.write_text(text)
    assert ablate_command(tmp_path, made, rows, "--seeds", "1") == 0


def test_a_run_that_its_time_limit_stopped_is_not_trained_further(made: MadeDataset, tmp_path: Path) -> None:
    rows: list[dict[str, Value]] = [{"name": "plain", "smif": "none", "lmi": "none", "plan": "none"}]
    states = []
    for _ in range(2):
        assert ablate_command(tmp_path, made, rows, "--seeds", "1", epochs=1000, max_minutes=0.001) == 0
        states.append((tmp_path / "runs/ablation/plain/seed0/timing.csv").read_text())
    assert states[0] == states[1]


def test_a_run_that_fails_does_not_cost_the_others(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import train.ablate.command

    train_really = train.ablate.command.run_training

    def fail_once(**arguments: object) -> None:
        command_line = arguments["command_line"]
        assert isinstance(command_line, dict)
        if command_line["smif"] == "classic":
            raise DataError("training has diverged")
        train_really(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(train.ablate.command, "run_training", fail_once)
    rows: list[dict[str, Value]] = [{"name": "bad", "smif": "classic"}, {"name": "good", "smif": "none"}]
    assert ablate_command(tmp_path, made, rows, "--seeds", "1", plan="none") == 1
    out = capsys.readouterr().out
    assert "failed: bad, seed 0: training has diverged" in out and "good" in out
    assert (tmp_path / "runs/ablation/summary.md").is_file()


def test_a_row_that_cannot_run_is_named_before_anything_is_trained(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Value]] = [{"name": "good", "smif": "none"}, {"name": "odd", "img_size": 33}]
    assert ablate_command(tmp_path, made, rows, "--seeds", "2", plan="none") == 2
    assert "row 'odd': image size 33 is no multiple of the patch size" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_plan_that_is_not_there_is_named_before_anything_is_trained(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Value]] = [{"name": "plain", "plan": "none"}, {"name": "plan", "plan": "absent.csv"}]
    assert ablate_command(tmp_path, made, rows, "--seeds", "1") == 2
    assert "no plan at absent.csv" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    rows[1] = {"name": "plan", "plan": "auto"}
    assert ablate_command(tmp_path, made, rows[1:], "--seeds", "1", split="all") == 1
    assert "not run: plan (no balancing plan: split all has none)" in capsys.readouterr().out
