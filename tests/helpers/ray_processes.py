"""The processes of Ray on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path


def task_processes(function: str) -> set[int]:
    """The Ray workers of this machine that run this function just now: they call themselves by it."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(f"ray::{function}".encode()):
                found.add(int(folder.name))
    return found


def ray_servers() -> set[int]:
    """The processes of Rays that commands have started on this machine: their folder is on their command lines."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"/tmp/hmdb-ray-" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found
