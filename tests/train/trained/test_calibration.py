"""Calibration: the temperature against scipy, what it leaves alone, and the commands that fit, keep and apply it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from commands import fail, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from made_dataset import MadeDataset
from made_run import make_run
from media import HMDB_LIKE, make_video
from scipy.optimize import minimize_scalar
from trained import train

from shared.errors import DataError
from shared.manifests.files import read_manifests
from train.learn.metrics import expected_calibration_error, mean_loss, top_k_accuracy
from train.run.progress import EpochRow
from train.trained.calibration import calibrate, fit_temperature, read_calibration, tempered
from train.trained.model import load_model

Floats = npt.NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    shares: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def answers(
    seed: int, *, count: int = 300, overconfidence: float = 1.0
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Logits whose softmax is true, the softmax of ``overconfidence`` times these, and labels drawn from the truth."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(count, 6))
    labels = np.array([rng.choice(6, p=shares) for shares in softmax(logits)])
    return logits, softmax(overconfidence * logits), labels


@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_scipy(overconfidence: float) -> None:
    logits, probabilities, labels = answers(3, overconfidence=overconfidence)

    def cost(temperature: float) -> float:
        chosen = softmax(overconfidence * logits / temperature)[np.arange(len(labels)), labels]
        return float(-np.log(chosen).sum() + np.log2(temperature) ** 2 / 2)

    expected = minimize_scalar(cost, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(probabilities, labels) == pytest.approx(expected, rel=0.006)


def test_overconfidence_is_taken_back() -> None:
    _, probabilities, labels = answers(0, count=20000, overconfidence=3.0)
    _, fresh, fresh_labels = answers(1, count=20000, overconfidence=3.0)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert expected_calibration_error(fresh, fresh_labels) > 0.2
    assert expected_calibration_error(tempered(fresh, temperature), fresh_labels) < 0.02


def test_a_few_clips_that_are_all_right_make_no_answer_certain() -> None:
    probabilities = np.tile([0.7, 0.2, 0.1], (4, 1))
    temperature = fit_temperature(probabilities, np.zeros(4, np.int64))
    assert 0.3 < temperature < 1
    assert tempered(probabilities, temperature).max() < 0.98
    assert fit_temperature(probabilities, np.full(4, 2)) > 2


@given(seed=st.integers(0, 99), temperature=st.floats(0.1, 10))
@settings(deadline=None, max_examples=50)
def test_order_and_accuracies_stay(seed: int, temperature: float) -> None:
    logits, probabilities, labels = answers(seed, count=20)
    changed = tempered(probabilities, temperature)
    np.testing.assert_allclose(changed, softmax(logits / temperature), rtol=1e-9, atol=1e-12)
    assert np.array_equal(changed.argsort(axis=1), probabilities.argsort(axis=1))
    for k in (1, 5):
        assert top_k_accuracy(changed, labels, k=k) == top_k_accuracy(probabilities, labels, k=k)


def test_certainty_stays_a_number() -> None:
    certain = np.array([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(tempered(certain, 1.0), certain, atol=1e-300)
    assert np.isfinite(fit_temperature(certain, np.array([1])))


@pytest.fixture(scope="module")
def run_folder(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(made, tmp_path_factory.mktemp("runs"), "one", epochs=6, lr=3e-3)


def places(made: MadeDataset) -> list[str | Path]:
    return ["--shards", made.shards, "--manifests", made.manifests]


def test_evaluate_fits_keeps_and_applies_it(made: MadeDataset, run_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "one"))
    words = ("evaluate", folder, *places(made))
    plain = json.loads(succeed("lsvit-train", *words, "--json", installed=True))["splits"][0]
    assert "calibration" not in plain and not (folder / "calibration.json").exists()
    content = json.loads(succeed("lsvit-train", *words, "--json", "--calibrated"))
    (split,) = content["splits"]
    kept = json.loads((folder / "calibration.json").read_text())
    assert kept.items() >= split["calibration"].items() and kept["checkpoint"] == "best.pt"
    assert split["uncalibrated"] == {key: plain[key] for key in ("calibration_error", "loss")}
    assert [split[key] for key in ("top1", "top5", "mean_class_accuracy")] == [
        plain[key] for key in ("top1", "top5", "mean_class_accuracy")
    ]
    before, after = (
        np.loadtxt(folder / "evaluation" / part / "predictions.csv", delimiter=",", skiprows=1, usecols=(3, 4, 5))
        for part in ("", "calibrated")
    )
    np.testing.assert_allclose(after, tempered(before, kept["temperature"]), rtol=1e-9)
    rows = read_manifests(made.manifests)
    again = calibrate(load_model(folder), rows, shards=made.shards, batch_size=3)
    assert again.temperature == pytest.approx(kept["temperature"]) and again.loss_after < again.loss_before
    assert again == read_calibration(load_model(folder))
    said = succeed("lsvit-train", *words, "--calibrated")
    errors = f"{100 * plain['calibration_error']:.2f} % before, {100 * split['calibration_error']:.2f} % after"
    assert f"fitted on {again.num_clips} validation clips: expected calibration error {errors}" in said
    assert errors in (folder / "evaluation/calibrated/report.md").read_text()


def test_predict_applies_what_was_kept(ffmpeg: str, made: MadeDataset, run_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "one"))
    video = make_video(tmp_path / "a.avi", *HMDB_LIKE, num_frames=9, size="64x48")
    words = ["predict", str(folder), str(video), "--json"]
    said = fail(1, "lsvit-train", *words, "--calibrated")
    assert f"no {folder / 'calibration.json'}; `lsvit-train evaluate {folder} --calibrated` makes it" in said
    succeed("lsvit-train", "evaluate", folder, *places(made), "--calibrated")
    temperature = json.loads((folder / "calibration.json").read_text())["temperature"]
    plain, calibrated = (
        json.loads(succeed("lsvit-train", *words, *more))[0]["predictions"] for more in ((), ("--calibrated",))
    )
    assert [each["action"] for each in plain] == [each["action"] for each in calibrated]
    shares = np.array([[each["probability"] for each in answer] for answer in (plain, calibrated)])
    np.testing.assert_allclose(shares[1:], tempered(shares[:1], temperature), rtol=1e-9)
    assert not np.allclose(shares[0], shares[1])
    table = succeed("lsvit-train", *words[:-1], "--calibrated")
    assert f"calibrated with temperature {temperature:.2f}" in table


def test_a_run_whose_first_epoch_is_not_over_is_to_go_on(made: MadeDataset, tmp_path: Path) -> None:
    train(made, tmp_path, "cut", epochs=1, batch_size=3, max_minutes=1e-6)
    said = fail(1, "lsvit-train", "evaluate", tmp_path / "cut", *places(made), "--calibrated")
    assert "first epoch is not over, so there is nothing to calibrate it on; continue the run with --resume" in said


def test_a_run_without_validation_is_refused_in_one_line(made: MadeDataset, tmp_path: Path) -> None:
    folder = train(made, tmp_path, "none", val_fraction=0.0, epochs=1)
    said = fail(1, "lsvit-train", "evaluate", folder, *places(made), "--calibrated")
    assert len(said.strip().splitlines()) == 1 and "was not measured on validation clips" in said
    with pytest.raises(DataError, match="was not measured on validation clips"):
        calibrate(make_run(tmp_path / "made"), read_manifests(made.manifests), shards=made.shards, batch_size=3)


@pytest.mark.parametrize(("key", "value"), [("val_clips", 3), ("val_loss", 2.5)])
def test_other_validation_clips_are_refused(made: MadeDataset, run_folder: Path, key: str, value: float) -> None:
    loaded = load_model(run_folder)
    assert isinstance(loaded.measured, EpochRow)
    measured = dataclasses.replace(loaded.measured, **{key: value})
    other = dataclasses.replace(loaded, origin=dataclasses.replace(loaded.origin, measured=measured))
    with pytest.raises(DataError, match="validated on other clips than these manifests give"):
        calibrate(other, read_manifests(made.manifests), shards=made.shards, batch_size=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": 99}, "is of best.pt after epoch 99, not of this"),
        ({"temperature": "warm"}, "is damaged"),
        ({"temperature": 0.0}, "has a temperature of 0"),
        ({"format": "other"}, "is no lsvit-calibration file"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(
    made: MadeDataset, run_folder: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    loaded = load_model(Path(shutil.copytree(run_folder, tmp_path / "one")))
    calibrate(loaded, read_manifests(made.manifests), shards=made.shards, batch_size=3)
    file = loaded.folder / "calibration.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=rf"{said}.*--calibrated` makes it"):
        read_calibration(loaded)


def test_mean_loss_is_finite_where_a_label_has_no_share() -> None:
    assert np.isfinite(mean_loss(np.array([[1.0, 0.0]]), np.array([1])))
