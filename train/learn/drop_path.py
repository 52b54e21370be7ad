"""The draws of DropPath: which clip skips which residual branch in a step of training.

They are made for the whole batch, as a pure function of (seed, epoch, step): so a run continues exactly, and a clip is
treated alike however many processes share the batch.
"""

from __future__ import annotations

import numpy as np
import torch

from train.data.seeds import Purpose, generator


def draw(
    probability: float, *, num_blocks: int, num_clips: int, seed: int, epoch: int, step: int
) -> torch.Tensor | None:
    """Factors for `LSViT.forward`, float32 (2·(num_blocks - 1), num_clips); None where nothing can be skipped.

    Two rows a block, for attention and MLP, from the second block on: 0 skips the branch, otherwise it is divided by
    the probability of staying, so that its expectation is unchanged. The probability of skipping rises linearly from 0
    at the first block to ``probability`` at the last.
    """
    if not probability or num_blocks == 1:
        return None
    skipping = [probability * block / (num_blocks - 1) for block in range(1, num_blocks)]
    staying = torch.tensor([1.0 - each for each in skipping for _ in ("attention", "MLP")]).unsqueeze(1)
    rng = generator(Purpose.DROP_PATH, seed, epoch, step)
    drawn = torch.from_numpy(rng.random((len(staying), num_clips), dtype=np.float32))
    return (drawn < staying) / staying
