"""Random numbers as pure functions of named seeds: the same at every restart and for any number of processes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; part of its seed, so that no two streams are alike."""

    WEIGHTS = 1
    ORDER = 2
    AUGMENT = 3
    MIX = 4
    DROP_PATH = 5
    GLOBAL = 6


def generator(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """NumPy's generator (PCG64), seeded with the purpose and further integers, such as (seed, epoch, step)."""
    return np.random.default_rng([int(purpose), *numbers])


def torch_seed(purpose: Purpose, *numbers: int) -> int:
    """A seed for torch's generators, in [0, 2**63)."""
    return int(np.random.SeedSequence([int(purpose), *numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))
