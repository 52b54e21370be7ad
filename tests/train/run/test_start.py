"""--init from the command line on: own runs by name, shapes from files, and a resume without the weights."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import torch
from commands import Outcome, run
from made_dataset import MadeDataset
from script_files import load_script
from trained import assert_same, checkpoint, train, training_words

from shared.errors import DataError
from train.explain.maps import explain_clip
from train.run.config.values import Value
from train.trained.hub_folder import write_folder
from train.trained.model import load_model

script = load_script("make_weight_goldens")
SHAPE_KEYS = ("patch_size", "embed_dim", "depth", "num_heads")
OPEN: dict[str, Value] = dict.fromkeys(SHAPE_KEYS, 0)
FINE: dict[str, Value] = {**OPEN, "epochs": 2, "layer_decay": 0.5, "checkpoint_every": 1, "model_ema": True}


@pytest.fixture(scope="module")
def runs(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one in it, `plain`, which has no motion modules but an average."""
    folder = tmp_path_factory.mktemp("runs")
    train(made, folder, "plain", smif="none", lmi="none", model_ema=True, epochs=1, embed_dim=64, num_heads=4)
    return folder


def call(words: list[str]) -> Outcome:
    return run("lsvit-train", *words)


def test_a_run_by_its_name(made: MadeDataset, runs: Path) -> None:
    result = call(training_words(made, runs, "fine", init="plain", smif="directional", lmi="directional", **FINE))
    assert result.code == 0, result.err
    before, after = checkpoint(runs / "plain", "best"), checkpoint(runs / "fine")
    with (runs / "fine" / "config.toml").open("rb") as file:
        config = tomllib.load(file)
    assert [config[key] for key in SHAPE_KEYS] == [8, 64, 2, 4]
    assert after["facts"]["mean"] == before["facts"]["mean"]
    assert "loaded 32 tensors from plain" in result.out and "no config.json" not in result.out
    new = after["new_parameters"]
    assert new and all("smif" in name or ".lmim." in name for name in new)
    assert {group["lr_scale"] for group in after["optimizer"]["param_groups"]} == {1.0, 0.5, 0.25, 0.125}


def test_layer_decay_is_not_for_motion_pools_and_head_without_weights(made: MadeDataset, tmp_path: Path) -> None:
    content = checkpoint(train(made, tmp_path, "scratch", epochs=1, layer_decay=0.5))
    rates = {name: group["lr_scale"] for group in content["optimizer"]["param_groups"] for name in group["param_names"]}
    assert set(content["new_parameters"]) == {name for name in rates if re.search(r"smif|lmim|pool|head", name)}
    assert {rates[name] for name in content["new_parameters"]} == {1.0}
    assert {rates[name] for name in rates if name not in content["new_parameters"]} == {0.5, 0.25, 0.125}


def test_an_activation_that_contradicts_a_run_is_refused(made: MadeDataset, runs: Path) -> None:
    with pytest.raises(DataError, match=r"--activation quick_gelu does not fit the weights of plain: .* use gelu"):
        train(made, runs, "contradicts", init="plain", activation="quick_gelu", **OPEN)
    train(made, runs, "agrees", init="plain", activation="gelu", epochs=1, **OPEN)


@pytest.mark.parametrize("start", ["identity", "active", "auto"])
def test_a_motion_init_that_is_given_is_obeyed(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str
) -> None:
    still: dict[str, Value] = {"epochs": 1, "lr": 0.0, "min_lr": 0.0, "weight_decay": 0.0}
    before = checkpoint(train(made, tmp_path, "before", epochs=1))["model"]
    capsys.readouterr()
    after = checkpoint(train(made, tmp_path, "after", init="before", motion_init=start, seed=3, **still))
    moving = {name for name in before if "smif." in name or ".lmim." in name}
    assert all(torch.equal(value, after["model"][name]) for name, value in before.items() if name not in moving)
    renewed = {name for name in moving if not torch.equal(before[name], after["model"][name])}
    if start == "auto":
        assert not renewed and not after["new_parameters"]
    else:
        assert renewed and set(after["new_parameters"]) == moving
        assert f"directional modules start anew, {start}: {len(moving)} tensors" in capsys.readouterr().out


