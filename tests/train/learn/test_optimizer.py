"""Groups, layer-wise rates, the schedule, and the moving average."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.learn.optimizer import Schedule, decays, layer_of, make_average, make_optimizer, set_rate, update_average
from train.model.config import ModelConfig
from train.model.lsvit import LSViT

SHAPE = ModelConfig(num_classes=3, image_size=16, embed_dim=32, depth=4, num_heads=2, num_frames=4, patch_size=8)


def test_every_parameter_is_in_one_group_with_its_layers_rate() -> None:
    model = LSViT(SHAPE)
    optimizer = make_optimizer(model, weight_decay=0.05, layer_decay=0.5)
    set_rate(optimizer, 1.0)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    names = dict(model.named_parameters())
    assert set(rate) == {id(parameter) for parameter in names.values()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    assert rate[id(names["head.weight"])] == 1.0
    assert rate[id(names["backbone.norm.weight"])] == 0.5  # with the last block, as in timm's `group_matcher`
    assert rate[id(names["backbone.blocks.3.attn.qkv.weight"])] == 0.5
    assert rate[id(names["backbone.blocks.0.attn.qkv.weight"])] == 0.5**4
    assert rate[id(names["backbone.patch_embed.proj.weight"])] == 0.5**5
    assert rate[id(names["backbone.pos_embed"])] == 0.5**5
    assert decay[id(names["backbone.blocks.0.attn.qkv.weight"])] == 0.05
    for name in ("backbone.blocks.0.attn.qkv.bias", "backbone.norm.weight", "backbone.cls_token", "backbone.pos_embed"):
        assert decay[id(names[name])] == 0.0, name


def test_the_groups_of_old_checkpoints_are_those_they_were() -> None:
    """They name no parameters: their order settles which state belongs to which. The last norm is with the head."""
    model = LSViT(SHAPE)
    old = make_optimizer(model, weight_decay=0.05, layer_decay=0.5, is_of_old=True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    last = [names[id(parameter)] for parameter in old.param_groups[-2]["params"]]
    assert last == ["backbone.norm.weight", "backbone.norm.bias", "head.bias"]
    assert old.param_groups[-2]["lr_scale"] == 1.0 and "param_names" not in old.state_dict()["param_groups"][0]
    new = make_optimizer(model, weight_decay=0.05, layer_decay=0.5)
    assert new.state_dict()["param_groups"][-2]["param_names"] == ["head.bias"]


def test_one_dimensional_parameters_do_not_decay() -> None:
    for name, parameter in LSViT(SHAPE).named_parameters():
        if parameter.ndim <= 1:
            assert not decays(name, parameter), name
    assert layer_of("smif.alpha", num_blocks=4) == 0
    assert layer_of("backbone.blocks.2.lmim.squeeze.weight", num_blocks=4) == 3


def test_new_parameters_have_the_full_rate() -> None:
    model = LSViT(SHAPE)
    new = [name for name, _ in model.named_parameters() if "smif" in name or ".lmim." in name]
    optimizer = make_optimizer(model, weight_decay=0.05, layer_decay=0.5, new_parameters=new)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        layer = layer_of(name, num_blocks=4)
        assert scale[id(parameter)] == (1.0 if name in new else 0.5 ** (5 - layer)), name
        assert (decay[id(parameter)] > 0) == decays(name, parameter), name


def test_how_far_new_parameters_move() -> None:
    """Twelve blocks at 0.75, as the recipe has them: SMIF had a fortieth of the head's way."""
    config = ModelConfig(num_classes=3, image_size=8, embed_dim=16, depth=12, num_heads=2, num_frames=2, patch_size=8)
    ways = {}
    for new in ((), ("smif.weight", "backbone.blocks.0.lmim.inject.weight")):
        model = LSViT(config)
        optimizer = make_optimizer(model, weight_decay=0.0, layer_decay=0.75, new_parameters=new)
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for step in range(20):
            set_rate(optimizer, Schedule(peak=1e-3, least=0, warmup_steps=5, num_steps=20).rate(step))
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        way = {
            name: float((parameter.detach() - before[name]).abs().max()) for name, parameter in model.named_parameters()
        }
        ways[bool(new)] = {name: way[name] / way["head.weight"] for name in way}
    assert math.isclose(ways[False]["smif.weight"], 0.75**13, rel_tol=1e-2)  # 0.024
    for name in ("smif.weight", "backbone.blocks.0.lmim.inject.weight"):
        assert math.isclose(ways[True][name], 1.0, rel_tol=1e-2)
    assert math.isclose(ways[True]["backbone.blocks.0.attn.qkv.weight"], 0.75**12, rel_tol=1e-2)


def test_weights_without_decay_do_not_shrink() -> None:
    model = nn.Linear(4, 4)
    before = model.bias.detach().clone().fill_(1.0)
    with torch.no_grad():
        model.bias.fill_(1.0)
    optimizer = make_optimizer(model, weight_decay=0.5, layer_decay=1.0)
    set_rate(optimizer, 0.1)
    weight = model.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.bias.detach(), before)
    torch.testing.assert_close(model.weight.detach(), weight * (1 - 0.1 * 0.5))


def test_schedule_golden_values() -> None:
    schedule = Schedule(peak=1.0, least=0.1, warmup_steps=4, num_steps=12)
    assert [schedule.rate(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule.rate(4) == 1.0
    assert math.isclose(schedule.rate(8), 0.55)
    assert math.isclose(schedule.rate(12), 0.1)
    assert math.isclose(schedule.rate(100), 0.1)


@given(warmup=st.integers(0, 50), total=st.integers(1, 200), step=st.integers(0, 300))
def test_schedule_stays_within_its_bounds(warmup: int, total: int, step: int) -> None:
    schedule = Schedule(peak=1e-3, least=1e-6, warmup_steps=min(warmup, total), num_steps=total)
    assert 0 < schedule.rate(step) <= 1e-3 * (1 + 1e-12)
    if step >= schedule.warmup_steps:
        assert schedule.rate(step + 1) <= schedule.rate(step)


def test_average_follows_the_formula() -> None:
    model = nn.Linear(3, 2)
    average = make_average(model)
    expected = model.weight.detach().double().clone()
    for step in range(1, 40):
        with torch.no_grad():
            model.weight += 0.1 * step
        update_average(average, model, decay=0.9, step=step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(average.get_parameter("weight").double(), expected, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in average.parameters())
