"""Reads .rar archives through bsdtar of libarchive, which only ever writes to a pipe.

bsdtar lists the archive, then re-packs it as a tar stream that Python reads: no file name is ever read as an option or
a pattern, nothing is unpacked by the names in it. bsdtar 3.6 passes damaged members on without a word, so their
CRC32s are verified here. (``bsdtar -xO`` would be simpler, but for an empty file in RAR 5 it writes without end.)
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import resource
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, cast

from preprocess.archive_members import ByteSource, Member
from preprocess.rar_checksums import file_checksums
from shared.console import say
from shared.errors import DataError

INSTALL_BSDTAR = "apt-get install libarchive-tools"
STALL_SECONDS = 120.0
_CHUNK_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 25


def _bsdtar() -> str:
    tool = shutil.which("bsdtar")
    if tool is None:
        raise DataError(
            f"reading .rar needs the tool bsdtar of libarchive, which is not installed; install it: {INSTALL_BSDTAR}"
        )
    return tool


class _Output:
    """What bsdtar writes to its pipe. Malformed archives can make it write for ever, or never: neither may hang us."""

    def __init__(self, pipe: IO[bytes], archive: Path) -> None:
        self._pipe, self._archive = pipe, archive

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        """Read what is there, up to ``size`` bytes; empty at the end. Raises DataError after a long silence."""
        if not select.select([self._pipe], [], [], STALL_SECONDS)[0]:
            raise DataError(
                f"{self._archive.name}: bsdtar gave nothing for {STALL_SECONDS:.0f} s; "
                "the archive is damaged, fetch it anew"
            )
        return self._pipe.read(size)

    def read_all(self, *, max_bytes: int) -> bytes:
        """Read to the end. Raises DataError where that is more than ``max_bytes``."""
        collected = bytearray()
        while chunk := self.read():
            collected += chunk
            if len(collected) > max_bytes:
                raise DataError(f"{self._archive.name} is damaged: its listing does not end; fetch it anew")
        return bytes(collected)


@contextlib.contextmanager
def _bsdtar_output(arguments: Sequence[str], archive: Path) -> Iterator[_Output]:
    """Run bsdtar and give its output; raise DataError afterwards where it failed or its output was no sound tar."""
    tool = _bsdtar()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [tool, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # names in archives are UTF-8, whatever the user's locale
            bufsize=0,
        )
        try:
            assert process.stdout is not None
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(
                    process.pid, resource.RLIMIT_FSIZE, (_MAX_TEXT_BYTES, _MAX_TEXT_BYTES)
                )  # endless errors
            output, problem = _Output(process.stdout, archive), b""
            try:
                yield output
            except tarfile.TarError as error:
                problem = str(error).encode()
            output.read_all(max_bytes=_MAX_TEXT_BYTES)  # what follows the end mark; closing early would fail the tool
            if process.wait() or problem:
                errors.seek(0)
                raise _rar_error(archive, errors.read(_CHUNK_BYTES) or problem)
        finally:
            _stop(process)


def list_rar(archive: Path) -> list[Member]:
    """Every member, from its header. Raises DataError where the archive is damaged or bsdtar is missing."""
    with _bsdtar_output(["--numeric-owner", "-tvf", str(archive.resolve())], archive) as output:
        listing = output.read_all(max_bytes=_MAX_TEXT_BYTES)
    return [_listed_member(line, archive) for line in listing.decode(errors="replace").split("\n") if line]


def _listed_member(line: str, archive: Path) -> Member:
    """One line of ``tar -tv``: mode, links, owner, group, size, month, day, year or time, name."""
    fields = line.split(maxsplit=8)
    if len(fields) < 9 or not fields[4].isdecimal():
        raise DataError(f"{archive.name} is damaged: bsdtar lists a member as {line!r}; fetch it anew")
    kinds: dict[str, Literal["file", "folder", "other"]] = {"-": "file", "d": "folder"}
    return Member(name=fields[8], num_bytes=int(fields[4]), kind=kinds.get(line[0], "other"))


def read_rar(archive: Path) -> Iterator[tuple[Member, ByteSource]]:
    """Yield each member with its bytes; read them before asking for the next. Raises DataError for damage.

    ``bsdtar -c @archive`` re-packs the archive as tar on its standard output; -P keeps names as they stand.
    """
    checksums = _known_checksums(archive)
    with (
        _bsdtar_output(["-cPf", "-", "--format=pax", f"@{archive.resolve()}"], archive) as output,
        tarfile.open(fileobj=cast(IO[bytes], output), mode="r|") as stream,
    ):
        yield from _verified(_tar_members(stream), checksums)


def _tar_members(stream: tarfile.TarFile) -> Iterator[tuple[Member, ByteSource]]:
    for info in stream:
        kind: Literal["file", "folder", "other"] = "file" if info.isreg() else "folder" if info.isdir() else "other"
        member = Member(name=info.name, num_bytes=info.size, kind=kind)
        yield member, (stream.extractfile(info) if kind == "file" else None) or io.BytesIO()


def _known_checksums(archive: Path) -> Iterator[int | None]:
    """The CRC32 of each file in order; None for each, and a word about it, where the headers do not fit the listing."""
    known = file_checksums(archive)
    sizes = [member.num_bytes for member in list_rar(archive) if member.kind == "file"]
    if known is None or [checksum.num_bytes for checksum in known] != sizes:
        say(f"the checksums in {archive.name} cannot be read; its videos are not verified", to=sys.stderr)
        return itertools.repeat(None)
    return (checksum.crc32 for checksum in known)


def _verified(
    members: Iterator[tuple[Member, ByteSource]], checksums: Iterator[int | None]
) -> Iterator[tuple[Member, ByteSource]]:
    for member, data in members:
        expected = next(checksums, None) if member.kind == "file" else None
        yield member, _VerifiedStream(data, member.name, expected)


class _VerifiedStream:
    """Passes bytes on and raises DataError at their end where the CRC32 is not the expected one (if any)."""

    def __init__(self, data: ByteSource, name: str, expected: int | None) -> None:
        self._data, self._name, self._expected, self._crc32 = data, name, expected, 0

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; empty at the end, where the checksum is compared."""
        try:
            chunk = self._data.read(size)
        except tarfile.TarError as error:
            raise DataError(f"{self._name} in the archive is damaged: {error}; fetch the archive anew") from error
        self._crc32 = zlib.crc32(chunk, self._crc32)
        if not chunk and self._expected not in (None, self._crc32):
            raise DataError(f"{self._name} in the archive is damaged: its CRC32 is wrong; fetch the archive anew")
        return chunk


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


def _rar_error(archive: Path, output: bytes) -> DataError:
    lines: Sequence[str] = [
        line for line in output.decode(errors="replace").splitlines() if "Error exit delayed" not in line
    ]
    reason = lines[0].removeprefix("bsdtar: ") if lines else "bsdtar failed"
    reason = reason.removeprefix(f"Error reading archive {archive.resolve()}: ")
    return DataError(
        f"{archive.name} cannot be read: {reason}; "
        "fetch it anew, or unpack it with unrar or unar and point --videos at the folder"
    )
