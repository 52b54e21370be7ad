"""Whether two devices decoded the same frames: shards of the same videos, compared frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader

ROUNDING = 3.0  # grey levels, mean: the colour conversions of NVDEC and swscale differ in the last digits

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the CPU and the other device made of the clips of one codec."""

    codec: str
    clips: int
    on_gpu: int
    frames: int  # compared
    other_counts: int  # clips whose n differs
    other_indices: int  # clips that consist of other frames
    strays: int  # frames more like a neighbour of the CPU's frame than like it
    mean: float  # difference of a pixel's colour, grey levels
    largest: int

    @property
    def is_right(self) -> bool:
        return not (self.other_counts or self.other_indices or self.strays) and self.mean < ROUNDING

    def cells(self) -> dict[str, float | str]:
        """A row of the report."""
        return {
            "codec": self.codec,
            "clips": self.clips,
            "on the GPU": self.on_gpu,
            "frames compared": self.frames,
            "clips of another n": self.other_counts,
            "clips of other frames": self.other_indices,
            "strayed frames": self.strays,
            "mean difference, grey levels": self.mean,
            "largest": self.largest,
        }


def agreement(cpu: Path, other: Path) -> list[Agreement]:
    """Compare two extractions of the same videos, ``FOLDER/shards`` and ``FOLDER/manifests``; one row a codec.

    Raises ValueError where they do not hold the same clips.
    """
    ours, theirs = (read_manifests(folder / "manifests").sort_values("clip_id") for folder in (cpu, other))
    if list(ours["clip_id"]) != list(theirs["clip_id"]):
        raise ValueError(f"the clips differ: {sorted(set(ours['clip_id']) ^ set(theirs['clip_id']))}")
    return [
        _of_codec(str(codec), rows, theirs[theirs["clip_id"].isin(rows["clip_id"])], cpu=cpu, other=other)
        for codec, rows in ours.groupby("codec")
    ]


def _of_codec(codec: str, ours: pd.DataFrame, theirs: pd.DataFrame, *, cpu: Path, other: Path) -> Agreement:
    differences, indices, strays, frames = [], 0, 0, 0
    for (_, left), (_, right) in zip(ours.iterrows(), theirs.iterrows(), strict=True):
        (a, a_index), (b, b_index) = _clip(cpu, left), _clip(other, right)
        indices += not np.array_equal(a_index, b_index)
        if a.shape != b.shape:
            continue
        count = len(np.unique(a_index))  # what comes after is padding
        differences.append(_histogram(a[:count], b[:count]))
        strays += num_strays(a[:count], b[:count])
        frames += count
    histogram = np.sum(differences, axis=0) if differences else np.zeros(256)
    return Agreement(
        codec=codec,
        clips=len(ours),
        on_gpu=int((theirs["decoder"] == "cuda").sum()),
        frames=frames,
        other_counts=int((ours["num_frames"].to_numpy() != theirs["num_frames"].to_numpy()).sum()),
        other_indices=indices,
        strays=strays,
        mean=float(histogram @ np.arange(256) / max(1, histogram.sum())),
        largest=int(np.flatnonzero(histogram).max(initial=0)),
    )


def _clip(folder: Path, row: pd.Series) -> tuple[Frames, npt.NDArray[np.int32]]:
    with ShardReader(folder / "shards" / str(row["shard"])) as reader:
        place = int(row["row"])
        return np.array(reader.frames[place]), np.array(reader.frame_index[place])


def _histogram(a: Frames, b: Frames) -> npt.NDArray[np.int64]:
    """How often colours differ by 0, 1, ... 255."""
    return np.bincount(np.abs(a.astype(np.int16) - b).ravel(), minlength=256)


def num_strays(ours: Frames, theirs: Frames) -> int:
    """Frames of ``theirs`` (n, H, W, 3) that are another frame than ours of the same number, rounding set aside.

    Were frame i really our frame i ± 1, it would be nearer to that one by the whole distance of those two. More than
    half of it counts.
    """
    strays = np.zeros(len(ours), dtype=bool)
    for step in (-1, 1):
        for i in range(max(0, -step), len(ours) - max(0, step)):
            nearer = _distance(theirs[i], ours[i]) - _distance(theirs[i], ours[i + step])
            strays[i] |= nearer > 0.5 * _distance(ours[i], ours[i + step])
    return int(strays.sum())


def _distance(a: Frames, b: Frames) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())
