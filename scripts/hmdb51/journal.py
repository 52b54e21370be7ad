"""What is finished of a road, kept in the run's folder, so that the same command goes on where it was killed."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.hmdb51.stages import Stage
from shared.checks import from_builtins
from shared.errors import DataError
from shared.files import read_versioned_json, write_text

_FILE = "hmdb51.json"
_LOCK = ".hmdb51.lock"
_FORMAT, _VERSION = "hmdb51-road", 1


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A stage that ended well."""

    stage: str
    command: tuple[str, ...]
    seconds: float
    """Of the call that finished it: what a killed one took is not known."""
    interruptions: int
    """Calls before it that did not end well."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What is known of a road that was begun."""

    road: str
    source: str
    archive_sha256: str = ""
    """Of the archive that was fetched; empty where there was none."""
    begun: dict[str, int] = dataclasses.field(default_factory=dict)
    """How often each stage was begun since it last ended well."""
    finished: tuple[Finished, ...] = ()

    def of(self, stage: Stage) -> Finished | None:
        """The record of a stage that is finished with the same command, and whose files are still there."""
        found = next((each for each in self.finished if each.stage == stage.name), None)
        is_same = found is not None and found.command == stage.command
        return found if is_same and all(path.exists() for path in stage.leaves) else None

    def began(self, stage: Stage, *, before: Sequence[Stage]) -> Journal:
        """The journal once a stage has begun: only those before it are finished any more."""
        names = {each.name for each in before}
        kept = tuple(each for each in self.finished if each.stage in names)
        begun = {**self.begun, stage.name: self.begun.get(stage.name, 0) + 1}
        return dataclasses.replace(self, finished=kept, begun=begun)

    def ended(self, stage: Stage, *, seconds: float) -> Journal:
        """The journal once a stage has ended well."""
        begun = dict(self.begun)
        interruptions = begun.pop(stage.name) - 1
        record = Finished(stage=stage.name, command=stage.command, seconds=seconds, interruptions=interruptions)
        return dataclasses.replace(self, finished=(*self.finished, record), begun=begun)


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


def last_begun(folders: list[Path]) -> Path | None:
    """The folder whose journal was written last, None where none has one."""
    files = [folder / _FILE for folder in folders if (folder / _FILE).is_file()]
    return max(files, key=lambda file: file.stat().st_mtime).parent if files else None


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """The folder for this process and its commands alone. Yields the lock, which a command that outlives it keeps.

    Raises DataError where another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another `make hmdb51`, or a command that it began, is at work in {folder}; wait for it or stop it"
            ) from error
        yield lock
    finally:
        os.close(lock)
