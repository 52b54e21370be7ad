"""The parts of a GPU check: what they run, what came of each, and the report in Markdown and JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from shared.errors import DataError
from shared.files import write_text
from shared.terminal.console import say

Row = Mapping[str, float | str]
State = Literal["passed", "failed", "skipped"]

_ROOT = Path(__file__).resolve().parents[1]
_ERROR_LINES = 12
_TIME_UP = "its time was up"
# What the reading of another program's output may raise; anything else is a mistake in the benchmark itself.
_FAILURES = (DataError, OSError, ValueError, LookupError, ImportError)


class PartError(DataError):
    """A part that did not go well."""


class TimeUpError(PartError):
    """A command that was stopped at its limit."""


class SkipError(DataError):
    """A part that cannot be tried here."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the parts work, on what, and until when (``time.monotonic()``)."""

    place: Path
    device: str
    quick: bool
    deadline: float

    def within(self, seconds: float) -> Bench:
        """The same, ending after so many seconds at the latest."""
        return replace(self, deadline=min(self.deadline, time.monotonic() + seconds))

    def run(self, *words: object) -> str:
        """Run Python with these words; returns its standard output. Raises PartError where it fails or takes long."""
        return "\n".join(self.lines(*words))

    def lines(self, *words: object) -> Iterator[str]:
        """The lines of its standard output; those written before it failed come before PartError is raised."""
        command = [sys.executable, *map(str, words)]
        if self.seconds_left() <= 0:
            raise TimeUpError("no time was left for it")
        out, error = _communicate(command, seconds=self.seconds_left())
        yield from out.splitlines()
        if error:
            kind = TimeUpError if error.startswith(_TIME_UP) else PartError
            raise kind(f"{' '.join(command[1:])}: {error}".replace(str(self.place), "."))

    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.monotonic()

    def remove(self, folder: Path) -> None:
        """Delete what is not needed any more."""
        shutil.rmtree(folder)

    def used_bytes(self) -> int:
        """What lies in the folder, hard links counted once."""
        found = {(stat.st_dev, stat.st_ino): stat.st_size for path in self.place.rglob("*") if (stat := path.lstat())}
        return sum(found.values())


def _communicate(command: list[str], *, seconds: float) -> tuple[str, str]:
    """Run a command with all its children; returns what it printed, and what went wrong: empty where nothing did."""
    environment = os.environ | {"COLUMNS": "140"}
    with subprocess.Popen(
        command, cwd=_ROOT, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0], f"{_TIME_UP} after {seconds:.0f} s"
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode == 0:
        return out, ""
    last = "\n".join((err.strip() or out.strip()).splitlines()[-_ERROR_LINES:])
    return out, f"exit code {process.returncode}\n{last}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What came of one part. error: why it failed or was skipped. rows: its figures; all have the same columns."""

    name: str
    state: State
    seconds: float
    error: str
    rows: tuple[Row, ...]


def run_part(name: str, bench: Bench, function: Callable[[Bench], Iterator[Row]]) -> Part:
    """Do one part; rows that it yielded before it failed are kept."""
    rows: list[Row] = []
    state: State = "passed"
    error = ""
    started = time.monotonic()
    try:
        for row in function(bench):
            rows.append(row)  # one by one: those before a failure count
    except SkipError as reason:
        state, error = "skipped", str(reason)
    except _FAILURES as reason:
        state, error = "failed", str(reason) if isinstance(reason, PartError) else f"{type(reason).__name__}: {reason}"
    seconds = time.monotonic() - started
    say(f"{name}: {state} in {seconds:.0f} s" + (f": {error}" if error else ""))
    return Part(name=name, state=state, seconds=seconds, error=error, rows=tuple(rows))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is known so far. megabytes: the most that lay on the disk after a part."""

    machine: Mapping[str, object]
    device: str
    is_quick: bool
    parts: tuple[Part, ...] = ()
    megabytes: float = 0.0

    def add(self, part: Part, *, used_bytes: int) -> Report:
        """With one part more."""
        return replace(self, parts=(*self.parts, part), megabytes=max(self.megabytes, used_bytes / 1e6))

    @property
    def has_failed(self) -> bool:
        return any(part.state == "failed" for part in self.parts)

    def write(self, folder: Path) -> None:
        """Write ``gpu.json`` and ``gpu.md``."""
        write_text(folder / "gpu.json", json.dumps(asdict(self), indent=2, default=str) + "\n")
        write_text(folder / "gpu.md", markdown(self))


def markdown(report: Report) -> str:
    """The report for reading."""
    counts = {state: sum(part.state == state for part in report.parts) for state in ("passed", "failed", "skipped")}
    lines = [
        f"# GPU check, {report.machine.get('date', '')}",
        "",
        ", ".join(f"{number} {state}" for state, number in counts.items())
        + f" in {sum(part.seconds for part in report.parts):.0f} s on {report.device}.",
        *(["", "A quick run: its figures mean nothing."] if report.is_quick else []),
        "",
        *(f"- {name}: {value}" for name, value in report.machine.items()),
        f"- data made: {report.megabytes:.0f} MB",
    ]
    for part in report.parts:
        lines += ["", f"## {part.name}: {part.state}, {part.seconds:.1f} s"]
        if part.error:
            lines += ["", *(f"    {line}" for line in part.error.splitlines())]
        if part.rows:
            lines += ["", *_table(part.rows)]
    return "\n".join(lines) + "\n"


def _table(rows: tuple[Row, ...]) -> list[str]:
    columns = list(rows[0])
    cells = [columns, ["---"] * len(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in cells]


def _cell(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
