"""What an extraction leaves beside its shards so that it can be continued, checked and merged.

``extraction.json`` holds the plan; ``block-00000.json``, the note on the shard of that number, its checksum and the
videos that gave no clip. A shard is finished when it bears its final name, or when all of its videos are quarantined.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.extract.extraction_plan import ExtractionParameters, ExtractionPlan, PlannedShard, dataset_id_of
from shared.checks import check_name, from_builtins, parse_json
from shared.errors import DataError
from shared.files import remove_leftovers, write_text
from shared.manifests.files import QuarantineRow
from shared.manifests.notes import NoteRow
from shared.shards.data_sets import short_id
from shared.shards.format import SHARD_NAMES
from shared.shards.reader import ShardReader
from shared.shards.writer import remove_pending_shards
from shared.terminal.console import counted
from shared.video.listing import Video

STATE_FILE = "extraction.json"
_LOCK_FILE = ".lock"
_NUM_NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    """What ``extraction.json`` says: a plan that names every video once."""

    dataset_id: str
    synthetic: bool = False
    source_pattern: str = ""
    parameters: ExtractionParameters
    videos: tuple[tuple[str, int], ...]
    """Path and size in bytes of each."""
    blocks: tuple[tuple[int, int, tuple[int, ...]], ...]
    """Of each shard: height, width and the positions of its videos in ``videos``."""
    rejected: tuple[QuarantineRow, ...]


def write_extraction_plan(folder: Path, plan: ExtractionPlan) -> None:
    """Write the plan to ``extraction.json``."""
    positions = {video.path: position for position, video in enumerate(plan.videos)}
    content = _PlanFile(
        dataset_id=plan.dataset_id,
        synthetic=plan.synthetic,
        source_pattern=plan.source_pattern,
        parameters=plan.parameters,
        videos=tuple((video.path, video.num_bytes) for video in plan.videos),
        blocks=tuple(
            (shard.height, shard.width, tuple(positions[video.path] for video in shard.videos)) for shard in plan.shards
        ),
        rejected=plan.rejected,
    )
    write_text(folder / STATE_FILE, json.dumps(dataclasses.asdict(content), ensure_ascii=False) + "\n")


def read_extraction_plan(folder: Path) -> ExtractionPlan | None:
    """The plan of the extraction in this folder; None where there is none. Raises DataError where it is damaged."""
    file = folder / STATE_FILE
    try:
        return _plan_from(from_builtins(_PlanFile, parse_json(file.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{file} is damaged ({error}); run `hmdb-prep extract --overwrite` to start anew") from error


def _plan_from(content: _PlanFile) -> ExtractionPlan:
    videos = tuple(Video(path=path, class_name=path.partition("/")[0], num_bytes=size) for path, size in content.videos)
    shards = tuple(
        PlannedShard(index=index, height=height, width=width, videos=tuple(videos[position] for position in positions))
        for index, (height, width, positions) in enumerate(content.blocks)
    )
    plan = ExtractionPlan(
        dataset_id=content.dataset_id,
        parameters=content.parameters,
        videos=videos,
        shards=shards,
        rejected=content.rejected,
        synthetic=content.synthetic,
        source_pattern=content.source_pattern,
    )
    for video in videos:
        check_name(video.path, num_parts=2)
    if plan.dataset_id != dataset_id_of(plan.parameters, plan.videos):
        raise ValueError("dataset_id is not that of parameters and videos")
    placed = [video.path for shard in shards for video in shard.videos] + [row.path for row in plan.rejected]
    if sorted(placed) != sorted(video.path for video in videos):
        raise ValueError("a video has no place or two")
    return plan


def differences(old: ExtractionPlan, *, parameters: ExtractionParameters, videos: list[Video]) -> list[str]:
    """What differs between the extraction that is there and the one asked for, a line each; empty if nothing does."""
    lines = []
    for field in dataclasses.fields(ExtractionParameters):
        before, now = getattr(old.parameters, field.name), getattr(parameters, field.name)
        if before != now:
            lines.append(f"{field.name} was {before}, now {now}")
    before_sizes = {video.path: video.num_bytes for video in old.videos}
    now_sizes = {video.path: video.num_bytes for video in videos}
    added = sorted(now_sizes.keys() - before_sizes.keys())
    gone = sorted(before_sizes.keys() - now_sizes.keys())
    changed = sorted(path for path in now_sizes.keys() & before_sizes.keys() if now_sizes[path] != before_sizes[path])
    for word, paths in (("added", added), ("gone", gone), ("changed in size", changed)):
        if paths:
            more = ", ..." if len(paths) > _NUM_NAMES_SHOWN else ""
            lines.append(f"{counted(len(paths), 'video')} {word}: {', '.join(paths[:_NUM_NAMES_SHOWN])}{more}")
    return lines


@dataclass(frozen=True, kw_only=True)
class ShardOutcome:
    """What became of a planned shard."""

    sha256: str
    """Of its file, in hexadecimal; empty where every video was quarantined and there is no file."""
    num_bytes: int
    """The size of its file, or 0."""
    quarantined: tuple[QuarantineRow, ...]
    notes: tuple[NoteRow, ...] = ()
    """What is noted of its other videos."""


def write_outcome(folder: Path, shard: PlannedShard, outcome: ShardOutcome) -> None:
    """Note a shard's outcome, before its file gets its final name."""
    write_text(_outcome_file(folder, shard), json.dumps(dataclasses.asdict(outcome), ensure_ascii=False) + "\n")


