"""Extractions through the command line: where they write, what they leave, how they are killed and continued."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from commands import command_line, succeed

OPTIONS = ("--clips-per-shard", "4", "--workers", "2")


def places(tmp_path: Path) -> tuple[str, str, str, str]:
    """The options that name the shards and the manifests below a folder."""
    return "--shards", str(tmp_path / "shards"), "--manifests", str(tmp_path / "manifests")


def content(tmp_path: Path) -> dict[str, bytes]:
    """Every file that an extraction leaves, but for its lock."""
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not file.name.startswith(".lock")]
    return {str(file.relative_to(tmp_path)): file.read_bytes() for file in files}


def kill_and_continue(
    videos: Path, folder: Path, *, kills: int, options: tuple[str, ...], seconds: tuple[float, float]
) -> int:
    """SIGKILL an extraction at random moments, then let it end. Returns how many kills met a running process."""
    moments = random.Random(0)
    command = command_line("hmdb-prep", ["extract", "--videos", videos, *places(folder), *options])
    met = 0
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(*seconds))
        met += process.poll() is None
        process.kill()
        process.wait()
    succeed("hmdb-prep", "extract", "--videos", videos, *places(folder), *options)
    return met


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Look until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
