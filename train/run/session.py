"""One process's training of one split: what it holds, and how its state goes into a checkpoint and back."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import DataError
from shared.terminal.interrupts import begin, receive
from train.data.loader.batches import num_steps
from train.data.loader.reader import BatchReader
from train.learn.lessons import Lessons
from train.learn.precision import in_words
from train.learn.processes import Processes
from train.learn.step import Learner
from train.run.checkpoint import Checkpoint, RunFacts, write_checkpoint
from train.run.config.fields import RunConfig
from train.run.progress import Progress
from train.run.trackers import Tracker


@dataclass(kw_only=True, eq=False)
class Pace:
    """How fast the epochs of a call went, all splits together, validation and checkpoints with them."""

    splits_left: int
    """Those that come after the present one."""
    epochs: int
    started: float = field(default_factory=time.monotonic)
    epochs_done: float = 0.0
    """Since the start, with parts of epochs."""

    def seconds_left(self, epochs_of_split: float) -> float:
        """How long the rest of all splits takes. epochs_of_split: those that are left of the present one."""
        left = epochs_of_split + self.splits_left * self.epochs
        return left * (time.monotonic() - self.started) / self.epochs_done


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """What one process shares over all splits of a call."""

    processes: Processes
    interruption: Interruption
    pace: Pace
    deadline: float
    """When --max-minutes are over, on the clock of ``time.monotonic``; infinite without a limit."""

    def wishes(self) -> tuple[bool, bool]:
        """Whether any process is to stop, and whether the time is up for any; all come to the same answer."""
        late = time.monotonic() > self.deadline
        is_interrupted, is_late = self.processes.sum([float(self.interruption.wanted), float(late)])
        return is_interrupted > 0, is_late > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """What one process holds while it trains on one split."""

    folder: Path
    config: RunConfig
    facts: RunFacts
    learner: Learner
    new_parameters: tuple[str, ...]
    """What --init had nothing for."""
    lessons: Lessons
    reader: BatchReader
    validation: npt.NDArray[np.int64]
    """The clips, by their place in the table, that choose the best epoch."""
    tracker: Tracker | None
    """In the first process only."""
    call: Call

    @property
    def steps_per_epoch(self) -> int:
        return num_steps(len(self.lessons.samples), batch_size=self.config.batch_size)


def save(session: Session, progress: Progress, *, is_best: bool) -> None:
    """Write a checkpoint, in the first process only. Raises DataError where it cannot be written."""
    if session.learner.processes.is_first:
        checkpoint = make_checkpoint(
            session.learner, progress, config=session.config, facts=session.facts, new_parameters=session.new_parameters
        )
        write_checkpoint(session.folder, checkpoint, is_best=is_best)


def make_checkpoint(
    learner: Learner, progress: Progress, *, config: RunConfig, facts: RunFacts, new_parameters: tuple[str, ...]
) -> Checkpoint:
    """Every state as it is now; the tensors are the learner's own."""
    used = dataclasses.replace(config, device=learner.processes.device.type, amp=learner.precision)
    values = dataclasses.asdict(used)
    rng = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        rng["cuda"] = torch.cuda.get_rng_state()
    return Checkpoint(
        facts=facts,
        progress=progress,
        config={key: list(value) if isinstance(value, tuple) else value for key, value in values.items()},
        model=learner.model.state_dict(),
        average=None if learner.average is None else learner.average.state_dict(),
        optimizer=learner.optimizer.state_dict(),
        scheduler=dataclasses.asdict(learner.schedule),
        scaler=learner.scaler.state_dict(),
        rng=rng,
        new_parameters=new_parameters,
    )


def restore(learner: Learner, found: Checkpoint) -> list[str]:
    """Put every state of a checkpoint back; returns what is another way now, in words.

    Raises DataError where a state does not fit.
    """
    try:
        learner.model.load_state_dict(found.model)
        if learner.average is not None:
            learner.average.load_state_dict(found.average or {})
        learner.optimizer.load_state_dict(dict(found.optimizer))
        if learner.scaler.is_enabled() and found.scaler:
            learner.scaler.load_state_dict(dict(found.scaler))
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"the checkpoint does not fit this run: {error}") from error
    torch.set_rng_state(found.rng["cpu"])
    if learner.processes.device.type == "cuda" and "cuda" in found.rng:
        torch.cuda.set_rng_state(found.rng["cuda"])
    return _changes(learner, found)


def _changes(learner: Learner, found: Checkpoint) -> list[str]:
    """What is computed another way than up to the checkpoint, in words."""
    notes = []
    before = (str(found.config.get("amp", "auto")), str(found.config.get("device", "auto")))
    now = (learner.precision, learner.processes.device.type)
    if before != now and "auto" not in before:  # earlier versions did not note what auto was
        was, is_now = (in_words(amp, torch.device(device)) for amp, device in (before, now))
        notes.append(f"goes on on {is_now}; it was {was} so far: equal runs are no longer equal to the bit")
    if learner.scaler.is_enabled() != bool(found.scaler):
        notes.append(f"loss scaling {'ends' if found.scaler else 'begins'} here")
    return notes


class Interruption:
    """While open, SIGINT and SIGTERM interrupt at once; the first one ``while_training`` only sets ``wanted``.

    For the main thread, which alone receives signals. Several processes stop together: ``is_shared``, and the first
    one always waits until they are training.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self.wanted = False
        self._is_shared = is_shared
        self._waits = is_shared
        self._previous: dict[signal.Signals, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.wanted or not self._waits:
            receive(number, frame)
        self.wanted = True

    @contextmanager
    def while_training(self) -> Iterator[None]:
        """The block looks at ``wanted`` between its steps."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = self._is_shared

    def __enter__(self) -> Self:
        begin()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
