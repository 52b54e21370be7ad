"""Runs a tool that reads archives and gives its output through a pipe: bounded, never silent for ever."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from shared.errors import DataError

STALL_SECONDS = 120.0
MAX_REST_BYTES = 1 << 25
_CHUNK_BYTES = 1 << 20
# A shell bounds the files that the tool may write, in POSIX's units of 512 bytes: its messages may be endless as well.
_BOUNDED = ("sh", "-c", f'ulimit -f {MAX_REST_BYTES // 512} && exec "$@"', "sh")


class ToolOutput:
    """What a tool writes to its pipe. Malformed archives can make it write for ever, or never: neither may hang us."""

    def __init__(self, pipe: IO[bytes], *, tool: str, archive: Path) -> None:
        self._pipe, self._tool, self._archive = pipe, tool, archive
        self.has_ended = False

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        """Read what is there, up to ``size`` bytes; empty at the end. Raises DataError after a long silence."""
        if not select.select([self._pipe], [], [], STALL_SECONDS)[0]:
            raise DataError(
                f"{self._archive.name}: {self._tool} gave nothing for {STALL_SECONDS:.0f} s; "
                "the archive is damaged, fetch it anew"
            )
        chunk = self._pipe.read(size)
        self.has_ended = not chunk
        return chunk

    def read_rest(self) -> None:
        """Read to the end, as closing the pipe early would fail the tool. Raises DataError where that is far away."""
        num_bytes = 0
        while chunk := self.read():
            num_bytes += len(chunk)
            if num_bytes > MAX_REST_BYTES:
                raise DataError(f"{self._archive.name} is damaged: it does not end; fetch it anew")


@contextlib.contextmanager
def tool_output(command: Sequence[str], archive: Path) -> Iterator[ToolOutput]:
    """Run ``command`` and give its output; raise DataError, with its words, where it failed."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*_BOUNDED, *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # names in archives are UTF-8, whatever the user's locale
            bufsize=0,
        )
        try:
            assert process.stdout is not None
            tool = Path(command[0]).name
            output = ToolOutput(process.stdout, tool=tool, archive=archive)
            try:
                yield output
                output.read_rest()
            except DataError as error:  # why the tool gave too little it knows better than who reads from it
                if output.has_ended and process.wait() and (messages := _messages(errors)):
                    raise unreadable(archive, messages, tool=tool) from error
                raise
            if process.wait():
                raise unreadable(archive, _messages(errors), tool=tool)
        finally:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()


def _messages(errors: IO[bytes]) -> bytes:
    errors.seek(0)
    return errors.read(_CHUNK_BYTES)


def unreadable(archive: Path, messages: bytes, *, tool: str) -> DataError:
    """The error for an archive that a tool cannot read, with the first line of what it said."""
    lines = [line for line in messages.decode(errors="replace").splitlines() if "Error exit delayed" not in line]
    reason = lines[0].removeprefix(f"{tool}: ") if lines else f"{tool} failed"
    reason = reason.removeprefix(f"Error reading archive {archive.resolve()}: ")
    return DataError(
        f"{archive.name} cannot be read: {reason}; "
        "fetch it anew, or unpack it with another tool and point --videos at the folder"
    )
