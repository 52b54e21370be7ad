"""What the name of a member tells: whether it is wanted, its class, and its part if a folder such as test says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from shared.classes import HMDB51_CLASSES
from shared.splits.own_files import SplitTable
from shared.splits.parts import Part, stem_with_part
from shared.video.listing import VIDEO_SUFFIXES

ARCHIVE_SUFFIXES = (".rar", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PARTS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}  # by the name of a folder; no class is ever called so


def archive_stem(name: str) -> str | None:
    """The name of an archive without its suffix; None where it has the suffix of no archive that is read."""
    return next((name[: -len(suffix)] for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), None)


def is_wanted(parts: Sequence[str]) -> bool:
    """Whether a member is a video or an archive. parts: its folders and its name.

    Dot files and the side files that macOS puts into archives are not; the rest of the project leaves them out as well.
    """
    if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return PurePosixPath(parts[-1]).suffix.lower() in VIDEO_SUFFIXES or archive_stem(parts[-1]) is not None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a video goes, and the part of a split that its folders name."""

    class_name: str
    file_name: str
    part: Part | None

    @property
    def target(self) -> PurePosixPath:
        """``<class>/<file>``, relative to the destination."""
        return PurePosixPath(self.class_name, self.file_name)

    @property
    def target_by_part(self) -> PurePosixPath:
        """Another name for it, ``<class>/<stem>_<part><suffix>``, where a video of another part has the first."""
        return self.target.with_stem(stem_with_part(self.target.stem, self.part))


def place_of(path: Sequence[str], *, wrapper: str = "") -> Place | None:
    """The place of a video, None where nothing names its class.

    path: the folders and archives, by their stems, that it lies in, then its own name. The class is the nearest of them
    with a name of HMDB51, else the nearest at all; those called train, val or test, in any letters, name the part.
    wrapper: the folder that holds everything, which is no class where the folder below it is a part.
    """
    *folders, file_name = path
    found = [_PARTS[name.casefold()] for name in folders if name.casefold() in _PARTS]
    candidates = [name for name in folders if name.casefold() not in _PARTS]
    if _is_wrapped(folders, wrapper):
        candidates = candidates[1:]
    known = [name for name in candidates if name in HMDB51_CLASSES]
    chosen = (known or candidates)[-1:]
    return Place(class_name=chosen[0], file_name=file_name, part=found[-1] if found else None) if chosen else None


def _is_wrapped(folders: Sequence[str], wrapper: str) -> bool:
    """Whether these folders begin with the wrapper and, right below it, a part: ``UCF-101/train/``."""
    if len(folders) < 2 or folders[0] != wrapper or wrapper in HMDB51_CLASSES:
        return False
    return folders[1].casefold() in _PARTS


def wrapper_of(paths: Sequence[Sequence[str]]) -> str:
    """The folder that all of these paths begin with, empty where there is none."""
    firsts = {path[0] if len(path) > 1 else "" for path in paths}
    return firsts.pop() if len(firsts) == 1 else ""


def split_table_of(parts: Mapping[str, Part | None]) -> SplitTable | None:
    """The parts that folders named, as a table of one split; None where they do not divide the videos.

    parts: ``<class>/<file>`` of a video -> its part.
    """
    named = {str(PurePosixPath(target).with_suffix("")): (part,) for target, part in parts.items() if part is not None}
    return SplitTable(key="clip_id", columns=("split1",), parts=named) if len(set(named.values())) > 1 else None


def joined(kept: SplitTable, new: SplitTable) -> SplitTable | None:
    """Both tables in one, None where they are of other splits or contradict each other."""
    alike = (kept.key, kept.columns) == (new.key, new.columns)
    if not alike or any(new.parts.get(name, parts) != parts for name, parts in kept.parts.items()):
        return None
    return SplitTable(key=new.key, columns=new.columns, parts={**kept.parts, **new.parts})
