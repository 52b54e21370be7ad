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

from shared.manifests import SPLIT_COLUMNS
from shared.video.luma import luma_of_array

FRAMES_A_CLIP = 3
MAX_DISTANCE = 40  # of 256 bits; unrelated pictures differ in 128, give or take 16
MIN_CORRELATION = 0.95
MAX_PAIRS = 2000  # kept, the closest first; all are counted
_SIDE = 32
_LOWEST = 16
_MIN_CONTRAST = 4.0  # standard deviation of the small luma picture, of 255
_BLOCK = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class NearDuplicates:
    """Pairs of clips that look alike.

    pairs: the closest ones, columns clip_a, clip_b (clip ids), row_a, row_b (rows of the manifests), distance (bits),
    correlation, same_source, same_class, and one column for each split: True where one clip trains and the other tests.
    num_pairs: all pairs, also those beyond MAX_PAIRS. num_hidden: of different sources, one in train and one in test.
    """

    pairs: pd.DataFrame
    num_pairs: int
    num_across_sources: int
    num_across_split: dict[str, int]
    num_hidden: dict[str, int]

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


def find_near_duplicates(
    clips: pd.DataFrame, pictures: npt.NDArray[np.float32], *, advance: Callable[[int], None] = lambda count: None
) -> NearDuplicates:
    """Compare all clips with all others.

    clips: manifests, N rows. pictures: float32 (N, n, 32, 32) from ``small_pictures``, n frames of each clip, in the
    rows' order. advance: called with the number of clips compared.
    """
    num_frames = pictures.shape[1]
    flat = pictures.reshape(len(clips) * num_frames, -1)
    told = np.flatnonzero(flat.std(axis=1) >= _MIN_CONTRAST)
    hashes = perceptual_hashes(flat[told].reshape(-1, _SIDE, _SIDE))
    centred = flat[told] - flat[told].mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = []
    for start in range(0, len(told), _BLOCK):
        found.append(_pairs_of_block(hashes, centred, told // num_frames, start))
        advance(min(_BLOCK, len(told) - start) // num_frames)
    columns = ["row_a", "row_b", "distance", "correlation"]
    pairs = (
        pd.concat([pd.DataFrame(block, columns=columns) for block in found]) if found else pd.DataFrame(columns=columns)
    )
    pairs = pairs.astype({"row_a": int, "row_b": int, "distance": int, "correlation": float})
    pairs = pairs.sort_values(["distance", "correlation", "row_a", "row_b"], ascending=[True, False, True, True])
    return _describe(clips, pairs.drop_duplicates(["row_a", "row_b"], ignore_index=True))


def _pairs_of_block(
    hashes: npt.NDArray[np.uint64], centred: npt.NDArray[np.float32], clip: npt.NDArray[np.int64], start: int
) -> npt.NDArray[np.float64]:
    """Pairs of the frames start .. start + _BLOCK with themselves and later ones: (m, 4), one row a pair of clips."""
    block = hashes[start : start + _BLOCK]
    distance = np.zeros((len(block), len(hashes) - start), dtype=np.uint16)
    for word in range(hashes.shape[1]):
        distance += np.bitwise_count(block[:, None, word] ^ hashes[None, start:, word])
    first, second = np.nonzero(distance <= MAX_DISTANCE)
    keep = clip[start + first] < clip[start + second]
    first, second = first[keep], second[keep]
    pairs = np.empty((len(first), 4))
    for begin in range(0, len(first), _BLOCK * 16):
        part = slice(begin, begin + _BLOCK * 16)
        pairs[part, 3] = np.einsum("ij,ij->i", centred[start + first[part]], centred[start + second[part]])
    pairs[:, 0], pairs[:, 1] = clip[start + first], clip[start + second]
    pairs[:, 2] = distance[first, second]
    pairs = pairs[pairs[:, 3] >= MIN_CORRELATION]
    # Of the frames of two clips only the closest pair counts; this also keeps memory small.
    pairs = pairs[np.lexsort((-pairs[:, 3], pairs[:, 2]))]
    _, closest = np.unique(pairs[:, 0] * (clip[-1] + 1) + pairs[:, 1], return_index=True)
    return np.asarray(pairs[np.sort(closest)])


def _describe(clips: pd.DataFrame, pairs: pd.DataFrame) -> NearDuplicates:
    def values(column: str, side: str) -> npt.NDArray[np.object_]:
        return np.asarray(clips[column].to_numpy(dtype=object)[pairs[side].to_numpy()])

    pairs = pairs.assign(clip_a=values("clip_id", "row_a"), clip_b=values("clip_id", "row_b"))
    pairs["same_source"] = values("source", "row_a") == values("source", "row_b")
    pairs["same_class"] = values("class_name", "row_a") == values("class_name", "row_b")
    for split in SPLIT_COLUMNS:
        a, b = values(split, "row_a"), values(split, "row_b")
        pairs[split] = ((a == "train") & (b == "test")) | ((a == "test") & (b == "train"))
    # What matters for a leak comes first where the list is cut.
    leaking = ~pairs["same_source"] | pairs[list(SPLIT_COLUMNS)].any(axis=1)
    kept = pd.concat([pairs[leaking], pairs[~leaking]]).head(MAX_PAIRS).reset_index(drop=True)
    return NearDuplicates(
        pairs=kept,
        num_pairs=len(pairs),
        num_across_sources=int((~pairs["same_source"]).sum()),
        num_across_split={split: int(pairs[split].sum()) for split in SPLIT_COLUMNS},
        num_hidden={split: int((pairs[split] & ~pairs["same_source"]).sum()) for split in SPLIT_COLUMNS},
    )
