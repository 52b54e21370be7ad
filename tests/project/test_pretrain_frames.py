"""Weights made from frames without labels: what is hidden, what is learned, and that it goes on where it stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
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
from shared.errors import DataError
from shared.shards.reader import ShardReader
from train.model.config import make_config
from train.model.lsvit import LSViT
from train.model.weights.families import load_weights
from train.model.weights.pretrained import copy_weights
from train.model.weights.unstated import HALF

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


def test_a_pretraining_goes_on_with_its_own_shards_alone(made: MadeDataset, weights: Path) -> None:
    frames = StoredFrames([made.shards])
    pretrain(frames, SETTINGS, weights.parent, save_every=4)
    frames.dataset_ids = ["another"]
    with pytest.raises(DataError, match="was made with dataset_ids"):
        pretrain(frames, SETTINGS, weights.parent, save_every=4)
