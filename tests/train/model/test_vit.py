"""The ViT parts against torch's own layers with the same weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train.model.config import BackboneShape
from train.model.pools import AttentionPool
from train.model.vit import Attention, Block, PatchEmbed, drop_path

DIM, HEADS, TOKENS, FRAMES = 24, 3, 7, 4
SHAPE = BackboneShape(embed_dim=DIM, depth=1, num_heads=HEADS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def frames(count: int = 2 * FRAMES) -> torch.Tensor:
    return torch.randn(count, TOKENS, DIM, dtype=torch.float64)


def test_attention_equals_multihead_attention() -> None:
    ours = Attention(DIM, num_heads=HEADS).double()
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = frames()
    expected, expected_weights = theirs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, rtol=1e-10, atol=1e-12)
    explicit, weights = ours.forward_with_weights(x, num_frames=FRAMES)
    torch.testing.assert_close(explicit, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(weights.flatten(0, 1), expected_weights, rtol=1e-10, atol=1e-12)


def test_block_equals_pre_norm_encoder_layer() -> None:
    ours = Block(SHAPE, num_frames=FRAMES).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = nn.TransformerEncoderLayer(
        DIM, HEADS, 4 * DIM, dropout=0.0, activation="gelu", norm_first=True, batch_first=True, layer_norm_eps=1e-6
    ).double()
    names = {
        "self_attn.in_proj_weight": "attn.qkv.weight",
        "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight",
        "self_attn.out_proj.bias": "attn.proj.bias",
        "linear1.weight": "mlp.fc1.weight",
        "linear1.bias": "mlp.fc1.bias",
        "linear2.weight": "mlp.fc2.weight",
        "linear2.bias": "mlp.fc2.bias",
    }
    names |= {f"norm{i}.{kind}": f"norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    state = ours.state_dict()
    assert sorted(names.values()) == sorted(state)
    theirs.load_state_dict({there: state[here] for there, here in names.items()})
    x = frames()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


def test_patch_embed_is_a_linear_map_of_each_patch_row_by_row() -> None:
    layer = PatchEmbed(image_size=12, patch_size=4, embed_dim=DIM).double()
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    tokens = layer(images)
    assert tokens.shape == (2, layer.num_patches, DIM)
    for row in range(3):
        for column in range(3):
            patch = images[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten(1)
            expected = F.linear(patch, layer.proj.weight.flatten(1), layer.proj.bias)
            torch.testing.assert_close(tokens[:, 3 * row + column], expected)
    theirs = nn.Conv2d(3, DIM, 4, stride=4, dtype=torch.float64)
    theirs.load_state_dict(layer.proj.state_dict())
    torch.testing.assert_close(tokens, theirs(images).flatten(2).transpose(1, 2))


def test_patch_embed_gives_the_same_where_the_pixels_are_learnt_through() -> None:
    layer = PatchEmbed(image_size=12, patch_size=4, embed_dim=DIM).double()
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    grid = F.conv2d(images, layer.proj.weight, layer.proj.bias, stride=4)
    tokens = layer(images)
    torch.testing.assert_close(tokens, grid.flatten(2).transpose(1, 2))
    wanted = torch.randn_like(tokens)
    parameters = (images, *layer.parameters())
    ours = torch.autograd.grad(tokens, parameters, wanted)
    theirs = torch.autograd.grad(grid.flatten(2).transpose(1, 2), parameters, wanted)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)


def test_patch_embed_normalises_the_pixels() -> None:
    layer = PatchEmbed(image_size=4, patch_size=2, embed_dim=3).double()
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    mean, std = torch.rand(2, 3, 1, 1, dtype=torch.float64) + 0.3
    torch.testing.assert_close(layer(images, (mean, std)), layer((images - mean) / std))
    names = [name for name, _ in layer.named_parameters()]

    def run(images: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (images, (mean, std)))

    assert torch.autograd.gradcheck(run, (images, *layer.parameters()))
    assert torch.autograd.gradcheck(layer, (images,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_under_autocast_is_close(dtype: torch.dtype) -> None:
    layer, x = Attention(DIM, num_heads=HEADS), frames().float()
    parameters = tuple(layer.parameters())
    exact = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        output = layer(x)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), exact, rtol=0.02, atol=0.02)
    ours = torch.autograd.grad(output.float().square().sum(), parameters)
    for own, other in zip(ours, torch.autograd.grad(exact.square().sum(), parameters), strict=True):
        torch.testing.assert_close(own, other, rtol=0.05, atol=0.03 * other.abs().max().item())


def test_patch_embed_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"8x12.*12x12"):
        PatchEmbed(image_size=12, patch_size=4, embed_dim=DIM)(torch.zeros(1, 3, 8, 12))


def test_drop_path_treats_all_frames_of_a_clip_alike() -> None:
    x = torch.rand(3 * FRAMES, 2, 5, generator=torch.Generator().manual_seed(0))
    scaled = drop_path(x, torch.tensor([0.0, 1.0, 1.25]), num_frames=FRAMES).view(3, FRAMES, 2, 5)
    expected = x.view(3, FRAMES, 2, 5)
    assert not scaled[0].any() and torch.equal(scaled[1], expected[1]) and torch.equal(scaled[2], expected[2] * 1.25)
    assert drop_path(x, None, num_frames=FRAMES) is x


def test_block_uses_drop_path_on_both_branches() -> None:
    block = Block(SHAPE, num_frames=FRAMES).double().train()
    x = frames()
    num_clips = len(x) // FRAMES
    none, every = torch.zeros(num_clips), torch.ones(num_clips)
    assert torch.equal(block(x, torch.stack([none, none])), x)
    assert torch.equal(block(x, torch.stack([every, none])), block.attend(x))
    assert torch.equal(block(x, torch.stack([none, every])), block.transform(x))
    assert torch.equal(block(x, torch.stack([every, every])), block(x))


def test_attention_pool_starts_as_the_mean_and_follows_its_query() -> None:
    pool = AttentionPool(DIM).double()
    x = frames()
    torch.testing.assert_close(pool(x), x.mean(dim=1))
    nn.init.normal_(pool.query)
    weights = torch.softmax(torch.einsum("bnd,d->bn", x, pool.query) / DIM**0.5, dim=1)
    torch.testing.assert_close(pool(x), torch.einsum("bn,bnd->bd", weights, x))
