"""The classic LS-ViT as one writes it first: torch.roll, masks, attention by an explicit softmax.

Parameters bear the same names as in `train.model.lsvit`, so that both can hold the same weights and be compared.
B clips, T frames, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.model.config import LMI_REDUCTION, ModelConfig


class RollSMIF(nn.Module):
    """Differences to rolled copies of the video; what was rolled around the ends is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.conv_fuse = nn.Conv2d(6, 3, kernel_size=1)

    def forward(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [-1, 1] -> the same."""
        num_frames = video.shape[1]
        frame = torch.arange(num_frames, device=video.device).view(1, -1, 1, 1, 1)
        motion = torch.zeros_like(video)
        for offset in (1, 2):
            ahead = (torch.roll(video, -offset, dims=1) - video).abs()
            behind = (video - torch.roll(video, offset, dims=1)).abs()
            motion = motion + ahead * (frame < num_frames - offset) + behind * (frame >= offset)
        motion = motion / 2
        motion = motion * (motion > 0.05).to(motion.dtype)
        fused = self.conv_fuse(torch.cat([video, motion], dim=2).flatten(0, 1))
        return torch.clamp(video + torch.tanh(self.alpha) * fused.view_as(video), -1.0, 1.0)


class ExplicitAttention(nn.Module):
    """softmax(q kᵀ / √d) v with the weights in memory."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B·T, N, D) -> the same."""
        frames, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(frames, tokens, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        scores = (query @ key.transpose(-2, -1)) * (dim // self.num_heads) ** -0.5
        mixed = torch.softmax(scores, dim=-1) @ value
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(frames, tokens, dim))
        return output


class RollLMI(nn.Module):
    """The gate of each frame from differences to rolled copies of all tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        reduced = dim // LMI_REDUCTION
        self.reduce = nn.Linear(dim, reduced)
        self.expand = nn.Linear(reduced, dim)
        self.temporal_mlp = nn.Sequential(
            nn.LayerNorm(reduced), nn.Linear(reduced, reduced), nn.GELU(), nn.Linear(reduced, reduced)
        )
        self.delta = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, N, D) -> the same."""
        reduced = self.reduce(x)
        ahead = torch.roll(reduced, -1, dims=1) - reduced
        ahead = torch.cat([ahead[:, :-1], ahead[:, -2:-1]], dim=1)
        behind = torch.roll(reduced, 1, dims=1) - reduced
        behind = torch.cat([reduced[:, :1] - reduced[:, 1:2], behind[:, 1:]], dim=1)
        change = (ahead.abs() + behind.abs()).mean(dim=2)
        gate = torch.sigmoid(self.temporal_mlp(change))
        gated: Tensor = x * self.expand(gate).unsqueeze(2).expand_as(x)
        return x + torch.tanh(self.delta) * gated


class StraightforwardBlock(nn.Module):
    """Attention, MLP, LMI."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
        self.num_frames = config.num_frames
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ExplicitAttention(dim, config.num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, hidden), "fc2": nn.Linear(hidden, dim)})
        self.lmim = RollLMI(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B·T, N, D) -> the same."""
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))
        frames, tokens, dim = x.shape
        clips = x.reshape(frames // self.num_frames, self.num_frames, tokens, dim)
        return torch.as_tensor(self.lmim(clips)).reshape(frames, tokens, dim)


class StraightforwardBackbone(nn.Module):
    """Patches, class token, positions, blocks, norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_tokens, dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, config.patch_size, config.patch_size)})
        self.blocks = nn.ModuleList(StraightforwardBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """(B·T, 3, S, S) -> (B·T, N, D)."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.norm(x)
        return output


class StraightforwardClassic(nn.Module):
    """The whole model, for mean and standard deviation 0.5: video (B, T, 3, S, S) in [0, 1] -> logits (B, classes)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_frames = config.num_frames
        self.smif = RollSMIF()
        self.backbone = StraightforwardBackbone(config)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def forward(self, video: Tensor) -> Tensor:
        injected = self.smif(video * 2 - 1)
        tokens = self.backbone(injected.flatten(0, 1))
        logits: Tensor = self.head(tokens[:, 0].view(-1, self.num_frames, tokens.shape[-1]).mean(dim=1))
        return logits
