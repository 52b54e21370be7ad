"""Shards read whole on Ray, for ``verify`` and ``merge``: some GB of them a task.

They lie on a file system that all nodes share. A task whose process or node dies is run again elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Generic

from preprocess.extract.engines.ray.cluster import Needs, completed, connected, not_seen
from preprocess.extract.engines.reading import Item, Result
from shared.errors import DataError

TASK_BYTES = 2 * 1000**3  # seconds of reading, so that Ray's own milliseconds do not count


@dataclass(frozen=True, kw_only=True)
class Batch(Generic[Item, Result]):
    """The shards of one task."""

    number: int
    """From 0, in the order of the shards."""
    folder: Path
    """In which names of files begin, as they do where the command was called."""
    read: Callable[[Item], Result]
    items: tuple[Item, ...]
    num_bytes: tuple[int | None, ...]
    """The size of each shard as the command sees it; None where it is not there."""


@dataclass(frozen=True, kw_only=True)
class BatchOutcome(Generic[Result]):
    """What a task has found, up to the first DataError."""

    results: tuple[Result, ...]
    error: DataError | None = None


def read_on_ray(
    read: Callable[[Item], Result], items: Sequence[Item], *, advance: Callable[[Item], None]
) -> list[Result]:
    """The ``ReadShards`` of a Ray cluster, a CPU a task.

    Raises DataError also where Ray gives up and where a node does not see the shards as this machine does.
    """
    needs, results, waiting = Needs(num_cpus=1), list[Result](), dict[int, BatchOutcome[Result]]()
    next_number = 0
    with connected(needs) as ray:
        for batch, found in completed(ray, read_batch, make_batches(read, items), needs=needs, name=_name):
            waiting[batch.number] = found
            while (outcome := waiting.pop(next_number, None)) is not None:
                if outcome.error is not None:
                    raise outcome.error
                for item in items[len(results) : len(results) + len(outcome.results)]:
                    advance(item)
                results += outcome.results
                next_number += 1
    return results


def _name(batch: Batch[Item, Result]) -> str:
    return str(batch.items[0].file)


def make_batches(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Batch[Item, Result]]:
    """The tasks for these shards, in their order."""
    folder = Path("/") if all(item.file.is_absolute() for item in items) else Path.cwd()
    sizes = [_num_bytes(item.file) for item in items]
    ends = accumulate(size or 0 for size in sizes)
    places = groupby(enumerate(ends), key=lambda end: end[1] // TASK_BYTES)
    for number, (_, group) in enumerate(places):
        chosen = [place for place, _ in group]
        yield Batch(
            number=number,
            folder=folder,
            read=read,
            items=tuple(items[place] for place in chosen),
            num_bytes=tuple(sizes[place] for place in chosen),
        )


def read_batch(batch: Batch[Item, Result]) -> BatchOutcome[Result]:
    """What a Ray task does: read its shards. Raises DataError where the node does not see them."""
    if not batch.folder.is_dir():
        raise _not_seen(batch.folder)
    results: list[Result] = []
    with chdir(batch.folder):  # faults name files as the user did
        for item, num_bytes in zip(batch.items, batch.num_bytes, strict=True):
            if _num_bytes(item.file) != num_bytes:
                raise _not_seen(item.file)
        for item in batch.items:
            try:
                results.append(batch.read(item))
            except DataError as error:  # the one to be told is that of the first shard, whichever task ends first
                return BatchOutcome(results=tuple(results), error=error)
    return BatchOutcome(results=tuple(results))


def _not_seen(path: Path) -> DataError:
    return not_seen(f"{path} as it was when the run began", folders="shards")


def _num_bytes(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
