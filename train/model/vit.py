"""The parts of a vision transformer, under timm's names so that timm's weights load by name.

Formulas: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"; DropPath: Huang et al. 2016, "Deep Networks with
Stochastic Depth". B clips, T frames of a clip, N tokens of a frame, D width. Frames travel as a batch: (B·T, N, D).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from train.model.config import Activation, BackboneShape

ROTARY_BASE = 100.0  # longest over shortest wave of the rotary positions, as in DINOv3

Normalisation = tuple[Tensor, Tensor]  # mean and standard deviation of each colour, (3, 1, 1)


class TemporalModule(nn.Module, ABC):
    """What a block calls after its MLP: an LMI of `train.model.lmi`."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, T, N, D) -> (B, T, N, D)."""

    @abstractmethod
    def forward_with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and its weights over time: (B, T) or (B, T, T), in [0, 1]."""


def drop_path(branch: Tensor, factor: Tensor | None, *, num_frames: int) -> Tensor:
    """What a residual branch gives, (B·T, N, D), times the factor of each clip, (B,); None leaves it as it is.

    `train.learn.drop_path` draws the factors: 0 skips the branch. There is one for a whole clip, not one for each
    frame: otherwise the noise would look like motion.
    """
    if factor is None:
        return branch
    return branch * factor.to(branch.dtype).repeat_interleave(num_frames).view(-1, 1, 1)


class PatchEmbed(nn.Module):
    """Cuts an image into patches and maps each linearly to a token: a convolution whose stride is its size."""

    def __init__(self, *, image_size: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_patches = (image_size // patch_size) ** 2
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor, normalisation: Normalisation | None = None) -> Tensor:
        """(B·T, 3, S, S) -> (B·T, (S/P)², D), patches row by row. Raises ValueError for another image size.

        normalisation: mean and standard deviation that are still to be taken out of the images.
        """
        if images.shape[-2] != self.image_size or images.shape[-1] != self.image_size:
            height, width = images.shape[-2:]
            raise ValueError(f"frames are {height}x{width}, the model takes {self.image_size}x{self.image_size}")
        if images.device.type == "cpu" and not torch.compiler.is_compiling():
            # The same as one product of matrices: on the CPU faster than the convolution, most of all backwards.
            shift, scale = None, None
            if normalisation is not None:
                mean, std = normalisation
                shift, scale = -mean / std, 1.0 / std
            patches: Tensor = _Cut.apply(images, shift, scale, self.proj.kernel_size[0])  # type: ignore[no-untyped-call]
            return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
        if normalisation is not None:
            images = (images - normalisation[0]) / normalisation[1]
        grid: Tensor = self.proj(images)
        return grid.flatten(2).transpose(1, 2)  # from (B·T, D, S/P, S/P)


class _Cut(torch.autograd.Function):
    """Images (n, 3, S, S), each colour times scale plus shift where they are given -> patches (n, (S/P)², 3·P²).

    One pass over the pixels each way: what autograd would make of the two steps takes twice the memory and time.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, shift: Tensor | None, scale: Tensor | None, patch: int) -> Tensor:
        ctx.scale, ctx.patch, ctx.shape = scale, patch, images.shape
        cut = _in_patches(images, patch)
        patches = torch.empty_like(cut, memory_format=torch.contiguous_format)
        if shift is None or scale is None:
            patches.copy_(cut)
        else:
            torch.addcmul(shift, cut, scale, out=patches)
        return patches.flatten(3).flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = grad_output.new_empty(ctx.shape)
        cut = _in_patches(gradient, ctx.patch)
        scale = grad_output.new_ones(()) if ctx.scale is None else ctx.scale
        torch.mul(grad_output.reshape(cut.shape), scale, out=cut)
        return gradient, None, None, None


def _in_patches(images: Tensor, patch: int) -> Tensor:
    """A view of (n, 3, S, S) as (n, S/P, S/P, 3, P, P)."""
    rows = torch.unflatten(torch.unflatten(images, 3, (-1, patch)), 2, (-1, patch))  # (n, 3, S/P, P, S/P, P)
    return rows.permute(0, 2, 4, 1, 3, 5)


