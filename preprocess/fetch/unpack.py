"""Unpacks the videos of an archive, and of those within it, to ``<destination>/<class>/<file>``; overwrites nothing."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from preprocess.fetch.archives import ARCHIVE_SUFFIXES, checked_members, copy_stream, read_members
from preprocess.fetch.members import Budget, HostileArchiveError, Limits, Member, safe_parts
from shared.classes import HMDB51_CLASSES
from shared.errors import DataError
from shared.videos import VIDEO_SUFFIXES


@dataclass
class Tally:
    """What was done so far."""

    num_written: int = 0  # videos new in the destination
    num_kept: int = 0  # videos that were there already, byte for byte
    num_ignored: int = 0  # members that are no videos
    conflicts: list[str] = field(default_factory=list)
    """Names whose video differs from the one in place, which was kept."""
    unplaced: list[str] = field(default_factory=list)  # videos without a class folder
    failures: list[str] = field(default_factory=list)  # nested archives that could not be read, with the reason


class Unpacker:
    """Unpacks one archive and those within it; its videos are moved from the staging folder when all of it was read."""

    def __init__(self, destination: Path, *, limits: Limits, budget: Budget, tally: Tally) -> None:
        self._destination = destination
        self._limits = limits
        self._budget = budget
        self._tally = tally

    def unpack(
        self,
        archive: Path,
        *,
        label: str,
        members: Sequence[Member],
        staging: Path,
        depth: int,
        advance: Callable[[int], None],
    ) -> None:
        """Unpack ``archive``. label: its path within the outermost one, empty for that. advance: told of bytes done."""
        self._check_disk(archive, label, members)
        folder = staging / str(depth)
        folder.mkdir()
        videos: list[tuple[Path, PurePosixPath]] = []
        for index, (member, data) in enumerate(read_members(archive)):
            self._budget.take_member()
            parts = safe_parts(member.name)
            suffix = PurePosixPath(parts[-1]).suffix.lower() if parts else ""
            if suffix in VIDEO_SUFFIXES and not _is_hidden(parts):
                target = _target_of(parts, label)
                if target is None:
                    self._tally.unplaced.append(member.name)
                else:
                    staged = folder / f"{index}.video"
                    copy_stream(data, staged, budget=self._budget)
                    videos.append((staged, target))
            elif suffix in ARCHIVE_SUFFIXES and not _is_hidden(parts):
                nested = folder / f"{index}{suffix}"
                copy_stream(data, nested, budget=self._budget)
                self._unpack_nested(
                    nested, label="/".join((*filter(None, [label]), *parts)), staging=staging, depth=depth + 1
                )
                nested.unlink()
            else:
                self._budget.take_bytes(member.num_bytes)
                self._tally.num_ignored += 1
            advance(member.num_bytes)
        for staged, target in videos:
            self._place(staged, target)
        folder.rmdir()

    def _unpack_nested(self, archive: Path, *, label: str, staging: Path, depth: int) -> None:
        """One damaged inner archive costs its own videos only; a hostile one ends everything."""
        if depth > self._limits.max_depth:
            raise HostileArchiveError(
                f"{label}: archives nested more than {self._limits.max_depth} deep; nothing more is unpacked"
            )
        try:
            self.unpack(
                archive,
                label=label,
                members=checked_members(archive),
                staging=staging,
                depth=depth,
                advance=lambda _: None,
            )
        except HostileArchiveError as error:
            raise HostileArchiveError(f"{label}: {error}") from error
        except DataError as error:
            self._tally.failures.append(f"{label}: {str(error).removeprefix(archive.name).lstrip()}")
            for level in range(depth, self._limits.max_depth + 1):
                shutil.rmtree(staging / str(level), ignore_errors=True)

    def _check_disk(self, archive: Path, label: str, members: Sequence[Member]) -> None:
        """Refuse early where the disk cannot hold what is new, with one nested archive at a time beside it."""
        new, nested = 0, 0
        for member in members:
            parts = safe_parts(member.name)
            suffix = PurePosixPath(parts[-1]).suffix.lower() if parts else ""
            target = _target_of(parts, label) if suffix in VIDEO_SUFFIXES else None
            if target is not None and not (self._destination / target).exists():
                new += member.num_bytes
            elif suffix in ARCHIVE_SUFFIXES:
                nested = max(nested, member.num_bytes)
        free = shutil.disk_usage(self._destination).free
        if new + nested > free:
            raise DataError(
                f"{label or archive.name} needs {(new + nested) / 1e6:.0f} MB at {self._destination}, "
                f"where {free / 1e6:.0f} MB are free"
            )

    def _place(self, staged: Path, target: PurePosixPath) -> None:
        """Move a video to its place unless a file of that name is there, which is kept, whatever it holds."""
        final = self._destination / target
        if os.path.lexists(final):
            if final.is_file() and filecmp.cmp(staged, final, shallow=False):
                self._tally.num_kept += 1
            else:
                self._tally.conflicts.append(str(target))
            staged.unlink()
            return
        final.parent.mkdir(exist_ok=True)
        staged.rename(final)
        self._tally.num_written += 1


def _is_hidden(parts: Sequence[str]) -> bool:
    """Dot files and the side files that macOS puts into archives; the rest of the project leaves them out as well."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _target_of(parts: Sequence[str], label: str) -> PurePosixPath | None:
    """``<class>/<file>``, or None where there is nothing to name the class.

    The class is the nearest folder, or nested archive by its stem, that bears a name of HMDB51, else the nearest.
    """
    candidates = [*reversed(parts[:-1])]
    for part in reversed(PurePosixPath(label).parts):
        candidates.append(PurePosixPath(part).stem if PurePosixPath(part).suffix.lower() in ARCHIVE_SUFFIXES else part)
    known = [name for name in candidates if name in HMDB51_CLASSES]
    chosen = (known or candidates)[:1]
    return PurePosixPath(chosen[0], parts[-1]) if chosen else None
