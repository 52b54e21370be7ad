"""lsvit-train evaluate: measures against scikit-learn, views, splits, files, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from made_dataset import CLASSES, MadeDataset
from made_results import MODEL, clip_facts
from made_run import make_run
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from shared.errors import DataError, UsageError
from shared.manifests.files import read_dataset, read_manifests
from shared.splits.parts import part_of
from shared.terminal.console import exit_code_of
from train.cli import app
from train.data.views import Views, evaluation_views
from train.evaluate.command import EvaluateOptions, evaluate
from train.evaluate.groups import TAG_MEANINGS
from train.evaluate.results import SplitResult, split_result, summary
from train.trained.clips import check_dataset, stored_probabilities
from train.trained.folders import split_folders

NAMES = tuple("abcdefgh")


def result_of(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], *, split: str = "1"
) -> SplitResult:
    facts = clip_facts(labels, NAMES)
    return split_result(
        split=split, model=MODEL, class_names=NAMES, clips=facts, probabilities=probabilities, remarks=[]
    )


def random_answers(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """200 clips of 8 classes, one of which never occurs and one of which is never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, 200)
    logits = rng.normal(size=(200, 8)) + 2.0 * np.eye(8)[labels]
    logits[:, 2] = -9.0
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), labels


# Measures


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_measures_equal_scikit_learn() -> None:
    probabilities, labels = random_answers(0)
    result = result_of(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    every = np.arange(8)
    assert result.metrics.top1 == pytest.approx((predicted == labels).mean())
    assert result.metrics.top5 == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5, labels=every))
    assert result.metrics.mean_class_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    np.testing.assert_array_equal(result.metrics.confusion, confusion_matrix(labels, predicted, labels=every))
    precision, recall, _, support = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    assert [each.precision for each in result.classes] == pytest.approx(list(precision))
    assert [each.recall for each in result.classes] == pytest.approx(list(recall))
    assert [each.num_clips for each in result.classes] == list(support)
    assert [each.num_predicted for each in result.classes] == list(np.bincount(predicted, minlength=8))


