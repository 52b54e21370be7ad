"""Reads the texts of a shard (``clip_id``, ``manifest``) from the file itself.

HDF5 keeps texts of any length in "global heaps" (HDF5 File Format Specification 3.0, section III.E). Its library walks
a damaged heap without end; here every step is checked against the file's size.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import IO, Any

import h5py

_REFERENCE = struct.Struct("<IQI")  # length of the text, address of its heap, number of the object in it
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size of the whole heap
_START = b"GCOL\x01\0\0\0"  # of a heap: signature and version
_OBJECT = struct.Struct("<H6xQ")  # number, length; the content follows, filled up to 8 bytes


def read_texts(path: Path, data: Any) -> tuple[str, ...]:
    """The texts of an HDF5 data set (N,) of the file ``path``. Raises ValueError where it is damaged or not such."""
    kind = h5py.check_string_dtype(data.dtype)
    offset = data.id.get_offset()
    if kind is None or kind.length is not None or offset is None:
        raise ValueError(f"{data.name} does not hold texts in one piece")
    if data.file.id.get_create_plist().get_sizes() != (8, 8):
        raise ValueError("its addresses are not of 8 bytes")
    num_texts = int(data.shape[0])
    with path.open("rb") as file:
        file.seek(offset)
        references = file.read(num_texts * _REFERENCE.size)
        if len(references) < num_texts * _REFERENCE.size:
            raise ValueError(f"{data.name} ends early")
        heaps = _Heaps(file, path.stat().st_size)
        return tuple(
            heaps.read(address, number)[:length].decode() if length else ""
            for length, address, number in _REFERENCE.iter_unpack(references)
        )


def check_heaps(path: Path, *, frames_offset: int, frames_bytes: int) -> None:
    """Raise ValueError where a heap outside the frames is damaged: HDF5 reads the attributes' texts from them."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heaps = _Heaps(file, len(content))
        for start, end in ((0, frames_offset), (frames_offset + frames_bytes, len(content))):
            place = content.find(_START, start, end)
            while place >= 0:
                place = content.find(_START, place + heaps.size(place), end)


class _Heaps:
    """The heaps of an open file, each read once; together they are no larger than the file."""

    def __init__(self, file: IO[bytes], num_bytes: int) -> None:
        self._file = file
        self._num_bytes = num_bytes
        self._left = num_bytes
        self._objects: dict[int, dict[int, bytes]] = {}

    def read(self, address: int, number: int) -> bytes:
        """The content of an object."""
        if address not in self._objects:
            self._objects[address] = self._read_heap(address)
        if number not in self._objects[address]:
            raise ValueError(f"the heap at byte {address} lacks object {number}")
        return self._objects[address][number]

    def size(self, address: int) -> int:
        """The size in bytes of a heap, which is read and checked."""
        self._objects[address] = self._read_heap(address)
        self._file.seek(address)
        return int(_HEAP.unpack(self._file.read(_HEAP.size))[2])

    def _read_heap(self, address: int) -> dict[int, bytes]:
        if address > self._num_bytes - _HEAP.size:
            raise ValueError(f"no heap at byte {address}")
        self._file.seek(address)
        signature, version, size = _HEAP.unpack(self._file.read(_HEAP.size))
        if signature != b"GCOL" or version != 1 or not _HEAP.size <= size <= self._left:
            raise ValueError(f"the heap at byte {address} is damaged")
        self._left -= size
        content = self._file.read(size - _HEAP.size)
        objects: dict[int, bytes] = {}
        position = 0
        while position + _OBJECT.size <= len(content):
            number, length = _OBJECT.unpack_from(content, position)
            if number == 0:  # what is free: the rest, this entry included
                if length != len(content) - position:
                    raise ValueError(f"the free part of the heap at byte {address} is damaged")
                break
            start = position + _OBJECT.size
            if length > len(content) - start:
                raise ValueError(f"object {number} of the heap at byte {address} is damaged")
            objects[number] = content[start : start + length]
            position = start + (length + 7) // 8 * 8
        return objects
