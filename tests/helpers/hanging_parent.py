"""A process that kills itself while a job of its worker pool hangs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from shared.machine.workers import WorkerPool


def be_killed_while_a_job_hangs(note: str) -> None:
    """Start a job that writes its process number to ``note`` and hangs, then end by SIGKILL."""
    with WorkerPool(num_workers=1, timeout_seconds=600, preload=[]) as pool:
        pool.wait(pool.submit(abs, 1))  # a worker is given its first job only while somebody waits
        pool.submit(note_and_hang, Path(note))
        while not Path(note).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)


def note_and_hang(note: Path) -> None:
    """The job."""
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    time.sleep(600)
