"""Many shards read whole, several at once, for ``verify`` and ``merge``: what that is, and how one process does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from shared.machine.cores import available_cores


class ShardItem(Protocol):
    """One shard and what is to be found out about it."""

    @property
    def file(self) -> Path:
        """The shard, which need not be there."""


Item = TypeVar("Item", bound=ShardItem)
Result = TypeVar("Result")


class ReadShards(Protocol):
    """Calls ``read`` for each shard, several at once; the results are in the order of ``items``.

    advance is told every item when it is done, in the same order. Raises what ``read`` raises, of several DataErrors
    that of the first item. ``read`` is a function of a module, and items and results can be pickled.
    """

    def __call__(
        self, read: Callable[[Item], Result], items: Sequence[Item], *, advance: Callable[[Item], None]
    ) -> list[Result]: ...


def read_in_threads(
    read: Callable[[Item], Result], items: Sequence[Item], *, advance: Callable[[Item], None]
) -> list[Result]:
    """The ``ReadShards`` of this process: checksums leave the interpreter to others, so threads keep all cores busy."""
    results = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for item, result in zip(items, pool.map(read, items), strict=True):
            results.append(result)
            advance(item)
    return results
