"""All pairs of hashes of 256 bits that differ in few of them, without comparing all: multi-index hashing.

The bits are divided into m parts. Of two hashes that differ in at most r = m·s + a bits (0 <= a < m), one of the first
a + 1 parts differs in at most s bits or one of the others in at most s - 1: otherwise they differed in r + 1 or more.
So for each part the hashes are sorted by its value, and only those of equal values, or of values that few bits tell
apart, are compared in whole (Norouzi, Punjani and Fleet 2012, "Fast Search in Hamming Space with Multi-Index Hashing").
No pair is missed. How many parts there are is decided by what is least work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.machine.compiled import compiled

_BITS = 256
_WIDEST = 22  # bits of a part: the table of its values has 4 million rows
_ROOM = 2**20  # pairs that are handed over at once, at least


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of a hash's bits: ``first`` to ``first + width``, and how many of them a pair may differ in, ``radius``."""

    first: int
    width: int
    radius: int

    @property
    def num_masks(self) -> int:
        """How many differences there are of at most ``radius`` bits."""
        return sum(math.comb(self.width, bits) for bits in range(self.radius + 1))

    def masks(self) -> npt.NDArray[np.int64]:
        """These differences, the smallest first."""
        masks = (
            sum(1 << place for place in places)
            for bits in range(self.radius + 1)
            for places in itertools.combinations(range(self.width), bits)
        )
        return np.fromiter(masks, np.int64, self.num_masks)

    def words(self) -> npt.NDArray[np.uint64]:
        """A hash, uint64 (4,), in which these bits are set."""
        bits = np.zeros(_BITS, np.uint8)
        bits[self.first : self.first + self.width] = 1
        return np.packbits(bits, bitorder="little").view(np.uint64)

    def values(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """These bits of each hash (n, 4) as a number, int64 (n,)."""
        word, shift = divmod(self.first, 64)
        bits = hashes[:, word] >> np.uint64(shift)
        if shift + self.width > 64:
            bits |= hashes[:, word + 1] << np.uint64(64 - shift)
        return (bits & np.uint64((1 << self.width) - 1)).astype(np.int64)


def divide(num_parts: int, max_distance: int) -> list[Part]:
    """The parts to be looked at so that no pair of at most ``max_distance`` different bits is missed."""
    edges = [index * _BITS // num_parts for index in range(num_parts + 1)]
    radius, rest = divmod(max_distance, num_parts)
    parts = [
        Part(first=first, width=last - first, radius=radius if index <= rest else radius - 1)
        for index, (first, last) in enumerate(itertools.pairwise(edges))
    ]
    return [part for part in parts if part.radius >= 0]


def best_parts(num_hashes: int, max_distance: int) -> list[Part]:
    """The division that is least work for so many hashes: values gone through and pairs compared."""

    def work(parts: list[Part]) -> float:
        return sum(part.num_masks * (2.0**part.width + float(num_hashes) ** 2 / 2.0**part.width) for part in parts)

    divisions = (divide(number, max_distance) for number in range(-(-_BITS // _WIDEST), _BITS // 8 + 1))
    return min(divisions, key=work)


def close_pairs(
    hashes: npt.NDArray[np.uint64],
    owners: npt.NDArray[np.int64],
    *,
    max_distance: int,
) -> Iterator[tuple[float, npt.NDArray[np.int64]]]:
    """Every pair of hashes of different owners that differ in at most ``max_distance`` bits, each once.

    hashes: uint64 (n, 4). owners: (n,). Yields the share of the work that is done, 0 to 1, and the pairs found since,
    int64 (m, 3): the numbers of the two hashes, the lower first, and the bits in which they differ.
    """
    parts = best_parts(len(hashes), max_distance)
    words = np.stack([part.words() for part in parts])
    radii = np.array([part.radius for part in parts])
    done, total = 0, sum(part.num_masks for part in parts)
    found = np.empty((max(_ROOM, len(hashes)), 3), np.int64)
    for number, part in enumerate(parts):
        values = part.values(hashes)
        order = np.argsort(values, kind="stable")
        starts = np.searchsorted(values[order], np.arange(2**part.width + 1))
        ordered, own = hashes[order], owners[order]
        for mask in part.masks():
            value, place, done = 0, 0, done + 1
            while value < 2**part.width:
                with np.errstate(over="ignore"):  # as plain Python, without numba, numbers run over aloud
                    value, place, count = _join(
                        ordered, own, starts, int(mask), value, place, max_distance, words[:number], radii[:number],
                        found,
                    )  # fmt: skip
                pairs = found[:count].copy()
                pairs[:, :2] = np.sort(order[pairs[:, :2]], axis=1)
                yield done / total, pairs


@compiled("int64(uint64)")
def _ones(word: Any) -> Any:
    """How many bits are set; the compiler knows this form and makes one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled(
    "UniTuple(int64, 3)(uint64[:, ::1], int64[::1], int64[::1], int64, int64, int64, int64, "
    "uint64[:, ::1], int64[::1], int64[:, ::1])"
)
def _join(
    hashes: Any,
    owners: Any,
    starts: Any,
    mask: int,
    value: int,
    place: int,
    max_distance: int,
    earlier: Any,
    radii: Any,
    found: Any,
) -> Any:
    """Compare the hashes of each value of a part with those of ``value ^ mask``; go on at a value and a place in it.

    hashes: sorted by value; those of value v are starts[v] .. starts[v + 1]. earlier: the parts that were done before
    (k, 4), with their radii: a pair that was found there is left out. Returns where to go on, the value beyond the last
    one when all is done, and the number of rows of ``found`` that were written.
    """
    count, num_values = 0, len(starts) - 1
    while value < num_values:
        other = value ^ mask
        first, last = starts[other], starts[other + 1]
        own_last = starts[value + 1]
        if other >= value and first < last:
            for i in range(starts[value] + place, own_last):
                if count + last - first > len(found):
                    return value, i - starts[value], count
                for j in range(i + 1 if mask == 0 else first, last):
                    distance = _ones(hashes[i, 0] ^ hashes[j, 0]) + _ones(hashes[i, 1] ^ hashes[j, 1])
                    if distance > max_distance:
                        continue
                    distance += _ones(hashes[i, 2] ^ hashes[j, 2]) + _ones(hashes[i, 3] ^ hashes[j, 3])
                    if distance > max_distance or owners[i] == owners[j]:
                        continue
                    is_new = True
                    for part in range(len(earlier)):
                        bits = 0
                        for word in range(4):
                            bits += _ones((hashes[i, word] ^ hashes[j, word]) & earlier[part, word])
                        if bits <= radii[part]:
                            is_new = False
                            break
                    if is_new:
                        found[count, 0], found[count, 1], found[count, 2] = i, j, distance
                        count += 1
        value, place = value + 1, 0
    return value, place, count
