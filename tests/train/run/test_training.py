"""Training runs on a made data set: what they write, that they continue to the bit, and what they refuse."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_dataset import MadeDataset, make_dataset
from made_plan import write_whole_plan
from trained import assert_same, checkpoint, train

from shared.errors import DataError, UsageError
from train.trained.model import load_model

EVERYTHING = {"model_ema": True, "mixup": 0.4, "cutmix": 1.0, "drop_path": 0.3, "checkpoint_every": 1, "epochs": 3}


@pytest.fixture(scope="module")
def finished(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(made, tmp_path_factory.mktemp("runs"), "a", **EVERYTHING)


def test_a_run_leaves_everything_that_is_promised(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert {"config.toml", "metrics.csv", "timing.csv", "report.html", "report.md", "curves.png"} <= names
    assert {"checkpoints/last.pt", "checkpoints/best.pt"} <= names
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in names)
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(0 <= float(row["val_top1"]) <= 1 for row in rows)
    page = (finished / "report.html").read_text()
    assert "Confusion matrix" in page and "data:image/svg+xml;base64," in page and "d" * 64 in page
    assert "data:image/webp;base64," in page  # clips of the validation, from the shards
    assert "say nothing about HMDB51" in page
    assert "<td>sampling</td><td>tsn</td><td>auto</td>" in page and "<td>plan</td><td>none</td><td>auto</td>" in page


def test_best_is_the_best_validation(finished: Path) -> None:
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    assert load_model(finished).epoch == int(best["epoch"])
    assert best["best"] == "1"


class StopAfter:
    """Interrupts a run after some steps, as a kill does: nothing is saved beyond what had been."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, *arguments: object, **options: object) -> object:
        from train.learn.step import train_step

        if self.left == 0:
            raise ConnectionError("killed")
        self.left -= 1
        return train_step(*arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_killed_run_continues_to_the_bit(
    made: MadeDataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.train_step", StopAfter(stop))
        train(made, tmp_path, "a", **EVERYTHING)
    folder = train(made, tmp_path, "a", resume=True, **EVERYTHING)
    for which in ("last", "best"):
        assert_same(checkpoint(folder, which), checkpoint(finished, which), ignored=frozenset({"runs"}))
    assert (folder / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()


def test_a_killed_run_with_a_plan_continues_to_the_bit(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**EVERYTHING, "plan": str(write_whole_plan(tmp_path / "plan.csv")), "val_fraction": 0.0, "epochs": 2}
    whole = train(made, tmp_path, "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.train_step", StopAfter(6))
        train(made, tmp_path, "cut", **options)
    cut = train(made, tmp_path, "cut", resume=True, **options)
    assert_same(checkpoint(cut), checkpoint(whole), ignored=frozenset({"name"}))
    assert checkpoint(cut)["facts"]["plan_sha256"]


def test_runs_repeat_and_the_seed_matters(made: MadeDataset, finished: Path, tmp_path: Path) -> None:
    again = train(made, tmp_path, "a", **EVERYTHING)
    other = train(made, tmp_path, "b", **{**EVERYTHING, "seed": 1})
    assert_same(checkpoint(again)["model"], checkpoint(finished)["model"])
    assert not torch.equal(checkpoint(other)["model"]["head.weight"], checkpoint(again)["model"]["head.weight"])


def test_an_interrupted_run_saves_and_continues(
    made: MadeDataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.step import train_step

    calls = 0

    def interrupting(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGTERM)
        return train_step(*arguments, **options)  # type: ignore[arg-type]

    options = {**EVERYTHING, "checkpoint_every": 0}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("train.run.loop.train_step", interrupting)
        train(made, tmp_path, "a", **options)
    assert checkpoint(tmp_path / "a")["progress"]["step"] == 2
    folder = train(made, tmp_path, "a", resume=True, **options)
    assert_same(checkpoint(folder)["model"], checkpoint(finished)["model"])


def test_resume_of_a_finished_run_changes_nothing(
    made: MadeDataset, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "checkpoints" / "last.pt").read_bytes()
    train(made, finished.parent, "a", resume=True, **EVERYTHING)
    assert "is finished (all epochs done)" in capsys.readouterr().out
    assert (finished / "checkpoints" / "last.pt").read_bytes() == before


def test_resume_without_a_checkpoint_begins(made: MadeDataset, tmp_path: Path) -> None:
    assert checkpoint(train(made, tmp_path, "new", resume=True, epochs=1))["progress"]["epoch"] == 1


def test_an_existing_name_is_an_error(made: MadeDataset, finished: Path) -> None:
    with pytest.raises(UsageError, match="exists; continue it with --resume"):
        train(made, finished.parent, "a", **EVERYTHING)


def test_resume_refuses_what_would_change_the_run(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.train_step", StopAfter(2))
        train(made, tmp_path, "a", **EVERYTHING)
    with pytest.raises(UsageError, match=r"differs: lr: 0\.0005 -> 0\.01; leave it out"):
        train(made, tmp_path, "a", resume=True, **{**EVERYTHING, "lr": 0.01})
    other = make_dataset(tmp_path / "other", dataset_id="e" * 64)
    with pytest.raises(DataError, match=r"dataset_id: d+ -> e+"):
        train(other, tmp_path, "a", resume=True, **EVERYTHING)


def test_accumulation_gives_the_gradients_of_the_whole_batch(made: MadeDataset, tmp_path: Path) -> None:
    options = {"mixup": 0.4, "cutmix": 1.0, "drop_path": 0.3, "batch_size": 8, "epochs": 2}
    whole = checkpoint(train(made, tmp_path, "whole", **options))
    parts = checkpoint(train(made, tmp_path, "parts", grad_accum_steps=4, **options))
    for one, other in zip(whole["progress"]["history"], parts["progress"]["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(made: MadeDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is (nan|inf) in epoch .* training has diverged"):
        train(made, tmp_path, "a", lr=1e30, clip_grad=0.0, warmup_epochs=0.0, checkpoint_every=1, epochs=5)
    last = tmp_path / "a" / "checkpoints" / "last.pt"
    assert not last.exists() or all(value.isfinite().all() for value in checkpoint(tmp_path / "a")["model"].values())


@pytest.mark.parametrize("options", [{}, {"model_ema": True}, {"val_fraction": 0.0}])
def test_weights_that_are_not_finite_are_never_saved(
    made: MadeDataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"is (nan|inf) in epoch 1, step 1: .*checkpoints from before this, if any"):
        train(made, tmp_path, "a", batch_size=64, lr=1e38, clip_grad=0.0, warmup_epochs=0.0, **options)
    assert not list((tmp_path / "a" / "checkpoints").glob("*"))
    assert (tmp_path / "a" / "metrics.csv").read_text().count("\n") == 1  # no row of it either


def test_an_update_that_breaks_the_weights_keeps_the_checkpoint_before_it(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.step import Learner, train_step

    def breaking(learner: Learner, *arguments: Any, **options: Any) -> object:
        result = train_step(learner, *arguments, **options)
        if options["step"] == 2:
            with torch.no_grad():
                next(learner.model.parameters()).view(-1)[0] = torch.nan
        return result

    monkeypatch.setattr("train.run.loop.train_step", breaking)
    for options in ({"batch_size": 64, "epochs": 3}, {"checkpoint_every": 1, "val_fraction": 0.0}):
        name = f"run{len(options)}{options.get('epochs', 0)}"
        with pytest.raises(DataError, match=r"is nan in epoch .*training has diverged"):
            train(made, tmp_path, name, **options)
        kept = checkpoint(tmp_path / name)
        assert kept["progress"]["step"] == 2
        assert all(value.isfinite().all() for value in kept["model"].values())


def test_a_validation_without_numbers_is_never_the_best(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_numbers(answer: object, reader: object, clips: Any, *, width: int, **options: Any) -> Any:
        return np.full((len(clips), width), np.nan)

    monkeypatch.setattr("train.run.loop.clip_answers", no_numbers)
    with pytest.raises(DataError, match=r"the validation loss is nan in epoch 1, step 3: training has diverged"):
        train(made, tmp_path, "a")
    assert not list((tmp_path / "a" / "checkpoints").glob("*"))


def test_several_splits_are_several_runs(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "m", split="1,3", epochs=1)
    assert [load_model(folder / name).facts.split for name in ("split1", "split3")] == ["1", "3"]
    with pytest.raises(UsageError, match="exists"):
        train(made, tmp_path, "m", split="1,3", epochs=1)
    train(made, tmp_path, "m", split="1,3", epochs=1, resume=True)


@pytest.mark.parametrize(("split", "error"), [("1,2", DataError), ("1,all", UsageError)])
def test_the_plans_of_all_splits_are_checked_before_the_first_is_trained(
    made: MadeDataset, tmp_path: Path, split: str, error: type[Exception]
) -> None:
    plan = write_whole_plan(tmp_path / "plan.csv")
    with pytest.raises(error, match=r"plan of split 1, this run trains on 2|split all has no balancing plan"):
        train(made, tmp_path, "m", split=split, plan=str(plan))
    assert not (tmp_path / "m").exists()


def test_a_time_limit_ends_with_a_checkpoint_that_continues(made: MadeDataset, finished: Path, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **{**EVERYTHING, "max_minutes": 1e-7})
    assert checkpoint(folder)["progress"]["step"] == 1
    assert load_model(folder).facts.class_names == ("jump", "run", "walk")
    folder = train(made, tmp_path, "a", resume=True, **{**EVERYTHING, "max_minutes": 0.0})
    assert_same(checkpoint(folder)["model"], checkpoint(finished)["model"])


def test_early_stopping(made: MadeDataset, tmp_path: Path) -> None:
    progress = checkpoint(train(made, tmp_path, "a", epochs=40, patience=1, lr=0.0))["progress"]
    assert progress["epoch"] == 2 and "no better validation for 1 epoch " in progress["finished"]


def test_half_precision_with_loss_scaling(made: MadeDataset, tmp_path: Path) -> None:
    plain = checkpoint(train(made, tmp_path, "plain"))
    for amp in ("fp16", "bf16"):
        half = checkpoint(train(made, tmp_path, amp, amp=amp))
        assert bool(half["scaler"]) == (amp == "fp16")
        loss, expected = (content["progress"]["history"][0]["train_loss"] for content in (half, plain))
        assert loss == pytest.approx(expected, rel=0.05) and loss != expected


def test_it_learns(made: MadeDataset, tmp_path: Path) -> None:
    options = {"epochs": 25, "val_fraction": 0.0, "split": "all", "lr": 2e-3, "aug_strength": 0.3, "batch_size": 8}
    history = checkpoint(train(made, tmp_path, "a", **options))["progress"]["history"]
    assert history[-1]["train_top1"] > 0.9
