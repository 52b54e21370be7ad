"""Memory for clips that is used again: fresh from the system it costs several times the copy into it, page by page."""

from __future__ import annotations

import math
import weakref

import numpy as np
import numpy.typing as npt
import torch

MOST_KEPT = 8  # pieces that nobody uses: a loop over batches needs two or three


class ReusedMemory:
    """Hands out memory, and again what nobody uses any more. Safe from several threads."""

    def __init__(self) -> None:
        self._unused: list[npt.NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor uint8 of this shape, its values left as they happen to be."""
        needed = math.prod(shape)
        try:
            memory = self._unused.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if memory.size < needed:
            memory = np.empty(needed, np.uint8)
        # torch keeps `handed` alive for as long as any tensor or array shows its memory.
        handed = memory[:needed].reshape(shape)
        weakref.finalize(handed, _give_back, self._unused, memory).atexit = False
        return torch.from_numpy(handed)


def _give_back(unused: list[npt.NDArray[np.uint8]], memory: npt.NDArray[np.uint8]) -> None:
    if len(unused) < MOST_KEPT:
        unused.append(memory)
