"""Ctrl-C and SIGTERM, turned into a wish to stop that the training loop meets between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """While open, the first SIGINT or SIGTERM only sets ``wanted``; a second one interrupts at once.

    For the main thread, which alone receives signals.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

    def __enter__(self) -> Self:
        for number in self._previous:
            signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
