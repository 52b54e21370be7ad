"""The shape of an LS-ViT: its config and the presets. Free of torch, so that commands can read it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal, get_args

from shared.errors import UsageError

Variant = Literal["none", "classic", "directional"]
TemporalPool = Literal["mean", "attention", "directional"]
SpatialPool = Literal["cls", "mean", "heatmap", "latent"]
MotionInit = Literal["identity", "active"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
Positions = Literal["learned", "rotary"]
PerColour = tuple[float, float, float]  # red, green, blue

LMI_REDUCTION = 4  # LMI works on D / 4
LMI_HEADS = 4  # heads of the directional LMI's attention over time


@dataclass(frozen=True, kw_only=True)
class BackboneShape:
    """What a vision transformer is made of; loaded weights settle all of it."""

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int = 16
    """Pixels of a side."""
    mlp_ratio: float = 4.0
    """Width of the MLP's hidden layer, in D."""
    activation: Activation = "gelu"
    """Of the MLP: GELU, its approximation by tanh, or x · sigmoid(1.702 x), which is OpenAI's QuickGELU."""
    layer_norm_epsilon: float = 1e-6
    class_token: bool = True
    num_registers: int = 0
    """Learned tokens beside CLS that belong to no patch (Darcet et al. 2023, "Vision Transformers Need Registers")."""
    norm_pre: bool = False
    """Whether a LayerNorm stands in front of the blocks, as in CLIP."""
    positions: Positions = "learned"
    """Learned and added to the tokens, or rotary: within the attention of each block, as in DINOv3."""

    @property
    def hidden_dim(self) -> int:
        """Width of the MLP's hidden layer."""
        return round(self.embed_dim * self.mlp_ratio)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens of a frame in front of its patches: CLS and registers."""
        return int(self.class_token) + self.num_registers


@dataclass(frozen=True, kw_only=True)
class ModelConfig(BackboneShape):
    """Everything that fixes the model and its input. Raises UsageError where the numbers do not fit together."""

    num_classes: int
    image_size: int
    """Pixels of a side."""
    num_frames: int = 16
    drop_path: float = 0.0
    """Probability at the last block, rising linearly from 0 at the first."""
    smif: Variant = "directional"
    lmi: Variant = "directional"
    lmi_every: int = 1
    """1: an LMI in each block; N: in one of every N, see `middle_blocks`."""
    temporal_pool: TemporalPool = "mean"
    """The mean over frames, a learned weighted mean, or the mean after an exchange of signed differences over time."""
    spatial_pool: SpatialPool = "cls"
    """A frame's CLS token, the mean of its patches, that under a learned heatmap, or SigLIP's attention pool."""
    motion_init: MotionInit = "active"
    """How the directional modules start."""
    mean: PerColour = (0.5, 0.5, 0.5)
    """Of the pixels in [0, 1]: taken out of the input."""
    std: PerColour = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("num_classes", "image_size", "embed_dim", "depth", "num_heads", "num_frames", "patch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 1 <= self.lmi_every <= self.depth:
            raise UsageError(f"lmi_every is {self.lmi_every}; it must be from 1 to the number of blocks, {self.depth}")
        if self.image_size % self.patch_size:
            below = self.image_size // self.patch_size * self.patch_size
            near = f"{below} or {below + self.patch_size}" if below else f"{self.patch_size}"
            raise UsageError(
                f"image size {self.image_size} is no multiple of the patch size {self.patch_size}; try {near}"
            )
        if self.embed_dim % self.num_heads:
            raise UsageError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        if self.positions == "rotary" and self.embed_dim % (4 * self.num_heads):
            raise UsageError(
                f"embed_dim {self.embed_dim} is no multiple of 4 x {self.num_heads} heads, as rotation needs"
            )
        if self.spatial_pool == "cls" and not self.class_token:
            raise UsageError("spatial_pool is cls, but the weights have no CLS token; choose mean, heatmap or latent")
        if "directional" in (self.lmi, self.temporal_pool) and self.embed_dim % (LMI_REDUCTION * LMI_HEADS):
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
        """Tokens of one frame: CLS, registers and patches."""
        return self.num_prefix_tokens + (self.image_size // self.patch_size) ** 2

    @property
    def lmi_blocks(self) -> range:
        """The blocks, from 0, that have an LMI."""
        return range(0) if self.lmi == "none" else middle_blocks(self.depth, every=self.lmi_every)


def middle_blocks(depth: int, *, every: int) -> range:
    """The middle one of every so many blocks, from 0: of twelve and every third 1, 4, 7 and 10."""
    return range(every // 2, depth, every)


_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "smif": get_args(Variant),
        "lmi": get_args(Variant),
        "temporal_pool": get_args(TemporalPool),
        "spatial_pool": get_args(SpatialPool),
        "motion_init": get_args(MotionInit),
        "activation": get_args(Activation),
        "positions": get_args(Positions),
    }
)


PRESETS: Mapping[str, BackboneShape] = MappingProxyType(
    {
        "tiny": BackboneShape(embed_dim=96, depth=3, num_heads=3),  # learns from scratch on a CPU
        "small": BackboneShape(embed_dim=384, depth=12, num_heads=6),  # ViT-S/16
        "base": BackboneShape(embed_dim=768, depth=12, num_heads=12),  # ViT-B/16
    }
)


def make_config(
    backbone: str | BackboneShape,
    *,
    num_classes: int,
    image_size: int,
    num_frames: int = 16,
    drop_path: float = 0.0,
    smif: Variant = "directional",
    lmi: Variant = "directional",
    lmi_every: int = 1,
    temporal_pool: TemporalPool = "mean",
    spatial_pool: SpatialPool = "cls",
    motion_init: MotionInit = "active",
    mean: PerColour = (0.5, 0.5, 0.5),
    std: PerColour = (0.5, 0.5, 0.5),
) -> ModelConfig:
    """The config with a preset's backbone, or another one.

    Raises UsageError for an unknown preset or numbers that do not fit together.
    """
    if isinstance(backbone, str):
        if backbone not in PRESETS:
            raise UsageError(f"unknown preset {backbone!r}; choose one of {', '.join(PRESETS)}")
        backbone = PRESETS[backbone]
    return ModelConfig(
        **asdict(backbone),
        num_classes=num_classes,
        image_size=image_size,
        num_frames=num_frames,
        drop_path=drop_path,
        smif=smif,
        lmi=lmi,
        lmi_every=lmi_every,
        temporal_pool=temporal_pool,
        spatial_pool=spatial_pool,
        motion_init=motion_init,
        mean=mean,
        std=std,
    )
