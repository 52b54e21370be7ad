"""Weights made from frames without labels, and the study on real video that uses them. No figure is asserted here."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_dataset import MadeDataset, make_dataset

from benchmarks.pretrain_frames import (
    MaskedAutoencoder,
    Pretraining,
    StoredFrames,
    hidden_loss,
    patch_targets,
    pretrain,
    waves,
)
from benchmarks.real_video import (
    Study,
    fold_of_clips,
    keep_study,
    make_entries,
    write_folds,
)
from benchmarks.real_video_rows import ROWS, Entry
from benchmarks.real_video_tables import interval, spread, write_groups, write_table
from shared.errors import DataError
from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader
from train.evaluate.intervals import share_intervals
from train.model.config import make_config
from train.model.lsvit import LSViT
from train.model.weights.families import load_weights
from train.model.weights.pretrained import copy_weights
from train.model.weights.unstated import HALF

ROOT = Path(__file__).parents[2]
SETTINGS = Pretraining(
    preset="tiny",
    image_size=64,
    decoder_dim=32,
    hidden=0.75,
    steps=6,
    warmup_steps=2,
    batch_size=8,
    lr=1e-3,
    seed=0,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    """24 clips of three classes and twelve sources."""
    return make_dataset(tmp_path_factory.mktemp("made"), height=36, width=40)


@pytest.fixture(scope="module")
def weights(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT after a few steps."""
    out = tmp_path_factory.mktemp("weights")
    pretrain(StoredFrames([made.shards]), SETTINGS, out, save_every=4)
    return out / "model.safetensors"


@pytest.fixture
def model() -> MaskedAutoencoder:
    """One that sees frames of 64 pixels as 16 patches."""
    torch.manual_seed(3)
    config = make_config("tiny", num_classes=1, num_frames=1, image_size=64, smif="none", lmi="none")
    return MaskedAutoencoder(config, decoder_dim=32)


