"""Reads .zip, .tar and .rar archives without trusting them: names, kinds, sizes and checksums are checked.

A .zip is read by Python's zipfile: no tool needed, checksums verified; for the others see tar and rar. None of them
writes to the disk, so no member can become a link or a device, or land anywhere but where the caller writes it.
"""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from preprocess.fetch.archives.members import Budget, ByteSource, Limits, Member, check_member, read_head
from preprocess.fetch.archives.rar import list_rar, read_rar
from preprocess.fetch.archives.tar import is_tar, list_tar, read_tar
from preprocess.fetch.web_pages import is_web_page, page_name
from shared.errors import DataError

ArchiveKind = Literal["rar", "zip", "tar"]

_CHUNK_BYTES = 1 << 20
_SIGNATURES: tuple[tuple[bytes, ArchiveKind], ...] = (
    (b"Rar!\x1a\x07", "rar"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
_ENCRYPTED = 0x1


def kind_of(head: bytes) -> ArchiveKind | None:
    """What the first bytes of a file, 512 or more, say that it is; None where that is no archive that is read."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    return "tar" if is_tar(head) else None


def archive_kind(path: Path) -> ArchiveKind:
    """What a file is. Raises DataError where that is neither RAR, ZIP nor TAR."""
    head = read_head(path)
    kind = kind_of(head)
    if kind is not None:
        return kind
    if is_web_page(head):
        raise DataError(
            f"{path} is {page_name(head)}, not an archive; delete it and give the address of the file itself"
        )
    what = "it is empty" if not head else f"it begins with {head[:16]!r}"
    raise DataError(f"{path.name} is neither a RAR, a ZIP nor a TAR archive: {what}; check the source or fetch it anew")


def checked_members(archive: Path, *, limits: Limits | None = None) -> list[Member]:
    """List an archive without unpacking it, and refuse all of it (HostileArchiveError) for one hostile member."""
    kind = archive_kind(archive)
    if kind == "tar":
        members = list_tar(archive, limits=limits or Limits())
    else:
        members = _list_zip(archive) if kind == "zip" else list_rar(archive)
    for member in members:
        check_member(member)
    return members


def read_members(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    """Yield each plain file with a stream of its bytes, in the archive's order; read it before asking for the next.

    Raises HostileArchiveError for a hostile member, DataError where the archive is damaged or cannot be read.
    """
    read = {"zip": _read_zip, "tar": read_tar, "rar": read_rar}[archive_kind(archive)]
    for member, data in read(archive):
        check_member(member)
        if member.kind == "file":
            yield member, data


def copy_stream(source: ByteSource, target: Path, *, budget: Budget) -> int:
    """Write a member's bytes to a new file and return their number. Raises DataError for damaged data."""
    num_bytes = 0
    with target.open("xb") as file:
        while chunk := _read_chunk(source, target.name):
            budget.take_bytes(len(chunk))
            file.write(chunk)
            num_bytes += len(chunk)
    return num_bytes


def _read_chunk(source: ByteSource, name: str) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except _ZIP_ERRORS as error:
        raise DataError(f"{name} in the archive is damaged: {error}; fetch the archive anew") from error


def _zip_member(info: zipfile.ZipInfo) -> Member:
    """Unix file types stand in the upper half of the attributes; zero where the archive was made elsewhere."""
    file_type = stat.S_IFMT(info.external_attr >> 16)
    plain = file_type in (0, stat.S_IFREG, stat.S_IFDIR)
    kind: Literal["file", "folder", "other"] = "other" if not plain else "folder" if info.is_dir() else "file"
    return Member(name=info.filename, num_bytes=info.file_size, kind=kind)


def _open_zip(archive: Path) -> zipfile.ZipFile:
    try:
        opened = zipfile.ZipFile(archive)
    except _ZIP_ERRORS as error:
        raise DataError(f"{archive.name} is a damaged ZIP archive: {error}; fetch it anew") from error
    encrypted = [info.filename for info in opened.infolist() if info.flag_bits & _ENCRYPTED]
    if encrypted:
        opened.close()
        raise DataError(
            f"{archive.name} is encrypted (member {encrypted[0]!r}); unpack it by hand and point --videos at the folder"
        )
    return opened


def _list_zip(archive: Path) -> list[Member]:
    with _open_zip(archive) as opened:
        return [_zip_member(info) for info in opened.infolist()]


def _read_zip(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    with _open_zip(archive) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            try:
                stream = opened.open(info)
            except _ZIP_ERRORS as error:
                raise DataError(
                    f"{archive.name}: member {info.filename!r} cannot be read: {error}; fetch it anew"
                ) from error
            with stream:
                yield _zip_member(info), stream
