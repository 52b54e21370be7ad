"""Runs the commands of a road, one after the other, and notes what is finished."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.hmdb51.journal import Journal, write_journal
from scripts.hmdb51.stages import Stage
from shared.console import duration_text, say


def run_stages(
    stages: Sequence[Stage], journal: Journal, *, earlier: Sequence[Stage] = (), folder: Path, lock: int
) -> tuple[Journal, int]:
    """Run what is not finished, and whatever follows it; returns the journal and the exit code of the last command.

    It stops at the first command that does not end with 0. earlier: stages that stand before these; folder: of the
    journal.
    """
    for index, stage in enumerate(stages):
        if (record := journal.of(stage)) is not None:
            say(f"-- {stage.name}: finished before, in {duration_text(record.seconds)}")
            continue
        journal = journal.began(stage, before=[*earlier, *stages[:index]])
        write_journal(folder, journal)
        say(f"\n== {shlex.join(stage.words)}")
        started = time.monotonic()
        code = _call(stage.words, lock=lock)
        if code:
            say(f"make hmdb51: {stage.name} ended with code {code}; {_way_on(stage)}", to=sys.stderr)
            return journal, code
        seconds = time.monotonic() - started
        journal = journal.ended(stage, seconds=seconds)
        write_journal(folder, journal)
        say(f"-- {stage.name}: {duration_text(seconds)}")
    return journal, 0


def _call(words: Sequence[str], *, lock: int) -> int:
    """Run a command of this environment to its end; 128 and more where a signal ended it.

    Ctrl-C reaches the command from the terminal, and this process waits for it; what `kill` sends is passed on.
    """
    program = Path(sys.executable).parent / words[0]
    interrupted = signal.signal(signal.SIGINT, lambda *_: None)
    process = subprocess.Popen([program, *words[1:]], pass_fds=(lock,))
    terminated = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, terminated)
    return code if code >= 0 else 128 - code


def _way_on(stage: Stage) -> str:
    if stage.name == "fetch":
        return f"the same call tries again, SOURCE={stage.leaves[0]} goes on with the videos that are there"
    return "the same call goes on from here"
