"""Reads .rar archives through unar and lsar, which know every version of the format.

``unar -o -`` writes the plain files one after the other to its standard output; ``lsar -j`` says where each ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from preprocess.fetch.members import ByteSource, Member
from preprocess.fetch.rar_headers import CheckedMember
from preprocess.fetch.tool_output import ToolOutput, tool_output
from shared.errors import DataError

_REMEDY = "fetch it anew, or unpack it with another tool and point --videos at the folder"
_SPECIAL = ("XADIsLink", "XADIsHardLink", "XADIsFIFO", "XADIsCharacterDevice", "XADIsBlockDevice")


def list_with_unar(archive: Path) -> list[CheckedMember]:
    """Every member with its CRC32, from the headers. Raises DataError where the archive is damaged or encrypted."""
    with tool_output(["lsar", "-nr", "-j", str(archive.resolve())], archive) as output:
        text = output.read_all()
    try:
        entries = json.loads(text)["lsarContents"]
        return [_member(entry, archive) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{archive.name} is damaged: lsar cannot list it; fetch it anew") from error


def _member(entry: dict[str, object], archive: Path) -> CheckedMember:
    name = str(entry["XADFileName"])
    if entry.get("XADIsEncrypted"):
        raise DataError(
            f"{archive.name} is encrypted (member {name!r}); unpack it by hand and name the folder with --videos"
        )
    special = any(entry.get(key) for key in _SPECIAL)
    kind: Literal["file", "folder", "other"] = "folder" if entry.get("XADIsDirectory") else "file"
    num_bytes, crc32 = entry.get("XADFileSize", 0), entry.get("RAR5CRC32", entry.get("RARCRC32"))
    if not isinstance(num_bytes, int) or num_bytes < 0:
        raise DataError(f"{archive.name} is damaged: {name!r} has a size of {num_bytes}; fetch it anew")
    member = Member(name=name, num_bytes=num_bytes, kind="other" if special else kind)
    return CheckedMember(member=member, crc32=crc32 if isinstance(crc32, int) else None)


def read_with_unar(archive: Path, members: Sequence[Member]) -> Iterator[ByteSource]:
    """Yield the bytes of each plain file among ``members``. Raises DataError where they are not as listed."""
    command = ["unar", "-quiet", "-no-recursion", "-forks", "skip", "-output-directory", "-", str(archive.resolve())]
    with tool_output(command, archive) as output:
        for member in members:
            if member.kind == "file":
                part = _Part(output, member, archive)
                yield part
                while part.read(1 << 20):  # what the caller did not want
                    pass
        if output.read(1):
            raise DataError(f"{archive.name} is damaged: it holds more than its listing says; fetch it anew")


class _Part:
    """The bytes of one member of the stream."""

    def __init__(self, output: ToolOutput, member: Member, archive: Path) -> None:
        self._output, self._member, self._archive, self._left = output, member, archive, member.num_bytes

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes. Raises DataError where the stream ends before the member does."""
        chunk = self._output.read(min(size, self._left)) if self._left else b""
        if self._left and not chunk:
            raise DataError(f"{self._member.name} in {self._archive.name} is damaged: it ends too early; {_REMEDY}")
        self._left -= len(chunk)
        return chunk
