"""Memory that is used again: never while anybody looks at it, and not more of it than a loop needs."""

from __future__ import annotations

import torch

from train.data.loader.memory import ReusedMemory


def test_it_is_used_again_once_nobody_looks_at_it() -> None:
    memory = ReusedMemory()
    first = memory.take((2, 3)).fill_(7)
    part, address = first[1].numpy(), first.data_ptr()
    del first
    other = memory.take((2, 3)).fill_(8)
    assert other.data_ptr() != address
    assert part.tolist() == [7, 7, 7]
    del part
    smaller = memory.take((5,))
    assert smaller.data_ptr() == address
    assert (smaller.dtype, smaller.shape) == (torch.uint8, (5,))


def test_what_is_too_small_is_let_go() -> None:
    memory = ReusedMemory()
    memory.take((10,))
    assert memory.take((1000,)).shape == (1000,)
    assert [piece.size for piece in memory._unused] == [1000]


def test_a_whole_data_set_is_not_kept() -> None:
    memory = ReusedMemory()
    everything = [memory.take((10,)) for _ in range(100)]
    assert len({piece.data_ptr() for piece in everything}) == 100
    del everything
    assert len(memory._unused) == 8
