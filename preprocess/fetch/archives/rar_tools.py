"""The tools that unpack .rar archives to a pipe, one plain file after the other, in the archive's order."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from preprocess.fetch.archives.members import ByteSource, Member
from preprocess.fetch.archives.tool_output import ToolOutput, tool_output, unreadable
from shared.errors import DataError


def read_with_unar(archive: Path, members: Sequence[Member]) -> Iterator[ByteSource]:
    """Yield the bytes of each plain file among ``members``, whose sizes say where each ends in unar's output.

    Raises DataError where the output is shorter or longer than that.
    """
    command = ["unar", "-quiet", "-no-recursion", "-forks", "skip", "-output-directory", "-", str(archive.resolve())]
    with tool_output(command, archive) as output:
        for member in members:
            if member.kind == "file":
                part = _UnarPart(output, member, archive)
                yield part
                while part.read(1 << 20):  # what the caller did not want
                    pass
        if output.read(1):
            raise DataError(f"{archive.name} is damaged: it holds more than its listing says; fetch it anew")


class _UnarPart:
    """The bytes of one member of unar's output."""

    def __init__(self, output: ToolOutput, member: Member, archive: Path) -> None:
        self._output, self._member, self._archive, self._left = output, member, archive, member.num_bytes

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes. Raises DataError where the output ends before the member does."""
        chunk = self._output.read(min(size, self._left)) if self._left else b""
        if self._left and not chunk:
            raise DataError(
                f"{self._member.name} in {self._archive.name} is damaged: it ends too early; "
                "fetch it anew, or unpack it with another tool and point --videos at the folder"
            )
        self._left -= len(chunk)
        return chunk


def read_with_bsdtar(archive: Path) -> Iterator[ByteSource]:
    """Yield the bytes of each plain file: bsdtar packs the archive anew as a tar stream, which Python reads.

    ``@`` means an archive to pack anew; -P leaves its names alone. (``bsdtar -xO`` would be simpler, but 3.6 writes
    without end for an empty file in RAR 5.)
    """
    command = ["bsdtar", "-cPf", "-", "--format=pax", f"@{archive.resolve()}"]
    with tool_output(command, archive) as output:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], output), mode="r|") as stream:
                for info in stream:
                    if info.isreg():
                        yield _TarPart(stream.extractfile(info) or io.BytesIO(), info.name)
        except tarfile.TarError as error:
            raise unreadable(archive, str(error).encode(), tool="bsdtar") from error


class _TarPart:
    """The bytes of one member of the tar stream."""

    def __init__(self, data: IO[bytes], name: str) -> None:
        self._data, self._name = data, name

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes. Raises DataError where the stream ends before the member does."""
        try:
            return self._data.read(size)
        except tarfile.TarError as error:
            raise DataError(f"{self._name} in the archive is damaged: {error}; fetch the archive anew") from error
