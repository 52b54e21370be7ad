"""Reads .rar archives: rarfile lists them, a tool of the system unpacks them to a pipe, every checksum is verified.

unar is preferred: bsdtar of libarchive 3.6 decodes some genuine RAR 4 archives wrongly, refuses solid ones, and passes
damaged members on without a word. Nothing reads a member's name as an option or a pattern, and nothing is unpacked
by the names in the archive.
"""

from __future__ import annotations

import shutil
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import rarfile

from preprocess.fetch.archives.members import ByteSource, Member, check_member
from preprocess.fetch.archives.rar_tools import read_with_bsdtar, read_with_unar
from shared.errors import DataError
from shared.missing_packages import install

_PLAIN_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)
rarfile.RAR_MAX_COMMENT = -1  # no comment is read: rarfile would give it to a tool, without limit of time or size


def list_rar(archive: Path) -> list[Member]:
    """Every member, from its header. Raises DataError where the archive is damaged, encrypted, or no tool is there."""
    if not _has_unar() and shutil.which("bsdtar") is None:
        raise DataError(f"reading .rar needs the tool unar, which is not installed: {install('unar')}")
    try:
        with rarfile.RarFile(archive) as opened:
            if opened.needs_password():
                raise DataError(f"{archive.name} is encrypted; unpack it by hand and point --videos at the folder")
            return [_member(info) for info in opened.infolist()]
    except (rarfile.Error, struct.error, ValueError, IndexError, OverflowError, OSError) as error:
        raise DataError(
            f"{archive.name} cannot be listed: {error}; "
            "fetch it anew, or unpack it with another tool and point --videos at the folder"
        ) from error


def _member(info: rarfile.RarInfo) -> Member:
    """``mode`` holds Unix's kind of file in archives made there, zero or DOS attributes in others."""
    file_type = stat.S_IFMT(info.mode) if info.host_os == rarfile.RAR_OS_UNIX else 0
    special = info.file_redir is not None or file_type not in _PLAIN_TYPES
    kind: Literal["file", "folder", "other"] = "other" if special else "folder" if info.is_dir() else "file"
    return Member(name=info.filename.rstrip("/"), num_bytes=info.file_size, kind=kind, crc32=info.CRC)


def read_rar(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    """Yield each plain file with its bytes, to be read before the next; nothing where one member is hostile.

    Raises HostileArchiveError for such a member, DataError for damage.
    """
    members = list_rar(archive)
    for member in members:
        check_member(member)
    parts = read_with_unar(archive, members) if _has_unar() else read_with_bsdtar(archive)
    files = (member for member in members if member.kind == "file")
    for part in parts:
        listed = next(files, None)
        if listed is None:
            raise DataError(f"{archive.name} is damaged: it holds more than its listing says; fetch it anew")
        yield listed, _VerifiedStream(part, listed)
    if next(files, None) is not None:
        raise DataError(f"{archive.name} is damaged: it holds less than its listing says; fetch it anew")


def _has_unar() -> bool:
    return shutil.which("unar") is not None


class _VerifiedStream:
    """Passes bytes on and raises DataError at their end where the CRC32 is not the expected one (if any)."""

    def __init__(self, data: ByteSource, member: Member) -> None:
        self._data, self._member, self._crc32 = data, member, 0

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; empty at the end, where the checksum is compared."""
        chunk = self._data.read(size)
        self._crc32 = zlib.crc32(chunk, self._crc32)
        if not chunk and self._member.crc32 not in (None, self._crc32):
            remedy = (
                "" if _has_unar() else f", or install unar ({install('unar')}): bsdtar decodes some archives wrongly"
            )
            raise DataError(f"{self._member.name} in the archive is damaged: its CRC32 is wrong; fetch it anew{remedy}")
        return chunk