def images(number: int = 3) -> torch.Tensor:
    return torch.rand(number, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def orders(number: int = 3) -> torch.Tensor:
    return torch.rand(number, 16, generator=torch.Generator().manual_seed(2)).argsort(dim=1)


def test_every_stored_frame_is_read(made: MadeDataset) -> None:
    frames = StoredFrames([made.shards])
    expected = []
    for file in sorted(made.shards.glob("*.h5")):
        with ShardReader(file) as reader:
            expected.append(reader.frames.reshape(-1, 36, 40, 3).copy())
    assert len(frames) == 24 * 12
    np.testing.assert_array_equal(frames.read(np.arange(len(frames))).numpy(), np.concatenate(expected))


def test_frames_of_two_sizes_are_refused(made: MadeDataset, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, clips_per_class=1)
    with pytest.raises(DataError, match="2 sizes"):
        StoredFrames([made.shards, other.shards])


def test_positions_are_waves_of_column_and_row() -> None:
    table = waves(5, 8)[0]
    assert table.shape == (26, 8)
    assert not table[0].any()
    row, column = 3, 2
    expected = [
        *(np.sin(column), np.sin(column / 100), np.cos(column), np.cos(column / 100)),
        *(np.sin(row), np.sin(row / 100), np.cos(row), np.cos(row / 100)),
    ]
    np.testing.assert_allclose(table[1 + 5 * row + column], expected, rtol=1e-5)


def test_targets_are_the_standardised_pixels_of_each_patch() -> None:
    targets = patch_targets(images(), 16)
    patch = images()[1, :, 16:32, 48:].flatten()  # second row, last column of four
    torch.testing.assert_close(targets[1, 7], (patch - patch.mean()) / patch.std(), rtol=1e-4, atol=1e-4)


def test_with_nothing_hidden_the_encoder_is_the_vit(model: MaskedAutoencoder) -> None:
    in_order = torch.arange(16).expand(3, -1)
    seen: list[torch.Tensor] = []
    model.to_decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    model(images(), in_order, num_seen=16)
    torch.testing.assert_close(seen[0], model.backbone(images()))


def test_hidden_patches_are_not_seen_and_the_order_of_the_others_says_nothing(model: MaskedAutoencoder) -> None:
    order = orders(1)
    before = model(images(1), order, num_seen=4)
    hidden = int(order[0, 9])
    changed = images(1)
    row, column = divmod(hidden, 4)
    changed[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0.0
    torch.testing.assert_close(model(changed, order, num_seen=4), before)
    turned = torch.cat([order[:, :4].flip(1), order[:, 4:].flip(1)], dim=1)
    torch.testing.assert_close(model(images(1), turned, num_seen=4), before)


def test_the_loss_is_that_of_hidden_patches_alone(model: MaskedAutoencoder) -> None:
    order = orders()
    error = (model(images(), order, num_seen=4) - patch_targets(images(), 16)).square().mean(dim=2)
    hidden = [float(error[image, place].detach()) for image in range(3) for place in order[image, 4:]]
    loss = hidden_loss(model, images(), order, num_seen=4, patch=16)
    assert float(loss.detach()) == pytest.approx(np.mean(hidden), rel=1e-5)


def test_weights_load_exactly_and_say_what_they_expect(weights: Path) -> None:
    loaded = load_weights(str(weights))
    assert (loaded.shape.embed_dim, loaded.shape.depth, loaded.shape.num_heads) == (96, 3, 3)
    assert (loaded.mean, loaded.std) == HALF
    model = LSViT(make_config(loaded.shape, num_classes=5, num_frames=4, image_size=64, smif="none", lmi="none"))
    report = copy_weights(model, loaded)
    assert not [name for name in report.missing if name.startswith("backbone.")]


def test_no_steps_give_the_start_values_as_a_control(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    pretrain(StoredFrames([made.shards]), dataclasses.replace(SETTINGS, steps=0), tmp_path, save_every=4)
    start, trained = (load_weights(str(each)).tensors for each in (tmp_path / "model.safetensors", weights))
    assert start.keys() == trained.keys()
    torch.testing.assert_close(start["backbone.pos_embed"], waves(4, 96), rtol=0, atol=0)
    assert not any(torch.equal(start[name], trained[name]) for name in start if name.endswith("weight"))


def test_a_pretraining_that_was_stopped_goes_on_to_the_same_weights(
    made: MadeDataset, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stop(*_: object, **__: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return hidden_loss(*_, **__)  # type: ignore[arg-type]

    frames = StoredFrames([made.shards])
    with monkeypatch.context() as patched:
        patched.setattr("benchmarks.pretrain_frames.hidden_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(frames, SETTINGS, tmp_path, save_every=4)
    pretrain(frames, SETTINGS, tmp_path, save_every=4)
    assert (tmp_path / "model.safetensors").read_bytes() == weights.read_bytes()
    assert (tmp_path / "losses.csv").read_text() == (weights.parent / "losses.csv").read_text()
    with pytest.raises(DataError, match="anew"):
        pretrain(frames, dataclasses.replace(SETTINGS, lr=2e-3), tmp_path, save_every=4)


def test_folds_keep_sources_whole_and_test_every_clip_once() -> None:
    rng = np.random.default_rng(0)
    sources = [f"s{number}" for number in rng.integers(0, 40, 200)]
    classes = [f"c{number}" for number in rng.integers(0, 4, 200)]
    fold = fold_of_clips(classes, sources, num_folds=5)
    assert set(fold.tolist()) == set(range(5))
    assert len({*zip(sources, fold.tolist(), strict=True)}) == len(set(sources))


def test_the_manifests_of_a_fold_differ_in_the_split_alone(made: MadeDataset, tmp_path: Path) -> None:
    before = read_manifests(made.manifests)
    tested = []
    for place in write_folds(made.manifests, tmp_path, num_folds=3):
        after = read_manifests(place)
        tested += list(after.loc[after["split1"] == "test", "clip_id"])
        pd.testing.assert_frame_equal(after.drop(columns="split1"), before.drop(columns="split1"))
    assert sorted(tested) == sorted(before["clip_id"])


def test_intervals_are_those_of_evaluate() -> None:
    rng = np.random.default_rng(1)
    right, sources = rng.random(60) < 0.4, [f"s{number}" for number in rng.integers(0, 12, 60)]
    (expected,) = share_intervals(right[:, None], np.ones((60, 1), np.bool_), sources)
    assert expected is not None
    assert interval(right.astype(np.float64), sources) == f"{100 * expected.low:.1f} to {100 * expected.high:.1f}"


def test_the_table_counts_clips_seeds_and_classes(tmp_path: Path) -> None:
    clips = pd.DataFrame({"clip_id": list("abcd"), "source": list("wxyz"), "class_name": ["run", "run", "run", "sit"]})
    entries = [Entry(row=ROWS[0], start="scratch", label="scratch"), Entry(row=ROWS[1], start="f", label="weights-1")]
    measured = [np.array([[1, 0, 0, 1], [1, 0, 0, 0]], float), np.array([[1, 1, 0, 1], [1, 1, 0, 1]], float)]
    lines = write_table(entries, measured, clips, tmp_path).splitlines()
    first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert first[:3] == ["plain", "scratch", "37.5 ± 17.7"]
    assert first[4:] == ["41.7", "+0.0", "0.0 to 0.0"]
    assert second[:3] == ["plain-k1", "weights-1", "75.0 ± 0.0"]
    assert second[4:6] == ["83.3", "+37.5"]
    assert (tmp_path / "table.md").read_text().splitlines() == lines
    kept = pd.read_csv(tmp_path / "clips.csv", index_col="clip_id")
    assert list(kept["plain scratch"]) == [1.0, 0.0, 0.0, 0.5]


def test_groups_compare_rows_where_they_differ(tmp_path: Path) -> None:
    clips = pd.DataFrame({
        "clip_id": list("abcdefgh"), "source": list("stuvwxyz"), "class_name": ["run"] * 6 + ["sit"] * 2,
        "motion": [1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0],
    })  # fmt: skip
    entries = [Entry(row=row, start="scratch", label="scratch") for row in ROWS[:2]]
    first, second = np.array([[1, 0, 1, 0, 1, 0, 1, 1]], float), np.array([[1, 1, 1, 1, 1, 0, 0, 1]], float)
    write_groups(entries, [first, second], clips, tmp_path)
    rows = pd.read_csv(tmp_path / "groups.csv").set_index(["row", "group"])
    assert set(rows.loc["plain", "to_first_percent"]) == {0.0}
    of_second = rows.loc["plain-k1"]
    assert list(of_second.index) == ["motion 1", "motion 2", "motion 3", "motion 4", "run", "sit"]
    assert list(of_second["num_clips"]) == [2, 2, 2, 2, 6, 2]
    assert list(of_second["top1_percent"]) == [100.0, 50.0, 50.0, 100.0, 83.33, 50.0]
    assert list(of_second["to_first_percent"]) == [0.0, -50.0, 0.0, 100.0, 33.33, -50.0]
    told = of_second.dropna()
    assert list(told.index) == ["motion 2", "motion 4", "run", "sit"]  # of the others every draw says the same
    assert (told["low_percent"] <= told["to_first_percent"]).all()


def test_one_seed_has_no_deviation() -> None:
    assert spread(np.array([40.0])) == "40.0"


def test_runs_of_another_study_are_not_taken_for_its_own(made: MadeDataset, tmp_path: Path) -> None:
    study = Study(
        shards=made.shards,
        runs=tmp_path,
        shape=("--preset", "tiny"),
        shared=("--img-size", "64"),
        training=(),
        epochs=8,
        val_fraction="0",
    )
    keep_study(study, made.manifests, folds=4)
    keep_study(study, made.manifests, folds=5)  # nothing has run yet
    (tmp_path / "plain-scratch-1of5-seed0").mkdir()
    keep_study(study, made.manifests, folds=5)
    changes = ({"epochs": 9}, {"shared": ("--img-size", "32")}, {"val_fraction": "0.1"})
    for changed in (dataclasses.replace(study, **change) for change in changes):
        with pytest.raises(DataError, match=r"another study \((epochs|shared) was .*, is .*\); name another --runs"):
            keep_study(changed, made.manifests, folds=5)
    with pytest.raises(DataError, match="folds was 5, is 3"):
        keep_study(study, made.manifests, folds=3)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match=r"study\.json is damaged"):
        keep_study(study, made.manifests, folds=5)


def test_a_pretraining_goes_on_with_its_own_shards_alone(made: MadeDataset, weights: Path) -> None:
    frames = StoredFrames([made.shards])
    pretrain(frames, SETTINGS, weights.parent, save_every=4)
    frames.dataset_ids = ["another"]
    with pytest.raises(DataError, match="was made with dataset_ids"):
        pretrain(frames, SETTINGS, weights.parent, save_every=4)


def test_what_is_frozen_needs_weights(weights: Path) -> None:
    with pytest.raises(DataError, match="needs weights; name a file of them with --start"):
        make_entries([row for row in ROWS if row.is_frozen], ["scratch"])
    assert len(make_entries(ROWS[:1], ["scratch", "scratch"])) == 1
    entries = make_entries(ROWS, ["scratch", str(weights)])
    assert not [entry for entry in entries if entry.row.is_frozen and entry.label == "scratch"]
    assert len(entries) == 2 * len(ROWS) - sum(row.is_frozen for row in ROWS)
    with pytest.raises(DataError, match="no weights at /nowhere"):
        make_entries(ROWS, ["/nowhere"])


@contextmanager
def started(name: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A benchmark, which is killed with all its processes in the end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", f"benchmarks.{name}", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def finish(name: str, *words: str | Path) -> str:
    """What a benchmark printed that ran to its end."""
    with started(name, *words) as process:
        out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out


@pytest.mark.slow
def test_from_frames_to_the_table(made: MadeDataset, tmp_path: Path) -> None:
    out, runs = tmp_path / "weights", tmp_path / "runs"
    options = ("--image-size", "32", "--steps", "3", "--warmup-steps", "1", "--batch-size", "8", "--decoder-dim", "16")
    finish("pretrain_frames", "--shards", made.shards, "--out", out, *options)
    assert json.loads((out / "config.json").read_text())["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    words = ["--shards", made.shards, "--manifests", made.manifests, "--runs", runs, "--jobs", "2"]
    words += ["--seeds", "1", "--folds", "2", "--epochs", "1", "--image-size", "32"]
    words += ["--start", out / "model.safetensors", "--rows", "plain", "probe-mean"]
    with started("real_video", *words) as process:
        while process.poll() is None and not list(runs.glob("*/evaluation/predictions.csv")):
            time.sleep(0.1)  # killed after one run at least, and before the table
    table = finish("real_video", *words).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:4]] == ["plain", "probe-mean"]
    written = {file: file.stat().st_mtime_ns for file in runs.glob("*/evaluation/predictions.csv")}
    assert len(written) == 4
    assert finish("real_video", *words).splitlines() == table
    assert written == {file: file.stat().st_mtime_ns for file in written}