class Rotary(nn.Module):
    """Positions by rotation (Siméoni et al. 2025, "DINOv3"): turns queries and keys by the place of their patch.

    A patch's row and column run from -1 to 1, at the centres of g equal parts. The d = D/h numbers of a head are d/2
    pairs (i, i + d/2): the angle of pair j < d/4 is 2π·row / 100^(4j/d), that of pair d/4 + j the same with the column.
    CLS and registers stay as they are.
    """

    sin: Tensor
    cos: Tensor

    def __init__(self, head_dim: int, *, side: int, num_prefix_tokens: int) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        with torch.device("cpu"):  # even where the model is made on the meta device: no state fills this in later
            places = 2.0 * (torch.arange(0.5, side) / side) - 1.0
            periods = ROTARY_BASE ** (2.0 * torch.arange(head_dim // 4) / (head_dim // 2))
            angles = 2.0 * math.pi * torch.cartesian_prod(places, places)[:, :, None] / periods  # (g², 2, d/4)
            angles = angles.flatten(1).repeat(1, 2)  # (g², d)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("cos", angles.cos(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Queries or keys (B·T, h, N, D/h) -> the same."""
        prefix, patches = x[:, :, : self.num_prefix_tokens], x[:, :, self.num_prefix_tokens :]
        first, second = patches.chunk(2, dim=-1)
        turned = patches * self.cos + torch.cat([-second, first], dim=-1) * self.sin
        return torch.cat([prefix, turned.to(x.dtype)], dim=2)


class Attention(nn.Module):
    """Multi-head self-attention among the tokens of one frame: softmax(q kᵀ / √(D/h)) v for each of h heads."""

    def __init__(self, dim: int, *, num_heads: int, rotary: Rotary | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rotary = rotary
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B·T, N, D) -> (B·T, N, D)."""
        query, key, value = self._split_heads(x)
        if x.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
            # torch's kernel for half precision takes three to five times as long, forward and backward, as for float32.
            with torch.autocast("cpu", enabled=False):
                heads = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
            return self._merge_heads(heads.to(query.dtype))
        return self._merge_heads(F.scaled_dot_product_attention(query, key, value))

    def forward_with_weights(self, x: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """The same with an explicit softmax: output (B·T, N, D) and weights (B, T, h, N, N), rows summing to 1.

        The output is computed from the very tensor returned, so that it can be differentiated by the weights.
        """
        query, key, value = self._split_heads(x)
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        weights = torch.unflatten(scores.softmax(dim=-1), 0, (-1, num_frames))
        return self._merge_heads(weights.flatten(0, 1) @ value), weights

    def _split_heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Cut before the heads are: then their gradients are put side by side once, and not stacked and turned again.
        query, key, value = (
            torch.unflatten(part, -1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)  # (B·T, N, 3·D)
        )
        if self.rotary is not None:
            query, key = self.rotary(query), self.rotary(key)
        return query, key, value  # each (B·T, h, N, D/h)

    def _merge_heads(self, heads: Tensor) -> Tensor:
        merged: Tensor = self.proj(heads.transpose(1, 2).flatten(2))
        return merged


class Mlp(nn.Module):
    """Linear, GELU, Linear on each token: D -> mlp_ratio·D -> D."""

    def __init__(self, dim: int, *, hidden_dim: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        hidden: Tensor = self.fc1(x)
        if self.activation == "quick_gelu":
            hidden = hidden * torch.sigmoid(1.702 * hidden)
        else:
            hidden = F.gelu(hidden, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        output: Tensor = self.fc2(hidden)
        return output


class Block(nn.Module):
    """Pre-norm attention and MLP, each added back through DropPath; then LMI across the frames, if there is one.

    x <- x + DropPath(Attention(LayerNorm(x))); x <- x + DropPath(Mlp(LayerNorm(x))); x <- LMI(x).
    """

    def __init__(
        self,
        shape: BackboneShape,
        *,
        num_frames: int,
        lmim: TemporalModule | None = None,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__()
        dim, epsilon = shape.embed_dim, shape.layer_norm_epsilon
        self.num_frames = num_frames
        self.norm1 = nn.LayerNorm(dim, eps=epsilon)
        self.attn = Attention(dim, num_heads=shape.num_heads, rotary=rotary)
        self.norm2 = nn.LayerNorm(dim, eps=epsilon)
        self.mlp = Mlp(dim, hidden_dim=shape.hidden_dim, activation=shape.activation)
        self.lmim = lmim

    def forward(self, x: Tensor, factors: Tensor | None = None) -> Tensor:
        """(B·T, N, D) -> (B·T, N, D). factors: of DropPath for attention and MLP, (2, B), None in evaluation."""
        of_attention, of_mlp = (None, None) if factors is None else factors.unbind()
        return self.interact(self.transform(self.attend(x, of_attention), of_mlp))

    def attend(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """The attention step alone."""
        return x + drop_path(self.attn(self.norm1(x)), factor, num_frames=self.num_frames)

    def transform(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """The MLP step alone."""
        return x + drop_path(self.mlp(self.norm2(x)), factor, num_frames=self.num_frames)

    def interact(self, x: Tensor) -> Tensor:
        """The LMI step alone: frames are taken apart by clip, (B·T, N, D) -> (B, T, N, D), and put back."""
        if self.lmim is None:
            return x
        output: Tensor = self.lmim(torch.unflatten(x, 0, (-1, self.num_frames)))
        return output.flatten(0, 1)

    def forward_with_weights(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The block with everything that `explain` shows, without DropPath.

        Returns the output (B·T, N, D), the attention weights (B, T, h, N, N) and LMI's weights over time, (B, T) or
        (B, T, T), None without LMI.
        """
        attended, weights = self.attn.forward_with_weights(self.norm1(x), num_frames=self.num_frames)
        x = self.transform(x + attended)
        if self.lmim is None:
            return x, weights, None
        output, over_time = self.lmim.forward_with_weights(torch.unflatten(x, 0, (-1, self.num_frames)))
        return output.flatten(0, 1), weights, over_time


def initialise(module: nn.Module) -> None:
    """Give one ViT layer its start values: Xavier-uniform linear weights, zero biases (the ViT authors' own choice).

    A convolution is treated as the linear map of a patch that it is. Meant for `nn.Module.apply`.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
