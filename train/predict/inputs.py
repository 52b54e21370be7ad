"""What the user calls videos: files, frame folders, folders and patterns, into single videos."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.manifests.left_out import LeftOut
from shared.video.listing import FolderContent, files_below, frames_of, left_out_of, look_into, stem_of


@dataclass(frozen=True, kw_only=True)
class Input:
    """One video to answer for."""

    name: str
    """As the user wrote it, or as it was found in a folder or by a pattern."""
    error: str = ""
    """Why there is no video by this name."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the arguments give."""

    videos: tuple[Input, ...]
    left_out: tuple[LeftOut, ...]
    """What folders hold beside videos."""


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Take files as they are, folders as all videos below them and patterns (``*``, ``?``, ``[``) as what they match.

    A folder that holds numbered pictures and no video is a video itself. A file that exists is that file, whatever
    characters it is made of. Videos of a folder or pattern are sorted; hidden ones are left out. An argument that gives
    nothing becomes an Input with an error.
    """
    found = [_find(argument) for argument in arguments]
    return Inputs(
        videos=tuple(each for one in found for each in one.videos),
        left_out=tuple(each for one in found for each in one.left_out),
    )


def ids_of(videos: Iterable[str]) -> list[str]:
    """The id of each video in a competition's file: its name without folders and suffix."""
    return [stem_of(Path(video)) for video in videos]


def shared_ids(videos: Sequence[str]) -> dict[str, list[str]]:
    """Ids that several videos share, each with these videos. A video that is named twice is one."""
    distinct = [str(video) for video in dict.fromkeys(map(Path, videos))]
    ids = ids_of(distinct)
    several = {each for each, count in Counter(ids).items() if count > 1}
    return {each: [video for video, its in zip(distinct, ids, strict=True) if its == each] for each in sorted(several)}


def _find(argument: str) -> Inputs:
    path = Path(argument)
    if path.is_dir():
        found = _in_folders([path])
        return (
            found
            if found.videos
            else _nothing(argument, "no videos in this folder, nor numbered pictures", found.left_out)
        )
    if "://" in argument and not path.exists():
        return _nothing(argument, "an address; videos are files: download it first", ())
    if path.exists() or not glob.has_magic(argument):
        return Inputs(videos=(Input(name=argument),), left_out=())
    matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 (takes any pattern)
    found = _in_folders(matches)
    return found if found.videos else _nothing(argument, "no such file, and as a pattern it matches no video", ())


def _nothing(argument: str, error: str, left_out: tuple[LeftOut, ...]) -> Inputs:
    return Inputs(videos=(Input(name=argument, error=error),), left_out=left_out)


def _in_folders(paths: Sequence[Path]) -> Inputs:
    """The files among ``paths``, and the videos below the folders among them, in this order."""
    videos: list[Input] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if path.is_dir():
            below = list(_below(path, look_into(path)))
            videos += [Input(name=str(video)) for video in sorted(each for each in below if isinstance(each, Path))]
            left_out += [each for each in below if isinstance(each, LeftOut)]
        else:
            videos.append(Input(name=str(path)))
    return Inputs(videos=tuple(videos), left_out=tuple(left_out))


def _below(folder: Path, content: FolderContent) -> Iterator[Path | LeftOut]:
    """The videos below a folder of this content, and what is left out there."""
    frames = frames_of(content)
    yield from left_out_of(content, frames=frames, root=None, pictures="picture outside a clip's folder")
    if frames:
        yield folder
        for deeper in content.folders:
            yield from files_below(Path(deeper.path), root=None, reason="too deep")
        return
    yield from (Path(entry.path) for entry in content.videos)
    stems = {stem_of(Path(entry.path)) for entry in content.videos}
    for deeper in content.folders:
        path = Path(deeper.path)
        inside = look_into(path)
        is_video = bool(frames_of(inside))
        if is_video and stem_of(path) in stems:
            yield LeftOut(path=deeper.path, reason="frames of a video that is there")
        elif deeper.is_symlink() and not is_video:  # it may lead back to where it lies
            yield LeftOut(path=deeper.path, reason="link to a folder")
        else:
            yield from _below(path, inside)
