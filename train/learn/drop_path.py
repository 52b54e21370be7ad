"""DropPath whose draws come from outside: for the whole batch, a pure function of (seed, epoch, step).

So a run continues exactly, and a clip is dropped or kept alike however many processes share the batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from train.data.seeds import Purpose, generator
from train.model.vit import DropPath

_CALLS_PER_BLOCK = 2  # attention and MLP


class DropPathDraws:
    """The factors of the current step. uniform: (calls, b), numbers in [0, 1) for the clips of this part."""

    def __init__(self) -> None:
        self.uniform = torch.empty(0, 0)
        self.call = 0


class DrawnDropPath(nn.Module):
    """``train.model.vit.DropPath`` with given draws: a clip stays where its number is below the probability of
    staying.
    """

    def __init__(self, probability: float, *, num_frames: int, draws: DropPathDraws) -> None:
        super().__init__()
        self.probability = probability
        self.num_frames = num_frames
        self.draws = draws

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B·T, N, D) -> (B·T, N, D)."""
        if not self.training or self.probability == 0.0:
            return x
        staying = 1.0 - self.probability
        factor = (self.draws.uniform[self.draws.call] < staying).to(x.dtype) / staying
        self.draws.call += 1
        return x * factor.repeat_interleave(self.num_frames).view(-1, 1, 1)


def install(model: nn.Module) -> DropPathDraws:
    """Replace every DropPath of the model by one that takes its draws from the object returned."""
    draws = DropPathDraws()
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, DropPath)
    ]
    for parent, name, child in found:
        setattr(parent, name, DrawnDropPath(child.probability, num_frames=child.num_frames, draws=draws))
    return draws


def draw(num_blocks: int, num_clips: int, *, seed: int, epoch: int, step: int) -> torch.Tensor:
    """Numbers for the whole batch of a step: float32 (2 · blocks, num_clips) in [0, 1)."""
    rng = generator(Purpose.DROP_PATH, seed, epoch, step)
    return torch.from_numpy(rng.random((_CALLS_PER_BLOCK * num_blocks, num_clips), dtype=np.float32))