def read_outcome(folder: Path, shard: PlannedShard) -> ShardOutcome | None:
    """The noted outcome of a shard, None where there is none. Raises DataError where the note is damaged."""
    file = _outcome_file(folder, shard)
    try:
        return from_builtins(ShardOutcome, parse_json(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} is damaged ({error}); delete this file, not the shard, and run `hmdb-prep extract`"
        ) from error


def _outcome_file(folder: Path, shard: PlannedShard) -> Path:
    return folder / f"block-{shard.index:05d}.json"


def is_finished(folder: Path, shard: PlannedShard) -> bool:
    """Whether the shard is complete, or all of its videos are quarantined."""
    outcome = read_outcome(folder, shard)
    if outcome is None:
        return False
    return (folder / shard.name).is_file() or len(outcome.quarantined) == len(shard.videos)


def has_begun(folder: Path) -> bool:
    """Whether anything is there but a plan: a shard, or the note on one."""
    return any(next(folder.glob(pattern), None) is not None for pattern in (SHARD_NAMES, "block-*.json"))


def check_foreign_shards(folder: Path, plan: ExtractionPlan) -> None:
    """Raise DataError where the folder holds a shard that is not of this plan (or of another format version)."""
    expected = {shard.name for shard in plan.shards}
    for file in sorted(folder.glob(SHARD_NAMES)):
        with ShardReader(file) as reader:
            found = reader.layout.dataset_id
        if found != plan.dataset_id:
            fault = f"of another data set ({short_id(found)}; this one is {short_id(plan.dataset_id)})"
        elif file.name not in expected:
            fault = "none that this data set has: it may be one of its shards, renamed"
        else:
            continue
        raise DataError(f"{file} is {fault}; move it to another folder, or name another one with --shards")


def remove_extraction(folder: Path) -> None:
    """Delete shards, state and temporary files; whatever else lies in the folder stays."""
    for pattern in (SHARD_NAMES, "block-*.json", STATE_FILE):
        for file in folder.glob(pattern):
            file.unlink()
    remove_temporary_files(folder)


def remove_temporary_files(folder: Path) -> None:
    """Delete what killed runs left under temporary names. Not for one of several tasks: the others may be writing."""
    remove_pending_shards(folder)
    remove_leftovers(folder)


@contextlib.contextmanager
def locked(shards: Path, *, task: str) -> Iterator[None]:
    """Hold the folder for one extraction, or one task of a divided one. Raises DataError where another holds it.

    The lock goes with the process: a killed run leaves none behind. Where the file system has no locks it is left out.
    """
    shards.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        whole = os.open(shards / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(os.close, whole)
        _lock(whole, shards, shared=bool(task))
        if task:
            mine = os.open(shards / f"{_LOCK_FILE}-{task}", os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, mine)
            _lock(mine, shards, shared=False)
        yield


def _lock(descriptor: int, shards: Path, *, shared: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            f"another `hmdb-prep extract` is writing to {shards}; wait for it, or name another folder with --shards"
        ) from error
    except OSError:
        pass  # some network file systems have no locks; tasks still write different files under names of their own
