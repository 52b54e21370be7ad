"""Writes tests/golden/weights: what timm's own models answer, one small file a family, and names of foreign weights.

It needs timm (seen to work with 1.0.31), which needs torchvision, so an environment other than the project's:
`python scripts/make_weight_goldens.py`. The weights are made from a seed by NumPy's frozen RandomState: a file need
hold only their names and shapes, the answers and the settings that do not show in the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "weights"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model of timm, made small."""

    architecture: str
    image_size: int = 32
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of its own."""
    without: tuple[str, ...] = ()
    """Names of what is taken from it before it answers."""


FAMILIES = {
    "vit": Family(architecture="vit_base_patch16_224"),
    "deit": Family(architecture="deit_base_patch16_224"),
    "deit_distilled": Family(architecture="deit_base_distilled_patch16_224", without=("dist_token", "head_dist.")),
    "deit3": Family(architecture="deit3_base_patch16_224"),
    "dinov2": Family(architecture="vit_base_patch14_dinov2", image_size=42),
    "dinov2_registers": Family(architecture="vit_base_patch14_reg4_dinov2", image_size=42),
    "clip": Family(architecture="vit_base_patch16_clip_224"),
    "clip_openai": Family(architecture="vit_base_patch16_clip_quickgelu_224"),
    "siglip": Family(architecture="vit_base_patch16_siglip_224"),
    "siglip_mean": Family(architecture="vit_base_patch16_siglip_gap_224"),
    "siglip2": Family(architecture="vit_base_patch32_siglip_256", image_size=64),
    "dinov3": Family(architecture="vit_base_patch16_dinov3", image_size=48, overrides={"global_pool": "token"}),
    "dinov3_bias": Family(architecture="vit_base_patch16_dinov3_qkvb", overrides={"global_pool": "token"}),
}

# What no LS-ViT can load exactly, by what stands against it.
FOREIGN = {
    "eva02": Family(architecture="eva02_base_patch14_224", image_size=28),
    "beit": Family(architecture="beit_base_patch16_224"),
    "pe": Family(architecture="vit_pe_core_base_patch16_224"),
    "rope": Family(architecture="vit_small_patch16_rope_224"),
    "rope_mixed": Family(architecture="vit_small_patch16_rope_mixed_224"),
    "relative_positions": Family(architecture="vit_relpos_base_patch16_224"),
    "qk_norm": Family(architecture="vit_base_patch16_224", overrides={"qk_norm": True}),
    "swiglu": Family(architecture="vit_giant_patch14_dinov2", image_size=28),
    "dinov3_swiglu": Family(architecture="vit_small_plus_patch16_dinov3"),
    "fc_norm": Family(architecture="vit_base_patch16_224", overrides={"global_pool": "avg"}),
    "rms_norm": Family(architecture="vit_base_patch16_xp_224"),
    "no_last_norm": Family(architecture="vit_intern300m_patch14_448", image_size=28),
    "no_biases": Family(architecture="vit_base_patch16_224_miil"),
    "parallel": Family(architecture="vit_base_patch16_18x2_224"),
}


def made_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights by their name and shape alone, float32: far enough from nothing that each part of a model matters."""
    numbers = np.random.RandomState(crc32(name.encode())).standard_normal(shape) * 0.2
    if name.endswith((".gamma", "gamma_1", "gamma_2")) or ("norm" in name and name.endswith(".weight")):
        numbers += 1.0
    return torch.from_numpy(numbers.astype(np.float32))


def made_pictures(image_size: int) -> Tensor:
    """Two pictures as a model takes them, normalised: float32 (2, 3, S, S)."""
    return made_tensor("pictures", (2, 3, image_size, image_size)) * 5


def make_model(family: Family) -> nn.Module:
    """timm's model of a family, 32 wide and two blocks deep, with made weights."""
    import timm

    model: nn.Module = timm.create_model(
        family.architecture, embed_dim=32, depth=2, num_heads=2, num_classes=7, img_size=family.image_size,
        **family.overrides,
    )  # fmt: skip
    model.load_state_dict({name: made_tensor(name, tuple(each.shape)) for name, each in model.state_dict().items()})
    return model.eval()


def reference(family: Family) -> nn.Module:
    """The model whose answer counts: of a distilled one the plain ViT that is left without its distillation token."""
    model = make_model(family)
    if not family.without:
        return model
    plain = make_model(FAMILIES["deit"])
    state = {name: each for name, each in model.state_dict().items() if not name.startswith(family.without)}
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"][:, 2:]], dim=1)
    plain.load_state_dict(state)
    return plain


@torch.no_grad()
def answers(family: Family) -> tuple[Tensor, Tensor]:
    """What timm makes of the pictures: all tokens after the last norm (2, N, D), and the pooled feature (2, D)."""
    model: Any = reference(family)
    tokens: Tensor = model.forward_features(made_pictures(family.image_size))
    return tokens, model.forward_head(tokens, pre_logits=True)


def shapes(family: Family) -> dict[str, list[int]]:
    """Names and shapes of a family's weights."""
    return {name: list(each.shape) for name, each in make_model(family).state_dict().items()}


def golden(family: Family) -> dict[str, Any]:
    """The content of a family's file."""
    import timm

    tokens, pooled = answers(family)
    return {
        "made_by": f"timm {timm.__version__}, torch {torch.__version__.split('+')[0]}",
        "architecture": family.architecture,
        "image_size": family.image_size,
        "shapes": shapes(family),
        "tokens": _rounded(tokens),
        "pooled": _rounded(pooled),
    }


def _rounded(tensor: Tensor) -> Any:
    """Nested lists of nine digits, which give each float32 back."""
    if tensor.ndim > 1:
        return [_rounded(row) for row in tensor]
    return [float(f"{value:.9g}") for value in tensor.tolist()]


def main() -> None:
    """Write every file anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, family in FAMILIES.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(golden(family), separators=(",", ":")) + "\n")
    foreign = {name: shapes(family) for name, family in FOREIGN.items()}
    (FOLDER / "foreign.json").write_text(json.dumps(foreign, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
