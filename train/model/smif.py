"""SMIF: differences of neighbouring frames, turned into a motion map that is injected into the frames.

Two variants with one interface: `classic` is what the public implementations of LS-ViT compute; it is
exactly invariant to playing the video backwards. `directional` knows the arrow of time. docs/model.md holds the
formulas side by side. B clips, T frames, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from train.model.config import MotionInit

CLASSIC_THRESHOLD = 0.05  # of a difference in [-1, 1] units
CLASSIC_ALPHA = 0.5
HALF_WINDOW = 2  # neighbours on either side, in both variants: a window of 5 frames
NOISE_FLOOR = 0.05  # soft threshold of the directional SMIF, in [0, 1] pixel units
ACTIVE_STRENGTH = 0.25  # of the colours that motion is painted in at an active start (docs/log.md)
PIECE = 2**20  # numbers of the video that SMIF works on at a time: 4 MiB; less costs threads more than caches save
ALIGNED = 64  # a piece's rows begin at whole cache lines

_Place = tuple[slice, slice, slice, slice]


def changes(video: Tensor) -> list[Tensor]:
    """Signed differences V[t + o] - V[t] for o = 1, 2: (B, T - o, ...) each, none where o >= T."""
    num_frames = video.shape[1]
    distances = [min(offset, num_frames) for offset in range(1, HALF_WINDOW + 1)]
    return [video[:, distance:] - video[:, : num_frames - distance] for distance in distances]


def at_earlier(change: Tensor, num_frames: int) -> Tensor:
    """Values of pairs of frames, (B, T - o, ...), each put at the earlier frame of its pair: (B, T, ...), else zero."""
    absent = change.new_zeros(change.shape[0], num_frames - change.shape[1], *change.shape[2:])
    return torch.cat([change, absent], dim=1)


def at_later(change: Tensor, num_frames: int) -> Tensor:
    """The same, put at the later frame of each pair."""
    absent = change.new_zeros(change.shape[0], num_frames - change.shape[1], *change.shape[2:])
    return torch.cat([absent, change], dim=1)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A block without autocast: for so few channels it costs a pass over all pixels and gains nothing."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)


class ClassicSMIF(nn.Module):
    """out = clamp(V + tanh(alpha) · Conv1x1[V, M], -1, 1), where M is the thresholded mean of absolute differences."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(CLASSIC_ALPHA))
        self.conv_fuse = nn.Conv2d(6, 3, kernel_size=1)

    def forward(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [-1, 1] -> the same shape and range."""
        # A 1x1 convolution is a product of matrices, which is many times faster on the CPU for so few channels. With V
        # and the strength inside the matrices, no pixel is touched more than once for each of them.
        assert self.conv_fuse.bias is not None
        strength = self.alpha.tanh()
        weight = strength * self.conv_fuse.weight.flatten(1) + torch.eye(3, 6, device=video.device, dtype=video.dtype)
        frames, motion = (x.flatten(3).flatten(0, 1) for x in (video, self.motion_map(video)))  # (B·T, 3, H·W)
        weight = weight.expand(frames.shape[0], -1, -1)  # (B·T, 3, 6)
        with full_precision(video):
            still = torch.baddbmm((strength * self.conv_fuse.bias).view(1, -1, 1), weight[..., :3], frames)
            fused = torch.baddbmm(still, weight[..., 3:], motion)
        return torch.clamp(fused.view_as(video), -1.0, 1.0)

    def motion_map(self, video: Tensor) -> Tensor:
        """M = (1/h) Σ |differences|, h = 2, zero up to the threshold: (B, T, 3, H, W), from 0 to 4."""
        motion = torch.zeros_like(video)
        for change in changes(video):
            size, count = change.abs() / HALF_WINDOW, change.shape[1]
            motion[:, :count] += size
            motion[:, motion.shape[1] - count :] += size
        return F.threshold(motion, CLASSIC_THRESHOLD, 0.0)


class DirectionalSMIF(nn.Module):
    """out = V + Σ_o W_o · shrink(V[t + o] - V[t]), o = -2, -1, 1, 2: each frame shows what went and what is to come.

    shrink(d) = d |d| / (|d| + τ) keeps the sign of a difference and makes noise, below τ = 0.05, small. Each W_o is a
    3x3 matrix on colours. Nothing here has a bias, so a clip without motion passes unchanged. With W = 0 this is the
    identity; the active start paints what is about to appear in red and what has just been there in blue, at a quarter
    of their strength.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, 2 * HALF_WINDOW, 3))  # (colour out, neighbour, colour in)

    def forward(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W), [0, 1] pixel units -> the same shape; what is injected may leave [0, 1]."""
        # In training nobody asks for a gradient of the video. A compiler fuses plain expressions by itself.
        is_constant = not (video.requires_grad and torch.is_grad_enabled())
        if is_constant and not torch.compiler.is_compiling():
            injected: Tensor = _InjectInPieces.apply(video, self.weight)  # type: ignore[no-untyped-call]
            return injected
        return video + self.motion_map(video)

    def motion_map(self, video: Tensor) -> Tensor:
        """What is injected: (B, T, 3, H, W) in pixel units, signed."""
        neighbours = _gather(video).flatten(3).flatten(0, 1)  # (B·T, 4·3, H·W)
        # bmm with the weight repeated is eight times faster on the CPU than matmul, which broadcasts it.
        # torch.export keeps B open with `shape`, not with `len`.
        weight = self.weight.flatten(1).expand(neighbours.shape[0], -1, -1)  # (B·T, 3, 4·3)
        with full_precision(video):
            return torch.bmm(weight, neighbours).view_as(video)

    @torch.no_grad()
    def initialise(self, start: MotionInit) -> None:
        """Set the start values: nothing injected, or some grey of the next frame into red, of the last into blue."""
        self.weight.zero_()
        if start == "active":
            self.weight[0, HALF_WINDOW] = ACTIVE_STRENGTH / 3  # V[t + 1] - V[t]
            self.weight[2, HALF_WINDOW - 1] = ACTIVE_STRENGTH / 3  # V[t - 1] - V[t]


def _gather(video: Tensor) -> Tensor:
    """Shrunk differences to frames t - 2, t - 1, t + 1, t + 2, zero where there is none: (B, T, 4·3, H, W)."""
    num_frames = video.shape[1]
    # The difference to the frame before is the one from there with its sign turned, so each is shrunk only once.
    shrunk = [_shrink(change) for change in changes(video)]
    before = [-at_later(change, num_frames) for change in reversed(shrunk)]
    after = [at_earlier(change, num_frames) for change in shrunk]
    return torch.cat(before + after, dim=2)


class _InjectInPieces(torch.autograd.Function):
    """video + W · neighbours for a video that needs no gradient.

    Only the video is kept for the backward pass. The neighbours would take four times its memory, and on the CPU it
    costs less to compute them again, in pieces that stay in the cache, than to write and read them.
    """

    @staticmethod
    def forward(ctx: Any, video: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(video)
        output = torch.empty_like(video, memory_format=torch.contiguous_format)
        written = output.flatten(3)
        fused = video.new_empty(0)
        with full_precision(video):
            for place, piece, neighbours in _pieces(video):
                matrix = weight.flatten(1).expand(len(neighbours), -1, -1)  # (b·T, 3, 4·3)
                torch.bmm(matrix, neighbours, out=fused.resize_(len(neighbours), *piece.shape[2:]))
                torch.add(piece, fused.view(piece.shape), out=written[place])
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, Tensor]:
        (video,) = ctx.saved_tensors
        gradient = video.new_zeros(3, 2 * HALF_WINDOW * 3)
        for place, _, neighbours in _pieces(video):
            part = grad_output.flatten(3)[place].flatten(0, 1)  # (b·T, 3, n)
            gradient += torch.bmm(part, neighbours.transpose(1, 2)).sum(dim=0)
        return None, gradient.unflatten(1, (2 * HALF_WINDOW, 3))


def _pieces(video: Tensor) -> Iterator[tuple[_Place, Tensor, Tensor]]:
    """Some pixels of some clips at a time: their place in (B, T, 3, H·W), the pixels (b, T, 3, n) and their neighbours.

    The neighbours are what `_gather` gives, (b·T, 4·3, n), in memory that the next piece overwrites.
    """
    pixels = video.flatten(3)
    clips, num_frames, colours, size = pixels.shape
    if video.device.type == "cpu":
        size = min(size, max(1, PIECE // (num_frames * colours * ALIGNED)) * ALIGNED)
        clips = min(clips, max(1, PIECE // (num_frames * colours * size)))
    gathered = video.new_zeros(clips, num_frames, 2 * HALF_WINDOW, colours, size)  # where no frame is, zero remains
    magnitude = video.new_empty(clips, num_frames, colours, size)
    for clip, start in product(range(0, pixels.shape[0], clips), range(0, pixels.shape[3], size)):
        place = (slice(clip, clip + clips), slice(None), slice(None), slice(start, start + size))
        piece = pixels[place]
        neighbours = gathered[: len(piece), ..., : piece.shape[3]]
        _gather_into(neighbours, piece, magnitude[: len(piece), ..., : piece.shape[3]])
        yield place, piece, neighbours.flatten(2, 3).flatten(0, 1)


def _gather_into(gathered: Tensor, piece: Tensor, magnitude: Tensor) -> None:
    """The numbers of `_gather` for a piece (b, T, 3, n), written where they belong in (b, T, 4, 3, n)."""
    num_frames = piece.shape[1]
    for distance in range(1, min(HALF_WINDOW, num_frames - 1) + 1):
        ahead = gathered[:, : num_frames - distance, HALF_WINDOW + distance - 1]
        torch.sub(piece[:, distance:], piece[:, : num_frames - distance], out=ahead)
        size = torch.abs(ahead, out=magnitude[:, distance:])
        ahead.addcdiv_(ahead, size.add_(NOISE_FLOOR), value=-NOISE_FLOOR)
        torch.neg(ahead, out=gathered[:, distance:, HALF_WINDOW - distance])


def _shrink(difference: Tensor) -> Tensor:
    """d - τ d / (|d| + τ), which is d |d| / (|d| + τ) with one pass less."""
    return torch.addcdiv(difference, difference, difference.abs() + NOISE_FLOOR, value=-NOISE_FLOOR)
