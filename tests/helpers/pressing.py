"""Starts a command as a terminal does, in a group of its own, and presses Ctrl-C: all of the group get SIGINT."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import command_line


@dataclass(frozen=True)
class Pressed:
    """What became of a command."""

    code: int
    out: str
    err: str
    left: list[str]
    """Folders of sockets among the temporary files, and processes that live on."""


def press(
    program: str,
    arguments: Sequence[str | Path],
    *,
    after: float,
    sign: tuple[Path, str] | None = None,
    times: int = 1,
    apart: float = 0.0,
) -> Pressed:
    """Press Ctrl-C ``after`` seconds from the first line of the program, some times, so many seconds ``apart``.

    sign: a folder and a pattern, of which a file has to be there before.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        process = subprocess.Popen(
            command_line(program, arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": temporary},
        )
        while process.poll() is None and not _has_begun(process.pid):
            time.sleep(0.002)
        while process.poll() is None and sign is not None and not any(sign[0].glob(sign[1])):
            time.sleep(0.02)
        time.sleep(after)
        for _ in range(times):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(apart)
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Pressed(process.returncode, out, err, [*_sockets(Path(temporary)), *_living(process.pid)])


def _sockets(temporary: Path) -> list[str]:
    return [path.name for path in temporary.glob("pymp-*")]


def _has_begun(process: int) -> bool:
    """Whether the program has come to its first line. Before that all is Python's own, also what Ctrl-C does."""
    status = Path(f"/proc/{process}/status").read_text()
    handled = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(handled >> (signal.SIGTERM - 1) & 1)  # Python itself handles SIGINT only


def _living(group: int) -> list[str]:
    """The command lines of the group's processes that are there a few seconds later."""
    deadline = time.monotonic() + 5
    while found := _group(group):
        if time.monotonic() > deadline:
            os.killpg(group, signal.SIGKILL)
            break
        time.sleep(0.05)
    return found


def _group(group: int) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has just ended
            continue
    return found
