"""A run that its time limit stops: half an epoch is no epoch, one limit holds for all splits, and nothing is lost."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from made_dataset import MadeDataset
from trained import assert_same, checkpoint, go_on, train

from train.run.config.values import Value

OPTIONS: dict[str, Value] = {"epochs": 3, "model_ema": True, "mixup": 0.4, "batch_size": 3}


@pytest.fixture(scope="module")
def whole(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(made, tmp_path_factory.mktemp("runs"), "a", **OPTIONS)


def a_minute_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass with each step, so that ``max_minutes`` counts steps."""
    from train.learn.step import train_step

    now = itertools.count(time.monotonic(), 60)
    clock = [next(now)]

    def slow_step(*arguments: object, **options: object) -> object:
        clock[0] = next(now)
        return train_step(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("train.run.loop.train_step", slow_step)
    monkeypatch.setattr("train.run.session.time.monotonic", lambda: clock[0])


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("minutes", [1.5, 4.5, 6.5])
def test_half_an_epoch_is_no_epoch_and_the_run_goes_on_to_the_bit(
    made: MadeDataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], minutes: float,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        a_minute_a_step(patch)
        folder = train(made, tmp_path, "a", **OPTIONS, max_minutes=minutes)
    said = capsys.readouterr().out
    states = "checkpoints/best.pt, checkpoints/last.pt" if minutes > 4 else "checkpoints/last.pt"
    assert f"wrote {folder}: {states}, metrics.csv, report." in said
    assert "not counted as an epoch" in said and "(--max-minutes); continue with --resume" in said
    progress, expected = checkpoint(folder)["progress"], checkpoint(whole)["progress"]
    assert progress["step"] == int(minutes + 1) and progress["epoch"] == progress["step"] // 4
    assert list(progress["history"]) == list(expected["history"])[: progress["epoch"]]
    assert progress["best_epoch"] == max((row["epoch"] for row in progress["history"] if row["best"]), default=0)
    assert progress["epochs_since_best"] == progress["epoch"] - progress["best_epoch"]
    assert (folder / "checkpoints" / "best.pt").is_file() == bool(progress["epoch"])
    assert (folder / "metrics.csv").read_text().count("\n") == 1 + progress["epoch"]
    train(made, tmp_path, "a", resume=True, **OPTIONS, max_minutes=0.0)
    for which in ("last", "best"):
        assert_same(checkpoint(folder, which), checkpoint(whole, which), ignored=frozenset({"runs"}))
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_limit_is_obeyed_with_one_step_an_epoch(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Value] = {"epochs": 4, "batch_size": 64}
    whole = train(made, tmp_path / "whole", "a", **options)
    with monkeypatch.context() as patch:
        a_minute_a_step(patch)
        folder = train(made, tmp_path, "a", **options, max_minutes=1.5)
    progress = checkpoint(folder)["progress"]
    assert (progress["epoch"], progress["step"], progress["finished"]) == (2, 2, "")
    train(made, tmp_path, "a", resume=True, **options, max_minutes=0.0)
    assert_same(checkpoint(folder), checkpoint(whole), ignored=frozenset({"runs"}))


def test_patience_does_not_count_half_epochs(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Value] = {"epochs": 40, "patience": 2, "lr": 0.0, "batch_size": 3}
    with monkeypatch.context() as patch:
        a_minute_a_step(patch)
        train(made, tmp_path, "a", **options, max_minutes=4.5)
    assert checkpoint(tmp_path / "a")["progress"]["epochs_since_best"] == 0
    progress = checkpoint(train(made, tmp_path, "a", resume=True, **options, max_minutes=0.0))["progress"]
    assert progress["epoch"] == 3  # the first is the best, as nothing is learnt, then two without a better one


def test_one_limit_holds_for_all_splits(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Value] = {"epochs": 2, "batch_size": 64}
    with monkeypatch.context() as patch:
        a_minute_a_step(patch)
        folder = train(made, tmp_path, "m", **options, split="1,2,3", max_minutes=2.5)
    assert "split 3 is left for later (--max-minutes); continue with --resume" in capsys.readouterr().out
    assert checkpoint(folder / "split1")["progress"]["finished"] == "all epochs done"
    assert checkpoint(folder / "split2")["progress"]["step"] == 1
    assert not (folder / "split3").exists()
    go_on(made, tmp_path, "m", max_minutes=0.0)
    assert all(checkpoint(folder / f"split{split}")["progress"]["finished"] for split in (1, 2, 3))
    go_on(made, tmp_path, "m")
    assert "the limit of" not in capsys.readouterr().out  # no split is continued midway: the third one begins


def test_a_limit_that_is_inherited_is_named(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(made, tmp_path, "a", **OPTIONS, max_minutes=1e-6)
    assert "counts anew" not in capsys.readouterr().out
    go_on(made, tmp_path, "a")
    assert "the limit of 1e-06 minutes counts anew; --max-minutes 0 lifts it" in capsys.readouterr().out
