"""Runs the commands: as a user starts them, quicker in a process with all imported, or quickest in this process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner
from warm_starts import start

from shared.errors import DataError, UsageError

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


def run(
    program: str, *arguments: str | Path, cwd: Path | None = None, timeout: float = 300, installed: bool = False
) -> Outcome:
    """Run a command to its end, in a process of its own.

    installed: start the script that a user starts, which takes seconds; else a fork of a process with all imported.
    """
    words = [program, *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "140", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        code = start(words, cwd=cwd, environment=environment, streams=(out, err), timeout=timeout, installed=installed)
        return Outcome(code=code, out=out.read_text(), err=err.read_text())


def succeed(
    program: str, *arguments: str | Path, cwd: Path | None = None, timeout: float = 300, installed: bool = False
) -> str:
    """Run a command that must end with 0; returns its standard output."""
    outcome = run(program, *arguments, cwd=cwd, timeout=timeout, installed=installed)
    assert outcome.code == 0, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome.out


def fail(code: int, program: str, *arguments: str | Path, cwd: Path | None = None, installed: bool = False) -> str:
    """Run a command that must end with ``code`` and say why in at most two lines, without a traceback."""
    outcome = run(program, *arguments, cwd=cwd, installed=installed)
    assert outcome.code == code, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    assert "Traceback" not in outcome.err
    return outcome.err


def run_here(program: str, *arguments: str | Path) -> Outcome:
    """As ``run``, but in this process, which saves the seconds of its imports. Other errors than ours are raised."""
    from preprocess.cli import app as prepare
    from train.cli import app as learn

    result = CliRunner().invoke(prepare if program == "hmdb-prep" else learn, [str(word) for word in arguments])
    error = result.exception
    if error is not None and not isinstance(error, DataError | UsageError | SystemExit):
        raise error
    code = 1 if isinstance(error, DataError) else 2 if isinstance(error, UsageError) else result.exit_code
    return Outcome(code=code, out=result.stdout, err=f"{result.stderr}{error or ''}")


def succeed_here(program: str, *arguments: str | Path) -> str:
    """As ``succeed``, in this process."""
    outcome = run_here(program, *arguments)
    assert outcome.code == 0, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome.out


def fail_here(code: int, program: str, *arguments: str | Path) -> str:
    """As ``fail``, in this process."""
    outcome = run_here(program, *arguments)
    assert outcome.code == code, f"{program} {arguments} ended with {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome.err
