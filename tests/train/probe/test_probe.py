"""``lsvit-train probe``: the features it stores, the heads it trains on them, and that both equal what `run` does."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from commands import fail, succeed
from made_dataset import MadeDataset
from made_run import spread_weights
from trained import TINY, assert_same, checkpoint

from shared.errors import DataError, UsageError
from shared.manifests.files import read_manifests
from train.data.loader.reader import ClipReader
from train.data.samples import make_table
from train.data.views import evaluation_views
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.model.weights.families import own_weights
from train.model.weights.trained_on import TrainedOn
from train.probe.command import probe
from train.probe.config import SETTLED, ProbeOptions
from train.run.command import run
from train.run.config.files import read_config
from train.run.config.values import Value
from train.run.model import motion_of
from train.trained.folders import run_name
from train.trained.model import load_model

HEADS = ("mean", "attention", "directional")
QUICK: dict[str, Value] = {
    "epochs": 5,
    "batch_size": 5,
    "val_fraction": 0.3,
    "lr": 0.01,
    "num_heads": 2,
    "img_size": 16,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain ViT with random weights, as a file under timm's names."""
    shape = {key: int(TINY[key]) for key in ("patch_size", "embed_dim", "depth", "num_heads")}  # type: ignore[arg-type]
    config = ModelConfig(num_classes=3, image_size=16, num_frames=4, smif="none", lmi="none", **shape)  # type: ignore[arg-type]
    model = LSViT(config)
    spread_weights(model)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(model.backbone.state_dict(), path)
    return path


def options(
    made: MadeDataset, runs: Path, name: str, *, seeds: int = 1, resume: bool = False, **values: Value
) -> ProbeOptions:
    places: dict[str, Value] = {"shards": str(made.shards), "manifests": str(made.manifests), "runs": str(runs)}
    given = {**QUICK, **places, "device": "cpu", "name": name, **values}
    return ProbeOptions(values=given, config_file=None, seeds=seeds, resume=resume)


def words(made: MadeDataset, runs: Path, name: str, **values: Value) -> list[str]:
    given = {**options(made, runs, name).values, **values}
    return ["probe", *(word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value)))]


