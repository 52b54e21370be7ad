"""What a run goes on from: its splits, its device, its checkpoints that are gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_dataset import MadeDataset, make_dataset
from made_plan import write_made_plan, write_whole_plan
from trained import assert_same, checkpoint, go_on, train

from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import read_plan
from train.run.config.files import read_choices
from train.run.config.values import Value
from train.trained.model import load_model

OPTIONS: dict[str, Value] = {"epochs": 2, "batch_size": 6}


def kill_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let a run die after some steps, with nothing saved beyond what had been."""
    from train.learn.step import train_step

    done: list[object] = []

    def step(*arguments: Any, **options: Any) -> object:
        if len(done) == steps:
            raise ConnectionError("killed")
        done.append(None)
        return train_step(*arguments, **options)

    patch.setattr("train.run.loop.train_step", step)


def killed(made: MadeDataset, folder: Path, name: str, *, steps: int, **options: Value) -> Path:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
        kill_after(steps, patch)
        train(made, folder, name, **options)
    return folder / name


def words_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize("every", [0, 1])
def test_several_splits_go_on_without_being_named_again(made: MadeDataset, tmp_path: Path, every: int) -> None:
    whole = train(made, tmp_path / "whole", "m", split="1,3", **OPTIONS, checkpoint_every=every)
    cut = killed(made, tmp_path, "m", steps=1, split="1,3", **OPTIONS, checkpoint_every=every)
    go_on(made, tmp_path, "m", checkpoint_every=every)
    assert not (cut / "checkpoints").exists()
    for part in ("split1", "split3"):
        assert_same(checkpoint(cut / part), checkpoint(whole / part), ignored=frozenset({"runs"}))


def test_one_of_several_splits_is_continued_where_it_lies(made: MadeDataset, tmp_path: Path) -> None:
    cut = killed(made, tmp_path, "m", steps=1, split="1,3", **OPTIONS, checkpoint_every=1)
    go_on(made, tmp_path, "m", split="3")
    go_on(made, tmp_path, "m", split="2")
    assert sorted(path.parent.parent.name for path in cut.glob("*/checkpoints/last.pt")) == [
        "split1",
        "split2",
        "split3",
    ]
    assert not (cut / "checkpoints").exists() and 'split = "1,3,2"' in (cut / "config.toml").read_text()
    go_on(made, tmp_path, "m")
    assert checkpoint(cut / "split1")["progress"]["finished"]


def test_splits_that_an_earlier_version_did_not_note_are_asked_for(made: MadeDataset, tmp_path: Path) -> None:
    cut = killed(made, tmp_path, "m", steps=1, split="1,3", **OPTIONS, checkpoint_every=1)
    (cut / "config.toml").unlink()
    with pytest.raises(UsageError, match=r"has begun split 1, and does not say which were to follow; .*--split 1,2,3"):
        go_on(made, tmp_path, "m")
    go_on(made, tmp_path, "m", split="1,3")
    assert checkpoint(cut / "split3")["progress"]["finished"]


@pytest.mark.parametrize(("split", "given"), [("1", {}), ("1", {"plan": "auto"}), ("1", {"plan": "none"}), ("1,3", {})])
def test_a_plan_that_appears_is_not_taken_up_midway(tmp_path: Path, split: str, given: dict[str, Value]) -> None:
    made = make_dataset(tmp_path / "made")
    options: dict[str, Value] = {**OPTIONS, "split": split, "checkpoint_every": 1}
    whole = train(made, tmp_path / "whole", "a", **options)
    cut = killed(made, tmp_path, "a", steps=1, **options)
    (made.manifests / "balance").mkdir()
    write_whole_plan(made.manifests / "balance" / "1.csv")
    go_on(made, tmp_path, "a", **given)
    part = "" if split == "1" else "split1"
    assert_same(checkpoint(cut / part), checkpoint(whole / part), ignored=frozenset({"runs"}))


