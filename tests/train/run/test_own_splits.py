"""Splits of one's own in training: val clips choose the best state, and a split that changes is noticed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import fail_here, run_here, succeed, succeed_here
from made_dataset import CLASSES, MadeDataset, make_dataset
from made_plan import write_whole_plan
from trained import TINY, checkpoint, go_on, train

from shared.errors import DataError
from shared.manifests.balancing_plans import read_plan
from shared.manifests.files import read_manifests
from shared.splits.own_files import read_split_table
from train.run.config.resolve import resolve
from train.run.data import RunData, open_data
from train.trained.calibration import calibrate
from train.trained.model import load_model

VAL = {f"{name}/clip{clip:02d}" for name in CLASSES for clip in (0, 3)}  # of two sources each, whose others train
OPTIONS = {**TINY, "epochs": 1, "warmup_epochs": 0.0, "checkpoint_every": 1}


def change_parts(made: MadeDataset, parts: Mapping[str, str], *, column: str = "split1") -> None:
    """Give clips other parts in the manifests, as `hmdb-prep merge --splits` does."""
    for file in (made.manifests / "clips").glob("*.csv"):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        frame[column] = [parts.get(name, part) for name, part in zip(frame["clip_id"], frame[column], strict=True)]
        frame.to_csv(file, index=False)


@pytest.fixture
def made(tmp_path: Path) -> MadeDataset:
    """24 clips: 12 train, 6 choose, 6 test."""
    made = make_dataset(tmp_path / "made")
    change_parts(made, dict.fromkeys(VAL, "val"))
    return made


def places(made: MadeDataset) -> list[str | Path]:
    return ["--shards", made.shards, "--manifests", made.manifests]


def opened(made: MadeDataset, **changes: object) -> RunData:
    config = resolve(
        command_line={**OPTIONS, "shards": str(made.shards), "manifests": str(made.manifests), **changes},  # type: ignore[dict-item]
        file={},
    )
    _, data = open_data(config)
    data.reader.close()
    return data


def test_val_rows_choose_and_train_rows_all_train(made: MadeDataset) -> None:
    data = opened(made)
    names = data.table.clip_id
    assert {names[row] for row in data.rows.validation} == VAL
    assert len(data.rows.training) == 12 and len(data.rows.test) == 6
    assert VAL.isdisjoint(names[row] for row in data.samples.clip)
    assert data.notes[0].startswith("split 1: 12 clips to train on, 6 for validation, 6 for test")
    other = opened(made, split="2")  # a split without val rows is divided by source, as ever
    assert len(other.rows.training) + len(other.rows.validation) == 18 and not other.has_val_rows


def test_a_fraction_beside_val_rows_is_said_to_do_nothing(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(made, tmp_path, "a", **OPTIONS)
    assert "--val-fraction does nothing here: the split has val clips of its own" in capsys.readouterr().out
    train(made, tmp_path, "b", **{**OPTIONS, "val_fraction": 0.1})
    assert "does nothing" not in capsys.readouterr().out


def test_a_run_notes_its_split(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    facts, file = checkpoint(folder)["facts"], folder / "splits.csv"
    assert facts["split_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (
        facts["validation_sha256"] == hashlib.sha256("".join(f"{name}\n" for name in sorted(VAL)).encode()).hexdigest()
    )
    table = read_split_table(file)
    assert table.columns == ("split1",) and {name for name, (part,) in table.parts.items() if part == "val"} == VAL
    everything = train(made, tmp_path, "b", **OPTIONS, split="all")
    assert checkpoint(everything)["facts"]["split_sha256"] == "" and not (everything / "splits.csv").exists()


def test_a_plan_is_made_for_the_train_rows_alone(made: MadeDataset, tmp_path: Path) -> None:
    said = succeed_here("hmdb-prep", "balance", *places(made), "--strategy", "oversample", "--target", "6")
    assert "split 1 has 6 val clips of its own, so --val-fraction sets none aside" in said
    plan = read_plan(made.manifests / "balance" / "1.csv")
    assert {row.clip_id for row in plan.rows}.isdisjoint(VAL) and len({row.clip_id for row in plan.rows}) == 12
    assert plan.info.val_fraction == 0
    data = opened(made)
    assert len(data.samples) == 18 and not any("was made for" in note for note in data.notes)


def test_a_plan_from_before_that_repeats_val_clips_is_refused(made: MadeDataset) -> None:
    (made.manifests / "balance").mkdir()
    write_whole_plan(made.manifests / "balance" / "1.csv")
    with pytest.raises(DataError, match="'jump/clip00', which is not among the training rows; run `hmdb-prep balance"):
        opened(made)


def test_evaluate_measures_test_rows_and_refuses_a_split_that_changed(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    command = ["evaluate", folder, *places(made), "--device", "cpu"]
    succeed("lsvit-train", *command)
    predictions = pd.read_csv(folder / "evaluation" / "predictions.csv")
    assert {name[-2:] for name in predictions["clip_id"]} == {"06", "07"}
    change_parts(made, {"run/clip01": "test", "walk/clip06": "train"})
    for more in ([], ["--splits", "1"], ["--calibrated"]):
        said = fail_here(1, "lsvit-train", *command, *more)
        assert (
            f"split 1 of {folder} has changed since it was trained (2 clips, such as run/clip01: train -> test)" in said
        )
        assert f"put the old split back with `hmdb-prep merge --splits {folder / 'splits.csv'}`" in said
    change_parts(made, {"run/clip01": "train", "walk/clip06": "test"})
    succeed_here("lsvit-train", *command)


def test_other_splits_may_change(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    change_parts(made, {"run/clip01": "test"}, column="split2")
    succeed_here("lsvit-train", "evaluate", folder, *places(made), "--device", "cpu")
    said = fail_here(2, "lsvit-train", "evaluate", folder, *places(made), "--splits", "2")
    assert "the test clips of another split are among its training clips" in said


def strip_facts(folder: Path) -> None:
    """What an earlier version left: nothing of the split and of what was trained on."""
    (folder / "splits.csv").unlink()
    for file in (folder / "checkpoints").iterdir():
        content = torch.load(file, weights_only=True)
        for key in ("split_sha256", "validation_sha256", "trained_on"):
            content["facts"].pop(key, None)  # the files may be one under two names
        torch.save(content, file)


def test_runs_of_earlier_versions_are_measured_and_it_is_said(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    strip_facts(folder)
    change_parts(made, {"run/clip01": "test"})
    outcome = run_here("lsvit-train", "evaluate", folder, *places(made), "--device", "cpu")
    assert (
        outcome.code == 0
        and f"split 1 of {folder} is not noted, as it was trained by an earlier version" in outcome.err
    )


def test_calibration_wants_the_very_val_clips(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    kept = calibrate(load_model(folder), read_manifests(made.manifests), shards=made.shards, batch_size=4)
    assert kept.num_clips == len(VAL)
    # As many others, set aside by source, of a run that does not note its whole split.
    train(made, tmp_path, "b", **OPTIONS, split="2")
    for file in (made.manifests / "clips").glob("*.csv"):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        frame.assign(source=list(reversed(frame["source"]))).to_csv(file, index=False)
    loaded = load_model(tmp_path / "b")
    with pytest.raises(DataError, match="was validated on other clips than these manifests give"):
        calibrate(loaded, read_manifests(made.manifests), shards=made.shards, batch_size=4)


def test_a_run_does_not_go_on_with_a_changed_split(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **named: object) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.clip_answers", stop)  # after the steps of the first epoch
        train(made, tmp_path, "a", **OPTIONS)
    old = shutil.copytree(tmp_path / "a", tmp_path / "old")
    change_parts(made, {"run/clip01": "test"})
    said = r"split_sha256: \w{64} -> \w{64}.*put the old split \(`hmdb-prep merge --splits .*a/splits.csv`\) back"
    with pytest.raises(DataError, match=said):
        go_on(made, tmp_path, "a")
    strip_facts(old)
    assert checkpoint(go_on(made, tmp_path, "old"))["progress"]["epoch"] == 1


SMALL = {key: value for key, value in OPTIONS.items() if key not in ("embed_dim", "depth", "num_heads")}


def test_test_clips_that_trained_the_weights_of_init_are_refused(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_parts(made, {"run/clip01": "test", "walk/clip06": "train"}, column="split2")
    first = train(made, tmp_path, "first", **OPTIONS)
    second = train(made, tmp_path, "second", **SMALL, init=str(first))  # the same split: nothing is seen
    assert "evaluate` will refuse" not in capsys.readouterr().out
    copy = shutil.copyfile(second / "checkpoints" / "best.pt", tmp_path / "weights.pt")
    shutil.rmtree(first), shutil.rmtree(second)
    third = train(made, tmp_path, "third", **SMALL, init=str(copy), split="2")
    assert "warning: `evaluate` will refuse this run: 1 of the 6 test clips" in capsys.readouterr().out
    copy.unlink()
    said = fail_here(1, "lsvit-train", "evaluate", third, *places(made), "--device", "cpu")
    assert f"{third} cannot be tested: 1 of the 6 test clips of split 2, such as run/clip01, have trained" in said
    assert "the weights that it begins with (--init); begin with weights that have not" in said


def test_what_a_run_was_trained_on_stands_in_its_checkpoint(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "a", **OPTIONS)
    known = load_model(folder).facts.trained_on
    frame = read_manifests(made.manifests)
    assert known.is_known and list(known.clips) == [load_model(folder).facts.dataset_id]
    assert known.of(*known.clips) == set(frame.loc[frame["split1"] == "train", "clip_id"])


def test_weights_of_an_earlier_version_are_measured_and_it_is_said(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(made, tmp_path, "first", **OPTIONS)
    strip_facts(first)
    capsys.readouterr()
    second = train(made, tmp_path, "second", **SMALL, init=str(first), split="2")
    said = "nothing is known of what these weights were trained on"
    assert f"note: {first}: {said}" in capsys.readouterr().out
    for folder in (first, second):
        outcome = run_here("lsvit-train", "evaluate", folder, *places(made), "--device", "cpu")
        assert outcome.code == 0 and f"note: {folder}: {said}" in outcome.err


def test_weights_of_split_all_have_seen_everything(made: MadeDataset, tmp_path: Path) -> None:
    first = train(made, tmp_path, "first", **OPTIONS, split="all")
    second = train(made, tmp_path, "second", **SMALL, init=str(first))
    said = fail_here(1, "lsvit-train", "evaluate", second, *places(made), "--device", "cpu")
    assert "6 of the 6 test clips of split 1" in said
    # Of another data set with the same names nothing follows.
    other = make_dataset(tmp_path / "other", dataset_id="e" * 64)
    third = train(other, tmp_path, "third", **SMALL, init=str(first))
    succeed_here("lsvit-train", "evaluate", third, *places(other), "--device", "cpu")