def test_calibration_error_equals_a_loop_over_bins() -> None:
    probabilities, labels = random_answers(1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert result_of(probabilities, labels).metrics.calibration_error == pytest.approx(expected)


def test_confused_pairs_hold_every_wrong_clip_once() -> None:
    probabilities, labels = random_answers(2)
    result = result_of(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    counts = [len(pair.clip_ids) for pair in result.confused]
    assert counts == sorted(counts, reverse=True)
    listed = {clip_id: (pair.true_class, pair.predicted_class) for pair in result.confused for clip_id in pair.clip_ids}
    wrong = {
        f"{NAMES[label]}/clip{i}": (NAMES[label], NAMES[guess])
        for i, (label, guess) in enumerate(zip(labels, predicted, strict=True))
        if label != guess
    }
    assert listed == wrong and sum(counts) == len(wrong)


def test_tags_cut_the_clips_into_groups() -> None:
    probabilities, labels = random_answers(3)
    result = result_of(probabilities, labels)
    right = probabilities.argmax(axis=1) == labels
    for tag in TAG_MEANINGS:
        groups = [each for each in result.tags if each.tag == tag]
        assert sum(each.num_clips for each in groups) == len(labels)
        assert sum(each.top1 * each.num_clips for each in groups) == pytest.approx(right.sum())
    values = (["", "cm", "nm"] * 200)[:200]
    (still,) = [each for each in result.tags if (each.tag, each.value) == ("camera_motion", "nm")]
    assert still.top1 == pytest.approx(right[np.array(values) == "nm"].mean())


def test_summary_is_mean_and_sample_deviation() -> None:
    results = [result_of(*random_answers(seed), split=str(seed)) for seed in (1, 2, 3)]
    values = [result.metrics.top1 for result in results]
    mean, deviation = summary(results)["top1"]
    assert mean == pytest.approx(np.mean(values)) and deviation == pytest.approx(np.std(values, ddof=1))
    assert summary(results[:1])["top1"] == (pytest.approx(values[0]), None)


# Views


def test_views_average_probabilities_of_all_candidates_and_crops(made: MadeDataset, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "run")
    clips = read_manifests(made.manifests).iloc[[0, 3, 9, 20, 23]]
    probabilities = stored_probabilities(
        loaded, clips, shards=made.shards, views=Views(num_candidates=3, num_crops=2), batch_size=2
    )
    import h5py

    for place, (shard, row) in enumerate(zip(clips["shard"], clips["row"], strict=True)):
        with h5py.File(made.shards / shard) as file:
            frames = torch.from_numpy(file["frames"][row])  # (T·K, H, W, 3)
        views = [
            evaluation_views(frames[candidate::3][None], image_size=32, num_crops=2)[0, crop]
            for candidate in range(3)
            for crop in range(2)
        ]
        with torch.no_grad():
            expected = torch.stack([loaded.model(view[None])[0].double().softmax(0) for view in views]).mean(0)
        np.testing.assert_allclose(probabilities[place], expected.numpy(), atol=1e-6)


# The command


def options_of(made: MadeDataset, runs: Path, *, splits: str = "", views: str = "1x1") -> EvaluateOptions:
    return EvaluateOptions(
        runs=runs,
        shards=made.shards,
        manifests=made.manifests,
        splits=splits,
        views=views,
        calibrated=False,
        json=True,
        device="cpu",
        batch_size=4,
    )


def test_test_clips_of_the_split_are_measured_and_files_written(made: MadeDataset, tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    evaluation = evaluate("one", options_of(made, tmp_path))
    (result,) = evaluation.results
    test = part_of(read_manifests(made.manifests), split="1", part="test")
    assert result.clip_ids == tuple(test["clip_id"])
    folder = tmp_path / "one" / "evaluation"
    confusion = pd.read_csv(folder / "confusion.csv", index_col="true")
    np.testing.assert_array_equal(confusion.to_numpy(), result.metrics.confusion)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert (predictions["predicted"] == predictions[list(CLASSES)].idxmax(axis=1)).all()
    assert (predictions["true"] == predictions["predicted"]).mean() == pytest.approx(result.metrics.top1)
    assert list(pd.read_csv(folder / "classes.csv")["class_name"]) == list(CLASSES)
    content = json.loads((folder / "metrics.json").read_text())
    assert content["splits"][0]["top1"] == result.metrics.top1 and content["standard_deviation"]["top1"] is None
    assert (folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert "nothing about HMDB51" in (folder / "report.md").read_text()
    evaluate("one", options_of(made, tmp_path, views="3x1"))
    assert json.loads((folder / "3x1" / "metrics.json").read_text())["views"] == "3x1"


def test_several_splits_give_mean_and_deviation(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("1", "2", "3"):
        make_run(tmp_path / "many" / f"split{split}", split=split, seed=int(split))
    options = options_of(made, tmp_path)
    evaluate("many", options)
    printed = json.loads(capsys.readouterr().out)
    assert [split["split"] for split in printed["splits"]] == ["1", "2", "3"]
    values = [split["mean_class_accuracy"] for split in printed["splits"]]
    assert printed["standard_deviation"]["mean_class_accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert json.loads((tmp_path / "many/evaluation/metrics.json").read_text()) == printed
    assert (tmp_path / "many/split2/evaluation/confusion.png").is_file()
    evaluate("many", dataclasses.replace(options, splits="3,1", json=False))
    table = capsys.readouterr().out
    assert "mean ± std" in table and "Split 2" not in table
    make_run(tmp_path / "two" / "split1")
    with pytest.raises(DataError, match="no split 2, it has 1"):
        evaluate("two", options_of(made, tmp_path, splits="1,2"))


def test_splits_are_listed_in_one_order(tmp_path: Path) -> None:
    for split, name in (("full", "full"), ("all", "all"), ("3", "split3"), ("1", "split1")):
        make_run(tmp_path / name, split=split)
    (tmp_path / "split2").mkdir()
    found = split_folders(tmp_path)
    assert list(found) == ["1", "3", "full", "all"] and found["3"] == tmp_path / "split3"
    assert split_folders(tmp_path / "absent") == {}


def test_split_all_is_labelled_a_sanity_check(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "all", split="all")
    evaluation = evaluate("all", dataclasses.replace(options_of(made, tmp_path), json=False))
    assert evaluation.results[0].metrics.num_clips == 24
    assert "a sanity check, not a result" in capsys.readouterr().out
    assert "a sanity check" in (tmp_path / "all/evaluation/report.md").read_text()


def test_another_data_set_or_split_is_refused(made: MadeDataset, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "one", dataset_id="e" * 64)
    with pytest.raises(DataError, match=r"eeee.*dddd.*different: the videos"):
        evaluate("one", options_of(made, tmp_path))
    with pytest.raises(DataError, match="frames 4 -> 16; size 24x32 -> native"):
        dataset = dataclasses.replace(read_dataset(made.manifests), num_segments=16, size="native")
        check_dataset(loaded, dataset)
    make_run(tmp_path / "two")
    with pytest.raises(UsageError, match="trained on split 1"):
        evaluate("two", options_of(made, tmp_path, splits="2"))
    with pytest.raises(DataError, match="has split 1 alone"):  # not half of what was asked for
        evaluate("two", options_of(made, tmp_path, splits="1,2"))
    with pytest.raises(UsageError, match="--splits is '9'; use 1, 2, 3"):
        evaluate("two", options_of(made, tmp_path, splits="9"))
    with pytest.raises(UsageError, match="hold 3"):
        evaluate("two", options_of(made, tmp_path, views="4x1"))


def test_command_line(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "one")
    folders = ["--runs", str(tmp_path), "--shards", str(made.shards), "--manifests", str(made.manifests)]
    assert exit_code_of(partial(app, ["evaluate", "one", *folders, "--json"], standalone_mode=False)) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "one"
    assert exit_code_of(partial(app, ["evaluate", "one", *folders], standalone_mode=False)) == 0
    out = capsys.readouterr().out
    for expected in ("by class", "by tag", "top-1 %", "split 1: measured on the embedded synthetic", "wrote "):
        assert expected in out
    assert out.splitlines()[-1].startswith("wrote ")
    assert exit_code_of(partial(app, ["evaluate", "none", *folders], standalone_mode=False)) == 1
