"""What an archive may hold: kinds and names of members, and limits on their number and size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from shared.errors import DataError

_HEAD_BYTES = 4096


class HostileArchiveError(DataError):
    """An archive with a member that would leave the destination, is no plain file, or is far too large."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold, nested archives included: a guard against decompression bombs.

    max_depth: archives within archives (the official file has 2). max_members: number of members of all of them. Bytes
    unpacked may be ``free_bytes`` plus ``max_ratio`` times the size of the file (videos hardly compress).
    """

    max_depth: int = 3
    max_members: int = 200_000
    max_ratio: float = 20.0
    free_bytes: int = 1 << 30

    def max_bytes(self, num_bytes: int) -> int:
        """How many bytes a file of ``num_bytes`` may unpack to."""
        return self.free_bytes + int(self.max_ratio * num_bytes)


class Budget:
    """Counts members and bytes unpacked against the limits; shared by an archive and those within it."""

    def __init__(self, limits: Limits, *, name: str, num_bytes: int) -> None:
        self._archive_name = name
        self._members_left = self._max_members = limits.max_members
        self._bytes_left = self._max_bytes = limits.max_bytes(num_bytes)

    def take_member(self) -> None:
        """Count one member. Raises HostileArchiveError beyond the limit."""
        self._members_left -= 1
        if self._members_left < 0:
            raise HostileArchiveError(
                f"{self._archive_name} holds more than {self._max_members} members; nothing more is unpacked"
            )

    def take_bytes(self, count: int) -> None:
        """Count bytes that were unpacked. Raises HostileArchiveError beyond the limit."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise HostileArchiveError(
                f"{self._archive_name} unpacks to more than {self._max_bytes / 1e6:.0f} MB, far beyond its own size; "
                "it looks like a decompression bomb, nothing more is unpacked"
            )


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry of an archive, as its header describes it."""

    name: str
    num_bytes: int
    kind: Literal["file", "folder", "other"]
    crc32: int | None = None
    """Of its bytes, for who reads it to verify; None where the archive gives none, or zipfile verifies it."""


def read_head(path: Path) -> bytes:
    """The first 4096 bytes of a file, or all of it: enough to tell what it is."""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


class ByteSource(Protocol):
    """The bytes of one member, to be read to their end: an empty result."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes."""
        ...


def safe_parts(name: str) -> tuple[str, ...]:
    """The folders and the file name of a member; backslashes separate as well, ``.`` is dropped.

    Raises HostileArchiveError for absolute paths, drive letters, ``..`` and control characters.
    """
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    absolute = name.startswith(("/", "\\")) or (len(name) > 2 and name[1] == ":" and name[2] in "/\\")
    if absolute or ".." in parts:
        raise HostileArchiveError(f"archive member {name!r} would leave the destination; the archive is refused")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise HostileArchiveError(f"archive member {name!r} has control characters in its name; the archive is refused")
    return parts


def check_member(member: Member) -> None:
    """Raises HostileArchiveError for a member with a hostile name, a link or a device."""
    safe_parts(member.name)
    if member.kind == "other":
        raise HostileArchiveError(
            f"archive member {member.name!r} is a link or a device, not a plain file; the archive is refused"
        )
