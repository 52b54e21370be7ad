"""Pairs of close hashes: none is missed and none told twice, compared with looking at all pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.eda import hash_pairs
from preprocess.eda.hash_pairs import best_parts, close_pairs, divide

Hashes = npt.NDArray[np.uint64]
Found = list[tuple[int, int, int]]


def made_hashes(count: int, *, seed: int, copies: int, most_flipped: int) -> Hashes:
    """Random hashes; ``copies`` of them are made of others by turning up to ``most_flipped`` bits."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (count, 256), dtype=np.uint8)
    for _ in range(copies):
        original, copy = generator.integers(0, count, 2)
        flipped = generator.choice(256, int(generator.integers(0, most_flipped + 1)), replace=False)
        bits[copy] = bits[original]
        bits[copy, flipped] ^= 1
    return np.packbits(bits, axis=1).view(np.uint64)


def all_pairs(hashes: Hashes, owners: npt.NDArray[np.int64], max_distance: int) -> Found:
    """Of all pairs the close ones. Of bits as -1 and 1, hashes that differ in d bits have the product 256 - 2d."""
    signs = 2 * np.unpackbits(hashes.view(np.uint8), axis=1).astype(np.float32) - 1
    found = []
    for start in range(0, len(hashes), 512):
        distances = (256 - signs[start : start + 512] @ signs[start:].T) / 2
        first, second = (places + start for places in np.nonzero(distances <= max_distance))
        pairs = np.column_stack([first, second, distances[first - start, second - start]]).astype(np.int64)
        found.append(pairs[(first < second) & (owners[first] != owners[second])])
    return sorted((a, b, bits) for a, b, bits in np.concatenate(found).tolist())


def ours(hashes: Hashes, owners: npt.NDArray[np.int64], max_distance: int) -> Found:
    parts = [pairs for _, pairs in close_pairs(hashes, owners, max_distance=max_distance)]
    return sorted((a, b, bits) for pairs in parts for a, b, bits in pairs.tolist())


@given(
    count=st.integers(1, 120),
    seed=st.integers(0, 1000),
    copies=st.integers(0, 60),
    max_distance=st.sampled_from([0, 1, 7, 8, 31, 40, 64]),
)
@settings(deadline=None, max_examples=50)
def test_pairs_are_those_of_comparing_all(count: int, seed: int, copies: int, max_distance: int) -> None:
    hashes = made_hashes(count, seed=seed, copies=copies, most_flipped=70)
    owners = np.arange(count) // 3
    assert ours(hashes, owners, max_distance) == all_pairs(hashes, owners, max_distance)


def test_pairs_of_as_many_frames_as_hmdb51_has() -> None:
    """Three frames of each of 6766 clips; most copies differ in about as many bits as are allowed."""
    hashes = made_hashes(3 * 6766, seed=0, copies=9000, most_flipped=60)
    owners = np.arange(len(hashes)) // 3
    expected = all_pairs(hashes, owners, 40)
    assert len(expected) > 1000
    assert ours(hashes, owners, 40) == expected


def test_pairs_that_do_not_fit_the_room_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_pairs, "_ROOM", 1)
    hashes = np.concatenate([np.zeros((60, 4), np.uint64), made_hashes(40, seed=1, copies=20, most_flipped=40)])
    owners = np.arange(100)
    pieces = list(close_pairs(hashes, owners, max_distance=40))
    assert max(len(pairs) for _, pairs in pieces) <= 100
    assert ours(hashes, owners, 40) == all_pairs(hashes, owners, 40)
    assert [share for share, _ in pieces] == sorted(share for share, _ in pieces)
    assert pieces[-1][0] == 1


@pytest.mark.parametrize("num_parts", range(12, 33))
def test_no_pair_can_hide_between_the_parts(num_parts: int) -> None:
    """The most bits in which a pair may differ in every part without being found are no more than are looked for."""
    parts = divide(num_parts, 40)
    hidden = sum(part.radius + 1 for part in parts)
    assert hidden > 40
    words = np.stack([part.words() for part in parts])
    assert np.bitwise_count(words).sum() == sum(part.width for part in parts)
    assert (np.bitwise_or.reduce(words) == np.bitwise_xor.reduce(words)).all()
    value = np.random.default_rng(num_parts).integers(0, 2**63, (5, 4), dtype=np.uint64)
    bits = np.unpackbits(value.view(np.uint8), axis=1, bitorder="little")
    for part in parts:
        own = bits[:, part.first : part.first + part.width].astype(np.int64)
        assert (part.values(value) == own @ (1 << np.arange(part.width))).all()
        assert len(set(part.masks().tolist())) == part.num_masks


def test_more_hashes_get_wider_parts() -> None:
    widths = [best_parts(count, 40)[0].width for count in (100, 10_000, 1_000_000, 10_000_000)]
    assert widths == sorted(widths)
    assert 8 <= widths[0] < widths[-1] <= 22
