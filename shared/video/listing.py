"""The videos of a folder: which files and frame folders are videos, to which class each belongs, what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.checks import FORMULA_SIGNS, check_name
from shared.errors import DataError
from shared.manifests.files import SPLITS_FILE
from shared.manifests.left_out import LeftOut, Reason, left_out_line
from shared.video.frame_names import is_frame, is_picture

SYNTHETIC_MARKER = "synthetic.json"  # stands in a folder of videos that synth rendered

# What FFmpeg reads as video, by the suffixes of its formats and those in use for them. FFmpeg itself goes by the
# content: this list only says which files are worth opening. Not here: sound, still pictures, and what is more often
# something else (.dat, .mod, .yuv).
VIDEO_SUFFIXES: frozenset[str] = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avc", ".avi", ".bik", ".dav", ".divx", ".dv",
    ".dvr-ms", ".f4v", ".flc", ".fli", ".flv", ".gif", ".gxf", ".h261", ".h263", ".h264", ".h265", ".hevc", ".ismv",
    ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov",
    ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nsv", ".nut", ".nuv", ".obu", ".ogm", ".ogv", ".qt",
    ".rm", ".rmvb", ".roq", ".smk", ".tod", ".tp", ".trp", ".ts", ".vc1", ".viv", ".vob", ".webm", ".wmv", ".wtv",
    ".xvid", ".y4m",
))  # fmt: skip
_OUR_FILES = frozenset({SYNTHETIC_MARKER, SPLITS_FILE})  # written by synth, and by fetch beside the class folders
_LONGEST_CLASS = 255 - len(".csv")  # bytes: its manifest is named after it, and names of files end at 255
_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})  # left by the windows of file managers
_HOW_VIDEOS_LIE = "a video is a file <class>/<name>.avi, or a folder <class>/<name>/ of numbered pictures"


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One video below the videos folder: a file, or a folder of numbered pictures."""

    path: str
    """Relative to the videos folder, with forward slashes."""
    class_name: str
    num_bytes: int
    """The size of the file, or of all its pictures."""

    @property
    def stem(self) -> str:
        """The name without a video's suffix, which a frame folder need not have."""
        return _stem(self.path.rpartition("/")[2])

    @property
    def clip_id(self) -> str:
        """``<class>/<stem>``: the name of its clip everywhere."""
        return f"{self.class_name}/{self.stem}"


@dataclass(frozen=True, kw_only=True)
class VideoListing:
    """What a folder of videos holds."""

    videos: tuple[Video, ...]
    """Sorted by path."""
    num_frame_folders: int
    """How many of them are folders of pictures."""
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class FolderContent:
    """What lies directly in one folder, each sorted by name."""

    videos: tuple[os.DirEntry[str], ...]
    pictures: tuple[os.DirEntry[str], ...]
    others: tuple[os.DirEntry[str], ...]
    folders: tuple[os.DirEntry[str], ...]
    hidden: tuple[os.DirEntry[str], ...]


def is_video_name(name: str) -> bool:
    """Whether a file of this name is a video, by its suffix."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 (a path for each of a million names)


def stem_of(path: Path) -> str:
    """The name of a video without its suffix. Of a folder only a video's suffix is one: ``clip1.5`` stays whole."""
    return _stem(path.name) if path.is_dir() else path.stem


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a path for each of a million names)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def look_into(folder: Path) -> FolderContent:
    """List a folder. The files that file managers leave (``Thumbs.db``, ``.DS_Store``) are nowhere in it."""
    kinds: dict[str, list[os.DirEntry[str]]] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.lower() not in _SYSTEM_FILES:
                kinds.setdefault(_kind_of(entry), []).append(entry)
    return FolderContent(
        videos=tuple(kinds.get("video", ())),
        pictures=tuple(kinds.get("picture", ())),
        others=tuple(kinds.get("other", ())),
        folders=tuple(kinds.get("folder", ())),
        hidden=tuple(kinds.get("hidden", ())),
    )


