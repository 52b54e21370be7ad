"""The queue of the page: videos that wait, the one that is looked at, and answers that are kept for a while.

Requests come in one thread and videos are answered in another, so every method holds a lock.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.serve.limits import MOST_KEPT, MOST_WAITING

State = Literal["waiting", "working", "done", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A video to answer for."""

    number: str
    """By which its answer is asked for; nobody can guess it."""
    video: Path
    """The uploaded file."""
    name: str
    """What its owner calls it."""
    label: int | None
    """The class to explain; None for the most probable one."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of a video."""

    predictions: tuple[tuple[str, float], ...]
    """Every class with its probability in [0, 1], the most probable first."""
    page: str
    """Its explanation as an HTML page."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """How it stands with a video."""

    state: State
    position: int = 0
    """How many videos come before it; 0 for the one that is next."""
    answer: Answer | None = None
    error: str = ""
    """Why there is no answer, in a sentence."""


class Jobs:
    """The queue. Videos are taken one at a time, in the order in which they have arrived."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_arriving = 0
        self._waiting: deque[Job] = deque()
        self._working: Job | None = None
        self._finished: dict[str, Status] = {}

    def reserve(self) -> bool:
        """Keep a place for an upload that begins; False where the queue is full."""
        with self._changed:
            is_free = self._num_arriving + len(self._waiting) < MOST_WAITING
            self._num_arriving += is_free
            return is_free

    def release(self) -> None:
        """Give the place of an upload back: it failed, or its video is about to be added."""
        with self._changed:
            self._num_arriving -= 1

    def add(self, video: Path, *, name: str, label: int | None) -> str:
        """Queue a video; returns the number of its answer."""
        job = Job(number=secrets.token_urlsafe(16), video=video, name=name, label=label)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        return job.number

    def take(self, *, seconds: float) -> Job | None:
        """The next video; None where none has come after so many seconds."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(seconds)
            self._working = self._waiting.popleft() if self._waiting else None
            return self._working

    def finish(self, job: Job, outcome: Answer | str) -> None:
        """Keep the answer for a video, or the reason why there is none."""
        if isinstance(outcome, Answer):
            status = Status(state="done", answer=outcome)
        else:
            status = Status(state="failed", error=outcome)
        with self._changed:
            self._working = None
            self._finished[job.number] = status
            while len(self._finished) > MOST_KEPT:
                del self._finished[next(iter(self._finished))]

    def look(self, number: str) -> Status | None:
        """How it stands with a video; None for a number that is unknown, or forgotten."""
        with self._changed:
            if self._working is not None and self._working.number == number:
                return Status(state="working")
            for position, job in enumerate(self._waiting):
                if job.number == number:
                    return Status(state="waiting", position=position + (self._working is not None))
            return self._finished.get(number)
