"""A small appearance-and-motion descriptor of a clip, and the feature space made of it, where SMOTE looks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.manifests.files import STATISTIC_COLUMNS
from shared.shards.clips import clips_in_shards
from shared.video.luma import luma_of_array

if TYPE_CHECKING:
    import pandas as pd

_GRID = 8  # cells of a thumbnail, each way
_GRADIENT_GRID = 4
_NUM_ORIENTATIONS = 8
_WORKING_SIZE = 64  # about as many pixels are looked at along the shorter side
_GROUP_LENGTHS = (_GRID**2, _GRID**2, _GRID**2, _GRADIENT_GRID**2 * _NUM_ORIENTATIONS)
DESCRIPTOR_LENGTH = sum(_GROUP_LENGTHS)
MAX_COMPONENTS = 64
_UNREADABLE = (
    OSError, ValueError, LookupError, AttributeError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error,
)  # fmt: skip

FloatArray = npt.NDArray[np.float64]
DescriptorArray = npt.NDArray[np.float32]


def clip_descriptor(frames: npt.NDArray[np.uint8]) -> DescriptorArray:
    """The descriptor of one clip, float32 (320,), from its T evaluation frames, uint8 (T, H, W, 3).

    On luma in [0, 255], of every s-th pixel each way (s = shorter side // 64, at least 1): 8x8 thumbnail, mean over the
    frames; the thumbnail of the later half of the frames minus that of the earlier half; 8x8 mean absolute difference
    of adjacent frames; orientation of gradients, 8 bins over 180 degrees in 4x4 cells, weighted by magnitude, each cell
    scaled to sum 1 and square-rooted (after Dalal and Triggs 2005). One frame: what needs two is zero.
    """
    step = max(1, min(frames.shape[1:3]) // _WORKING_SIZE)
    luma = luma_of_array(frames[:, ::step, ::step])
    thumbnails = _cell_means(luma, grid=_GRID)
    change = motion = np.zeros((_GRID, _GRID), dtype=np.float32)
    if len(luma) > 1:
        half = len(luma) // 2
        change = thumbnails[-half:].mean(axis=0) - thumbnails[:half].mean(axis=0)
        motion = _cell_means(np.abs(np.diff(luma, axis=0)).mean(axis=0, keepdims=True), grid=_GRID)[0]
    groups = (thumbnails.mean(axis=0), change, motion, _orientations(luma))
    return np.concatenate([group.ravel() for group in groups])


def _cell_starts(length: int, grid: int) -> npt.NDArray[np.int64]:
    return np.arange(grid, dtype=np.int64) * length // grid


def _cell_means(pictures: DescriptorArray, *, grid: int) -> DescriptorArray:
    """Means over ``grid`` x ``grid`` cells: float32 (T, grid, grid) of (T, H, W)."""
    rows, columns = (_cell_starts(length, grid) for length in pictures.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(pictures, rows, axis=1), columns, axis=2)
    # A cell is at least one pixel: in a picture smaller than the grid, neighbouring cells share theirs.
    heights = np.maximum(np.diff(rows, append=pictures.shape[1]), 1)
    widths = np.maximum(np.diff(columns, append=pictures.shape[2]), 1)
    means: DescriptorArray = (sums / (heights[:, None] * widths)).astype(np.float32)
    return means


def _orientations(luma: DescriptorArray) -> DescriptorArray:
    """Square roots of the orientation histograms: float32 (4, 4, 8) of (T, H, W). A cell without gradients: zeros."""
    padded = np.pad(luma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    turns = np.arctan2(down, right) / np.float32(np.pi)  # of a half circle, in [-1, 1]
    bins = np.floor(turns % 1 * _NUM_ORIENTATIONS).astype(np.int64) % _NUM_ORIENTATIONS
    rows, columns = (np.arange(length) * _GRADIENT_GRID // length for length in luma.shape[1:])
    cells = rows[:, None] * _GRADIENT_GRID + columns
    magnitude = np.hypot(down, right)
    length = _GRADIENT_GRID**2 * _NUM_ORIENTATIONS
    sums = np.bincount((cells * _NUM_ORIENTATIONS + bins).ravel(), weights=magnitude.ravel(), minlength=length)
    histograms = sums.reshape(_GRADIENT_GRID, _GRADIENT_GRID, _NUM_ORIENTATIONS)
    totals = histograms.sum(axis=-1, keepdims=True)
    shares = np.divide(histograms, totals, out=np.zeros_like(histograms), where=totals > 0)
    roots: DescriptorArray = np.sqrt(shares).astype(np.float32)
    return roots


def describe_clips(
    frame: pd.DataFrame,
    shards: Path,
    *,
    dataset_id: str,
    named: Collection[str] = (),
    advance: Callable[[int], None],
) -> DescriptorArray:
    """Descriptors of the clips of manifest rows, float32 (N, 320), from the frames in their shards, mapped.

    named: all shards of the manifests, where ``frame`` holds only some of their rows. Raises DataError as
    ``clips_in_shards`` does.
    """
    result = np.empty((len(frame), DESCRIPTOR_LENGTH), dtype=np.float32)
    for clip in clips_in_shards(frame, shards, dataset_id=dataset_id, named=named):
        result[clip.place] = clip_descriptor(clip.frames[clip.evaluation])
        advance(1)
    return result


def feature_space(descriptors: DescriptorArray, statistics: npt.NDArray[np.float32]) -> FloatArray:
    """The feature space of N clips: float64 (N, P), P at most 64. A pure function of its input.

    descriptors: (N, 320); statistics: (N, S), the manifest's. Every column is standardised; columns are weighed so that
    each of the five groups (the descriptor's four and the statistics) contributes the same variance; PCA keeps the
    strongest components.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    lengths = (*_GROUP_LENGTHS, statistics.shape[1])
    columns = StandardScaler(copy=False).fit_transform(np.hstack([descriptors, statistics]))
    columns *= np.repeat([1 / np.sqrt(length) for length in lengths], lengths).astype(np.float32)
    # The covariance's own eigenvectors, their signs fixed by scikit-learn: nothing random, and little memory.
    reduction = PCA(n_components=min(MAX_COMPONENTS, *columns.shape), svd_solver="covariance_eigh")
    return np.asarray(reduction.fit_transform(columns), dtype=np.float64)


def descriptor_features(
    frame: pd.DataFrame,
    shards: Path,
    *,
    dataset_id: str,
    named: Collection[str] = (),
    advance: Callable[[int], None],
) -> FloatArray:
    """The default features of the clips of manifest rows: ``feature_space`` of descriptors and statistics."""
    statistics = frame[list(STATISTIC_COLUMNS)].to_numpy(dtype=np.float32)
    broken = ~np.isfinite(statistics).all(axis=1)
    if broken.any():
        clip_id = frame["clip_id"].iloc[int(broken.argmax())]
        raise DataError(f"the manifest's statistics of {clip_id} hold a value that is no number; run `hmdb-prep merge`")
    descriptors = describe_clips(frame, shards, dataset_id=dataset_id, named=named, advance=advance)
    return feature_space(descriptors, statistics)


def read_features(file: Path, clip_ids: list[str]) -> FloatArray:
    """The features of the clips asked for, float64 (N, D), from an .npz file with clip_id (M,) and features (M, D).

    They are taken as they are, neither standardised nor reduced; clips not asked for are passed over. Raises DataError
    where the file is absent or not such a file, lacks a clip or names one twice, or holds a value that is no number.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names, features = arrays["clip_id"], arrays["features"]
    except FileNotFoundError as error:
        raise DataError(f"no features at {file}; make them with `lsvit-train embed`") from error
    except _UNREADABLE as error:
        raise DataError(f"{file} is no .npz file with clip_id and features ({error})") from error
    if names.ndim != 1 or names.dtype.kind != "U" or features.ndim != 2 or len(features) != len(names):
        raise DataError(
            f"{file}: clip_id is {names.dtype} {names.shape} and features is {features.dtype} {features.shape}; "
            "expected texts (N,) and numbers (N, D)"
        )
    places = {name: place for place, name in enumerate(names.tolist())}
    if len(places) < len(names):
        raise DataError(f"{file} names a clip twice; every clip must stand once")
    missing = [clip_id for clip_id in clip_ids if clip_id not in places]
    if missing:
        raise DataError(f"{file} lacks {len(missing)} training clips, {missing[0]} first; embed the whole data set")
    if features.dtype.kind not in "fiu":
        raise DataError(f"{file}: features is {features.dtype}; expected numbers")
    chosen: FloatArray = features[[places[clip_id] for clip_id in clip_ids]].astype(np.float64)
    if not np.isfinite(chosen).all():
        broken = clip_ids[int((~np.isfinite(chosen).all(axis=1)).argmax())]
        raise DataError(f"{file}: the features of {broken} hold a value that is no number")
    return chosen
