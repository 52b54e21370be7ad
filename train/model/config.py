"""The shape of an LS-ViT: its config and the presets. Free of torch, so that commands can read it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from shared.errors import UsageError

Variant = Literal["none", "classic", "directional"]
TemporalPool = Literal["mean", "attention"]
SpatialPool = Literal["cls", "mean", "heatmap"]
MotionInit = Literal["identity", "active"]
PerColour = tuple[float, float, float]  # red, green, blue

LMI_REDUCTION = 4  # LMI works on D / 4
LMI_HEADS = 4  # heads of the directional LMI's attention over time


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the model's shape and its input. Raises UsageError where the numbers do not fit together.

    image_size, patch_size: pixels of a side. drop_path: probability at the last block, rising linearly from 0 at the
    first. spatial_pool: the CLS token of a frame, the mean of its patch tokens, or their mean under a learned heatmap.
    temporal_pool: the mean over frames, or a learned weighted mean. mean, std: of the pixels in [0, 1], by which the
    input is normalised. motion_init: how the directional modules start from scratch; with pretrained weights they
    start as the identity.
    """

    num_classes: int
    image_size: int
    embed_dim: int
    depth: int
    num_heads: int
    num_frames: int = 16
    patch_size: int = 16
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    smif: Variant = "directional"
    lmi: Variant = "directional"
    temporal_pool: TemporalPool = "mean"
    spatial_pool: SpatialPool = "cls"
    motion_init: MotionInit = "active"
    mean: PerColour = (0.5, 0.5, 0.5)
    std: PerColour = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("num_classes", "image_size", "embed_dim", "depth", "num_heads", "num_frames", "patch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.image_size % self.patch_size:
            below = self.image_size // self.patch_size * self.patch_size
            near = f"{below} or {below + self.patch_size}" if below else f"{self.patch_size}"
            raise UsageError(
                f"image size {self.image_size} is no multiple of the patch size {self.patch_size}; try {near}"
            )
        if self.embed_dim % self.num_heads:
            raise UsageError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        if self.lmi == "directional" and self.embed_dim % (LMI_REDUCTION * LMI_HEADS):
            raise UsageError(
                f"embed_dim {self.embed_dim} is no multiple of {LMI_REDUCTION * LMI_HEADS}, as directional LMI needs"
            )
        if not 0.0 < self.mlp_ratio <= 64.0:
            raise UsageError(f"mlp_ratio is {self.mlp_ratio}; it must be above 0 and at most 64")
        if not 0.0 <= self.drop_path < 1.0:
            raise UsageError(f"drop_path is {self.drop_path}; it is a probability below 1")
        if min(self.std) <= 0.0:
            raise UsageError(f"std is {self.std}; each must be above 0")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")

    @property
    def num_tokens(self) -> int:
        """Tokens of one frame: its patches and the CLS token."""
        return (self.image_size // self.patch_size) ** 2 + 1


_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "smif": get_args(Variant),
        "lmi": get_args(Variant),
        "temporal_pool": get_args(TemporalPool),
        "spatial_pool": get_args(SpatialPool),
        "motion_init": get_args(MotionInit),
    }
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A size of the transformer."""

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int = 16


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset(embed_dim=96, depth=3, num_heads=3),  # learns from scratch on a CPU
        "small": Preset(embed_dim=384, depth=12, num_heads=6),  # ViT-S/16
        "base": Preset(embed_dim=768, depth=12, num_heads=12),  # ViT-B/16
    }
)


def make_config(
    preset: str,
    *,
    num_classes: int,
    image_size: int,
    num_frames: int = 16,
    drop_path: float = 0.0,
    smif: Variant = "directional",
    lmi: Variant = "directional",
    temporal_pool: TemporalPool = "mean",
    spatial_pool: SpatialPool = "cls",
    motion_init: MotionInit = "active",
    mean: PerColour = (0.5, 0.5, 0.5),
    std: PerColour = (0.5, 0.5, 0.5),
) -> ModelConfig:
    """The config of a preset. Raises UsageError for an unknown preset or numbers that do not fit together."""
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    size = PRESETS[preset]
    return ModelConfig(
        num_classes=num_classes,
        image_size=image_size,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        num_frames=num_frames,
        patch_size=size.patch_size,
        drop_path=drop_path,
        smif=smif,
        lmi=lmi,
        temporal_pool=temporal_pool,
        spatial_pool=spatial_pool,
        motion_init=motion_init,
        mean=mean,
        std=std,
    )
