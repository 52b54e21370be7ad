"""Tensors in one piece of memory and back, and the way to the device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.data.loader.transfer import Sender, pack, unpack

TYPES = (torch.uint8, torch.int64, torch.float32, torch.float64, torch.bool)


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=3)), min_size=1, max_size=6))
def test_what_is_packed_comes_out(described: list[tuple[torch.dtype, list[int]]]) -> None:
    tensors = [torch.randint(0, 2, shape).to(kind) for kind, shape in described]
    for own, tensor in zip(unpack(pack(tensors), tensors), tensors, strict=True):
        assert own.dtype == tensor.dtype and torch.equal(own, tensor)


def test_parts_of_larger_tensors_are_packed_by_their_values() -> None:
    table = torch.arange(12.0).view(3, 4)
    (column,) = unpack(pack([table[:, 1]]), [table[:, 1]])
    assert column.tolist() == [1, 5, 9]


def test_on_the_cpu_tensors_are_passed_on() -> None:
    large, small = torch.zeros(3), torch.ones(2)
    sent = Sender(torch.device("cpu")).send([large], [small])
    assert sent.arrival is None and all(a is b for a, b in zip(sent.received(), (large, small), strict=True))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_gets_what_was_sent() -> None:
    device = torch.device("cuda", 0)
    large, small = torch.arange(10**6).pin_memory(), [torch.arange(5), torch.rand(3, 2)]
    received = Sender(device).send([large], small).received()
    assert all(tensor.device == device for tensor in received)
    for own, tensor in zip(received, [large, *small], strict=True):
        assert torch.equal(own.cpu(), tensor)
