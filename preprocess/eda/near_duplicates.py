"""Pairs of clips that show the same picture, found by perceptual hash: a detector of leaks between train and test.

A clip is looked at in three of its frames. A frame's hash has 256 bits: the signs, against their median, of the lowest
16 x 16 coefficients of the cosine transform of its 32 x 32 luma (pHash; Zauner 2010). Two clips are near duplicates
where a frame of the one and a frame of the other differ in at most MAX_DISTANCE bits and their 32 x 32 pictures
correlate by at least MIN_CORRELATION. Frames of one flat tone say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional as F

from preprocess.eda.hash_pairs import close_pairs
from shared.manifests.files import SPLIT_COLUMNS
from shared.video.luma import luma_of_array

FRAMES_A_CLIP = 3
MAX_DISTANCE = 40  # of 256 bits; unrelated pictures differ in 128, give or take 16
MIN_CORRELATION = 0.95
MAX_PAIRS = 2000  # kept, the closest first; all are counted ...
MAX_COUNTED = 5_000_000  # ... up to this number: then thousands of clips show the same, and the search ends
_SIDE = 32
_LOWEST = 16
_MIN_CONTRAST = 4.0  # standard deviation of the small luma picture, of 255
_AT_ONCE = 8192  # pairs that are correlated together


@dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """How frames look: what is kept of n frames of each of N clips, some 3 KB a clip."""

    hashes: npt.NDArray[np.uint64]
    """(N, n, 4): 256 bits of each frame, as ``perceptual_hashes`` makes them."""
    pictures: npt.NDArray[np.uint8]
    """(N, n, 32, 32): luma, stretched so that the darkest pixel of each picture is 0 and the brightest 255."""
    is_flat: npt.NDArray[np.bool_]
    """(N, n): frames of one tone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NearDuplicates:
    """Pairs of clips that look alike.

    pairs: the closest ones, columns clip_a, clip_b (clip ids), row_a, row_b (rows of the manifests), distance (bits),
    correlation, same_source, same_class, and one column for each split: True where one clip trains and the other tests.
    num_pairs: all pairs, also those beyond MAX_PAIRS. num_hidden: of different sources, one in train and one in test.
    is_whole: False where the search ended at MAX_COUNTED, so that there are more.
    """

    pairs: pd.DataFrame
    num_pairs: int
    num_across_sources: int
    num_across_split: dict[str, int]
    num_hidden: dict[str, int]
    is_whole: bool

    def counts(self) -> dict[str, int]:
        """Numbers of pairs by kind, for a table."""
        across = {f"across train and test of {split}": count for split, count in self.num_across_split.items()}
        return {"all": self.num_pairs, "of different sources": self.num_across_sources, **across}


