"""Runs the commands of a road, one after the other, and keeps in the run's folder what is finished."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.checks import from_builtins
from shared.errors import DataError
from shared.files import read_versioned_json, write_text
from shared.terminal.console import duration_text, say

_FILE = "hmdb51.json"
_LOCK = ".hmdb51.lock"
_FORMAT, _VERSION = "hmdb51-road", 2
_SIGNALS = 128  # exit codes from here on: a signal, as Ctrl-C, ended the command


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of hmdb-prep or lsvit-train."""

    name: str
    command: tuple[str, ...]
    """What settles its result. A stage that is finished is left out while this stays the same."""
    manner: tuple[str, ...] = ()
    """Options that change where and how fast, and not the result."""
    reads: tuple[Path, ...] = ()
    """Files and folders that must stay as they were; what is gone, or an address, is not looked at."""
    leaves: tuple[Path, ...] = ()
    """What is there once it is finished."""
    advice: str = ""
    """What else helps where it fails."""

    @property
    def words(self) -> tuple[str, ...]:
        """The whole command, as it is called."""
        return (*self.command, *self.manner)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A stage that ended well."""

    stage: str
    command: tuple[str, ...]
    seconds: float
    """Of the call that finished it: what a killed one took is not known."""
    read: str = ""
    """`digest` of what it read."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What is known of a road that was begun."""

    road: str
    source: str
    archive_sha256: str = ""
    """Of the archive that was fetched; empty where there was none."""
    finished: tuple[Finished, ...] = ()
    trained_with: dict[str, str] = dataclasses.field(default_factory=dict)
    """What `settles_training` said as training was begun; empty before."""

    def of(self, stage: Stage) -> Finished | None:
        """The record of a stage that is finished with the same command, and whose files are there and the same."""
        found = next((each for each in self.finished if each.stage == stage.name), None)
        if found is None or found.command != stage.command or not all(path.exists() for path in stage.leaves):
            return None
        return found if digest(stage.reads) in ("", found.read) else None

    def without(self, stages: Collection[Stage]) -> Journal:
        """The journal once these are finished no more."""
        names = {stage.name for stage in stages}
        return dataclasses.replace(self, finished=tuple(each for each in self.finished if each.stage not in names))


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of names, sizes and times of change of files and of all files in folders; empty where none is there."""
    found = hashlib.sha256()
    files = sorted(file for path in paths for file in (path, *path.rglob("*")) if file.is_file())
    for file in files:
        state = file.stat()
        found.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return found.hexdigest() if files else ""


def read_journal(folder: Path) -> Journal | None:
    """The journal of a run's folder, None where no road was begun in it. Raises DataError where it is damaged."""
    file = folder / _FILE
    if not file.is_file():
        return None
    remedy = "delete it: the commands find what is finished by themselves, only more slowly"
    content = read_versioned_json(file, kind=_FORMAT, version=_VERSION, absent="", remedy=remedy)
    try:
        return from_builtins(Journal, content)
    except ValueError as error:
        raise DataError(f"{file} is damaged ({error}); {remedy}") from error


def write_journal(folder: Path, journal: Journal) -> None:
    """Write the journal whole."""
    content = {"format": _FORMAT, "version": _VERSION, **dataclasses.asdict(journal)}
    write_text(folder / _FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def last_begun(folders: Sequence[Path]) -> Path | None:
    """The folder whose journal was written last, None where none has one."""
    files = [folder / _FILE for folder in folders if (folder / _FILE).is_file()]
    return max(files, key=lambda file: file.stat().st_mtime).parent if files else None


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """The folder for this process and its commands alone. Yields the lock, which a command that outlives it keeps.

    Raises DataError where another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another `make hmdb51`, or a command that it began, is at work in {folder}; wait for it or stop it"
            ) from error
        yield lock.fileno()


def run_stages(
    stages: Sequence[Stage], journal: Journal, *, later: Sequence[Stage] = (), folder: Path, lock: int
) -> Journal:
    """Run what is not finished, and whatever follows it; returns the journal.

    later: stages that follow these; folder: of the journal. Raises SystemExit with the code of the first command that
    does not end with 0.
    """
    for index, stage in enumerate(stages):
        if (record := journal.of(stage)) is not None:
            say(f"-- {stage.name}: finished before, in {duration_text(record.seconds)}")
            continue
        journal = journal.without([*stages[index:], *later])
        write_journal(folder, journal)
        say(f"\n== {shlex.join(stage.words)}")
        read, started = digest(stage.reads), time.monotonic()
        code = _call(stage.words, lock=lock)
        if code:
            say(f"make hmdb51: {stage.name} ended with code {code}; {_way_on(stage, code)}", to=sys.stderr)
            raise SystemExit(code)
        ended = Finished(stage=stage.name, command=stage.command, seconds=time.monotonic() - started, read=read)
        journal = dataclasses.replace(journal, finished=(*journal.finished, ended))
        write_journal(folder, journal)
        say(f"-- {stage.name}: {duration_text(ended.seconds)}")
    return journal


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
    return code if code >= 0 else _SIGNALS - code


def _way_on(stage: Stage, code: int) -> str:
    if code >= _SIGNALS:
        return "the same call goes on from here"
    return "mend that, then the same call goes on" + (f"; {stage.advice}" if stage.advice else "")
