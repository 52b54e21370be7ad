"""Other designs of the directional modules that were tried, and `lsvit-train` with one of them in place.

    python -m benchmarks.motion_designs signless-smif run --config recipes/demo.toml ...

Each changes one thing of the design in train/model/smif.py, so that its worth can be measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import train.model.lsvit
from train.cli import main as lsvit_train
from train.model.config import LMI_HEADS, ModelConfig, MotionInit
from train.model.lmi import DirectionalLMI
from train.model.lsvit import Backbone, LSViT
from train.model.smif import DirectionalSMIF


class SignlessSMIF(DirectionalSMIF):
    """Sizes of the differences, without their sign."""

    def motion_map(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> the same shape."""
        return weighted(self.weight, [step.abs() for step in neighbour_steps(video)])


class LinearSMIF(DirectionalSMIF):
    """The differences as they are, noise included."""

    def motion_map(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> the same shape."""
        return weighted(self.weight, neighbour_steps(video))


def neighbour_steps(video: Tensor) -> list[Tensor]:
    """V[t + o] - V[t] for o = -2, -1, 1, 2, zero where a frame is absent: (B, T, 3, H, W) each."""
    steps = []
    for offset in (-2, -1, 1, 2):
        step = torch.zeros_like(video)
        kept = slice(max(0, -offset), video.shape[1] - max(0, offset))
        moved = slice(max(0, offset), video.shape[1] + min(0, offset))
        step[:, kept] = video[:, moved] - video[:, kept]
        steps.append(step)
    return steps


def weighted(weight: Tensor, steps: list[Tensor]) -> Tensor:
    """weight (3, 4, 3) over the four neighbours' colours: (B, T, 3, H, W)."""
    neighbours = torch.cat(steps, dim=2).flatten(3).flatten(0, 1)
    mixed: Tensor = torch.bmm(weight.flatten(1).expand(neighbours.shape[0], -1, -1), neighbours)
    return mixed.view_as(steps[0])


class PositionsLMI(DirectionalLMI):
    """Where a frame looks depends on its place alone, not on what it shows."""

    def _weights(self, reduced: Tensor) -> Tensor:
        return torch.softmax(self.position, dim=-1).expand(reduced.shape[0], -1, -1, -1)


class ContentLMI(DirectionalLMI):
    """The other frames' content rather than the difference to it."""

    def _injected(self, x: Tensor, reduced: Tensor, weights: Tensor) -> Tensor:
        heads = torch.unflatten(reduced, -1, (LMI_HEADS, -1)).permute(0, 3, 1, 2, 4)
        seen = (weights @ heads.flatten(3)).view_as(heads)
        injected: Tensor = self.inject(F.gelu(seen.permute(0, 2, 3, 1, 4).flatten(3)))
        return x + injected


class FrameLMI(DirectionalLMI):
    """One difference a frame, averaged over its tokens, given to all of them."""

    def _injected(self, x: Tensor, reduced: Tensor, weights: Tensor) -> Tensor:
        return super()._injected(x, reduced.mean(dim=2, keepdim=True).expand_as(reduced), weights)


class ConvolutionLMI(DirectionalLMI):
    """A convolution over three neighbouring frames for each channel, in place of the attention."""

    def __init__(self, dim: int, *, num_frames: int) -> None:
        super().__init__(dim, num_frames=num_frames)
        self.kernel = nn.Parameter(torch.zeros(self.squeeze.out_features, 3))

    def _injected(self, x: Tensor, reduced: Tensor, weights: Tensor) -> Tensor:
        before, after = reduced.clone(), reduced.clone()
        before[:, 1:], after[:, :-1] = reduced[:, :-1], reduced[:, 1:]
        moved = (before - reduced) * self.kernel[:, 0] + (after - reduced) * self.kernel[:, 2]
        injected: Tensor = self.inject(F.gelu(moved))
        return x + injected

    @torch.no_grad()
    def initialise(self, start: MotionInit) -> None:
        """Half of the channels start at the next frame, half at the one before."""
        super().initialise(start)
        half = self.kernel.shape[0] // 2
        self.kernel[:half, 2] = 1.0
        self.kernel[half:, 0] = 1.0


class NarrowLMI(DirectionalLMI):
    """An eighth of the width instead of a quarter, by a squeeze of half as many channels."""

    def __init__(self, dim: int, *, num_frames: int) -> None:
        super().__init__(dim // 2, num_frames=num_frames)
        self.squeeze = nn.Linear(dim, self.squeeze.out_features, bias=False)
        self.inject = nn.Linear(self.inject.in_features, dim, bias=False)


class DroppedLMI(DirectionalLMI):
    """What is injected is dropped, channel by channel, with probability 0.3 in training."""

    def _injected(self, x: Tensor, reduced: Tensor, weights: Tensor) -> Tensor:
        injected = super()._injected(x, reduced, weights) - x
        return x + F.dropout(injected, 0.3, training=self.training)


def replace_module(module: type[nn.Module]) -> None:
    """Make models with this module in the place of the one that it is made of."""
    setattr(train.model.lsvit, module.__mro__[1].__name__, module)


def keep_lmi(has_lmi: Callable[[int, int], bool]) -> None:
    """Make backbones with LMI in some blocks alone, by number and depth; all other start values stay as they were."""
    make = Backbone.__init__

    def make_with_few(self: Backbone, config: ModelConfig) -> None:
        make(self, config)
        for number, block in enumerate(self.blocks):
            if not has_lmi(number, config.depth):
                block.lmim = None

    Backbone.__init__ = make_with_few  # type: ignore[method-assign]


def scale_smif_start(factor: float) -> None:
    """Make models whose SMIF, where it starts active, starts with so many times its strength."""
    start = DirectionalSMIF.initialise

    @torch.no_grad()
    def start_scaled(self: DirectionalSMIF, chosen: MotionInit) -> None:
        start(self, chosen)
        self.weight.mul_(factor)

    DirectionalSMIF.initialise = start_scaled  # type: ignore[method-assign]


def zero_head() -> None:
    """Make models whose head starts at zero, so that no class is preferred at random."""
    start = LSViT._initialise

    def start_at_zero(self: LSViT, seed: int) -> None:
        start(self, seed)
        torch.nn.init.zeros_(self.head.weight)

    LSViT._initialise = start_at_zero  # type: ignore[method-assign]


DESIGNS: dict[str, Callable[[], None]] = {
    "signless-smif": partial(replace_module, SignlessSMIF),
    "linear-smif": partial(replace_module, LinearSMIF),
    "no-smif-start": partial(scale_smif_start, 0.0),
    "double-smif-start": partial(scale_smif_start, 2.0),
    "fourfold-smif-start": partial(scale_smif_start, 4.0),
    "positions-lmi": partial(replace_module, PositionsLMI),
    "content-lmi": partial(replace_module, ContentLMI),
    "frame-lmi": partial(replace_module, FrameLMI),
    "convolution-lmi": partial(replace_module, ConvolutionLMI),
    "narrow-lmi": partial(replace_module, NarrowLMI),
    "dropped-lmi": partial(replace_module, DroppedLMI),
    "lmi-first": partial(keep_lmi, lambda number, depth: 3 * number < depth),
    "lmi-middle": partial(keep_lmi, lambda number, depth: depth <= 3 * number < 2 * depth),
    "lmi-last": partial(keep_lmi, lambda number, depth: 2 * depth <= 3 * number),
    "lmi-first-two": partial(keep_lmi, lambda number, depth: 3 * number < 2 * depth),
    "zero-head": zero_head,
}


def main() -> None:
    """Put the design in place and go on as `lsvit-train`."""
    DESIGNS[sys.argv.pop(1)]()
    lsvit_train()


if __name__ == "__main__":
    main()