def small_pictures(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Luma of uint8 RGB frames (n, H, W, 3) at 32 x 32 pixels, float32 (n, 32, 32), in [0, 255].

    Every second pixel of large frames is enough: the mean over a cell follows.
    """
    step = max(1, min(frames.shape[1:3]) // (3 * _SIDE))
    luma = torch.from_numpy(luma_of_array(frames[:, ::step, ::step]))
    return np.asarray(F.adaptive_avg_pool2d(luma[:, None], (_SIDE, _SIDE))[:, 0].numpy(), dtype=np.float32)


def perceptual_hashes(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """pHash of small luma pictures (n, 32, 32): uint64 (n, 4), 256 bits each."""
    basis = _cosine_basis()
    coefficients = (basis @ pictures @ basis.T).reshape(len(pictures), _LOWEST**2)
    bits = coefficients > np.median(coefficients[:, 1:], axis=1, keepdims=True)
    return np.asarray(np.packbits(bits, axis=1).view(np.uint64))


def _cosine_basis() -> npt.NDArray[np.float32]:
    """The lowest 16 rows of the orthonormal DCT-II of length 32."""
    frequency, position = np.arange(_LOWEST)[:, None], np.arange(_SIDE)[None]
    basis = np.sqrt(2 / _SIDE) * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, dtype=np.float32)


def looks_of(pictures: npt.NDArray[np.float32]) -> Looks:
    """What is kept of pictures from ``small_pictures``, float32 (N, n, 32, 32)."""
    flat = pictures.reshape(-1, _SIDE, _SIDE)
    darkest, brightest = flat.min(axis=(1, 2), keepdims=True), flat.max(axis=(1, 2), keepdims=True)
    stretched = (flat - darkest) * (255 / np.maximum(brightest - darkest, 1e-6))
    return Looks(
        hashes=perceptual_hashes(flat).reshape(*pictures.shape[:2], 4),
        pictures=np.rint(stretched).astype(np.uint8).reshape(pictures.shape),
        is_flat=pictures.std(axis=(2, 3)) < _MIN_CONTRAST,
    )


def find_near_duplicates(
    clips: pd.DataFrame, looks: Looks, *, advance: Callable[[int], None] = lambda count: None
) -> NearDuplicates:
    """All pairs of clips that look alike.

    clips: manifests, N rows. looks: of their frames, in the rows' order. advance: called with a number of clips, in
    all N, as the search goes on.
    """
    told = np.flatnonzero(~looks.is_flat.reshape(-1))
    hashes, pictures = looks.hashes.reshape(-1, 4)[told], looks.pictures.reshape(-1, _SIDE**2)
    owners = told // looks.is_flat.shape[1]
    found, num_found, shown = [np.empty((0, 4))], 0, 0
    for share, pairs in close_pairs(hashes, owners, max_distance=MAX_DISTANCE):
        alike = _alike(pairs, owners, told, pictures)
        found.append(alike)
        num_found += len(alike)
        advance(int(share * len(clips)) - shown)
        shown = int(share * len(clips))
        if num_found > MAX_COUNTED:
            break
    table = pd.DataFrame(_closest(np.concatenate(found)), columns=["row_a", "row_b", "distance", "correlation"])
    table = table.astype({"row_a": int, "row_b": int, "distance": int, "correlation": float})
    table = table.sort_values(["distance", "correlation", "row_a", "row_b"], ascending=[True, False, True, True])
    return _describe(clips, table.reset_index(drop=True), is_whole=num_found <= MAX_COUNTED)


def _alike(
    pairs: npt.NDArray[np.int64],
    owners: npt.NDArray[np.int64],
    told: npt.NDArray[np.int64],
    pictures: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float64]:
    """The pairs of frames whose pictures correlate, (m, 4): their clips, bits apart, correlation; as ``_closest``."""
    kept = [np.empty((0, 4))]
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        first, second = (_normalised(pictures[told[part[:, side]]]) for side in (0, 1))
        correlation = np.einsum("ij,ij->i", first, second)
        rows = np.column_stack([owners[part[:, 0]], owners[part[:, 1]], part[:, 2], correlation])
        kept.append(_closest(rows[correlation >= MIN_CORRELATION]))
    return _closest(np.concatenate(kept))


def _normalised(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Pictures (m, pixels) with mean 0 and length 1."""
    centred = pictures.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _closest(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the pairs of frames of two clips only the closest: rows of two clips, bits apart, correlation."""
    rows = rows[np.lexsort((-rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    return np.asarray(rows[is_first])


def _describe(clips: pd.DataFrame, pairs: pd.DataFrame, *, is_whole: bool) -> NearDuplicates:
    first, second = pairs["row_a"].to_numpy(), pairs["row_b"].to_numpy()
    for column in ("source", "class_name"):
        numbers = pd.factorize(clips[column])[0]
        pairs[f"same_{column.removesuffix('_name')}"] = numbers[first] == numbers[second]
    for split in SPLIT_COLUMNS:
        trains, tests = (clips[split] == "train").to_numpy(), (clips[split] == "test").to_numpy()
        pairs[split] = (trains[first] & tests[second]) | (tests[first] & trains[second])
    # What matters for a leak comes first where the list is cut.
    leaking = ~pairs["same_source"] | pairs[list(SPLIT_COLUMNS)].any(axis=1)
    kept = pd.concat([pairs[leaking], pairs[~leaking]]).head(MAX_PAIRS).reset_index(drop=True)
    for side in ("a", "b"):
        kept[f"clip_{side}"] = clips["clip_id"].to_numpy()[kept[f"row_{side}"].to_numpy()]
    return NearDuplicates(
        pairs=kept,
        num_pairs=len(pairs),
        num_across_sources=int((~pairs["same_source"]).sum()),
        num_across_split={split: int(pairs[split].sum()) for split in SPLIT_COLUMNS},
        num_hidden={split: int((pairs[split] & ~pairs["same_source"]).sum()) for split in SPLIT_COLUMNS},
        is_whole=is_whole,
    )
