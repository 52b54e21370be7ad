"""LMI: motion information passed between all frames of a clip, inside each block.

Two variants with one interface: `classic` is what the public implementations of LS-ViT compute; it is exactly
invariant to playing the video backwards. `directional` knows the arrow of time. docs/model.md holds the formulas side
by side. B clips, T frames, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.model.config import LMI_HEADS, LMI_REDUCTION, MotionInit
from train.model.vit import TemporalModule

CLASSIC_DELTA = 0.1
POSITION_SLOPE = 4.0  # start of the directional LMI's positions; e⁻⁴ is 2 %


class ClassicLMI(TemporalModule):
    """out = X + tanh(delta) · (X ⊙ expand(a)); a, a gate for each frame, comes from how much its tokens change."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        reduced = dim // LMI_REDUCTION
        self.reduce = nn.Linear(dim, reduced)
        self.expand = nn.Linear(reduced, dim)
        self.temporal_mlp = nn.Sequential(
            nn.LayerNorm(reduced), nn.Linear(reduced, reduced), nn.GELU(), nn.Linear(reduced, reduced)
        )
        self.delta = nn.Parameter(torch.tensor(CLASSIC_DELTA))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, N, D) -> (B, T, N, D)."""
        return self._gated(x, self._gate(x))

    def forward_with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the gate of each frame, averaged over its D/4 channels: (B, T) in [0, 1]."""
        gate = self._gate(x)
        return self._gated(x, gate), gate.mean(dim=-1)

    def _gated(self, x: Tensor, gate: Tensor) -> Tensor:
        scale: Tensor = self.delta.tanh() * self.expand(gate)  # (B, T, D)
        return x + x * scale.unsqueeze(2)

    def _gate(self, x: Tensor) -> Tensor:
        reduced: Tensor = self.reduce(x)  # (B, T, N, D/4)
        if x.shape[1] == 1:
            change = reduced - reduced  # zero, and `reduce` has a gradient all the same, as several processes need
        else:
            step = (reduced[:, 1:] - reduced[:, :-1]).abs()  # |R[t+1] - R[t]|, (B, T-1, N, D/4)
            forward = torch.cat([step, step[:, -1:]], dim=1)
            backward = torch.cat([step[:, :1], step], dim=1)
            change = forward + backward
        return torch.sigmoid(self.temporal_mlp(change.mean(dim=2)))  # (B, T, D/4)


class DirectionalLMI(TemporalModule):
    """out = X + inject(GELU((A - 1) R)): every frame looks at every other and takes the signed difference to it.

    R = LayerNorm(squeeze(X)), d = D/4 wide. A is a softmax over frames, one for each of 4 heads, of q kᵀ/√(d/4) + P:
    q and k come from the frame's mean token, P (heads, T, T) are learned temporal positions. Each row of A sums to 1,
    so (A - 1) R[t] = Σ_s A[t, s] (R[s] - R[t]), token by token. At the start the heads look at the next frame, the
    previous frame, all later and all earlier ones. `inject` starts at zero where pretrained weights are loaded.
    """

    def __init__(self, dim: int, *, num_frames: int) -> None:
        super().__init__()
        reduced = dim // LMI_REDUCTION
        self.squeeze = nn.Linear(dim, reduced, bias=False)
        self.norm = nn.LayerNorm(reduced)
        self.query_key = nn.Linear(reduced, 2 * reduced)
        self.position = nn.Parameter(torch.empty(LMI_HEADS, num_frames, num_frames))
        self.inject = nn.Linear(reduced, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, N, D) -> (B, T, N, D). T is the number of frames that the model was made for."""
        reduced: Tensor = self.norm(self.squeeze(x))  # (B, T, N, d)
        return self._injected(x, reduced, self._weights(reduced))

    def forward_with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and A averaged over heads: (B, T, T), row t says where frame t looks; rows sum to 1."""
        reduced: Tensor = self.norm(self.squeeze(x))
        weights = self._weights(reduced)
        return self._injected(x, reduced, weights), weights.mean(dim=1)

    def _weights(self, reduced: Tensor) -> Tensor:
        # T x T numbers a head, for whole frames: too few for a fused kernel to help, and `explain` shows them.
        frames = reduced.mean(dim=2)  # (B, T, d)
        query, key = torch.unflatten(self.query_key(frames), -1, (2, LMI_HEADS, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # (B, heads, T, T)
        return torch.softmax(scores + self.position, dim=-1)

    def _injected(self, x: Tensor, reduced: Tensor, weights: Tensor) -> Tensor:
        # Less the first frame, which changes no difference: what stands still is exactly zero, and half precision
        # keeps its digits for what changes.
        change = torch.unflatten(reduced - reduced[:, :1], -1, (LMI_HEADS, -1)).permute(0, 3, 1, 2, 4)
        heads = change.flatten(3)  # (B, heads, T, N·d/heads)
        still = torch.eye(weights.shape[-1], device=weights.device, dtype=weights.dtype)
        moved = ((weights - still) @ heads).view_as(change)  # (B, heads, T, N, d/heads)
        injected: Tensor = self.inject(F.gelu(moved.permute(0, 2, 3, 1, 4).flatten(3)))
        return x + injected

    @torch.no_grad()
    def initialise(self, start: MotionInit) -> None:
        """Set the start values of the temporal positions and of the injection (zero, or Xavier-uniform)."""
        num_frames = self.position.shape[-1]
        frame = torch.arange(num_frames, device=self.position.device)
        ahead = frame[None, :] - frame[:, None]  # [t, s] = s - t
        looks_at = torch.stack([ahead == 1, ahead == -1, ahead > 0, ahead < 0])
        self.position.copy_(torch.where(looks_at, 0.0, -POSITION_SLOPE))
        if start == "active":
            nn.init.xavier_uniform_(self.inject.weight)
        else:
            self.inject.weight.zero_()
