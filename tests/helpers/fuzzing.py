"""Runs fuzz cases in child processes, so that a crash or hang is attributed to its case and costs no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_CHILD = Path(__file__).with_name("fuzz_child.py")


@dataclass
class Tally:
    """What became of the cases. failures: number -> traceback, or how the process ended."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)


def run_cases(target: str, *, first: int, count: int, folder: Path) -> Tally:
    """Run ``count`` cases of a target of fuzz_targets.py from number ``first`` on; a death is counted and survived."""
    tally, next_case, last = Tally(), first, first + count
    while next_case < last:
        place = folder / f"{target}-{next_case}"
        place.mkdir(parents=True)
        command = [sys.executable, str(_CHILD), target, str(next_case), str(last - next_case), str(place)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        pieces = done.stdout.split("start ")[1:]
        if not pieces:
            raise AssertionError(
                f"the fuzzing process ended with {done.returncode} before its first case\n{done.stderr}"
            )
        for piece in pieces:
            number, _, outcome = piece.partition("\n")
            next_case = int(number) + 1
            word = outcome.strip().partition("\n")[0]
            if word in ("ok", "refused"):
                tally.outcomes[word] += 1
            else:
                text = outcome.strip() or f"the process ended with {done.returncode}\n{done.stderr[-2000:]}"
                tally.failures[int(number)] = text
    return tally
