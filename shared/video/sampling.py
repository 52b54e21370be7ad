"""Which frames of a video become the T·K rows of its clip, and which rows evaluation and training use.

n is the number of frames that really decode, T the number of segments, K the frames per segment. All in integers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from shared.errors import UsageError

_GOLDEN_RATIO_64 = np.uint64(0x9E3779B97F4A7C15)


def check_frames_per_segment(frames_per_segment: int) -> None:
    """Raise UsageError unless K is odd and positive: only then is the middle candidate the frame that K=1 stores."""
    if frames_per_segment < 1 or frames_per_segment % 2 == 0:
        raise UsageError(
            f"--frames-per-segment is {frames_per_segment}; it must be odd and positive (1, 3, 5, ...), "
            "so that each segment has a middle frame"
        )


def candidate_frames(num_frames: int, *, num_segments: int, frames_per_segment: int) -> npt.NDArray[np.int32]:
    """Frame numbers of a clip's rows: int32 (T·K,), in order, each in [0, n-1].

    n >= T: candidate j of segment s is ((2(sK + j) + 1)·n) // (2KT), the middle of the j-th of K equal parts of
    [s·n/T, (s+1)·n/T). n < T: frames 0..n-1, then the last one again and again (temporal padding), each K times.
    """
    check_frames_per_segment(frames_per_segment)
    if num_segments < 1:
        raise UsageError(f"--num-frames is {num_segments}; it must be at least 1")
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}; a clip needs at least one frame")
    if num_frames < num_segments:
        frames = np.minimum(np.arange(num_segments, dtype=np.int64), num_frames - 1)
        return np.repeat(frames, frames_per_segment).astype(np.int32)
    num_rows = num_segments * frames_per_segment
    numerators = (2 * np.arange(num_rows, dtype=np.int64) + 1) * num_frames
    return (numerators // (2 * num_rows)).astype(np.int32)


def num_padded_frames(num_frames: int, *, num_segments: int) -> int:
    """How many of the T frames only repeat the last one: T - n where n < T, else 0."""
    return max(0, num_segments - num_frames)


def evaluation_rows(*, num_segments: int, frames_per_segment: int) -> npt.NDArray[np.int64]:
    """Rows (T,) of the middle candidate of each segment: what evaluation, prediction and statistics use."""
    return np.arange(num_segments * frames_per_segment, dtype=np.int64)[evaluation_slice(frames_per_segment)]


def evaluation_slice(frames_per_segment: int) -> slice:
    """The same rows as a slice of a clip's T·K, which takes them without a copy."""
    return slice(frames_per_segment // 2, None, frames_per_segment)


def clip_key(clip_id: str) -> np.uint64:
    """A clip's 64-bit key for seeded choices: the first eight bytes (little-endian) of SHA-256 of its clip_id."""
    return np.uint64(int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "little"))


def training_rows(
    clip_keys: npt.NDArray[np.uint64], *, seed: int, epoch: int, num_segments: int, frames_per_segment: int
) -> npt.NDArray[np.int64]:
    """Rows (B, T) of TSN segment sampling (Wang et al. 2016): one candidate of each segment at random.

    A pure function of (seed, epoch, clip): the same whatever the batch, the order or the number of processes.
    clip_keys: uint64 (B,), from ``clip_key``. With K=1 there is one candidate and nothing to choose.
    """
    segments = np.arange(num_segments, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        state = _mix(clip_keys.astype(np.uint64)[:, None] + _mix(np.uint64(seed) + _mix(np.uint64(epoch))))
        draws = _mix(state + (segments + np.uint64(1)) * _GOLDEN_RATIO_64)
    # The high 32 bits, scaled: the bias is below K / 2**32.
    choice = ((draws >> np.uint64(32)) * np.uint64(frames_per_segment)) >> np.uint64(32)
    return (segments * np.uint64(frames_per_segment) + choice).astype(np.int64)


def _mix(value: npt.NDArray[np.uint64] | np.uint64) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014), elementwise."""
    mixed = np.atleast_1d(np.asarray(value, dtype=np.uint64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
