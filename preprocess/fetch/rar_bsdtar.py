"""Reads .rar archives through bsdtar of libarchive, for machines without unar.

bsdtar lists the archive, then re-packs it as a tar stream that Python reads. (``bsdtar -xO`` would be simpler, but 3.6
writes without end for an empty file in RAR 5.)
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from preprocess.fetch.members import ByteSource, Member
from preprocess.fetch.rar_headers import CheckedMember, file_checksums
from preprocess.fetch.tool_output import ToolOutput, tool_output, unreadable
from shared.console import say
from shared.errors import DataError


def list_with_bsdtar(archive: Path) -> list[CheckedMember]:
    """Every member, with its CRC32 where the headers can be followed; where not, that is said."""
    with tool_output(["bsdtar", "--numeric-owner", "-tvf", str(archive.resolve())], archive) as output:
        listing = output.read_all().decode(errors="replace")
    members = [_listed_member(line, archive) for line in listing.split("\n") if line]
    known = file_checksums(archive)
    if known is None or [one.num_bytes for one in known] != [one.num_bytes for one in members if one.kind == "file"]:
        say(f"the checksums in {archive.name} cannot be read; its videos are not verified", to=sys.stderr)
        return [CheckedMember(member=member, crc32=None) for member in members]
    checksums = iter(known)
    return [
        CheckedMember(member=member, crc32=next(checksums).crc32 if member.kind == "file" else None)
        for member in members
    ]


def _listed_member(line: str, archive: Path) -> Member:
    """One line of ``tar -tv``: mode, links, owner, group, size, month, day, year or time, name."""
    fields = line.split(maxsplit=8)
    if len(fields) < 9 or not fields[4].isdecimal():
        raise DataError(f"{archive.name} is damaged: bsdtar lists a member as {line!r}; fetch it anew")
    kinds: dict[str, Literal["file", "folder", "other"]] = {"-": "file", "d": "folder"}
    return Member(name=fields[8], num_bytes=int(fields[4]), kind=kinds.get(line[0], "other"))


def read_with_bsdtar(archive: Path) -> Iterator[ByteSource]:
    """Yield the bytes of each plain file, in order. ``@`` means an archive to re-pack; -P leaves its names alone."""
    command = ["bsdtar", "-cPf", "-", "--format=pax", f"@{archive.resolve()}"]
    with tool_output(command, archive) as output:
        yield from _tar_files(output, archive)


def _tar_files(output: ToolOutput, archive: Path) -> Iterator[ByteSource]:
    try:
        with tarfile.open(fileobj=cast(IO[bytes], output), mode="r|") as stream:
            for info in stream:
                if info.isreg():
                    yield _Part(stream.extractfile(info) or io.BytesIO(), info.name)
    except tarfile.TarError as error:
        raise unreadable(archive, str(error).encode(), tool="bsdtar") from error


class _Part:
    """The bytes of one member of the tar stream."""

    def __init__(self, data: IO[bytes], name: str) -> None:
        self._data, self._name = data, name

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes. Raises DataError where the stream ends before the member does."""
        try:
            return self._data.read(size)
        except tarfile.TarError as error:
            raise DataError(f"{self._name} in the archive is damaged: {error}; fetch the archive anew") from error