@pytest.mark.parametrize("head", HEADS)
def test_a_probe_equals_the_run_with_a_frozen_backbone(
    made: MadeDataset, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    probe(options(made, tmp_path, "probed", init=str(weights), temporal_pool=head, model_ema=True))
    pool_tokens = LSViT.pool_tokens
    monkeypatch.setattr(LSViT, "pool_tokens", lambda self, tokens: pool_tokens(self, tokens).half().float())
    run(command_line={"name": "trained"}, config_file=tmp_path / "probed" / "config.toml", resume=False)
    for which in ("last", "best"):
        one, other = checkpoint(tmp_path / "probed", which), checkpoint(tmp_path / "trained", which)
        for state in ("model", "average"):
            assert one[state].keys() == other[state].keys()
            for name, tensor in one[state].items():
                torch.testing.assert_close(tensor, other[state][name], rtol=0, atol=1e-5)
        assert one["facts"] == other["facts"]
        assert one["progress"]["best_epoch"] == other["progress"]["best_epoch"]
        for row, expected in zip(one["progress"]["history"], other["progress"]["history"], strict=True):
            assert row == pytest.approx(expected, abs=1e-5)
    changed = {
        name for name, tensor in one["model"].items() if not torch.equal(tensor, other_start(weights, name, tensor))
    }
    assert not any(name.startswith("backbone.") for name in changed) and "head.weight" in changed


def other_start(weights: Path, name: str, default: torch.Tensor) -> torch.Tensor:
    """What a tensor was before training; of what is not in the file something else."""
    before: dict[str, torch.Tensor] = torch.load(weights, weights_only=True)
    return before.get(name.removeprefix("backbone."), default + 1)


def test_features_are_those_of_every_stored_frame(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    probe(options(made, tmp_path, "a", init=str(weights)))
    table = make_table(read_manifests(made.manifests))
    model = load_model(tmp_path / "a").model
    reader = ClipReader(made.shards, table, dataset_id="d" * 64)
    with h5py.File(tmp_path / "a" / "frame_features.h5") as file:
        done = file["done"][:].astype(bool)
        stored = file["features"][:]
    is_training = np.array([int(clip_id[-2:]) % 8 < 6 for clip_id in table.clip_id])
    assert done.tolist() == is_training.tolist()  # test clips are never looked at
    for clip in (0, 5):
        frames = np.empty((4, 24, 32, 3), np.uint8)
        for start in range(12):  # each stored frame in other company: it has its feature from itself alone
            rows = (start + np.array([0, 3, 7, 2])) % 12
            reader.read(clip, rows, frames)
            video = evaluation_views(torch.from_numpy(frames)[None], image_size=16)[:, 0]
            with torch.inference_mode():
                expected = model.frame_features(video)[0].numpy()
            np.testing.assert_allclose(stored[clip, rows], expected, rtol=2e-3, atol=2e-3)
    reader.close()


def test_a_probe_leaves_a_whole_run(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    output = succeed("lsvit-train", *words(made, tmp_path, "a", init=str(weights)), installed=True)
    assert "features of 18 clips, 12 frames each, by 32 numbers a frame: 0 are there, 18 are computed" in output
    assert "split 1, seed 0, directional head of" in output and "validation top-1" in output
    names = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    expected = {"config.toml", "metrics.csv", "timing.csv", "report.html", "report.md", "curves.png"}
    assert expected | {"checkpoints/last.pt", "checkpoints/best.pt", "frame_features.h5"} <= names
    places = ["--shards", str(made.shards), "--manifests", str(made.manifests), "--runs", str(tmp_path)]
    measured = json.loads(succeed("lsvit-train", "evaluate", "a", "--json", *places))
    assert measured
    exported = succeed("lsvit-train", "export", "a", "--format", "torch", "--runs", str(tmp_path), installed=True)
    assert "differ" in exported
    assert "features to" in succeed("lsvit-train", "embed", "a", *places, installed=True)
    again = succeed("lsvit-train", "run", "--config", str(tmp_path / "a" / "config.toml"), "--resume")
    assert "is finished (all epochs done)" in again


def test_several_splits_and_seeds_share_the_features(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    output = succeed(
        "lsvit-train", *words(made, tmp_path, "a", init=str(weights), split="1,2", epochs=2), "--seeds", "2"
    )
    assert output.count("validation top-1") == 4 and output.count("are computed") == 1
    states = [checkpoint(tmp_path / "a" / f"seed{seed}" / f"split{split}") for seed in range(2) for split in (1, 2)]
    assert [state["facts"]["split"] for state in states] == ["1", "2", "1", "2"]
    assert not torch.equal(states[0]["model"]["head.weight"], states[2]["model"]["head.weight"])
    assert_same(states[0]["model"], states[1]["model"])  # here all splits are alike
    places = ["--shards", str(made.shards), "--manifests", str(made.manifests), "--runs", str(tmp_path)]
    assert "±" in succeed("lsvit-train", "evaluate", "a/seed1", *places)


def test_where_a_head_stands_is_said(
    made: MadeDataset,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.terminal.console.PLAIN_INTERVAL_SECONDS", 0.0)
    probe(options(made, tmp_path, "a", init=str(weights), epochs=2))
    said = capsys.readouterr().err
    assert re.search(
        r"split 1, seed 0: 12/24 clips, .*, epoch 1/2: run: \d+ s left; loss \d\.\d+, top-1 \d+\.\d%\n", said
    )
    assert re.search(r"split 1, seed 0: 24/24 clips, .*, epoch 2/2: run: 0 s left; .*, validation \d+\.\d%\n", said)


def test_features_of_another_run_are_taken_over(
    made: MadeDataset, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(options(made, tmp_path, "a", init=str(weights), epochs=1))
    probe(options(made, tmp_path, "b", init=str(weights), epochs=1, temporal_pool="mean"))
    assert "18 are there, 0 are computed" in capsys.readouterr().out
    probe(options(made, tmp_path, "c", init=str(weights), epochs=1, img_size=24))
    assert "0 are there, 18 are computed" in capsys.readouterr().out


def test_a_killed_extraction_continues(
    made: MadeDataset,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    probe(options(made, tmp_path / "whole", "a", init=str(weights)))
    frame_features, calls = LSViT.frame_features, 0

    def killed(self: LSViT, *arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3 * 7 + 2:  # in the middle of a clip
            raise KeyboardInterrupt
        return frame_features(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LSViT, "frame_features", killed)
        probe(options(made, tmp_path / "cut", "a", init=str(weights)))
    with pytest.raises(UsageError, match="exists; continue it with --resume"):
        probe(options(made, tmp_path / "cut", "a", init=str(weights)))
    capsys.readouterr()
    probe(options(made, tmp_path / "cut", "a", init=str(weights), resume=True))
    assert "7 are there, 11 are computed" in capsys.readouterr().out
    with (
        h5py.File(tmp_path / "whole" / "a" / "frame_features.h5") as whole,
        h5py.File(tmp_path / "cut" / "a" / "frame_features.h5") as cut,
    ):
        assert np.array_equal(whole["features"][:], cut["features"][:])
    for which in ("last", "best"):
        one, other = (checkpoint(tmp_path / name / "a", which) for name in ("whole", "cut"))
        assert_same(one, other, ignored=frozenset({"runs"}))
    for name in ("metrics.csv", "report.html"):  # as a kill between the last checkpoint and its report leaves it
        (tmp_path / "cut" / "a" / name).unlink()
    probe(options(made, tmp_path / "cut", "a", init=str(weights), resume=True))
    assert "is finished (all epochs done)" in capsys.readouterr().out
    assert (tmp_path / "cut" / "a" / "report.html").is_file()
    assert len({(tmp_path / name / "a" / "metrics.csv").read_bytes() for name in ("whole", "cut")}) == 1


def test_motion_modules_of_a_run_are_kept(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames then have their features in company: what the head was trained on is what the whole model computes."""
    places = {"shards": str(made.shards), "manifests": str(made.manifests), "runs": str(tmp_path)}
    values = {**TINY, **places, "lmi_every": 2}
    run(command_line={**values, "name": "before", "epochs": 1}, config_file=None, resume=False)
    probe(options(made, tmp_path, "a", init="before", sampling="middle"))
    before, after = checkpoint(tmp_path / "before", "best")["model"], checkpoint(tmp_path / "a")
    config = after["facts"]["model_config"]
    assert config["smif"] == config["lmi"] == "directional" and config["lmi_every"] == 2
    for name in before.keys() - {"head.weight", "head.bias"}:
        assert torch.equal(after["model"][name], before[name]), name
    run(command_line={"name": "b"}, config_file=tmp_path / "a" / "config.toml", resume=False)
    torch.testing.assert_close(checkpoint(tmp_path / "b")["model"], after["model"], rtol=0, atol=2e-3)  # float16


@pytest.mark.parametrize("lmi", ["classic", "directional"])
def test_the_motion_modules_of_weights_are_found(lmi: str) -> None:
    for depth, every in ((1, 1), (3, 1), (4, 2), (6, 3), (3, 3), (2, 2), (7, 4)):
        config = ModelConfig(
            num_classes=3, image_size=16, num_frames=4, embed_dim=16, depth=depth, num_heads=2, lmi=lmi, lmi_every=every
        )
        tensors = LSViT(config).state_dict()
        weights = own_weights("a run", tensors, config, class_names=(), trained_on=TrainedOn())
        smif, found, found_every = motion_of(weights)
        again = dataclasses.replace(config, smif=smif, lmi=found, lmi_every=found_every)
        assert LSViT(again).state_dict().keys() == tensors.keys(), (depth, every)
    plain = dataclasses.replace(config, smif="none", lmi="none")
    weights = own_weights("a run", LSViT(plain).state_dict(), plain, class_names=(), trained_on=TrainedOn())
    assert motion_of(weights) == ("none", "none", 1)


def test_what_is_refused(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    assert "--init is missing" in fail(2, "lsvit-train", *words(made, tmp_path, "a"))
    with pytest.raises(UsageError, match="normalisation is dataset"):
        probe(options(made, tmp_path, "a", init=str(weights), normalisation="dataset"))
    with pytest.raises(UsageError, match="would stay random"):
        probe(options(made, tmp_path, "a", init=str(weights), spatial_pool="heatmap"))
    probe(options(made, tmp_path, "b", init=str(weights), epochs=1))
    with pytest.raises(UsageError, match=r"was begun another way: lr: 0.01 -> 0.02"):
        probe(options(made, tmp_path, "b", init=str(weights), epochs=1, lr=0.02, resume=True))
    with pytest.raises(UsageError, match="was begun with other splits or seeds"):
        probe(options(made, tmp_path, "b", init=str(weights), epochs=1, split="1,2", resume=True))
    with pytest.raises(DataError, match="holds features of another weights, image_size"):
        shutil.rmtree(tmp_path / "b" / "checkpoints")
        probe(options(made, tmp_path, "b", init=str(weights), img_size=24, resume=True))
    (tmp_path / "b" / "frame_features.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"is damaged: .*; delete it"):
        probe(options(made, tmp_path, "b", init=str(weights), resume=True))
    config = tmp_path / "config.toml"
    config.write_text(f'init = "{weights}"\nmixup = 0.5\n')
    assert "sets mixup, which a probe does not have" in fail(2, "lsvit-train", "probe", "--config", str(config))


def test_a_file_of_the_run_that_a_probe_leaves_says_what_was_settled(
    made: MadeDataset, weights: Path, tmp_path: Path
) -> None:
    probe(options(made, tmp_path, "a", init=str(weights), epochs=1))
    saved = read_config(tmp_path / "a" / "config.toml")
    assert {key: saved[key] for key in SETTLED} == dict(SETTLED)
    assert (saved["smif"], saved["lmi"], saved["temporal_pool"], saved["sampling"]) == (
        "none",
        "none",
        "directional",
        "tsn",
    )


def test_features_beyond_float16_are_refused(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    tensors = torch.load(weights, weights_only=True)
    tensors["norm.weight"] = tensors["norm.weight"] * 1e6
    torch.save(tensors, tmp_path / "large.pth")
    with pytest.raises(DataError, match="too large for float16"):
        probe(options(made, tmp_path, "a", init=str(tmp_path / "large.pth")))


@pytest.fixture(scope="module")
def of_two_seeds(made: MadeDataset, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, in it the probe ``a`` of two seeds and two splits."""
    runs = tmp_path_factory.mktemp("runs")
    probe(options(made, runs, "a", init=str(weights), epochs=1, split="1,2", seed=3, seeds=2))
    return runs


def test_a_probe_of_several_seeds_names_them(made: MadeDataset, of_two_seeds: Path) -> None:
    places = ["--shards", str(made.shards), "--manifests", str(made.manifests), "--runs", str(of_two_seeds)]
    assert "a run for each of its seeds; name one of them: a/seed0, a/seed1" in fail(
        1, "lsvit-train", "evaluate", "a", *places
    )
    assert "there are a/seed0, a/seed1" in fail(1, "lsvit-train", "evaluate", "b", *places)
    assert "a probe of several seeds; continue it with `lsvit-train probe --name a --resume`" in fail(
        2, "lsvit-train", "run", "--name", "a", "--resume", *places
    )
    assert run_name(of_two_seeds / "a" / "seed1" / "split2") == "a/seed1/split2"


def test_resume_needs_the_name_alone(
    made: MadeDataset, of_two_seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(of_two_seeds, runs)
    whole = checkpoint(runs / "a" / "seed1" / "split2")
    shutil.rmtree(runs / "a" / "seed1" / "split2" / "checkpoints")
    output = succeed("lsvit-train", "probe", "--runs", str(runs), "--name", "a", "--resume")
    assert output.count("is finished (all epochs done)") == 3 and "split 2, seed 4, directional head of" in output
    assert_same(whole, checkpoint(runs / "a" / "seed1" / "split2"), ignored=frozenset({"runs"}))
    with pytest.raises(UsageError, match=r"was begun another way: lr: 0.01 -> 0.02"):
        probe(ProbeOptions(values={"runs": str(runs), "name": "a", "lr": 0.02}, config_file=None, seeds=0, resume=True))


def test_an_extraction_that_was_killed_goes_on_by_name(
    made: MadeDataset, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("train.probe.command.compute_features", killed)
        probe(options(made, tmp_path, "a", init=str(weights), epochs=2, seeds=2))
    probe(ProbeOptions(values={"runs": str(tmp_path), "name": "a"}, config_file=None, seeds=0, resume=True))
    assert [len(checkpoint(tmp_path / "a" / name)["progress"]["history"]) for name in ("seed0", "seed1")] == [2, 2]


def test_options_that_do_nothing_say_so(
    made: MadeDataset, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(options(made, tmp_path, "a", init=str(weights), epochs=1, patience=1, val_fraction=0.0))
    said = capsys.readouterr().out
    assert "--patience does nothing here: there are no validation clips" in said
    assert said.count("does nothing here") == 1  # none about what a probe has no option for
