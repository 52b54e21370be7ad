"""Fixtures: seven shards to be damaged, and Ray, on this machine alone or as a cluster of two nodes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import succeed
from extraction import places
from media import HMDB_LIKE, make_video


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Seven clips of two classes in seven shards, and a video that gave none."""
    folder = tmp_path_factory.mktemp("tasks")
    for index in range(7):
        make_video(folder / "videos" / ("run", "walk")[index % 2] / f"s{index}.avi", *HMDB_LIKE, num_frames=17)
    (folder / "videos" / "walk" / "broken.avi").write_bytes(b"no video")
    words = ("--size", "16", "--clips-per-shard", "1", "--workers", "1")
    succeed("hmdb-prep", "extract", "--videos", folder / "videos", *places(folder), *words)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands start a Ray of their own. Its tasks have no low priority: beside other work they would stand still."""
    pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def cluster(no_cluster: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two nodes with one CPU each, whose address commands find in RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 1024**2}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    made.second = made.add_node(**small)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    try:
        yield made
    finally:
        made.shutdown()
