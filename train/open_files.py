"""The limit of open files: each mapped shard is one."""

from __future__ import annotations

import resource

from shared.errors import DataError

_OTHER_FILES = 256  # of torch, TensorBoard, sockets


def allow_open_files(count: int) -> None:
    """Raise the limit of open files to ``count`` mapped shards. Raises DataError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DataError(f"{count} shards are {needed} open files, and {hard} are allowed; raise it with `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
