"""Work done ahead, in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from shared.errors import UsageError

Item = TypeVar("Item")


def prefetched(batches: Iterable[Item], *, ahead: int = 2) -> Iterator[Item]:
    """The same batches, made ahead by a thread: while a model works on one, a DataLoader without workers reads others.

    ahead: how many wait at most. A loop that is left early ends the thread; an error is raised where its batch would
    have come. Raises UsageError where ahead is below 1.
    """
    if ahead < 1:
        raise UsageError(f"ahead is {ahead}; at least 1 batch must be allowed to wait")
    return _prefetched(batches, ahead)


def _prefetched(batches: Iterable[Item], ahead: int) -> Iterator[Item]:
    with Prefetcher(iter(batches), ahead=ahead) as items:
        yield from items


class Prefetcher(Generic[Item]):
    """Runs an iterator in a thread, a few items ahead. Use as a context manager; errors come out where items do."""

    def __init__(self, items: Iterator[Item], *, ahead: int) -> None:
        self.wait_seconds = 0.0
        """How long the consumer has waited for items so far."""
        self._items = items
        self._queue: queue.Queue[tuple[Item] | BaseException] = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
                del item  # nothing is kept here while the next one is made
            self._put(StopIteration())
        except BaseException as error:  # handed over to the consumer, which raises it
            self._put(error)

    def _put(self, made: tuple[Item] | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(made, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Item]:
        while True:
            started = time.perf_counter()
            made = self._queue.get()
            self.wait_seconds += time.perf_counter() - started
            if isinstance(made, StopIteration):
                return
            if isinstance(made, BaseException):
                raise made
            yield made[0]
            del made  # nor while the next one is waited for

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
