"""Pools: many tokens or frames into one. n pictures or clips, N tokens, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.model.config import BackboneShape
from train.model.lmi import DirectionalLMI
from train.model.vit import Mlp


class AttentionPool(nn.Module):
    """A weighted mean of tokens whose weights are learned: softmax over tokens of (x · query) / √D.

    The query starts at zero, which is the plain mean.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, D) -> (..., D)."""
        scores = F.linear(x, self.query.unsqueeze(0)) * x.shape[-1] ** -0.5  # (..., N, 1)
        return torch.sum(scores.softmax(dim=-2) * x, dim=-2)


class DirectionalPool(nn.Module):
    """The mean over frames after one directional LMI on frame features: the order of frames counts.

    mean over t of (x[t] + inject(GELU((A - 1) R)[t])), see `DirectionalLMI`. The mean and any weighted mean of features
    that were made of one frame each are the same for a video played backwards; signed differences are not.
    """

    def __init__(self, dim: int, *, num_frames: int) -> None:
        super().__init__()
        self.lmim = DirectionalLMI(dim, num_frames=num_frames)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, D). T is the number of frames that the model was made for."""
        exchanged: Tensor = self.lmim(x.unsqueeze(2))  # each frame with one token
        return exchanged.squeeze(2).mean(dim=1)


class LatentPool(nn.Module):
    """Attention of one learned query to the tokens, then an MLP added to what it gives: the pool of SigLIP.

    Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training"; under timm's names.
    """

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        dim = shape.embed_dim
        self.num_heads = shape.num_heads
        self.latent = nn.Parameter(torch.empty(1, 1, dim))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=shape.layer_norm_epsilon)
        self.mlp = Mlp(dim, hidden_dim=shape.hidden_dim, activation=shape.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, N, D) -> (n, D)."""
        query = torch.unflatten(self.q(self.latent), -1, (self.num_heads, -1)).transpose(1, 2)  # (1, h, 1, D/h)
        key, value = torch.unflatten(self.kv(x), -1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query.expand(key.shape[0], -1, -1, -1), key, value)
        pooled: Tensor = self.proj(heads.transpose(1, 2).flatten(2))  # (n, 1, D)
        pooled = pooled + self.mlp(self.norm(pooled))
        return pooled.squeeze(1)
