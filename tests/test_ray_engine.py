"""`hmdb-prep extract --engine ray` gives what the local engine gives, byte for byte, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command_line, fail, succeed
from conftest import HMDB_LIKE, make_video
from test_extract import content, extracted, places, videos, wait_until  # noqa: F401  (fixtures)

from preprocess.extract import ExtractionSettings, run_extraction
from preprocess.plan import ExtractionParameters
from shared.errors import UsageError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")
SHARDS_OF_FOUR = ("--clips-per-shard", "4")


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands start a Ray of their own."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def ray_processes() -> set[int]:
    """The processes of every Ray on this machine: its servers, and the workers, which call themselves ``ray::``."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith((b"/raylet", b"/gcs_server")) for word in words[:1]) or words[0].startswith(b"ray::"):
                found.add(int(folder.name))
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ray_equals_the_local_engine(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    """With relative folders too, crashing and broken files included; and nothing of Ray stays behind."""
    before, folders = ray_processes(), set(Path("/tmp").glob("hmdb-ray-*"))
    (tmp_path / "videos").symlink_to(videos)
    words = ("--videos", "videos", "--shards", "shards", "--manifests", "manifests")
    out = succeed("hmdb-prep", "extract", "--engine", "ray", *words, *SHARDS_OF_FOUR, cwd=tmp_path)
    (tmp_path / "videos").unlink()
    assert content(tmp_path) == content(extracted)
    assert "12 clips of 3 classes in 4 shards" in out
    assert ray_processes() <= before
    assert set(Path("/tmp").glob("hmdb-ray-*")) <= folders


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ray_continues_what_the_local_engine_began(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    words = ("extract", "--videos", videos, *places(tmp_path), *SHARDS_OF_FOUR)
    succeed("hmdb-prep", *words, "--num-tasks", "2", "--task-id", "0")
    first = (tmp_path / "shards" / "shard-00000.h5").stat()
    succeed("hmdb-prep", *words, "--engine", "ray", "--workers", "2")
    assert content(tmp_path) == content(extracted)
    assert (tmp_path / "shards" / "shard-00000.h5").stat().st_mtime_ns == first.st_mtime_ns
    assert "nothing to do" in succeed("hmdb-prep", *words, "--engine", "ray")
