"""The cores that a process may use: affinity, quotas of control groups of both versions, machines without either."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from shared.machine.cores import available_cores, cpu_quota


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"cpu.{name}").write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "groups", "expected"),
    [
        ("0::/\n", {"": {"max": "150000 100000"}}, 1.5),
        ("0::/\n", {"": {"max": "max 100000"}}, math.inf),
        ("0::/a/b\n", {"a": {"max": "200000 100000"}, "a/b": {"max": "max 100000"}}, 2.0),
        ("0::/a/b\n", {"a": {"max": "200000 100000"}, "a/b": {"max": "50000 100000"}}, 0.5),
        ("0::/gone/from/here\n", {"": {"max": "300000 100000"}}, 3.0),
        ("1:memory:/x\n4:cpu,cpuacct:/x\n", {"cpu/x": {"cfs_quota_us": "250000", "cfs_period_us": "100000"}}, 2.5),
        ("4:cpu,cpuacct:/x\n", {"cpu,cpuacct": {"cfs_quota_us": "100000", "cfs_period_us": "100000"}}, 1.0),
        ("4:cpu,cpuacct:/\n", {"cpu": {"cfs_quota_us": "-1", "cfs_period_us": "100000"}}, math.inf),
        ("4:cpuset:/\n", {"cpuset": {"cfs_quota_us": "100000", "cfs_period_us": "100000"}}, math.inf),
        ("0::/\n", {"": {"max": "0 0"}}, math.inf),
        ("0::/../..\n", {"": {"max": "100000 100000"}}, 1.0),
        ("nonsense\n\n:\n", {}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_the_quota_is_the_smallest_around(
    tmp_path: Path, own: str | None, groups: dict[str, dict[str, str]], expected: float
) -> None:
    for name, files in groups.items():
        group(tmp_path / "root" / name, **files)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert cpu_quota(root=tmp_path / "root", own=tmp_path / "own") == expected


@pytest.mark.parametrize(("quota", "expected"), [(0.2, 1), (1.0, 1), (1.5, 2), (99.0, 3), (math.inf, 3)])
def test_fewer_of_affinity_and_quota_count(monkeypatch: pytest.MonkeyPatch, quota: float, expected: int) -> None:
    monkeypatch.setattr("shared.machine.cores.cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5})
    assert available_cores() == expected


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.machine.cores.cpu_quota", lambda: math.inf)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert available_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