def _kind_of(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_dir():
        return "folder"
    if is_video_name(entry.name):
        return "video"
    return "picture" if is_picture(entry.name) else "other"


def frames_of(content: FolderContent) -> tuple[os.DirEntry[str], ...]:
    """The pictures of the one video that a folder is; none where it holds videos, or nothing.

    It is a video if it holds numbered pictures and no video. Where it has as many folders with videos within, or more,
    these are the videos, and its pictures show what they are of: ``thumb01.png`` beside ``clip1/`` and ``clip2/``.
    """
    if content.videos:
        return ()
    frames = tuple(entry for entry in content.pictures if is_frame(entry.name))
    if not frames or len(frames) > len(content.folders):  # nearly always: no folder within has to be looked into
        return frames
    return frames if len(frames) > sum(_holds_videos(entry) for entry in content.folders) else ()


def _holds_videos(folder: os.DirEntry[str]) -> bool:
    """Whether there is a video or a numbered picture in a folder, or in one within; of a link, in its folder alone."""
    content = look_into(Path(folder.path))
    return (
        bool(content.videos)
        or any(is_frame(entry.name) for entry in content.pictures)
        or (not folder.is_symlink() and any(_holds_videos(entry) for entry in content.folders))
    )


def left_out_of(
    content: FolderContent, *, frames: Sequence[os.DirEntry[str]], root: Path | None, pictures: Reason
) -> Iterator[LeftOut]:
    """What is no video in a folder: hidden ones, other files, and ``pictures`` where it is no frame folder.

    frames: those that ``frames_of`` gives. root: the folder to which paths become relative; None leaves them as they
    are. Folders within are not looked at.
    """
    yield from _all(content.hidden, root, "hidden")
    if frames:
        yield from _all(content.others, root, "beside the pictures of a clip")
        names = {entry.name for entry in frames}
        unnumbered = tuple(entry for entry in content.pictures if entry.name not in names)
        yield from _all(unnumbered, root, "picture without a number")
    else:
        yield from _all(content.others, root, "no video by its suffix")
        yield from _all(content.pictures, root, pictures)


def files_below(folder: Path, *, root: Path | None, reason: Reason) -> Iterator[LeftOut]:
    """Every file below a folder, with ``reason`` where it has none of its own; the folder itself where it is empty.

    A link to a folder is not followed: it may lead to anywhere.
    """
    if folder.is_symlink():
        yield LeftOut(path=_relative(str(folder), root), reason="link to a folder")
        return
    found = False
    for place, folders, files in os.walk(folder):
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders) - set(hidden))
        for name in sorted([*hidden, *files]):
            if name.lower() not in _SYSTEM_FILES:
                found = True
                path = _relative(str(Path(place) / name), root)
                yield LeftOut(path=path, reason=_reason_for(name, reason))
    if not found:
        yield LeftOut(path=_relative(str(folder), root), reason="folder without a video")


def _reason_for(name: str, reason: Reason) -> Reason:
    if name.startswith("."):
        return "hidden"
    return "picture without a number" if is_picture(name) and not is_frame(name) else reason


def list_videos(folder: Path) -> VideoListing:
    """List the videos in ``folder/<class>/`` and what is left out there, in the order of their paths.

    Links that lead nowhere are videos of 0 bytes, so that they are quarantined and not lost. Raises DataError where
    the folder is absent, holds no class folders or no videos, or a name that no manifest can hold.
    """
    if not folder.is_dir():
        raise DataError(
            f"no folder of videos at {folder}; make one with `hmdb-prep synth` or `hmdb-prep fetch`, "
            "or name it with --videos"
        )
    top = look_into(folder)
    stray = [entry for entry in (*top.videos, *top.pictures, *top.others) if entry.name not in _OUR_FILES]
    left_out = [*_all(top.hidden, folder, "hidden"), *_all(stray, folder, "beside the class folders")]
    videos: list[Video] = []
    num_frame_folders = 0
    for class_folder in top.folders:
        of_class = _list_class(Path(class_folder.path))
        videos += of_class.videos
        num_frame_folders += of_class.num_frame_folders
        left_out += of_class.left_out
    for video in videos:
        _check_name(video)
    if not videos:
        raise DataError(_why_no_videos(folder, top, left_out))
    return VideoListing(
        videos=tuple(sorted(videos, key=lambda video: video.path)),
        num_frame_folders=num_frame_folders,
        left_out=tuple(sorted(left_out, key=lambda row: row.path)),
    )


