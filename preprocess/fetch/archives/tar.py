"""Reads .tar archives, plain or compressed by gzip, bzip2 or xz, without trusting what they say of themselves."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal, cast

from preprocess.fetch.archives.members import ByteSource, HostileArchiveError, Limits, Member, read_head
from shared.errors import DataError

_COMPRESSED: Mapping[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}  # by a file's first bytes

_USTAR = slice(257, 262)
_BLOCK_BYTES = 512
_CHUNK_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 24
_MAX_REST_BYTES = 1 << 25
# What tarfile and the readers of compressed files raise on damage: besides their own errors some of Python's.
_ERRORS = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, IndexError, RecursionError)


def is_tar(head: bytes) -> bool:
    """Whether a file with these first 512 bytes is a .tar archive, or compressed so that it may hold one."""
    return head[_USTAR] == b"ustar" or head.startswith(tuple(_COMPRESSED))


def list_tar(archive: Path, *, limits: Limits) -> list[Member]:
    """Every member, from its header; a compressed archive is decompressed for that, within the limits.

    Raises HostileArchiveError beyond the limits, DataError where the archive is damaged.
    """
    members: list[Member] = []
    num_bytes, most = 0, limits.max_bytes(archive.stat().st_size)
    for _, _, info in _entries(archive):
        num_bytes += info.size
        if num_bytes > most or len(members) == limits.max_members:
            raise HostileArchiveError(
                f"{archive.name} claims to hold more than {most / 1e6:.0f} MB or {limits.max_members} members; "
                "it looks like a decompression bomb, nothing is unpacked"
            )
        members.append(_member(info))
    return members


def read_tar(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    """Yield each plain file with its bytes, to be read before the next, and members of other kinds without.

    Raises DataError where the archive is damaged.
    """
    for opened, stream, info in _entries(archive):
        stream.limit = None
        yield _member(info), _Part((info.isreg() and opened.extractfile(info)) or io.BytesIO(), info.name)


def _member(info: tarfile.TarInfo) -> Member:
    kind: Literal["file", "folder", "other"] = "file" if info.isreg() else "folder" if info.isdir() else "other"
    return Member(name=info.name, num_bytes=info.size, kind=kind)


class _Stream:
    """The bytes of the .tar for tarfile, which reads headers into memory whatever size they claim."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.limit: int | None = _MAX_HEADER_BYTES  # bytes that may still be read, None while a member is
        self.last = b""  # what was read last

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes. Raises HostileArchiveError beyond the limit, which negative sizes are."""
        if self.limit is not None:
            self.limit -= size
            if size < 0 or self.limit < 0:
                raise HostileArchiveError("the archive has a header of endless size; it is refused")
        self.last = self._file.read(size)
        return self.last

    def seek(self, position: int, /) -> int:
        """Go to a byte; forward, as compressed files start anew for every way back."""
        return self._file.seek(position)

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()


class _Part:
    """The bytes of one member."""

    def __init__(self, data: IO[bytes], name: str) -> None:
        self._data, self._name = data, name

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes. Raises DataError where they are damaged or end too early."""
        try:
            return self._data.read(size)
        except _ERRORS as error:
            raise DataError(f"{self._name} in the archive is damaged: {error}; fetch the archive anew") from error


def _entries(archive: Path) -> Iterator[tuple[tarfile.TarFile, _Stream, tarfile.TarInfo]]:
    """Yield each header, and check at the end that it is one: for tarfile a damaged header is as good."""
    head = read_head(archive)
    opener = next((opener for signature, opener in _COMPRESSED.items() if head.startswith(signature)), _open_plain)
    try:
        with cast(IO[bytes], opener(archive)) as file:
            stream = _Stream(file)
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", encoding="utf-8", errors="replace") as opened:
                reached = -1
                while (info := opened.next()) is not None:
                    if info.size < 0 or info.offset <= reached:  # or it would be read for ever
                        raise HostileArchiveError(f"archive member {info.name!r} has a negative size; it is refused")
                    reached = info.offset
                    yield opened, stream, info
                    stream.limit = _MAX_HEADER_BYTES
                    opened.members = []  # type: ignore[attr-defined] # or it would keep all of them
            _check_end(stream)
    except _ERRORS as error:
        raise DataError(f"{archive.name} is a damaged TAR archive: {error}; fetch it anew") from error


def _open_plain(path: Path) -> object:
    return path.open("rb")


def _check_end(stream: _Stream) -> None:
    """Raise ValueError unless a block of zeros ended the archive, and only zeros follow: checksums lie there."""
    if stream.last != bytes(_BLOCK_BYTES):
        raise ValueError("it ends too early, or one of its headers is wrong")
    stream.limit = _MAX_REST_BYTES
    while chunk := stream.read(_CHUNK_BYTES):
        if any(chunk):
            raise ValueError("it goes on after its end")
