"""Trackers: where the curves of a run are shown while it trains, by TensorBoard, Weights & Biases, Trackio or nobody.

A run that is continued goes on in the same record. metrics.csv is written beside them and owes them nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from shared.errors import DataError, UsageError, first_line
from shared.files import write_text
from shared.missing_packages import PACKAGE, install_extra
from shared.terminal.console import say
from train.run.config.fields import RunConfig
from train.run.folder import run_folder
from train.run.progress import EpochRow

TENSORBOARD_FOLDER = "tensorboard"
RECORD_FILE = "tracker_id.txt"
PROJECT = PACKAGE
_EXTRAS = ("wandb", "trackio")
_UPLOAD_SECONDS = 120.0


class Tracker(Protocol):
    """What takes the numbers of a run. Its methods may raise anything; ``Careful`` bears it."""

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """Add numbers by name, such as ``step/loss``.

        step: optimiser steps since the start of the run. epoch: from 1, where the numbers are of a whole epoch.
        """

    def close(self) -> None:
        """Deliver what is left."""


def check_tracker(name: str) -> None:
    """Raise UsageError where --tracker needs a package that is not installed."""
    if name not in _EXTRAS:
        return
    found = find_spec(name)
    if found is None or found.origin is None:  # the latter is a folder of that name, as wandb makes one
        raise UsageError(
            f"--tracker is {name}, and {name} is not installed; {install_extra(name)}, or use --tracker tensorboard"
        )


@contextmanager
def open_tracker(folder: Path, config: RunConfig, *, step: int) -> Iterator[Tracker]:
    """The tracker that ``config`` names, for the run in ``folder``; in the first process only.

    step: optimiser steps done before. TensorBoard's entries after it are taken out; those of the others stay, and what
    is done again is entered again, with equal numbers.
    """
    tracker = Careful(config.tracker, lambda: _start(folder, config, step=step))
    try:
        yield tracker
    finally:
        tracker.close()


def _start(folder: Path, config: RunConfig, *, step: int) -> Tracker | None:
    if config.tracker == "tensorboard":
        return TensorBoard(folder, step=step)
    if config.tracker == "wandb":
        return WeightsAndBiases(folder, config)
    if config.tracker == "trackio":
        return Trackio(folder, config)
    return None


def log_epoch(tracker: Tracker, row: EpochRow) -> None:
    """Add what an epoch has reached."""
    left_out = ("epoch", "step", "val_clips", "best")
    values = {f"epoch/{name}": value for name, value in dataclasses.asdict(row).items() if name not in left_out}
    tracker.log({name: value for name, value in values.items() if value is not None}, step=row.step, epoch=row.epoch)


class Careful:
    """A tracker that fails costs a run one line and nothing else: no network, nobody logged in, a full disk.

    ``start`` makes it, or gives None for none. After a failure nothing more is tracked.
    """

    def __init__(self, name: str, start: Callable[[], Tracker | None]) -> None:
        self._name = name
        self._tracker: Tracker | None = None
        with self._borne():
            self._tracker = start()

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """As ``Tracker.log``; never raises."""
        with self._borne():
            if self._tracker is not None:
                self._tracker.log(values, step=step, epoch=epoch)

    def close(self) -> None:
        """As ``Tracker.close``; never raises."""
        with self._borne():
            if self._tracker is not None:
                self._tracker.close()

    @contextmanager
    def _borne(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # other people's programs, of which any may raise anything
            self._tracker = None
            say(f"--tracker {self._name} failed ({first_line(error)}); the run goes on without it")


class TensorBoard:
    """Event files below the run; its axis is the step, and for what is of an epoch the epoch."""

    def __init__(self, folder: Path, *, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=step + 1 if step else None)

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """As ``Tracker.log``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step if epoch is None else epoch)
        if epoch is not None:
            self._writer.flush()

    def close(self) -> None:
        """As ``Tracker.close``."""
        self._writer.close()


class WeightsAndBiases:
    """A run of wandb. Its files lie in ``wandb`` below the run; with WANDB_MODE=offline nothing else happens."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import wandb

        settings = wandb.setup(wandb.Settings(silent=True, console="off")).settings
        if settings.mode == "online" and not wandb.login(prompt=False):  # else it would ask, and wait for an answer
            raise DataError("nobody is logged in: `wandb login`, or WANDB_MODE=offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=_record_id(folder),
            name=_label(folder, config),
            group=config.name,
            dir=str(folder),
            resume="allow",
            config=dataclasses.asdict(config),
            settings=wandb.Settings(silent=True, console="off", finish_timeout=_UPLOAD_SECONDS),
        )
        for axis in ("step", "epoch"):
            self._run.define_metric(f"{axis}/*", step_metric=axis)
        if settings.mode == "online":
            say(f"wandb: {self._run.url}")
        else:
            say(f"wandb: {folder / 'wandb'}; upload it with `wandb sync {folder / 'wandb'}/offline-run-*`")

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """As ``Tracker.log``."""
        self._run.log({**values, "step": step, **({} if epoch is None else {"epoch": epoch})})

    def close(self) -> None:
        """As ``Tracker.close``; what is not uploaded in two minutes stays in the run's folder for ``wandb sync``."""
        self._run.finish()


class Trackio:
    """A run of Trackio, in its folder on this machine, or wherever its environment variables say."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import trackio
        from trackio.utils import TRACKIO_DIR

        TRACKIO_DIR.mkdir(parents=True, exist_ok=True)  # else that it cannot be is found only when the run is over
        name = f"{_label(folder, config)}-{_record_id(folder)}"  # Trackio finds a run again by its name alone
        with contextlib.redirect_stdout(io.StringIO()):  # half a dozen lines, of which one is enough
            self._run = trackio.init(
                project=PROJECT, name=name, group=config.name, config=dataclasses.asdict(config), resume="allow"
            )
        say(f"trackio: run {name} in {TRACKIO_DIR}; `trackio show --project {PROJECT}`")

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """As ``Tracker.log``."""
        self._run.log({**values, **({} if epoch is None else {"epoch": epoch})}, step=step)

    def close(self) -> None:
        """As ``Tracker.close``."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()


def _label(folder: Path, config: RunConfig) -> str:
    """``lsvit-tiny``, or ``lsvit-tiny-split2`` where the run has several parts."""
    return "-".join((config.name, *folder.relative_to(run_folder(config)).parts))


def _record_id(folder: Path) -> str:
    """What names the run's record at a tracker: 8 hexadecimal digits, kept in the run's folder from their first use on.

    Raises DataError where the file holds something else.
    """
    file = folder / RECORD_FILE
    if not file.exists():
        write_text(file, secrets.token_hex(4) + "\n")
    found = file.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{8}", found):
        raise DataError(f"{file} is {found[:20]!r} and no 8 hexadecimal digits; delete it, and a new record begins")
    return found
