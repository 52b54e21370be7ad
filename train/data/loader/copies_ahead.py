"""Copies of shards at an address, made while those before them are read, where shards are read in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from train.data.loader.batches import Step
from train.data.loader.reader import BatchReader
from train.data.samples import ClipTable, Samples


def with_copies_ahead(
    steps: Iterable[Step], samples: Samples, table: ClipTable, reader: BatchReader, *, at_once: int
) -> Iterator[Step]:
    """The same steps; while one is read, the next ``at_once`` shards of their order are copied, one after the other.

    Room is made by copies that no step needs any more, and by no others: what finds none is copied when it is wanted.
    """
    steps = list(steps)
    names = [frozenset(table.shard[clip] for clip in samples.clip[step.chosen].tolist()) for step in steps]
    order = list(dict.fromkeys(name for of_step in names for name in sorted(of_step)))
    last = {name: place for place, of_step in enumerate(names) for name in of_step}
    place, seen, num_asked = 0, set[str](), 0

    def copy(position: int) -> None:
        if last[order[position]] >= place:  # else the reader was faster, and is done with it
            reader.copy_ahead(order[position], keep=[name for name in order[:position] if last[name] >= place])

    pool = ThreadPoolExecutor(1, thread_name_prefix="copy-shard")
    try:
        for place, step in enumerate(steps):
            seen |= names[place]  # the first ones of the order
            end = min(len(seen) + at_once, len(order))
            for position in range(max(len(seen), num_asked), end):
                pool.submit(copy, position)
            num_asked = end
            yield step
    finally:
        pool.shutdown(cancel_futures=True)
