"""Blocks computed again in the backward pass: the same gradients for less memory."""

from __future__ import annotations

import pytest
import torch

from train.learn.drop_path import draw
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.model.trainable import Trained, freeze


def small(depth: int = 4) -> LSViT:
    return LSViT(
        ModelConfig(
            num_classes=5,
            image_size=32,
            embed_dim=32,
            depth=depth,
            num_heads=2,
            num_frames=4,
            patch_size=8,
            temporal_pool="directional",
        )
    )


def gradients(model: LSViT, *, checkpointed: bool, compiled: bool = False) -> dict[str, torch.Tensor]:
    """Of one loss, with DropPath's draws, by the parameter's name."""
    model.backbone.checkpoint_blocks = checkpointed
    model.train().zero_grad(set_to_none=True)
    video = torch.rand(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    factors = draw(0.5, num_blocks=len(model.backbone.blocks), num_clips=3, seed=0, epoch=0, step=0)
    assert factors is not None and (factors == 0).any()
    forward = torch.compile(model) if compiled else model
    forward(video, factors).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("part", ["all", "motion", "head"])
def test_gradients_are_the_same(part: Trained) -> None:
    model = small()
    freeze(model, part)
    plain, checkpointed = (gradients(model, checkpointed=each) for each in (False, True))
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gradients_are_the_same_compiled() -> None:
    model = small(depth=2)
    plain, compiled = gradients(model, checkpointed=False), gradients(model, checkpointed=True, compiled=True)
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient, rtol=1e-4, atol=1e-5)


def test_less_is_kept_and_nothing_where_no_gradient_is_wanted() -> None:
    model = small()
    kept = {}
    for checkpointed in (False, True):
        model.backbone.checkpoint_blocks = checkpointed
        kept[checkpointed] = kept_bytes(model)
    assert kept[True] < 0.3 * kept[False]
    with torch.no_grad():
        assert kept_bytes(model) == 0
    freeze(model, "head")
    before_the_head = kept_bytes(model)
    model.backbone.checkpoint_blocks = False
    assert before_the_head == kept_bytes(model)


def kept_bytes(model: LSViT) -> int:
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(2, 4, 3, 32, 32))
    return total
