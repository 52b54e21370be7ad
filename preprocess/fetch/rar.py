"""Reads .rar archives through a tool of the system that only ever writes to a pipe, and verifies every checksum.

unar is preferred: bsdtar of libarchive 3.6 decodes some genuine RAR 4 archives wrongly, refuses solid ones, and passes
damaged members on without a word. Neither ever reads a member's name as an option or a pattern, and nothing is unpacked
by the names in the archive.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from preprocess.fetch.members import ByteSource, Member, check_member
from preprocess.fetch.rar_bsdtar import list_with_bsdtar, read_with_bsdtar
from preprocess.fetch.rar_headers import CheckedMember
from preprocess.fetch.rar_unar import list_with_unar, read_with_unar
from shared.errors import DataError

INSTALL_UNAR = "apt-get install unar"


def list_rar(archive: Path) -> list[Member]:
    """Every member, from its header. Raises DataError where the archive is damaged or no tool is installed."""
    return [checked.member for checked in _listing(archive)]


def read_rar(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    """Yield each plain file with its bytes, to be read before the next; nothing where one member is hostile.

    Raises HostileArchiveError for such a member, DataError for damage.
    """
    listing = _listing(archive)
    for checked in listing:
        check_member(checked.member)
    members = [checked.member for checked in listing]
    parts = read_with_unar(archive, members) if _has_unar() else read_with_bsdtar(archive)
    files = (checked for checked in listing if checked.member.kind == "file")
    for part in parts:
        listed = next(files, None)
        if listed is None:
            raise DataError(f"{archive.name} is damaged: it holds more than its listing says; fetch it anew")
        yield listed.member, _VerifiedStream(part, listed)
    if next(files, None) is not None:
        raise DataError(f"{archive.name} is damaged: it holds less than its listing says; fetch it anew")


def _has_unar() -> bool:
    return shutil.which("unar") is not None and shutil.which("lsar") is not None


def _listing(archive: Path) -> list[CheckedMember]:
    if _has_unar():
        return list_with_unar(archive)
    if shutil.which("bsdtar") is not None:
        return list_with_bsdtar(archive)
    raise DataError(f"reading .rar needs the tool unar, which is not installed: {INSTALL_UNAR}")


class _VerifiedStream:
    """Passes bytes on and raises DataError at their end where the CRC32 is not the expected one (if any)."""

    def __init__(self, data: ByteSource, checked: CheckedMember) -> None:
        self._data, self._checked, self._crc32 = data, checked, 0

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; empty at the end, where the checksum is compared."""
        chunk = self._data.read(size)
        self._crc32 = zlib.crc32(chunk, self._crc32)
        if not chunk and self._checked.crc32 not in (None, self._crc32):
            remedy = "" if _has_unar() else f", or install unar ({INSTALL_UNAR}): bsdtar decodes some archives wrongly"
            raise DataError(
                f"{self._checked.member.name} in the archive is damaged: its CRC32 is wrong; fetch it anew{remedy}"
            )
        return chunk
