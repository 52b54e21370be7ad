"""Sizes and CRC32s from the headers of a RAR archive: bsdtar of libarchive neither lists nor verifies them.

Walks the blocks of the formats 4.x and 5.0 as RARLAB's public technical notes describe them; decompresses nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from preprocess.fetch.members import Member

_SIGNATURE_4, _SIGNATURE_5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
_MAX_HEADER_BYTES = 1 << 21
_FILE_4, _END_4, _LONG_BLOCK_4, _FOLDER_4, _LARGE_4 = 0x74, 0x7B, 0x8000, 0xE0, 0x100
_FILE_5, _END_5, _EXTRA_5, _DATA_5 = 2, 5, 0x01, 0x02
_IS_FOLDER_5, _HAS_TIME_5, _HAS_CRC_5 = 0x01, 0x02, 0x04


@dataclass(frozen=True, kw_only=True)
class FileChecksum:
    """Of one file: its unpacked size and CRC32, None where the archive holds another kind of checksum."""

    num_bytes: int
    crc32: int | None


@dataclass(frozen=True, kw_only=True)
class CheckedMember:
    """A member of an archive and the CRC32 of its bytes, None where that is not known."""

    member: Member
    crc32: int | None


def file_checksums(archive: Path) -> list[FileChecksum] | None:
    """One entry for each file (not folder), in the archive's order; None where the headers cannot be followed."""
    with archive.open("rb") as file:
        head = file.read(len(_SIGNATURE_5))
        total = os.fstat(file.fileno()).st_size
        try:
            if head == _SIGNATURE_5:
                return list(_walk_5(file, total))
            if head.startswith(_SIGNATURE_4):
                file.seek(len(_SIGNATURE_4))
                return list(_walk_4(file, total))
        except (struct.error, IndexError, ValueError):
            return None
    return None


def _walk_4(file: IO[bytes], total: int) -> Iterator[FileChecksum]:
    """Block: CRC (2 bytes), type (1), flags (2), size of the header (2); long ones go on with the size of the data."""
    while (start := file.tell()) < total:
        _, kind, flags, size = struct.unpack("<HBHH", file.read(7))
        if kind == _END_4:
            return
        if size < 7:
            raise ValueError("header too small")
        fields = file.read(size - 7)
        data_bytes = struct.unpack_from("<I", fields)[0] if flags & _LONG_BLOCK_4 else 0
        if kind == _FILE_4:
            _, num_bytes, _, crc32 = struct.unpack_from("<IIBI", fields)
            if flags & _LARGE_4:
                high_packed, high_size = struct.unpack_from("<II", fields, 25)
                data_bytes += high_packed << 32
                num_bytes += high_size << 32
            if flags & _FOLDER_4 != _FOLDER_4:
                yield FileChecksum(num_bytes=num_bytes, crc32=crc32)
        _skip_to(file, start + size + data_bytes, total)


def _walk_5(file: IO[bytes], total: int) -> Iterator[FileChecksum]:
    """Block: CRC32, size of the header, then the header (type, flags, size of extra and of data, fields), then data."""
    while (start := file.tell()) < total:
        size, used = _vint(file.read(14), 4)
        if size > _MAX_HEADER_BYTES:
            raise ValueError("header too large")
        file.seek(start + used)
        header = file.read(size)
        kind, at = _vint(header, 0)
        flags, at = _vint(header, at)
        if flags & _EXTRA_5:
            _, at = _vint(header, at)
        data_bytes = 0
        if flags & _DATA_5:
            data_bytes, at = _vint(header, at)
        if kind == _END_5:
            return
        if kind == _FILE_5:
            file_flags, at = _vint(header, at)
            num_bytes, at = _vint(header, at)
            _, at = _vint(header, at)
            at += 4 if file_flags & _HAS_TIME_5 else 0
            crc32 = struct.unpack_from("<I", header, at)[0] if file_flags & _HAS_CRC_5 else None
            if not file_flags & _IS_FOLDER_5:
                yield FileChecksum(num_bytes=num_bytes, crc32=crc32)
        _skip_to(file, start + used + size + data_bytes, total)


def _skip_to(file: IO[bytes], position: int, total: int) -> None:
    if position > total:
        raise ValueError("block beyond the end of the file")
    file.seek(position)


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """The integer of variable length at ``at``, and where it ends: 7 bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise ValueError("integer too long")
