"""The whole model: sizes, names, invariances, combinations, half precision, compile and export."""

from __future__ import annotations

import dataclasses
import json
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from shared.checks import from_builtins
from shared.errors import UsageError
from train.model.lmi import DirectionalLMI
from train.model.lsvit import PRESETS, LSViT, ModelConfig, make_config
from train.model.smif import ClassicSMIF, DirectionalSMIF

VARIANTS = ("none", "classic", "directional")
FRAMES, SIZE, CLASSES = 4, 32, 5


def small(*, smif: str = "directional", lmi: str = "directional", **changes: object) -> ModelConfig:
    values = {
        "num_classes": CLASSES,
        "image_size": SIZE,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "num_frames": FRAMES,
        "smif": smif,
        "lmi": lmi,
    }
    return ModelConfig(**(values | changes))  # type: ignore[arg-type]


def clips(count: int = 2, *, frames: int = FRAMES, size: int = SIZE) -> Tensor:
    return torch.rand(count, frames, 3, size, size, generator=torch.Generator().manual_seed(3))


def shaken(model: LSViT) -> LSViT:
    """The model with noise on every parameter, so that nothing is zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def count_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in LSViT(config).parameters())


def test_base_has_the_published_number_of_parameters() -> None:
    classic = count_parameters(make_config("base", num_classes=51, image_size=224, smif="classic", lmi="classic"))
    assert classic == 90_282_325
    directional = count_parameters(make_config("base", num_classes=51, image_size=224))
    assert abs(directional / classic - 1) <= 0.08
    plain = count_parameters(make_config("base", num_classes=1000, image_size=224, smif="none", lmi="none"))
    assert plain == 86_567_656  # ViT-B/16 with 1000 classes


def test_classic_state_dict_keys() -> None:
    keys = set(LSViT(small(smif="classic", lmi="classic")).state_dict())
    layers = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    layers += ["lmim.reduce", "lmim.expand", "lmim.temporal_mlp.0", "lmim.temporal_mlp.1", "lmim.temporal_mlp.3"]
    roots = [f"backbone.blocks.{index}.{layer}" for index in range(2) for layer in layers]
    roots += ["smif.conv_fuse", "backbone.patch_embed.proj", "backbone.norm", "head"]
    expected = {f"{root}.{kind}" for root in roots for kind in ("weight", "bias")}
    expected |= {"smif.alpha", "backbone.cls_token", "backbone.pos_embed"}
    expected |= {f"backbone.blocks.{index}.lmim.delta" for index in range(2)}
    assert keys == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_shapes_of_vits(preset: str) -> None:
    config = make_config(preset, num_classes=51, image_size=64)
    assert config.embed_dim // config.num_heads in (32, 64)
    assert config.num_tokens == 17


@pytest.mark.parametrize(("smif", "lmi"), list(product(VARIANTS, VARIANTS)))
def test_every_combination_learns(smif: str, lmi: str) -> None:
    model = shaken(LSViT(small(smif=smif, lmi=lmi)))
    logits = model(clips())
    assert logits.shape == (2, CLASSES)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("start", ["identity", "active"])
def test_gradient_reaches_every_parameter_from_the_start(start: str) -> None:
    model = LSViT(small(motion_init=start, spatial_pool="heatmap", temporal_pool="attention"))
    model(clips()).square().sum().backward()
    silent = {name for name, parameter in model.named_parameters() if not parameter.grad.abs().max() > 0}
    # Behind a zero `inject` nothing can move until it has made its first step.
    behind_zero = ("lmim.squeeze", "lmim.norm", "lmim.query_key", "lmim.position")
    expected = {name for name, _ in model.named_parameters() if any(part in name for part in behind_zero)}
    assert silent == (expected if start == "identity" else set())


@pytest.mark.parametrize(
    ("spatial", "temporal"), list(product(("cls", "mean", "heatmap"), ("mean", "attention", "directional")))
)
def test_pools(spatial: str, temporal: str) -> None:
    model = LSViT(small(spatial_pool=spatial, temporal_pool=temporal, motion_init="identity"))
    features = model.forward_features(clips())
    assert features.shape == (2, 32)
    torch.testing.assert_close(model.head(features), model(clips()))
    tokens = model.backbone(model.normalise(model.inject_motion(clips())).flatten(0, 1)).view(2, FRAMES, -1, 32)
    expected = tokens[:, :, 0] if spatial == "cls" else tokens[:, :, 1:].mean(dim=2)
    torch.testing.assert_close(features, expected.mean(dim=1))  # pools start as the plain mean


def test_the_directional_pool_alone_knows_the_order_of_frames() -> None:
    video = clips().double()
    for temporal, tells in (("mean", False), ("attention", False), ("directional", True)):
        model = shaken(LSViT(small(smif="none", lmi="none", temporal_pool=temporal))).double()
        change = float((model(video.flip(1)) - model(video)).abs().max())
        assert change > 1e-3 if tells else change < 1e-12, temporal


def test_the_directional_pool_against_a_loop() -> None:
    pool = shaken(LSViT(small(temporal_pool="directional"))).temporal_pool.double()  # type: ignore[union-attr]
    frames = torch.randn(2, FRAMES, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lmi, heads, width = pool.lmim, 4, 32 // 4
    reduced = lmi.norm(lmi.squeeze(frames))
    query, key = (part.unflatten(-1, (heads, -1)) for part in lmi.query_key(reduced).chunk(2, dim=-1))
    moved = torch.zeros(2, FRAMES, width, dtype=torch.float64)
    part = width // heads
    for clip, head, at in product(range(2), range(heads), range(FRAMES)):
        scores = [
            query[clip, at, head] @ key[clip, other, head] / part**0.5 + lmi.position[head, at, other]
            for other in range(FRAMES)
        ]
        weights = torch.stack(scores).softmax(dim=0)
        own = slice(head * part, (head + 1) * part)
        for other in range(FRAMES):
            moved[clip, at, own] += weights[other] * (reduced[clip, other, own] - reduced[clip, at, own])
    expected = (frames + lmi.inject(torch.nn.functional.gelu(moved))).mean(dim=1)
    torch.testing.assert_close(pool(frames), expected, rtol=1e-9, atol=1e-9)


def test_classic_is_blind_to_the_direction_of_time_and_directional_is_not() -> None:
    video = clips().double()
    classic = shaken(LSViT(small(smif="classic", lmi="classic"))).double()
    torch.testing.assert_close(classic(video.flip(1)), classic(video), rtol=0, atol=1e-12)
    for smif, lmi in (("directional", "none"), ("none", "directional"), ("directional", "directional")):
        model = shaken(LSViT(small(smif=smif, lmi=lmi, motion_init="identity"))).double()
        assert (model(video.flip(1)) - model(video)).abs().max() > 1e-3


def test_identity_start_equals_the_plain_vit() -> None:
    plain = LSViT(small(smif="none", lmi="none"))
    model = LSViT(small(motion_init="identity"))
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model(clips()), plain(clips()))


def test_classic_smif_sees_the_normalised_input() -> None:
    model = shaken(LSViT(small(smif="classic", lmi="none"))).double()
    video = clips().double()
    assert isinstance(model.smif, ClassicSMIF)
    torch.testing.assert_close(model.normalise(model.inject_motion(video)), model.smif((video - 0.5) / 0.5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_is_its_stages(variant: str) -> None:
    model = shaken(LSViT(small(smif=variant, lmi=variant, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)))).double()
    video = clips().double()
    images = model.normalise(model.inject_motion(video)).flatten(0, 1)
    torch.testing.assert_close(model(video), model.head(model.pool(model.backbone(images))), rtol=1e-9, atol=1e-9)


def test_normalisation_is_inside_and_can_be_adopted() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = LSViT(small(smif="none", lmi="none", mean=mean, std=std))
    video = clips()
    for colour in range(3):
        expected = (video[:, :, colour] - mean[colour]) / std[colour]
        torch.testing.assert_close(model.normalise(video)[:, :, colour], expected)
    adopting = LSViT(small(smif="none", lmi="none"))
    assert not torch.allclose(adopting(video), model(video))
    adopting.adopt_normalisation(mean=mean, std=std)
    assert torch.equal(adopting(video), model(video))
    assert adopting.config == model.config
    assert not {"mean", "std"} & set(model.state_dict())


@pytest.mark.parametrize("variant", VARIANTS)
def test_trace_equals_forward_and_can_be_differentiated(variant: str) -> None:
    model = shaken(LSViT(small(smif=variant, lmi=variant))).eval()
    video = clips()
    trace = model.trace(video)
    torch.testing.assert_close(trace.logits, model(video))
    assert [tuple(weights.shape) for weights in trace.attentions] == [(2, FRAMES, 2, 5, 5)] * 2
    for weights in trace.attentions:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, FRAMES, 2, 5))
    gradients = torch.autograd.grad(trace.logits[0, 1], trace.attentions)
    assert all(gradient[0].abs().max() > 0 and not gradient[1].any() for gradient in gradients)
    if variant == "none":
        assert trace.motion_map is None and trace.lmi_weights is None
        return
    assert trace.motion_map is not None and trace.motion_map.shape == video.shape
    over_time = (2, FRAMES) if variant == "classic" else (2, FRAMES, FRAMES)
    assert trace.lmi_weights is not None
    assert [tuple(weights.shape) for weights in trace.lmi_weights] == [over_time] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_autocast_stays_finite_and_close(variant: str, dtype: torch.dtype) -> None:
    model = shaken(LSViT(small(smif=variant, lmi=variant)))
    exact = model(clips())
    with torch.autocast("cpu", dtype=dtype):
        logits = model(clips())
    assert logits.dtype == dtype
    logits.float().square().mean().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert (logits - exact).abs().max() < 0.1 * exact.abs().max()


def test_drop_path_acts_from_the_second_block_on_and_only_where_it_is_drawn() -> None:
    model = LSViT(small(depth=3, drop_path=0.2, lmi="none")).train()
    short = LSViT(small(depth=2, drop_path=0.2, lmi="none"))
    short.load_state_dict(model.state_dict(), strict=False)
    video = clips(2)
    skip_last = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(model(video, skip_last), short(video))
    assert torch.equal(model(video, torch.ones(4, 2)), model(video))
    assert torch.equal(model(video), model.eval()(video))


def test_start_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = LSViT(small(), seed=7), LSViT(small(), seed=7), LSViT(small(), seed=8)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    later = LSViT(small(), seed=7)
    for model in (again, later):
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), model.parameters(), strict=True))
    assert not torch.equal(first.backbone.pos_embed, other.backbone.pos_embed)


@pytest.mark.parametrize("variant", ["none", "classic"])
def test_models_that_differ_in_a_part_start_alike_in_the_others(variant: str) -> None:
    whole = dict(LSViT(small(temporal_pool="attention"), seed=7).named_parameters())
    for changed in ({"smif": variant}, {"lmi": variant}, {"spatial_pool": "latent"}, {"temporal_pool": "directional"}):
        part = dict(LSViT(small(**({"temporal_pool": "attention"} | changed)), seed=7).named_parameters())
        shared = [name for name in whole if name in part]
        assert "head.weight" in shared and "backbone.blocks.1.mlp.fc2.weight" in shared
        assert all(torch.equal(whole[name], part[name]) for name in shared)


def test_parts_of_one_model_start_differently() -> None:
    blocks = LSViT(small(), seed=7).backbone.blocks
    matrices = [dict(block.named_parameters())["attn.qkv.weight"] for block in blocks]
    assert not torch.equal(*matrices)
    assert not torch.equal(blocks[0].lmim.inject.weight, blocks[1].lmim.inject.weight)


def test_every_start_value_is_drawn_from_the_seed() -> None:
    for smif, lmi, pool in product(VARIANTS, VARIANTS, ("cls", "heatmap", "latent")):
        states = []
        for global_seed in (1, 2):
            torch.manual_seed(global_seed)
            states.append(LSViT(small(smif=smif, lmi=lmi, spatial_pool=pool), seed=3).state_dict())
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0]), (smif, lmi, pool)


@pytest.mark.parametrize(
    ("every", "depth", "blocks"),
    [(1, 3, [0, 1, 2]), (2, 4, [1, 3]), (3, 12, [1, 4, 7, 10]), (4, 12, [2, 6, 10]), (3, 3, [1]), (2, 2, [1])],
)
def test_lmi_in_one_block_of_every_n(every: int, depth: int, blocks: list[int]) -> None:
    model = LSViT(small(depth=depth, lmi_every=every))
    assert [number for number, block in enumerate(model.backbone.blocks) if block.lmim is not None] == blocks
    weights = model.trace(clips()).lmi_weights
    assert weights is not None and len(weights) == len(blocks)
    video = clips()
    assert float((model(video.flip(1)) - model(video)).detach().abs().max()) > 1e-5  # the arrow of time is still seen


def test_no_block_with_lmi_is_refused() -> None:
    for every in (0, 3):
        with pytest.raises(UsageError, match=rf"lmi_every is {every}.*number of blocks, 2"):
            small(lmi_every=every)


def test_a_config_from_before_lmi_every_has_lmi_in_each_block() -> None:
    stored = dataclasses.asdict(small())
    del stored["lmi_every"]
    assert from_builtins(ModelConfig, json.loads(json.dumps(stored))).lmi_every == 1


def test_active_start_reaches_the_directional_modules() -> None:
    model = LSViT(small(motion_init="active"))
    assert isinstance(model.smif, DirectionalSMIF) and model.smif.weight.any()
    lmis = [module for module in model.modules() if isinstance(module, DirectionalLMI)]
    assert len(lmis) == 2 and all(lmi.inject.weight.any() for lmi in lmis)


def test_wrong_shapes_are_refused() -> None:
    model = LSViT(small())
    with pytest.raises(ValueError, match=r"5 frames.*takes 4"):
        model(clips(frames=5))
    with pytest.raises(ValueError, match=r"48x48.*32x32"):
        model(clips(size=48))


def test_config_survives_json() -> None:
    config = small(mean=(0.1, 0.2, 0.3), drop_path=0.1)
    restored = from_builtins(ModelConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert restored == config and isinstance(restored.mean, tuple)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image size 30 is no multiple of the patch size 16; try 16 or 32"),
        ({"image_size": 8}, "try 16$"),
        ({"num_heads": 3}, "embed_dim 32 is no multiple of num_heads 3"),
        ({"embed_dim": 24}, "no multiple of 16, as directional LMI needs"),
        ({"drop_path": 1.0}, "drop_path is 1.0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"smif": "both"}, "smif is 'both'; choose one of none, classic, directional"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
    ],
)
def test_bad_configs_are_usage_errors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_incomplete_config_and_unknown_preset() -> None:
    values = dataclasses.asdict(small())
    with pytest.raises(ValueError, match="colour is unknown"):
        from_builtins(ModelConfig, values | {"colour": 1})
    del values["image_size"]
    with pytest.raises(ValueError, match="image_size"):
        from_builtins(ModelConfig, values)
    with pytest.raises(UsageError, match="'huge'; choose one of tiny, small, base"):
        make_config("huge", num_classes=3, image_size=64)


@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_export_takes_any_number_of_clips(variant: str) -> None:
    model = shaken(LSViT(small(smif=variant, lmi=variant))).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (clips(2),), dynamic_shapes={"video": {0: batch}})
    for count in (1, 5):
        torch.testing.assert_close(program.module()(clips(count)), model(clips(count)))


@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_captured_graph_trains_the_same(variant: str) -> None:
    """What torch.compile sees, in one graph without a break, forward and backward; run without its code generator."""
    check_compiled(small(smif=variant, lmi=variant, depth=1), backend="aot_eager")


@pytest.mark.slow
def test_compiled_model_trains_the_same() -> None:
    check_compiled(small(depth=1), backend="inductor")


def check_compiled(config: ModelConfig, *, backend: str) -> None:
    model = shaken(LSViT(config))
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(clips()), model(clips()))
    for ours, theirs in zip(gradients_of(compiled, model), gradients_of(model, model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def gradients_of(run: nn.Module, model: LSViT) -> tuple[Tensor, ...]:
    return torch.autograd.grad(run(clips()).square().mean(), tuple(model.parameters()))
