"""A merge in tasks: each takes the checksums of its own shards and notes them; the last one writes the manifests."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from preprocess.extract.engines.reading import ReadShards
from preprocess.extract.engines.tasks import Task
from preprocess.extract.finish.merge import merge, read_shards, ready_plan
from preprocess.extract.rules import AS_KEPT, AskedRules, rules_for, say_warnings, sha256_of_table
from shared.checks import from_builtins, parse_json
from shared.errors import DataError
from shared.files import write_text
from shared.manifests.files import Dataset
from shared.terminal.console import counted, say


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """Of a shard that was read whole and found undamaged."""

    file: str
    num_bytes: int
    changed_ns: int
    """When the file was changed last: the checksum is that of no later content."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TaskNote:
    """What one task has found."""

    dataset_id: str
    rules: str
    """Source pattern and checksum of the splits by which the task was to go."""
    checksums: tuple[Checksum, ...]


def run_merge(
    shards: Path, manifests: Path, *, task: Task, synthetic: bool, asked: AskedRules, read: ReadShards
) -> bool:
    """Merge whole or as one of several tasks, and say what was written. False where other tasks have yet to do so.

    Raises DataError as ``merge`` does.
    """
    if task.count == 1:
        dataset = merge(shards, manifests, synthetic=synthetic, rehash=True, asked=asked, read=read)
    elif (merged := merge_task(shards, manifests, task, synthetic=synthetic, asked=asked)) is None:
        return False
    else:
        dataset = merged
    say_warnings(manifests, dataset)
    clips, files = counted(dataset.num_clips, "clip"), counted(len(dataset.shards), "shard")
    say(f"manifests of {clips} in {files} written to {manifests}")
    return True


def merge_task(
    shards: Path, manifests: Path, task: Task, *, synthetic: bool, asked: AskedRules | None = None
) -> Dataset | None:
    """What ``merge`` does with rehash, divided: read this task's shards whole; None where others have yet to do so.

    The result is that of ``merge``. A shard that is changed after its task has read it is read again at the end.
    Raises DataError as ``merge`` does, and where tasks were given different rules.
    """
    plan = ready_plan(shards, manifests)
    rules = rules_for(asked or AS_KEPT, shards, plan)
    own = [shard for shard in plan.shards if task.owns(shard.index)]
    entries = [found.entry for found in read_shards(shards, plan, own, rehash=True)]
    checksums = tuple(_checksum(shards / entry.file, entry.sha256) for entry in entries if entry is not None)
    digest = f"{rules.source_pattern} {sha256_of_table(rules)}"
    note = TaskNote(dataset_id=plan.dataset_id, rules=digest, checksums=checksums)
    write_text(_file(shards, task), json.dumps(dataclasses.asdict(note), ensure_ascii=False) + "\n")
    found, missing = _read_notes(shards, note, count=task.count)
    if missing:
        say(
            f"this task is done, {counted(len(own), 'shard')} read; still to come: {counted(len(missing), 'task')}, "
            f"{missing[0]} first; the last one writes the manifests"
        )
        return None
    known = {checksum.file: checksum.sha256 for checksum in found if _still_holds(shards, checksum)}
    dataset = merge(shards, manifests, synthetic=synthetic, rehash=True, asked=asked, known=known)
    for file in shards.glob("merge-*-of-*.json"):
        file.unlink(missing_ok=True)
    return dataset


def _read_notes(folder: Path, own: TaskNote, *, count: int) -> tuple[list[Checksum], list[int]]:
    """The checksums of all tasks, and the numbers of those that have left none. Damaged notes are as none.

    Raises DataError where a task went by other rules.
    """
    found: list[Checksum] = []
    missing = []
    for index in range(count):
        note = _read(_file(folder, Task(index=index, count=count)))
        if note is None or note.dataset_id != own.dataset_id:
            missing.append(index)
        elif note.rules != own.rules:
            raise DataError(
                f"task {index} of {count} was given another --source-pattern or --splits; run it again with those of "
                "the others"
            )
        else:
            found += note.checksums
    return found, missing


def _checksum(file: Path, sha256: str) -> Checksum:
    state = file.stat()
    return Checksum(file=file.name, num_bytes=state.st_size, changed_ns=state.st_mtime_ns, sha256=sha256)


def _still_holds(folder: Path, checksum: Checksum) -> bool:
    file = folder / checksum.file
    return file.is_file() and _checksum(file, checksum.sha256) == checksum


def _file(folder: Path, task: Task) -> Path:
    return folder / f"merge-{task.index}-of-{task.count}.json"


def _read(file: Path) -> TaskNote | None:
    try:
        return from_builtins(TaskNote, parse_json(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
