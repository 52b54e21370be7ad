"""How many cores this process may use: of those of the machine, what its container and its scheduler leave to it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """At least 1. A quota of a container, such as ``docker run --cpus 1.5``, is rounded up.

    A container with a quota sees all cores of its machine, and as many workers would wait for each other.
    """
    return max(1, math.ceil(min(_allowed_cores(), cpu_quota())))


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # of Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(*, root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float:
    """Cores' worth of time that this process's control groups and those around them leave; infinite without a limit.

    As Linux's documents have it: cpu.max of version 2 (admin-guide/cgroup-v2), cpu.cfs_quota_us and
    cpu.cfs_period_us of version 1 (scheduler/sched-bwc).
    """
    return min((_limit_of(folder) for folder in _cgroup_folders(root, own)), default=math.inf)


def _cgroup_folders(root: Path, own: Path) -> Iterator[Path]:
    """The folders of the groups that may limit this process's time; some may not exist."""
    for line in _text(own).splitlines():  # 0::/user.slice of version 2, 4:cpu,cpuacct:/docker/1f3e of version 1
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            yield from _with_parents(root, path)
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / controllers):
                yield from _with_parents(mount, path)


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    """In a container the path may be that of the machine, and only the mount itself be there."""
    folder = mount / path.lstrip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(mount))


def _limit_of(folder: Path) -> float:
    quota, period = (*_text(folder / "cpu.max").split(), "", "")[:2]
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no limit of this kind
        return math.inf
    return cores if cores > 0 else math.inf  # version 1 says -1 for none


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