def test_a_run_of_an_earlier_version_goes_on_without_the_plan_that_appears(tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "made")
    cut = killed(made, tmp_path, "a", steps=1, **OPTIONS, checkpoint_every=1)
    config = cut / "config.toml"
    config.write_text(config.read_text().replace('plan = "none"', 'plan = "auto"'))
    (made.manifests / "balance").mkdir()
    write_whole_plan(made.manifests / "balance" / "1.csv")
    assert not checkpoint(go_on(made, tmp_path, "a"))["facts"]["plan_sha256"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_plan_that_changes_or_goes_is_named_with_the_way_out(tmp_path: Path, is_there: bool) -> None:
    made = make_dataset(tmp_path / "made")
    (made.manifests / "balance").mkdir()
    plan = write_whole_plan(made.manifests / "balance" / "1.csv")
    killed(made, tmp_path, "a", steps=1, **OPTIONS, checkpoint_every=1)
    rows = read_plan(plan).rows
    plan.unlink()
    if is_there:
        write_made_plan(plan, rows[1:])
    said = r"plan_sha256: \w{64} -> (\w{64}|none); begin anew under another --name, or put the old plan back"
    with pytest.raises(DataError, match=said):
        go_on(made, tmp_path, "a")


@pytest.mark.parametrize("asked", ["2", "1,2"])
def test_another_split_is_not_nothing_to_do(made: MadeDataset, tmp_path: Path, asked: str) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    with pytest.raises(UsageError, match=rf"is a run of split 1, and --split is {asked}; .*under another --name"):
        go_on(made, tmp_path, "a", split=asked)
    assert not list(folder.glob("split*/"))


def test_a_run_without_a_checkpoint_begins_with_what_it_was_begun_with(made: MadeDataset, tmp_path: Path) -> None:
    cut = killed(made, tmp_path, "a", steps=1, **OPTIONS, lr=0.003, checkpoint_every=0)
    assert not list(cut.glob("checkpoints/*"))
    go_on(made, tmp_path, "a")
    assert checkpoint(cut)["config"]["lr"] == 0.003 and checkpoint(cut)["progress"]["epoch"] == 2


def test_what_was_left_to_the_program_is_noted_whenever_a_run_is_killed(made: MadeDataset, tmp_path: Path) -> None:
    """Here before its metrics are there; and begun again, the table holds no choice that the run did not make."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.beginning.write_metrics", kill)
        train(made, tmp_path, "a", **OPTIONS)
    folder = killed_again(made, tmp_path, "a")
    first = read_choices(folder / "choices.csv")
    assert {"sampling": ("auto", "tsn"), "plan": ("auto", "none")}.items() <= first.items()
    killed_again(made, tmp_path, "a", sampling="middle")
    assert read_choices(folder / "choices.csv") == {key: row for key, row in first.items() if key != "sampling"}


def kill(*_: Any) -> None:
    raise ConnectionError("killed")


def killed_again(made: MadeDataset, folder: Path, name: str, **changes: Value) -> Path:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
        kill_after(0, patch)
        go_on(made, folder, name, **changes)
    return folder / name


@pytest.mark.parametrize(("before", "now"), [("none", "fp16"), ("fp16", "none"), ("fp16", "bf16")])
def test_a_run_goes_on_in_another_precision_and_says_so(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    before: str, now: str,
) -> None:  # fmt: skip
    """As one that moves from a CPU to a GPU does under --amp auto, or back."""
    monkeypatch.setattr("train.run.learner.half_precision", lambda amp, device: before)
    killed(made, tmp_path, "a", steps=2, **OPTIONS, checkpoint_every=1)
    monkeypatch.setattr("train.run.learner.half_precision", lambda amp, device: now)
    folder = go_on(made, tmp_path, "a")
    said = words_of(capsys)
    names = {"none": "float32"}
    assert f"goes on on cpu in {names.get(now, now)}; it was cpu in {names.get(before, before)} so far" in said
    assert ("loss scaling begins here" in said, "loss scaling ends here" in said) == (now == "fp16", before == "fp16")
    assert checkpoint(folder)["progress"]["epoch"] == 2 and bool(checkpoint(folder)["scaler"]) == (now == "fp16")


def test_the_groups_of_old_checkpoints_go_on_to_the_bit(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.optimizer import make_optimizer

    options: dict[str, Value] = {**OPTIONS, "layer_decay": 0.5, "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr(
            "train.run.learner.make_optimizer", lambda *a, **k: make_optimizer(*a, **{**k, "is_of_old": True})
        )
        whole = train(made, tmp_path / "whole", "a", **options)
        cut = killed(made, tmp_path, "a", steps=2, **options)
    killed(made, tmp_path, "a", steps=1, **options, resume=True)
    go_on(made, tmp_path, "a")
    assert_same(checkpoint(cut), checkpoint(whole), ignored=frozenset({"runs"}))
    new = train(made, tmp_path, "new", **options)
    assert not torch.equal(
        checkpoint(new)["model"]["backbone.norm.weight"], checkpoint(cut)["model"]["backbone.norm.weight"]
    )


def test_a_run_of_old_with_other_validation_clips_is_refused(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its validation part came from --seed: clips that it was trained on would now choose `best`."""
    from train.learn.optimizer import make_optimizer

    with monkeypatch.context() as patch:
        patch.setattr(
            "train.run.learner.make_optimizer", lambda *a, **k: make_optimizer(*a, **{**k, "is_of_old": True})
        )
        killed(made, tmp_path, "a", steps=1, **OPTIONS, checkpoint_every=1, seed=3)
    with pytest.raises(DataError, match=r"begun by an earlier version.*--seed 3.*begin anew under another --name"):
        go_on(made, tmp_path, "a")


def test_best_comes_back_where_last_holds_the_same(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS, val_fraction=0.0)
    best = folder / "checkpoints" / "best.pt"
    best.unlink()
    go_on(made, tmp_path, "a")
    assert "best.pt was missing; it is back, as last.pt is of the same epoch, 2" in words_of(capsys)
    assert load_model(folder).path == best


def test_best_that_is_gone_is_named_by_those_who_miss_it(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Value] = {**OPTIONS, "epochs": 3, "lr": 0.0}  # so the first epoch stays the best
    folder = train(made, tmp_path, "a", **options)
    (folder / "checkpoints" / "best.pt").unlink()
    capsys.readouterr()
    go_on(made, tmp_path, "a")
    assert "best.pt is missing, of epoch 1; until an epoch is better, evaluate and predict take last.pt" in words_of(
        capsys
    )
    assert load_model(folder).path.name == "last.pt"
    assert "best.pt, of epoch 1, is missing: taking last.pt, after 3 epochs" in capsys.readouterr().err


def test_the_first_epoch_has_no_best(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = killed(made, tmp_path, "a", steps=1, **OPTIONS, checkpoint_every=1)
    load_model(cut)
    assert "has not finished an epoch: taking last.pt, after step 1" in capsys.readouterr().err
    load_model(cut, which="last")
    assert not capsys.readouterr().err


def test_a_run_without_its_last_state_is_not_begun_over(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    last, best = folder / "checkpoints" / "last.pt", folder / "checkpoints" / "best.pt"
    last.unlink()
    before = best.read_bytes()
    with pytest.raises(DataError, match=r"last\.pt is missing, but best\.pt beside it is not; copy it"):
        go_on(made, tmp_path, "a")
    assert best.read_bytes() == before
    shutil.copy(best, last)
    go_on(made, tmp_path, "a")


def test_a_run_killed_before_its_report_gets_one(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.write_metrics", die)
        train(made, tmp_path, "a", **{**OPTIONS, "epochs": 1})
    folder = go_on(made, tmp_path, "a")
    assert (folder / "report.html").is_file() and (folder / "metrics.csv").read_text().count("\n") == 2


def test_a_batch_may_be_cut_into_more_parts_on_resume(made: MadeDataset, tmp_path: Path) -> None:
    """The remedy for a GPU that is too small."""
    killed(made, tmp_path, "a", steps=2, **OPTIONS, checkpoint_every=1)
    assert checkpoint(go_on(made, tmp_path, "a", grad_accum_steps=2))["progress"]["finished"]
