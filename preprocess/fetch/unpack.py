"""Unpacks the videos of an archive, and of those within it, to ``<destination>/<class>/<file>``; overwrites nothing."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from preprocess.fetch.archives.kinds import checked_members, copy_stream, read_members
from preprocess.fetch.archives.members import Budget, ByteSource, HostileArchiveError, Limits, Member, safe_parts
from preprocess.fetch.folders import link_or_copy
from preprocess.fetch.layout import Place, archive_stem, is_wanted, place_of, wrapper_of
from shared.errors import DataError
from shared.splits.parts import Part
from shared.video.listing import SYNTHETIC_MARKER


@dataclass
class Tally:
    """What was done so far. Names are ``<class>/<file>``, or a member's own where it has no place."""

    num_written: int = 0  # videos new in the destination
    num_linked: int = 0  # of these, the files that are the source's own under another name
    num_kept: int = 0  # videos that were there already, byte for byte
    ignored: Counter[str] = field(default_factory=Counter)  # members that are no videos, by suffix
    conflicts: list[str] = field(default_factory=list)
    """Names whose video differs from the one in place, which was kept."""
    unplaced: list[str] = field(default_factory=list)  # videos without a class folder
    failures: list[str] = field(default_factory=list)  # archives and files that could not be read, with the reason
    parts: dict[str, Part | None] = field(default_factory=dict)
    """The part of each video, where its folders name one."""
    renamed: list[str] = field(default_factory=list)  # videos whose name another one has that is of another part
    in_two_parts: list[str] = field(default_factory=list)  # videos that stand in two parts, byte for byte


class Unpacker:
    """Unpacks one archive, or a folder of files, and the archives within it.

    The videos of an archive are moved from the staging folder when all of it was read, those of a folder at once.
    """

    def __init__(self, destination: Path, *, limits: Limits, budget: Budget, tally: Tally) -> None:
        self._destination = destination
        self._limits = limits
        self._budget = budget
        self._tally = tally
        self._wrapper = ""

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
        names = [safe_parts(member.name) for member in members]
        _refuse_synthetic(archive, names)
        if not label:
            self._wrapper = wrapper_of([parts for parts in names if is_wanted(parts)])
        self._check_disk(archive, label, members)
        folder = staging / str(depth)
        folder.mkdir()
        videos: list[tuple[Path, Place]] = []
        for index, (member, data) in enumerate(_contents(archive, members)):
            parts, staged = safe_parts(member.name), folder / f"{index}{PurePosixPath(member.name).suffix.lower()}"
            self._count(member, data)
            if not is_wanted(parts):
                self._tally.ignored[PurePosixPath(member.name).suffix.lower()] += 1
            elif archive_stem(parts[-1]) is not None:
                if self._stage(member, data, staged):
                    inner = "/".join((*filter(None, [label]), *parts))
                    self._unpack_nested(staged, label=inner, staging=staging, depth=depth + 1)
                    staged.unlink()
            elif (place := self._place_of(parts, label)) is None:
                self._tally.unplaced.append(member.name)
            elif self._stage(member, data, staged):
                videos.append((staged, place))
                if isinstance(data, Path):  # nothing that follows in a folder tells against it, and copies take long
                    self._put(*videos.pop())
            advance(member.num_bytes)
        for staged, place in videos:
            self._put(staged, place)
        folder.rmdir()

    def _count(self, member: Member, data: ByteSource | Path) -> None:
        """Count against the limits what is packed; the files of a folder are no bomb."""
        if not isinstance(data, Path):
            self._budget.take_member()
            if not is_wanted(safe_parts(member.name)):
                self._budget.take_bytes(member.num_bytes)

    def _stage(self, member: Member, data: ByteSource | Path, staged: Path) -> bool:
        """Bring a member to the staging folder; False, and a note, where it is a file that cannot be read."""
        if not isinstance(data, Path):
            copy_stream(data, staged, budget=self._budget)
            return True
        try:
            link_or_copy(data, staged)
        except (FileNotFoundError, PermissionError) as error:
            self._tally.failures.append(f"{member.name}: {error.strerror}")
            staged.unlink(missing_ok=True)
            return False
        return True

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
                members=checked_members(archive, limits=self._limits),
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

    def _place_of(self, parts: Sequence[str], label: str) -> Place | None:
        archives = [archive_stem(part) or part for part in PurePosixPath(label).parts]
        return place_of([*archives, *parts], wrapper=self._wrapper)

    def _check_disk(self, archive: Path, label: str, members: Sequence[Member]) -> None:
        """Refuse early where the disk cannot hold what is new, with one nested archive at a time beside it.

        A nested archive counts as what it will give: videos hardly compress. Hard links need nothing.
        """
        is_linked = archive.is_dir() and archive.stat().st_dev == self._destination.stat().st_dev
        new, largest = 0, 0
        for member in members:
            parts = safe_parts(member.name)
            if not is_wanted(parts):
                continue
            if (stem := archive_stem(parts[-1])) is not None:
                new += max(0, member.num_bytes - _bytes_in(self._destination / stem))
                largest = max(largest, 0 if is_linked else member.num_bytes)
            elif (place := self._place_of(parts, label)) is not None and not is_linked:
                new += 0 if (self._destination / place.target).exists() else member.num_bytes
        free = shutil.disk_usage(self._destination).free
        if new + largest > free:
            raise DataError(
                f"{label or archive.name} needs {(new + largest) / 1e6:.0f} MB at {self._destination}, "
                f"where {free / 1e6:.0f} MB are free"
            )

    def _put(self, staged: Path, place: Place) -> None:
        """Move a video to its place unless a file of that name is there, which is kept, whatever it holds."""
        tally, target = self._tally, place.target
        if str(target) in tally.parts and tally.parts[str(target)] != place.part:
            if _is_same(staged, self._destination / target):
                tally.in_two_parts.append(str(target))
            elif place.part is not None:
                target = place.target_by_part
                tally.renamed.append(str(target))
        tally.parts.setdefault(str(target), place.part)
        final = self._destination / target
        if os.path.lexists(final):
            if _is_same(staged, final):
                tally.num_kept += 1
            else:
                tally.conflicts.append(str(target))
            staged.unlink()
            return
        final.parent.mkdir(exist_ok=True)
        tally.num_linked += staged.stat().st_nlink > 1
        staged.rename(final)
        tally.num_written += 1


def _contents(archive: Path, members: Sequence[Member]) -> Iterator[tuple[Member, ByteSource | Path]]:
    """The plain files of an archive with their bytes, or of a folder with their paths."""
    if archive.is_dir():
        return ((member, archive / member.name) for member in members)
    return iter(read_members(archive))


def _refuse_synthetic(archive: Path, names: Sequence[Sequence[str]]) -> None:
    if any(parts[-1:] == (SYNTHETIC_MARKER,) for parts in names):
        raise DataError(
            f"{archive.name} holds synthetic videos of `hmdb-prep synth`; unpack it by hand, all of it, and name the "
            "folder with --videos"
        )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return other.is_file() and (one.samefile(other) or filecmp.cmp(one, other, shallow=False))


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) if folder.is_dir() else 0