def test_the_average_is_what_is_taken(made: MadeDataset, runs: Path) -> None:
    still: dict[str, Value] = {**OPEN, "epochs": 1, "lr": 0.0, "min_lr": 0.0, "weight_decay": 0.0}
    folder = train(made, runs, "still", init=str(runs / "plain"), smif="none", lmi="none", **still)
    before = checkpoint(runs / "plain", "best")
    assert_same(dict(checkpoint(folder)["model"]), dict(before["average"]))
    assert not torch.equal(before["average"]["head.weight"], before["model"]["head.weight"])


def test_a_run_continues_without_its_weights(
    made: MadeDataset, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.step import train_step

    weights = tmp_path / "plain.pt"
    weights.write_bytes((runs / "plain" / "checkpoints" / "best.pt").read_bytes())
    whole = train(made, tmp_path, "whole", init=str(weights), **FINE)
    left = 3

    def killed(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("killed")
        return train_step(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.train_step", killed)
        train(made, tmp_path, "cut", init=str(weights), **FINE)
    weights.unlink()
    cut = train(made, tmp_path, "cut", init=str(weights), resume=True, **FINE)
    assert_same(checkpoint(cut), checkpoint(whole), ignored=frozenset({"name"}))
    assert (cut / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_checkpoint_from_before_new_parameters_were_noted(made: MadeDataset, runs: Path, tmp_path: Path) -> None:
    """It continues with the groups that it was begun with: all by layer."""
    folder = train(made, tmp_path, "old", epochs=2, layer_decay=0.5)
    path = folder / "checkpoints" / "last.pt"
    content = torch.load(path, weights_only=True)
    del content["new_parameters"]
    for name in ("activation", "layer_norm_epsilon", "class_token", "num_registers", "norm_pre", "positions"):
        del content["facts"]["model_config"][name]
    torch.save(content, path)
    loaded = load_model(folder, which="last")
    assert_same(dict(loaded.model.state_dict()), dict(content["model"]))


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("family", ["dinov2_registers", "clip_openai", "siglip", "siglip_mean", "dinov3"])
def test_every_family_goes_all_the_way(made: MadeDataset, tmp_path: Path, family: str) -> None:
    """From a file alone to a run that answers and is explained."""
    shapes = json.loads((script.FOLDER / f"{family}.json").read_text())["shapes"]
    shapes["patch_embed.proj.weight"][2:] = [8, 8]  # the made clips are small
    torch.save({name: script.made_tensor(name, tuple(each)) for name, each in shapes.items()}, tmp_path / "weights.pth")
    given: dict[str, Value] = {**OPEN, "num_heads": 2, "init": str(tmp_path / "weights.pth"), "epochs": 1}
    if family.startswith("clip"):
        given["activation"] = "quick_gelu"
    folder = train(made, tmp_path, family, **given)
    loaded = load_model(folder)
    explanation = explain_clip(loaded, torch.zeros(4, 24, 32, 3, dtype=torch.uint8))
    assert explanation.rollout.shape == explanation.gradient.shape == (4, 2, 2)
    assert (folder / "report.html").is_file()


def made_weights(family: str, path: Path) -> str:
    """A file of a family's weights."""
    shapes = json.loads((script.FOLDER / f"{family}.json").read_text())["shapes"]
    torch.save({name: script.made_tensor(name, tuple(each)) for name, each in shapes.items()}, path)
    return str(path)


def test_describe_shows_what_weights_are(tmp_path: Path, runs: Path) -> None:
    weights = made_weights("dinov2_registers", tmp_path / "dino.pth")
    result = call(["describe", "--init", weights, "--num-heads", "2", "--img-size", "42", "--json"])
    assert result.code == 0, result.err
    stages = {stage["name"]: stage for stage in json.loads(result.out)["stages"]}
    assert stages["reg_token"]["output"] == [16, 13, 32] and stages["blocks.0.attn"]["input"] == [16, 14, 32]
    assert "ImageNet's, which DeiT-3, DINOv2 and DINOv3 expect" in result.err
    assert "(0.485, 0.456, 0.406)" in stages["normalise"]["explanation"]
    own = call(["describe", "--init", "plain", "--runs", str(runs), "--img-size", "16"])
    assert own.code == 0 and "LS-ViT plain" in own.out and "(4, 5, 64)" in own.out


def test_the_command_refuses_and_asks(tmp_path: Path) -> None:
    foreign = json.loads((script.FOLDER / "foreign.json").read_text())["qk_norm"]
    torch.save({name: script.made_tensor(name, tuple(each)) for name, each in foreign.items()}, tmp_path / "qk.pth")
    refused = call(["describe", "--init", str(tmp_path / "qk.pth"), "--num-heads", "2"])
    assert refused.code == 1 and "blocks.0.attn.q_norm.weight" in refused.err
    clip = made_weights("clip_openai", tmp_path / "clip.pth")
    asking = call(["describe", "--init", clip, "--num-heads", "2", "--img-size", "32"])
    assert asking.code == 1 and "--activation quick_gelu" in asking.err
    told = json.dumps({"architecture": "vit_base_patch16_clip_224", "pretrained_cfg": {"tag": "openai"}})
    (tmp_path / "config.json").write_text(told)
    answered = call(["describe", "--init", clip, "--num-heads", "2", "--img-size", "32"])
    assert answered.code == 0 and "quick_gelu" in answered.out
    both = call(["describe", "--init", clip, "--num-heads", "2", "--img-size", "32", "--preset", "base"])
    assert both.code == 1 and f"--preset base does not fit the weights of {clip}: their embed_dim is 32" in both.err


def test_describe_shows_a_run_as_it_was_trained(made: MadeDataset, tmp_path: Path) -> None:
    preset = {"preset": "tiny", "embed_dim": 0, "depth": 0, "num_heads": 0, "patch_size": 16, "img_size": 16}
    parts: dict[str, Value] = {"smif": "none", "lmi_every": 2, "temporal_pool": "directional"}
    folder = train(made, tmp_path, "some", **preset, **parts, epochs=1)  # type: ignore[arg-type]
    words = ["describe", "--init", "some", "--runs", str(tmp_path)]
    found = call([*words, "--preset", "tiny", "--json"])
    assert found.code == 0, found.err
    stages = {stage["name"]: stage for stage in json.loads(found.out)["stages"]}
    assert [name for name in stages if name.endswith("lmim")] == ["blocks.1.lmim"]
    learned = sum(tensor.numel() for tensor in checkpoint(folder)["model"].values())
    assert json.loads(found.out)["parameters"] == learned
    assert stages["smif"]["input"] == [1, 4, 3, 16, 16] and stages["pos_embed"]["output"] == [4, 2, 96]
    assert stages["head"]["output"] == [1, 3] and "no SMIF" in stages["smif"]["explanation"]
    given = call([*words, "--smif", "classic", "--lmi-every", "3", "--num-classes", "7"])
    assert "LS-ViT some, SMIF classic, LMI directional in 1 block of 3, one clip" in given.out
    assert "(1, 7)" in given.out
    larger = call([*words, "--img-size", "32", "--num-frames", "6"])
    assert larger.code == 0 and "(1, 6, 3, 32, 32)" in larger.out and "(6, 5, 96)" in larger.out
    wrong = call([*words, "--preset", "small"])
    assert wrong.code == 1 and "--preset small does not fit the weights of some: their embed_dim is 96" in wrong.err
    loaded = load_model(folder)
    write_folder(tmp_path / "exported", loaded, name="some", measures=None, repo="")
    exported = call(["describe", "--init", str(tmp_path / "exported"), "--json"])
    assert exported.out == found.out
