"""Runs the installed commands as a user does: in a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and texts."""

    code: int
    out: str
    err: str


def command_line(program: str, arguments: Sequence[str | Path]) -> list[str]:
    """The words to start ``hmdb-prep`` or ``lsvit-train`` of this environment."""
    return [str(_SCRIPTS / program), *map(str, arguments)]


def run(program: str, *arguments: str | Path, cwd: Path | None = None, timeout: float = 300) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        command_line(program, arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=os.environ | {"COLUMNS": "140", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)


def succeed(program: str, *arguments: str | Path, cwd: Path | None = None, timeout: float = 300) -> str:
    """Run a command that must end with 0; returns its standard output."""
    outcome = run(program, *arguments, cwd=cwd, timeout=timeout)
    assert outcome.code == 0, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome.out


def fail(code: int, program: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must end with ``code`` and say why in at most two lines, without a traceback."""
    outcome = run(program, *arguments, cwd=cwd)
    assert outcome.code == code, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    assert "Traceback" not in outcome.err
    return outcome.err
