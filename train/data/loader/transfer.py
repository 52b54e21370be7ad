"""Tensors on their way to the device: beside what it computes, and without anybody waiting for them on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_ALIGNED = 16  # bytes; a tensor of any type may begin there


@dataclass(frozen=True, kw_only=True, eq=False)
class Sent:
    """Tensors that are on the device, or will be by the time that its stream comes to use them."""

    tensors: tuple[torch.Tensor, ...]
    arrival: torch.cuda.Event | None
    """None where there is nothing to wait for."""

    def received(self) -> tuple[torch.Tensor, ...]:
        """The tensors, for use by the current stream, which waits for them; the host goes on."""
        if self.arrival is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.arrival)
            for tensor in self.tensors:
                tensor.record_stream(stream)  # else its memory may be taken again while this stream still reads it
        return self.tensors


class Sender:
    """Copies tensors to a GPU on a stream of its own, to that of a Mac at once. For the CPU they stay as they are."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._stream = stream

    def send(self, large: Sequence[torch.Tensor], small: Sequence[torch.Tensor] = ()) -> Sent:
        """Send the tensors, ``large`` ones first in what is received.

        large: in pinned memory, each sent as it lies there. small: packed into one piece of pinned memory.
        """
        if self._stream is None:
            return Sent(tensors=tuple(tensor.to(self._device) for tensor in (*large, *small)), arrival=None)
        with torch.cuda.stream(self._stream):
            sent = [tensor.to(self._device, non_blocking=True) for tensor in large]
            if small:
                piece = pack(small, pinned=True).to(self._device, non_blocking=True)
                sent += unpack(piece, small)
            return Sent(tensors=tuple(sent), arrival=self._stream.record_event())


def pack(tensors: Sequence[torch.Tensor], *, pinned: bool = False) -> torch.Tensor:
    """The bytes of some tensors one after the other, each on an aligned place: uint8 (n,)."""
    piece = torch.empty(_places(tensors)[-1], dtype=torch.uint8, pin_memory=pinned)
    for own, tensor in zip(unpack(piece, tensors), tensors, strict=True):
        own.copy_(tensor)
    return piece


def unpack(piece: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors of the types and shapes of ``like`` that show what ``pack`` has put into a piece."""
    places = _places(like)
    return [
        piece[start : start + tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(places, like, strict=False)
    ]


def _places(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Where each tensor begins, and where the last one ends."""
    places = [0]
    for tensor in tensors:
        num_bytes = tensor.numel() * tensor.element_size()
        places.append(places[-1] + -(-num_bytes // _ALIGNED) * _ALIGNED)
    return places