def _list_class(folder: Path) -> VideoListing:
    root = folder.parent
    content = look_into(folder)
    videos = [_video(folder, entry, num_bytes=_size(entry)) for entry in content.videos]
    left_out = list(left_out_of(content, frames=(), root=root, pictures="picture outside a clip's folder"))
    num_files = len(videos)
    stems = {video.stem for video in videos}
    for entry in content.folders:
        inside = look_into(Path(entry.path))
        frames = frames_of(inside)
        video = _video(folder, entry, num_bytes=sum(map(_size, frames)))
        if not frames:
            left_out += files_below(Path(entry.path), root=root, reason="too deep")
        elif video.stem in stems:
            left_out += _all([entry], root, "frames of a video that is there")
        else:
            videos.append(video)
            left_out += left_out_of(inside, frames=frames, root=root, pictures="picture without a number")
            for deeper in inside.folders:
                left_out += files_below(Path(deeper.path), root=root, reason="too deep")
    if not videos:
        left_out.append(LeftOut(path=folder.name, reason="class without a video"))
    return VideoListing(videos=tuple(videos), num_frame_folders=len(videos) - num_files, left_out=tuple(left_out))


def _video(folder: Path, entry: os.DirEntry[str], *, num_bytes: int) -> Video:
    return Video(path=f"{folder.name}/{entry.name}", class_name=folder.name, num_bytes=num_bytes)


def _size(entry: os.DirEntry[str]) -> int:
    return entry.stat().st_size if entry.is_file() else 0


def _all(entries: Iterable[os.DirEntry[str]], root: Path | None, reason: Reason) -> list[LeftOut]:
    return [LeftOut(path=_relative(entry.path, root), reason=reason) for entry in entries]


def _relative(path: str, root: Path | None) -> str:
    return os.path.relpath(path, root) if root else path


def _why_no_videos(folder: Path, top: FolderContent, left_out: list[LeftOut]) -> str:
    if top.videos:
        return f"{folder} holds videos but no class folders; move each video to {folder}/<class>/"
    loose = [row.path for row in left_out if row.reason == "picture outside a clip's folder"]
    if loose:
        return f"{folder}/{loose[0]} is a picture outside a clip's folder; {_HOW_VIDEOS_LIE}"
    said = f" ({left_out_line(left_out)})" if left_out else ""
    return f"no videos in {folder}/<class>/{said}; {_HOW_VIDEOS_LIE}"


def _check_name(video: Video) -> None:
    try:
        video.path.encode()
        check_name(video.path, num_parts=2)
    except UnicodeEncodeError as error:
        raise DataError(f"the name {os.fsencode(video.path)!r} is not UTF-8; rename the video") from error
    except ValueError as error:
        raise DataError(f"the name {error}; rename the video") from error
    # Videos of HMDB51 and YouTube may begin with the other signs.
    if video.class_name.startswith(FORMULA_SIGNS) or video.path.partition("/")[2].startswith("="):
        what = "class folder" if video.class_name.startswith(FORMULA_SIGNS) else "video"
        raise DataError(
            f"the {what} of {video.path!r} has a name that a spreadsheet would run as a formula when it opens the "
            "manifest; give it a name that begins with a letter or a number"
        )
    num_bytes = len(video.class_name.encode())
    if num_bytes > _LONGEST_CLASS:
        raise DataError(
            f"the class folder {video.class_name[:40]}... has a name of {num_bytes} bytes; its manifest would be named "
            f"after it, and more than {_LONGEST_CLASS} no file system takes: give it a shorter name"
        )


def is_synthetic(folder: Path) -> bool:
    """Whether a folder of videos was rendered by `hmdb-prep synth`: it bears the marker that synth writes first."""
    return (folder / SYNTHETIC_MARKER).is_file()
