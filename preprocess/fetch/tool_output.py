"""Runs a tool that reads archives and gives its output through a pipe: bounded, never silent for ever."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from shared.errors import DataError

STALL_SECONDS = 120.0
MAX_TEXT_BYTES = 1 << 25
_CHUNK_BYTES = 1 << 20


class ToolOutput:
    """What a tool writes to its pipe. Malformed archives can make it write for ever, or never: neither may hang us."""

    def __init__(self, pipe: IO[bytes], *, tool: str, archive: Path) -> None:
        self._pipe, self._tool, self._archive = pipe, tool, archive

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        """Read what is there, up to ``size`` bytes; empty at the end. Raises DataError after a long silence."""
        if not select.select([self._pipe], [], [], STALL_SECONDS)[0]:
            raise DataError(
                f"{self._archive.name}: {self._tool} gave nothing for {STALL_SECONDS:.0f} s; "
                "the archive is damaged, fetch it anew"
            )
        return self._pipe.read(size)

    def read_all(self) -> bytes:
        """Read to the end. Raises DataError where that is far more than any listing."""
        collected = bytearray()
        while chunk := self.read():
            collected += chunk
            if len(collected) > MAX_TEXT_BYTES:
                raise DataError(f"{self._archive.name} is damaged: its listing does not end; fetch it anew")
        return bytes(collected)


@contextlib.contextmanager
def tool_output(command: Sequence[str], archive: Path) -> Iterator[ToolOutput]:
    """Run ``command`` and give its output; raise DataError afterwards where it failed."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # names in archives are UTF-8, whatever the user's locale
            bufsize=0,
        )
        try:
            assert process.stdout is not None
            with contextlib.suppress(ProcessLookupError):  # its messages may be endless as well
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_TEXT_BYTES, MAX_TEXT_BYTES))
            output = ToolOutput(process.stdout, tool=Path(command[0]).name, archive=archive)
            yield output
            output.read_all()  # what follows the end mark of a tar; closing early would fail the tool
            if process.wait():
                errors.seek(0)
                raise unreadable(archive, errors.read(_CHUNK_BYTES), tool=Path(command[0]).name)
        finally:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()


def unreadable(archive: Path, messages: bytes, *, tool: str) -> DataError:
    """The error for an archive that a tool cannot read, with the first line of what it said."""
    lines = [line for line in messages.decode(errors="replace").splitlines() if "Error exit delayed" not in line]
    reason = lines[0].removeprefix(f"{tool}: ") if lines else f"{tool} failed"
    reason = reason.removeprefix(f"Error reading archive {archive.resolve()}: ")
    return DataError(
        f"{archive.name} cannot be read: {reason}; "
        "fetch it anew, or unpack it with another tool and point --videos at the folder"
    )
