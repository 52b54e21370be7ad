"""``--train``: what is frozen stays as it was to the bit and costs nothing, what is not learns as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import fail, succeed
from made_dataset import CLASSES, MadeDataset
from trained import assert_same, checkpoint, train, training_words

from shared.errors import UsageError
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.model.trainable import freeze, num_trainable
from train.run.config.resolve import resolve
from train.trained.model import load_model


@pytest.fixture(scope="module")
def weights(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose weights the others start from."""
    return train(made, tmp_path_factory.mktemp("weights"), "before", smif="none", lmi="none", epochs=1)


def names_that_train(model: LSViT) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def small(**changes: object) -> LSViT:
    values = {"num_classes": 3, "image_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return LSViT(ModelConfig(**(values | {"num_frames": 4} | changes)))  # type: ignore[arg-type]


def test_what_trains_by_name() -> None:
    model = small(spatial_pool="heatmap", temporal_pool="directional")
    everything = names_that_train(model)
    freeze(model, "motion")
    motion = names_that_train(model)
    assert {name for name in everything - motion if ".lmim." in name or not name.startswith("backbone.")} == set()
    assert {name for name in motion if name.startswith("backbone.") and ".lmim." not in name} == set()
    freeze(model, "head")
    head = names_that_train(model)
    assert {name.split(".")[0] for name in head} == {"spatial_pool", "temporal_pool", "head"}
    assert head == {name for name in everything if name.split(".")[0] in ("spatial_pool", "temporal_pool", "head")}
    assert num_trainable(model) == sum(dict(model.named_parameters())[name].numel() for name in head)
    freeze(model, "all")
    assert names_that_train(model) == everything


@pytest.mark.parametrize("part", ["motion", "head"])
def test_what_is_frozen_stays_to_the_bit(made: MadeDataset, weights: Path, tmp_path: Path, part: str) -> None:
    options = {"model_ema": True, "drop_path": 0.5, "lr": 0.01, "temporal_pool": "attention"}
    folder = train(made, tmp_path, part, init=str(weights), train=part, **options)
    before, after = checkpoint(weights, "best")["model"], checkpoint(folder)
    trained = names_that_train(frozen_like(load_model(folder).model, part))
    for name, tensor in before.items():
        if name not in trained:
            assert torch.equal(after["model"][name], tensor) and torch.equal(after["average"][name], tensor), name
    for name in trained - {name for name in trained if "temporal_mlp" in name}:
        assert not torch.equal(after["model"][name], after["average"][name]), name
    states = after["optimizer"]["state"]
    assert len(states) == len(trained) == sum(len(group["params"]) for group in after["optimizer"]["param_groups"])
    assert after["facts"]["model_config"]["drop_path"] == 0.0


def frozen_like(model: LSViT, part: str) -> LSViT:
    model.requires_grad_(True)
    freeze(model, part)  # type: ignore[arg-type]
    return model


def test_a_killed_frozen_run_continues_to_the_bit(
    made: MadeDataset, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.step import train_step

    options = {"init": str(weights), "train": "motion", "checkpoint_every": 1, "model_ema": True}
    whole = train(made, tmp_path / "whole", "a", **options)
    calls = 0

    def killed(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise ConnectionError("killed")
        return train_step(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("train.run.loop.train_step", killed)
        train(made, tmp_path / "cut", "a", **options)
    cut = train(made, tmp_path / "cut", "a", resume=True, **options)
    assert_same(checkpoint(cut), checkpoint(whole), ignored=frozenset({"runs"}))


def saved_bytes(model: LSViT) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters aside, each piece of memory once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(torch.rand(2, 4, 3, 16, 16))
    assert logits.requires_grad
    return sum(kept.values())


def test_a_frozen_prefix_keeps_nothing() -> None:
    model = small()
    kept = {}
    for part in ("all", "motion", "head"):
        freeze(model, part)  # type: ignore[arg-type]
        kept[part] = saved_bytes(model)
    assert kept["head"] < kept["motion"] < kept["all"]
    assert kept["head"] <= 2 * 32 * 4  # what goes into the last layer, and nothing of the ViT


def test_the_start_line_counts_what_trains(made: MadeDataset, weights: Path, tmp_path: Path) -> None:
    words = training_words(made, tmp_path, "a", init=str(weights), train="head", epochs=1)
    head = len(CLASSES) * 32 + len(CLASSES)
    output = succeed("lsvit-train", *words, installed=True)
    assert f" parameters of which {head} train (--train head), 16x16" in output
    assert "random" not in output
    assert "the ViT is random and stays so (--train head without --init)" in succeed(
        "lsvit-train", *training_words(made, tmp_path, "b", train="head", epochs=1)
    )


def test_motion_without_motion_modules_is_refused(made: MadeDataset, tmp_path: Path) -> None:
    words = training_words(made, tmp_path, "a", train="motion", smif="none", lmi="none")
    assert "there is no motion module; choose one, or train = head" in fail(2, "lsvit-train", *words)
    with pytest.raises(UsageError, match="train is 'tail'"):
        resolve(command_line={"train": "tail"}, file={})


def test_layer_decay_counts_the_frozen_blocks() -> None:
    from train.learn.optimizer import make_optimizer

    model = small(lmi="none")
    freeze(model, "motion")
    optimizer = make_optimizer(model, weight_decay=0.0, layer_decay=0.5)
    scales = sorted({group["lr_scale"] for group in optimizer.param_groups})
    assert np.allclose(scales, [0.5**3, 1.0])  # SMIF before two blocks, and the head
