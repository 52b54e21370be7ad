"""The clip to explain: decoded from a video, or found by its id among the stored ones."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from shared.errors import DataError
from shared.manifests.files import ClipRow, read_dataset, read_manifests
from shared.shards.data_sets import check_place, open_shard
from shared.shards.places import ShardsPlace
from shared.terminal.console import counted
from shared.video.decoding import decode_clip
from shared.video.listing import stem_of
from shared.video.sampling import evaluation_slice
from train.trained.answers import printable
from train.trained.clips import check_dataset
from train.trained.model import LoadedModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DataFolders:
    """Where a clip that is named by its id is looked for."""

    videos: Path
    shards: ShardsPlace
    manifests: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownClip:
    """The frames of a clip that the model is shown."""

    name: str
    """What to call it in print."""
    folder: Path
    """Where its explanations go, below the folder of all of them."""
    frames: torch.Tensor
    """uint8 (T, H, W, 3), of the stored size."""
    frame_index: tuple[int, ...]
    """The number of each in the video, from 0."""
    notes: tuple[str, ...]


def find_clip(name: str, loaded: LoadedModel, folders: DataFolders) -> ShownClip:
    """The clip of a video, where there is a file or frame folder ``name``; else the stored clip of this id.

    A clip whose shard is not there is decoded from its video. Raises DataError where there is neither, and where the
    manifests are of another data set than the one the model was trained on.
    """
    path = Path(name)
    return _of_video(path, loaded) if path.exists() else _by_id(name, loaded, folders)


def _of_video(path: Path, loaded: LoadedModel) -> ShownClip:
    clip = decode_clip(path, dataclasses.replace(loaded.facts.shape, frames_per_segment=1))
    return ShownClip(
        name=printable(path.name),
        folder=Path(printable(stem_of(path)) or "video"),
        frames=clip.frames,
        frame_index=tuple(clip.frame_index.tolist()),
        notes=(*padding_notes(clip.num_frames, clip.num_padded), *clip.notes),
    )


def _by_id(name: str, loaded: LoadedModel, folders: DataFolders) -> ShownClip:
    try:
        dataset, frame = read_dataset(folders.manifests), read_manifests(folders.manifests)
    except DataError as error:
        raise DataError(f"no video at {name}; if it is the id of a clip: {error}") from error
    rows = frame.loc[frame["clip_id"] == name]
    if rows.empty:
        raise DataError(_no_such(name, frame, folders.manifests))
    check_dataset(loaded, dataset)
    row = ClipRow(**{str(column): value for column, value in rows.to_dict("records")[0].items()})
    video = folders.videos / row.path
    if isinstance(folders.shards, Path) and not (folders.shards / row.shard).exists() and video.exists():
        note = f"the shard {row.shard} is not in {folders.shards}: decoded from {video} again"
        clip = _of_video(video, loaded)
        return dataclasses.replace(clip, name=name, folder=Path(name), notes=(*clip.notes, note))
    return _stored(name, row, folders.shards, named=set(frame["shard"]), dataset_id=dataset.dataset_id)


def _stored(name: str, row: ClipRow, shards: ShardsPlace, *, named: set[str], dataset_id: str) -> ShownClip:
    with open_shard(shards, row.shard, named=named, dataset_id=dataset_id) as reader:
        check_place(reader, name, row=row.row)
        middle = evaluation_slice(reader.layout.frames_per_segment)
        return ShownClip(
            name=name,
            folder=Path(name),
            frames=torch.from_numpy(reader.frames[row.row][middle].copy()),
            frame_index=tuple(reader.frame_index[row.row][middle].tolist()),
            notes=padding_notes(row.num_frames, row.num_padded),
        )


def padding_notes(num_frames: int, num_padded: int) -> tuple[str, ...]:
    """What is to be said of a clip whose video has fewer frames than it; nothing of others."""
    if not num_padded:
        return ()
    frames, times = counted(num_frames, "frame"), counted(num_padded, "time")
    return (f"the video has {frames}: the last one is repeated {times}",)


def _no_such(name: str, frame: pd.DataFrame, manifests: Path) -> str:
    near = difflib.get_close_matches(name, frame["clip_id"].tolist(), n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    return (
        f"no video at {name}, and no clip of this id among the {counted(len(frame), 'clip')} of {manifests}: "
        f"an id is <class>/<file name without its suffix>{hint}"
    )
