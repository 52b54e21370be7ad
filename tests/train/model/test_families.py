"""Weights of timm's families against timm's own answers, and foreign weights that must be refused.

The answers lie in tests/golden/weights; where timm is installed, they are asked for again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from script_files import load_script
from torch import Tensor

from shared.errors import DataError
from train.model.config import PRESETS
from train.model.lsvit import LSViT, make_config
from train.model.weights.families import Weights, convert
from train.model.weights.files import Stated, read_stated
from train.model.weights.pretrained import copy_weights
from train.model.weights.unstated import check_activation, usual_activation, usual_heads, usual_normalisation

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "weights"
FAMILIES = sorted(path.stem for path in GOLDEN.glob("*.json") if path.stem != "foreign")
FOREIGN: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "foreign.json").read_text())
LARGEST_ERROR = 1e-5


script = load_script("make_weight_goldens")


def golden(family: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / f"{family}.json").read_text())
    return content


def made(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: script.made_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def weights_of(family: str) -> Weights:
    content = golden(family)
    stated = Stated(architecture=content["architecture"])
    return convert(made(content["shapes"]), source=family, stated=stated, num_heads=2)


def answers(weights: Weights, *, image_size: int) -> tuple[Tensor, Tensor]:
    """Tokens and pooled feature of the golden pictures, by a plain model with these weights."""
    plain = make_config(
        weights.shape, num_classes=7, image_size=image_size, num_frames=1, smif="none", lmi="none",
        spatial_pool=weights.pool,
    )  # fmt: skip
    model = LSViT(plain)
    assert set(copy_weights(model, weights).missing) <= {"head.weight", "head.bias"}
    with torch.no_grad():
        tokens = model.backbone(script.made_pictures(image_size))
        return tokens, model.pool_tokens(tokens)


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_pooled_feature_equal_timms(family: str) -> None:
    content = golden(family)
    tokens, pooled = answers(weights_of(family), image_size=content["image_size"])
    assert error(tokens, torch.tensor(content["tokens"])) < LARGEST_ERROR
    assert error(pooled, torch.tensor(content["pooled"])) < LARGEST_ERROR


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("motion", ["directional", "classic"])
def test_video_at_step_0(family: str, motion: str) -> None:
    """A clip of one picture twice has, with directional modules, the very features of the picture."""
    content, weights = golden(family), weights_of(family)
    size = content["image_size"]
    config = make_config(
        weights.shape, num_classes=3, image_size=size, num_frames=2, smif=motion, lmi=motion,
        spatial_pool=weights.pool, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    )  # fmt: skip
    model = LSViT(config)
    copy_weights(model, weights)
    pictures = script.made_pictures(size)
    with torch.no_grad():
        features = model.forward_features(pictures.unsqueeze(1).expand(-1, 2, -1, -1, -1))
    is_equal = error(features, torch.tensor(content["pooled"])) < LARGEST_ERROR
    assert is_equal == (motion == "directional")


WHAT_DOES_NOT_SHOW = [
    ("vit", {"num_heads": 4}),
    ("vit", {"layer_norm_epsilon": 1e-3}),
    ("clip", {"activation": "quick_gelu"}),
    ("clip_openai", {"activation": "gelu"}),
    ("siglip2", {"activation": "gelu"}),
    ("siglip", {"activation": "gelu_tanh"}),
]


@pytest.mark.parametrize(("family", "change"), WHAT_DOES_NOT_SHOW)
def test_what_does_not_show_in_the_keys_matters(family: str, change: dict[str, Any]) -> None:
    content, weights = golden(family), weights_of(family)
    tokens, _ = answers(replace(weights, shape=replace(weights.shape, **change)), image_size=content["image_size"])
    assert error(tokens, torch.tensor(content["tokens"])) > LARGEST_ERROR


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_and_wrappers_change_nothing_else(family: str) -> None:
    content = golden(family)
    halves = {name: tensor.half() for name, tensor in made(content["shapes"]).items()}
    stated = Stated(architecture=content["architecture"])
    plain = convert({name: half.float() for name, half in halves.items()}, source="x", stated=stated, num_heads=2)
    wrapped = convert({f"module.{name}": half for name, half in halves.items()}, source="x", stated=stated, num_heads=2)
    assert plain.shape == wrapped.shape and plain.tensors.keys() == wrapped.tensors.keys()
    assert all(torch.equal(tensor, wrapped.tensors[name]) for name, tensor in plain.tensors.items())


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_weights_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be loaded exactly: .*(attn|mlp|gamma|norm|pool)"):
        convert(made(FOREIGN[name]), source=name, stated=Stated(architecture="vit_base_patch16_224"), num_heads=2)


def changed(family: str, *, without: tuple[str, ...] = (), **more: tuple[int, ...]) -> dict[str, Tensor]:
    shapes = {name: shape for name, shape in golden(family)["shapes"].items() if not name.startswith(without or "?")}
    return made(shapes | {name.replace("__", "."): list(shape) for name, shape in more.items()})


REFUSED = {
    "VideoMAE": (
        changed("vit", without=("cls_token", "pos_embed"), patch_embed__proj__weight=(32, 3, 2, 16, 16)),
        r"patch_embed.proj.weight is \(32, 3, 2, 16, 16\)",
    ),
    "Swin": (
        {"patch_embed.proj.weight": torch.zeros(32, 3, 4, 4), "layers.0.blocks.0.norm1.weight": torch.zeros(32)},
        r"it holds patch_embed.proj.weight, layers.0.blocks.0.norm1.weight.*blocks.0.attn.qkv.weight",
    ),
    "two blocks of twelve": (changed("vit", without=("blocks.0.",)), "it holds blocks 1... of 2"),
    "a block without its MLP": (changed("vit", without=("blocks.1.mlp",)), "it lacks blocks.1.mlp.fc1.bias"),
    "no positions": (changed("vit", without=("pos_embed",)), "it lacks pos_embed"),
    "registers that have no place": (changed("vit", reg_token=(1, 4, 32)), "no square of patches after 5 other tokens"),
    "half a norm in front": (changed("vit", norm_pre__weight=(32,)), "it lacks norm_pre.bias"),
    "rotary frequencies": (changed("vit", rope__freqs=(2, 8)), "it has rope.freqs, which this model has no place for"),
    "a decoder": (changed("vit", decoder_embed__weight=(16, 32)), "it has decoder_embed.weight"),
    "scales of another width": (changed("deit3", blocks__0__ls1__gamma=(16,)), "it has blocks.0.ls1.gamma"),
    "a pool with more": (changed("siglip", attn_pool__q_norm__weight=(16,)), "it has attn_pool.q_norm.weight"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_whole_family_is_refused(name: str) -> None:
    tensors, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        convert(tensors, source=name, stated=Stated(), num_heads=2)


def test_weights_of_another_shape_are_refused() -> None:
    model = LSViT(make_config("tiny", num_classes=3, image_size=32))
    with pytest.raises(DataError, match="width 32, this model's is 96; number of blocks 2, this model's is 3") as info:
        copy_weights(model, weights_of("vit"))
    assert "--preset" in str(info.value) and "number of heads 2, this model's is 3" in str(info.value)


def test_what_nothing_tells_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"how many attention heads a ViT 32 wide has .* --num-heads"):
        convert(made(golden("vit")["shapes"]), source="x", stated=Stated())
    clip = made(golden("clip")["shapes"])
    with pytest.raises(DataError, match="--activation gelu or --activation quick_gelu"):
        convert(clip, source="x", stated=Stated(architecture="open_clip_pytorch_model"), num_heads=2)
    assert (
        convert(clip, source="x", stated=Stated(), num_heads=2, activation="quick_gelu").shape.activation
        == "quick_gelu"
    )
    with pytest.raises(DataError, match="use silu, which this model has not"):
        convert(clip, source="x", stated=Stated(activation="silu"), num_heads=2)
    with pytest.raises(DataError, match="--activation gelu does not fit"):
        check_activation("x", "gelu", "quick_gelu")
    for given, known in (("auto", "gelu"), ("gelu", "gelu"), ("gelu", "")):
        check_activation("x", given, known)


@pytest.mark.parametrize(
    ("architecture", "activation"),
    [
        ("vit_base_patch16_clip_224.openai", "quick_gelu"),
        ("vit_base_patch16_clip_quickgelu_224.metaclip_400m", "quick_gelu"),
        ("vit_large_patch14_clip_224.dfn2b", "quick_gelu"),
        ("vit_large_patch14_clip_224.dfn2b_s39b", "gelu"),
        ("vit_base_patch16_clip_224.laion2b", "gelu"),
        ("vit_base_patch16_clip_224.openai_ft_in1k", "gelu"),
        ("vit_base_patch16_clip_224.dfn2b", "gelu"),
        ("vit_base_patch32_clip_224.laion400m_e32", "quick_gelu"),
        ("vit_base_patch16_clip_224.laion400m_e32", "gelu"),
        ("vit_huge_patch14_clip_224.metaclip2_worldwide", "quick_gelu"),
        ("vit_huge_patch14_clip_378.metaclip2_worldwide", "gelu"),
        ("vit_gigantic_patch14_clip_224.metaclip2_worldwide", "gelu"),
    ],
)
def test_the_architecture_tells_the_activation(architecture: str, activation: str) -> None:
    weights = convert(made(golden("clip")["shapes"]), source="x", stated=Stated(architecture=architecture), num_heads=2)
    assert weights.shape.activation == activation
    assert any(architecture in note and activation in note for note in weights.notes)


def test_activations_are_those_that_timm_notes() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    from timm.models._registry import _model_pretrained_cfgs

    shape = replace(PRESETS["tiny"], norm_pre=True)
    for name, settings in _model_pretrained_cfgs.items():
        if name.startswith("vit_") and "_clip_" in name and "." in name:
            is_quick = any("QuickGELU" in note for note in settings.notes or ())
            found, _ = usual_activation("x", shape, Stated(architecture=name), num_positions=0)
            assert (name, found) == (name, "quick_gelu" if is_quick else "gelu")


def test_means_are_those_of_timms_models() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    from timm.models._registry import _model_pretrained_cfgs

    for word, shape, is_scaled in (
        ("_clip_", replace(PRESETS["tiny"], norm_pre=True), False),
        ("_dinov3", PRESETS["tiny"], True),
        ("_dinov2", PRESETS["tiny"], True),
        ("_siglip_", replace(PRESETS["tiny"], class_token=False), False),
    ):
        for name, settings in _model_pretrained_cfgs.items():
            if name.startswith("vit_") and word in name and "." in name:
                mean, std, _ = usual_normalisation(shape, Stated(architecture=name), is_scaled=is_scaled)
                assert (name, mean, std) == (name, tuple(settings.mean), tuple(settings.std))


@pytest.mark.parametrize(
    ("architecture", "mean"),
    [
        ("vit_large_patch14_clip_224.laion2b", 0.5),
        ("vit_large_patch14_clip_224.openai", 0.48145466),
        ("vit_base_patch16_clip_224.laion2b", 0.48145466),
    ],
)
def test_the_architecture_tells_the_mean(architecture: str, mean: float) -> None:
    shape = replace(PRESETS["tiny"], norm_pre=True)
    assert usual_normalisation(shape, Stated(architecture=architecture), is_scaled=False)[0][0] == mean


@pytest.mark.parametrize(
    ("stated", "heads"),
    [
        (Stated(), 12),
        (Stated(num_heads=6), 6),
        (Stated(architecture="vit_base_patch16_gap_224"), 16),
        (Stated(architecture="vit_base_patch16_gap_224", num_heads=8), 8),
    ],
)
def test_heads_are_those_that_are_stated_or_timms(stated: Stated, heads: int) -> None:
    found, reason = usual_heads("x", 768, stated)
    assert found == heads and str(heads) in reason


def test_config_json_states_the_heads(tmp_path: Path) -> None:
    for arguments, heads in (({"num_heads": 6}, 6), ({"num_heads": "6"}, 0), ({}, 0)):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "a", "model_args": arguments}))
        assert read_stated(tmp_path / "config.json").num_heads == heads


@pytest.mark.parametrize(
    ("family", "mean", "word"),
    [
        ("vit", (0.5, 0.5, 0.5), "imagenet"),
        ("deit3", (0.485, 0.456, 0.406), "DeiT-3"),
        ("dinov3", (0.485, 0.456, 0.406), "DINOv3"),
        ("clip", (0.48145466, 0.4578275, 0.40821073), "CLIP"),
        ("siglip", (0.5, 0.5, 0.5), "SigLIP"),
    ],
)
def test_a_normalisation_that_nothing_tells_is_named(family: str, mean: tuple[float, ...], word: str) -> None:
    weights = weights_of(family)
    assert weights.mean == mean
    assert any(word in note and "--normalisation" in note for note in weights.notes)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("larger", [0, 2])
def test_live_against_timm(family: str, larger: int) -> None:
    """The same question to the timm that is here, at the size of the weights and two patches more."""
    pytest.importorskip("timm", reason="timm is not installed")
    model: Any = script.reference(script.FAMILIES[family])
    size = golden(family)["image_size"] + larger * weights_of(family).shape.patch_size
    model.set_input_size(img_size=(size, size))
    with torch.no_grad():
        expected = model.forward_features(script.made_pictures(size))
        expected_pooled = model.forward_head(expected, pre_logits=True)
    tokens, pooled = answers(weights_of(family), image_size=size)
    print(f"{family} {size}: tokens {error(tokens, expected):.1e}, pooled {error(pooled, expected_pooled):.1e}")
    assert error(tokens, expected) < LARGEST_ERROR
    assert error(pooled, expected_pooled) < LARGEST_ERROR
    if not larger:
        assert error(torch.tensor(golden(family)["tokens"]), expected) < LARGEST_ERROR
