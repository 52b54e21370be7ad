"""LS-ViT: a vision transformer on every frame, with SMIF before it and LMI inside each of its blocks.

B clips, T frames of a clip, S image side, P patch side, N tokens of a frame, D width. The tokens are CLS, registers
and (S/P)² patches; a plain ViT has no registers, SigLIP no CLS.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.model.config import PRESETS, BackboneShape, ModelConfig, PerColour, make_config
from train.model.lmi import ClassicLMI, DirectionalLMI
from train.model.pools import AttentionPool, DirectionalPool, LatentPool
from train.model.smif import ClassicSMIF, DirectionalSMIF
from train.model.vit import Block, Normalisation, PatchEmbed, Rotary, initialise

__all__ = ["PRESETS", "BackboneShape", "LSViT", "ModelConfig", "ModelTrace", "make_config"]

START_STD = 0.02  # of class token, registers, positions and head


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """One pass with everything that can be shown; all tensors stay in the autograd graph."""

    logits: Tensor
    """(B, classes)"""
    attentions: tuple[Tensor, ...]
    """For each block (B, T, heads, N, N), rows summing to 1."""
    motion_map: Tensor | None
    """(B, T, 3, S, S): classic from 0 to 4 in [-1, 1] units, directional signed in pixel units; None without SMIF."""
    lmi_weights: tuple[Tensor, ...] | None
    """For each LMI the classic gate (B, T) or the directional weights (B, T, T), in [0, 1]; None without LMI."""


class Backbone(nn.Module):
    """The vision transformer, under timm's names, with an LMI in each block or in some.

    checkpoint_blocks: whether a forward pass keeps only what goes into each block for the backward pass, which then
    computes the block once more: the same gradients for less memory and more time. It may be changed at any time.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.checkpoint_blocks = False
        dim, side = config.embed_dim, config.image_size // config.patch_size
        self.cls_token = _learned(1, dim) if config.class_token else None
        self.reg_token = _learned(config.num_registers, dim) if config.num_registers else None
        self.pos_embed = _learned(config.num_tokens, dim) if config.positions == "learned" else None
        self.patch_embed = PatchEmbed(image_size=config.image_size, patch_size=config.patch_size, embed_dim=dim)
        self.norm_pre = nn.LayerNorm(dim, eps=config.layer_norm_epsilon) if config.norm_pre else None
        rotary = None
        if config.positions == "rotary":
            rotary = Rotary(dim // config.num_heads, side=side, num_prefix_tokens=config.num_prefix_tokens)
        self.blocks = nn.ModuleList(
            Block(config, num_frames=config.num_frames, lmim=_make_lmi(config, block), rotary=rotary)
            for block in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=config.layer_norm_epsilon)

    def embed(self, images: Tensor, normalisation: Normalisation | None = None) -> Tensor:
        """Frames (B·T, 3, S, S), normalised or with what is to be taken out -> tokens with positions (B·T, N, D)."""
        tokens = self.add_class_token(self.add_registers(self.patch_embed(images, normalisation)))
        return self.normalise_tokens(self.add_positions(tokens))

    def add_registers(self, patches: Tensor) -> Tensor:
        """The registers in front, where there are any: (B·T, ·, D) -> (B·T, ·, D)."""
        return _in_front(self.reg_token, patches)

    def add_class_token(self, tokens: Tensor) -> Tensor:
        """The CLS token in front, where there is one: (B·T, ·, D) -> (B·T, N, D)."""
        return _in_front(self.cls_token, tokens)

    def add_positions(self, tokens: Tensor) -> Tensor:
        """Learned positions, where there are any: (B·T, N, D) -> the same."""
        return tokens if self.pos_embed is None else tokens + self.pos_embed

    def normalise_tokens(self, tokens: Tensor) -> Tensor:
        """The LayerNorm in front of the blocks, where there is one: (B·T, N, D) -> the same."""
        return tokens if self.norm_pre is None else self.norm_pre(tokens)

    def forward(
        self, images: Tensor, normalisation: Normalisation | None = None, drop_path: Tensor | None = None
    ) -> Tensor:
        """Frames (B·T, 3, S, S), as `embed` takes them -> tokens (B·T, N, D). drop_path: see `LSViT.forward`."""
        x = self.embed(images, normalisation)
        after_first = torch.unflatten(drop_path, 0, (-1, 2)) if drop_path is not None else [None] * len(self.blocks)
        for block, factors in zip(self.blocks, (None, *after_first), strict=False):
            if self.checkpoint_blocks and _keeps_for_backward(block, x):
                # Nothing within a block draws random numbers: DropPath's factors come from outside.
                x = checkpoint(block, x, factors, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, factors)
        tokens: Tensor = self.norm(x)
        return tokens


class LSViT(nn.Module):
    """The whole model: video in [0, 1] pixel units to logits.

    The start values are a function of ``seed`` alone, and those of each part do not depend on what other parts there
    are: models that differ in one part start alike in all others. torch's global generator is left as it was.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            self.smif = _make_smif(config)
            self.backbone = Backbone(config)
            self.spatial_pool = _make_spatial_pool(config)
            self.temporal_pool = _make_temporal_pool(config)
            self.head = nn.Linear(config.embed_dim, config.num_classes)
            if not self.head.weight.is_meta:  # there shapes are all, and torch would load its compiler to fill them
                self._initialise(seed)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, video: Tensor, drop_path: Tensor | None = None) -> Tensor:
        """video (B, T, 3, S, S), float in [0, 1] -> logits (B, classes). Raises ValueError for another T or S.

        drop_path: what `train.learn.drop_path` draws for a step of training, float32 (2·(depth - 1), B). Without it
        nothing is skipped, in training mode as in evaluation mode.
        """
        logits: Tensor = self.head(self.forward_features(video, drop_path))
        return logits

    def forward_features(self, video: Tensor, drop_path: Tensor | None = None) -> Tensor:
        """video (B, T, 3, S, S), float in [0, 1] -> one feature a clip, (B, D)."""
        return self.pool_frames(self.frame_features(video, drop_path))

    def frame_features(self, video: Tensor, drop_path: Tensor | None = None) -> Tensor:
        """video (B, T, 3, S, S), float in [0, 1] -> one feature a frame, (B, T, D)."""
        images = self.inject_motion(video).flatten(0, 1)
        return self._by_clip(self.pool_tokens(self.backbone(images, (self.mean, self.std), drop_path)))

    def inject_motion(self, video: Tensor) -> Tensor:
        """SMIF: (B, T, 3, S, S) in [0, 1] pixel units -> the same shape and units.

        The classic one works in [-1, 1], which is the normalised input where mean and std are 0.5.
        """
        if video.shape[1] != self.config.num_frames:
            raise ValueError(f"the clip has {video.shape[1]} frames, the model takes {self.config.num_frames}")
        if isinstance(self.smif, ClassicSMIF):
            in_place: Tensor = self.smif(2.0 * video - 1.0)
            return in_place.add_(1.0).div_(2.0)
        pixels: Tensor = video if self.smif is None else self.smif(video)
        return pixels

    def normalise(self, video: Tensor) -> Tensor:
        """(..., 3, S, S) in pixel units -> the same, less the mean and divided by the standard deviation."""
        return (video - self.mean) / self.std

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B·T, N, D) -> one feature a clip, (B, D)."""
        return self.pool_frames(self._by_clip(self.pool_tokens(tokens)))

    def _by_clip(self, frames: Tensor) -> Tensor:
        return torch.unflatten(frames, 0, (-1, self.config.num_frames))

    def pool_tokens(self, tokens: Tensor) -> Tensor:
        """(B·T, N, D) -> (B·T, D): one feature a frame."""
        if self.config.spatial_pool == "cls":
            return tokens[:, 0]
        patches = tokens[:, self.config.num_prefix_tokens :]
        pooled: Tensor = patches.mean(dim=1) if self.spatial_pool is None else self.spatial_pool(patches)
        return pooled

    def pool_frames(self, frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        pooled: Tensor = frames.mean(dim=1) if self.temporal_pool is None else self.temporal_pool(frames)
        return pooled

    def trace(self, video: Tensor) -> ModelTrace:
        """The same as `forward`, with attention by explicit softmax, so that its weights can be shown."""
        x = self.backbone.embed(self.inject_motion(video).flatten(0, 1), (self.mean, self.std))
        attentions, over_time = [], []
        for block in self.backbone.blocks:
            assert isinstance(block, Block)
            x, weights, block_over_time = block.forward_with_weights(x)
            attentions.append(weights)
            over_time.append(block_over_time)
        lmi_weights = tuple(weights for weights in over_time if weights is not None)
        return ModelTrace(
            logits=self.head(self.pool(self.backbone.norm(x))),
            attentions=tuple(attentions),
            motion_map=self.motion_map(video),
            lmi_weights=lmi_weights or None,
        )

    def motion_map(self, video: Tensor) -> Tensor | None:
        """What SMIF sees moving, see ModelTrace: (B, T, 3, S, S), None without SMIF."""
        if isinstance(self.smif, ClassicSMIF):
            return self.smif.motion_map(2.0 * video - 1.0)
        return None if self.smif is None else self.smif.motion_map(video)

    def adopt_normalisation(self, *, mean: PerColour, std: PerColour) -> None:
        """Take over the mean and std that belong to loaded weights, in the config as well."""
        self.config = replace(self.config, mean=mean, std=std)
        device = self.head.weight.device
        self.mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(std, device=device).view(3, 1, 1)

    def _initialise(self, seed: int) -> None:
        for name, layer in self.named_modules():
            _draw_for(name, seed)
            if name.startswith("backbone."):
                initialise(layer)
            elif isinstance(layer, nn.Linear | nn.Conv2d):
                layer.reset_parameters()  # torch's own start, in the pools and the classic SMIF
        for name, learned in self.named_parameters():
            if name.endswith(("cls_token", "pos_embed", "reg_token", "latent", "head.weight")):
                _draw_for(name, seed)
                nn.init.normal_(learned, std=START_STD)
        nn.init.zeros_(self.head.bias)
        for name, module in self.named_modules():
            if isinstance(module, DirectionalSMIF | DirectionalLMI):
                _draw_for(name, seed)
                module.initialise(self.config.motion_init)


def _draw_for(name: str, seed: int) -> None:
    """Let torch's generator draw what belongs to a part, or a parameter, of this name."""
    drawn = hashlib.sha256(f"{seed} {name}".encode()).digest()
    torch.default_generator.manual_seed(int.from_bytes(drawn[:8], "little"))


def _learned(count: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, count, dim))


def _in_front(learned: Tensor | None, tokens: Tensor) -> Tensor:
    return tokens if learned is None else torch.cat([learned.expand(tokens.shape[0], -1, -1), tokens], dim=1)


def _make_spatial_pool(config: ModelConfig) -> AttentionPool | LatentPool | None:
    if config.spatial_pool == "latent":
        return LatentPool(config)
    return AttentionPool(config.embed_dim) if config.spatial_pool == "heatmap" else None


def _keeps_for_backward(block: nn.Module, x: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or any(each.requires_grad for each in block.parameters()))


def _make_temporal_pool(config: ModelConfig) -> AttentionPool | DirectionalPool | None:
    if config.temporal_pool == "directional":
        return DirectionalPool(config.embed_dim, num_frames=config.num_frames)
    return AttentionPool(config.embed_dim) if config.temporal_pool == "attention" else None


def _make_smif(config: ModelConfig) -> ClassicSMIF | DirectionalSMIF | None:
    if config.smif == "none":
        return None
    return ClassicSMIF() if config.smif == "classic" else DirectionalSMIF()


def _make_lmi(config: ModelConfig, block: int) -> ClassicLMI | DirectionalLMI | None:
    if block not in config.lmi_blocks:
        return None
    if config.lmi == "classic":
        return ClassicLMI(config.embed_dim)
    return DirectionalLMI(config.embed_dim, num_frames=config.num_frames)
