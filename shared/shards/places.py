"""Where shards lie: in a folder, or at an address such as s3://bucket/shards, from which copies are made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError

DEFAULT_CACHE = "data/shard_cache"
DEFAULT_CACHE_GB = 50.0

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True, kw_only=True)
class RemoteShards:
    """Shards that are not on this machine's file systems, and where copies of them may lie."""

    address: str
    """Of their folder, without a slash at its end."""
    cache: Path
    """Several processes may share it."""
    cache_gb: float
    """Room for copies, those that are being made too, in GB (10**9 bytes)."""

    @property
    def cache_bytes(self) -> int:
        """The same room in bytes."""
        return int(self.cache_gb * 1e9)

    def __str__(self) -> str:
        return self.address


ShardsPlace = Path | RemoteShards


def shards_place(text: str, *, cache: Path, cache_gb: float) -> ShardsPlace:
    """What ``--shards`` names: a folder or an address.

    Raises UsageError where there is to be no room.
    """
    if _ADDRESS.match(text) is None:
        return Path(text)
    if not 0 < cache_gb < math.inf:
        raise UsageError(
            f"--shard-cache-gb is {cache_gb:g}; it must be a number above 0: shards at an address are copied first"
        )
    return RemoteShards(address=text.rstrip("/"), cache=cache, cache_gb=cache_gb)
