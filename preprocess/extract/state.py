"""What an extraction leaves beside its shards so that it can be continued, checked and merged.

``extraction.json`` holds the plan; ``block-00000.json`` the checksum of that block's shard and the videos that gave no
clip. A block is finished when its shard stands under its final name, or when all of its videos are quarantined.
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
from typing import Any

from preprocess.extract.extraction_plan import Block, ExtractionParameters, ExtractionPlan, dataset_id_of
from shared.checks import check_fields, check_name, parse_json
from shared.classes import Video
from shared.errors import DataError
from shared.files import write_text
from shared.manifests import QuarantineRow
from shared.shards.format import shard_name
from shared.shards.reader import ShardReader

STATE_FILE = "extraction.json"
_LOCK_FILE = ".lock"
_NUM_NAMES_SHOWN = 3


def write_plan(shards: Path, plan: ExtractionPlan) -> None:
    """Write the plan to ``extraction.json``."""
    positions = {video.path: position for position, video in enumerate(plan.videos)}
    content = {
        "dataset_id": plan.dataset_id,
        "synthetic": plan.synthetic,
        "parameters": dataclasses.asdict(plan.parameters),
        "videos": [[video.path, video.num_bytes] for video in plan.videos],
        "blocks": [
            [block.height, block.width, [positions[video.path] for video in block.videos]] for block in plan.blocks
        ],
        "rejected": [dataclasses.asdict(row) for row in plan.rejected],
    }
    write_text(shards / STATE_FILE, json.dumps(content, ensure_ascii=False) + "\n")


def read_plan(shards: Path) -> ExtractionPlan | None:
    """The plan of the extraction in this folder; None where there is none. Raises DataError where it is damaged."""
    file = shards / STATE_FILE
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); run `hmdb-prep extract --overwrite` to start anew") from error
    try:
        return _plan_from(content)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{file} is damaged ({error!r}); run `hmdb-prep extract --overwrite` to start anew") from error


def _plan_from(content: dict[str, Any]) -> ExtractionPlan:
    videos = tuple(
        Video(path=path, class_name=path.partition("/")[0], num_bytes=size) for path, size in content["videos"]
    )
    blocks = tuple(
        Block(index=index, height=height, width=width, videos=tuple(videos[position] for position in positions))
        for index, (height, width, positions) in enumerate(content["blocks"])
    )
    plan = ExtractionPlan(
        dataset_id=content["dataset_id"],
        parameters=ExtractionParameters(**content["parameters"]),
        videos=videos,
        blocks=blocks,
        rejected=tuple(QuarantineRow(**row) for row in content["rejected"]),
        synthetic=content.get("synthetic", False),
    )
    check_fields(plan)
    for video in videos:
        check_name(video.path, num_parts=2)
    if plan.dataset_id != dataset_id_of(plan.parameters, plan.videos):
        raise ValueError("dataset_id is not that of parameters and videos")
    placed = [video.path for block in blocks for video in block.videos] + [row.path for row in plan.rejected]
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
            lines.append(f"{len(paths)} videos {word}: {', '.join(paths[:_NUM_NAMES_SHOWN])}{more}")
    return lines


@dataclass(frozen=True, kw_only=True)
class BlockOutcome:
    """What became of a block. sha256 and num_bytes: of its shard; "" and 0 where every video was quarantined."""

    sha256: str
    num_bytes: int
    quarantined: tuple[QuarantineRow, ...]


def write_outcome(shards: Path, block: Block, outcome: BlockOutcome) -> None:
    """Note a block's outcome, before its shard gets its final name."""
    write_text(_outcome_file(shards, block), json.dumps(dataclasses.asdict(outcome), ensure_ascii=False) + "\n")


def read_outcome(shards: Path, block: Block) -> BlockOutcome | None:
    """The noted outcome of a block, None where there is none. Raises DataError where the note is damaged."""
    file = _outcome_file(shards, block)
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        content["quarantined"] = tuple(QuarantineRow(**row) for row in content["quarantined"])
        outcome = BlockOutcome(**content)
        check_fields(outcome)
        return outcome
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} is damaged ({error}); delete it and its shard and run `hmdb-prep extract`") from error


def _outcome_file(shards: Path, block: Block) -> Path:
    return shards / f"block-{block.index:05d}.json"


def is_finished(shards: Path, block: Block) -> bool:
    """Whether the block's shard is complete, or all of its videos are quarantined."""
    outcome = read_outcome(shards, block)
    if outcome is None:
        return False
    return (shards / shard_name(block.index)).is_file() or len(outcome.quarantined) == len(block.videos)


def check_foreign_shards(shards: Path, plan: ExtractionPlan) -> None:
    """Raise DataError where the folder holds a shard that is not of this plan (or of another format version)."""
    expected = {shard_name(block.index) for block in plan.blocks}
    for file in sorted(shards.glob("shard-*.h5")):
        with ShardReader(file) as reader:
            found = reader.layout.dataset_id
        if file.name not in expected or found != plan.dataset_id:
            raise DataError(
                f"{file} belongs to another extraction (dataset {found[:12]}, expected {plan.dataset_id[:12]}); "
                "name another folder with --shards, or start anew with --overwrite"
            )


def remove_extraction(shards: Path) -> None:
    """Delete shards, state and temporary files; whatever else lies in the folder stays."""
    for pattern in ("shard-*.h5", "block-*.json", STATE_FILE):
        for file in shards.glob(pattern):
            file.unlink()
    remove_leftovers(shards)


def remove_leftovers(shards: Path, *, block: Block | None = None) -> None:
    """Delete what killed runs left under temporary names, of one block or of all."""
    names = ["*"] if block is None else [shard_name(block.index), _outcome_file(shards, block).name]
    for file in (file for name in names for file in shards.glob(f".{name}.*tmp")):
        file.unlink(missing_ok=True)


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
