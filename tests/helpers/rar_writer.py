"""Writes small uncompressed ("stored") RAR archives, versions 4 and 5, for the tests: no free tool writes the format.

Only what the tests need: files, folders and symbolic links. Format facts: RARLAB's public technical notes on RAR 4.x
and 5.0 archives (blocks of a checksum, a size, a type, flags and fields; data behind the file header as it is).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_UNIX_FILE, _UNIX_FOLDER, _UNIX_LINK = 0o100644, 0o040755, 0o120777
_DOS_TIME = (2011 - 1980) << 25 | 1 << 21 | 1 << 16


@dataclass(frozen=True, kw_only=True)
class RarMember:
    """A file with ``data``, a folder, or (``link_to``) a symbolic link; ``name`` may be as hostile as one likes."""

    name: str
    data: bytes = b""
    is_folder: bool = False
    link_to: str = ""


def write_rar5(path: Path, members: Sequence[RarMember]) -> Path:
    """Write a RAR 5.0 archive at ``path``."""
    blocks = [b"Rar!\x1a\x07\x01\x00", _block5(1, 0, _vint(0))]
    blocks += [_member5(member) for member in members]
    blocks.append(_block5(5, 0, _vint(0)))
    path.write_bytes(b"".join(blocks))
    return path


def write_rar4(path: Path, members: Sequence[RarMember]) -> Path:
    """Write a RAR 4.x archive (the version of the official HMDB51 file) at ``path``."""
    blocks = [b"Rar!\x1a\x07\x00", _block4(0x73, 0, bytes(6))]
    blocks += [_member4(member) for member in members]
    blocks.append(_block4(0x7B, 0x4000, b""))
    path.write_bytes(b"".join(blocks))
    return path


def _vint(value: int) -> bytes:
    """RAR 5's integer of variable length: 7 bits a byte, least significant first, the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _block5(kind: int, flags: int, fields: bytes, *, extra: bytes = b"", data: bytes | None = None) -> bytes:
    flags |= (0x01 if extra else 0) | (0x02 if data is not None else 0)
    head = _vint(kind) + _vint(flags)
    head += _vint(len(extra)) if extra else b""
    head += _vint(len(data)) if data is not None else b""
    head += fields + extra
    sized = _vint(len(head)) + head
    return struct.pack("<I", zlib.crc32(sized)) + sized + (data or b"")


def _member5(member: RarMember) -> bytes:
    name = member.name.encode()
    mode = _UNIX_FOLDER if member.is_folder else _UNIX_LINK if member.link_to else _UNIX_FILE
    file_flags = 0x01 if member.is_folder else 0x04  # folder; else a CRC32 of the data is present
    fields = _vint(file_flags) + _vint(len(member.data)) + _vint(mode)
    fields += b"" if member.is_folder else struct.pack("<I", zlib.crc32(member.data))
    fields += _vint(0) + _vint(1) + _vint(len(name)) + name  # method 0 "stored", made on Unix
    extra = b""
    if member.link_to:
        target = member.link_to.encode()
        record = _vint(5) + _vint(1) + _vint(0) + _vint(len(target)) + target  # redirection of type Unix symlink
        extra = _vint(len(record)) + record
    return _block5(2, 0, fields, extra=extra, data=member.data)


def _block4(kind: int, flags: int, fields: bytes, *, data: bytes = b"") -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data


def _member4(member: RarMember) -> bytes:
    name = member.name.encode()
    data = member.link_to.encode() if member.link_to else member.data
    mode = _UNIX_FOLDER if member.is_folder else _UNIX_LINK if member.link_to else _UNIX_FILE
    flags = 0x8000 | (0xE0 if member.is_folder else 0)
    # packed size, size, made on Unix, CRC, time, version needed, method 0x30 "stored", length of the name, attributes
    fields = struct.pack("<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), _DOS_TIME, 20, 0x30, len(name), mode)
    return _block4(0x74, flags, fields + name, data=data)
