"""Extraction on Ray: one task a shard, on a cluster or on this machine. Each task decodes as the local engine does.

Videos and shards lie on a file system that all nodes share. A task whose process or node dies is run again elsewhere;
as what a shard holds depends on nothing but the plan, the result is the same byte for byte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence

from preprocess.extract.decoders import DecoderCounts, warn_of_idle_gpu
from preprocess.extract.engines.ray.cluster import Needs, completed, connected, not_seen
from preprocess.extract.extraction_plan import Extraction, PlannedShard
from preprocess.extract.facts import ClipFacts
from preprocess.extract.state import STATE_FILE, is_finished, remove_temporary_files
from shared.errors import DataError
from shared.terminal.console import progress


def extract_on_ray(extraction: Extraction, shards: Sequence[PlannedShard], *, gpus_per_task: float) -> DecoderCounts:
    """Write the shards, each in a Ray task with ``num_workers`` decoding processes and as many CPUs.

    gpus_per_task: the share of a GPU that a task takes up, 0 with device ``cpu``. Interrupted at any moment it leaves
    complete shards and no others. Raises DataError and OSError as the tasks do, DataError where Ray gives up.
    """
    needs = Needs(num_cpus=extraction.num_workers, num_gpus=gpus_per_task)
    tasks = (shard_task(extraction, shard) for shard in shards)
    decoders = DecoderCounts()
    try:
        with connected(needs) as ray, progress("extracting", sum(len(shard.videos) for shard in shards)) as advance:
            for task, found in completed(ray, extract_shard, tasks, needs=needs, name=_name):
                if task.device != "cpu" and not decoders.num_clips:
                    warn_of_idle_gpu(found)
                decoders += found
                advance(len(task.plan.videos))
    finally:
        remove_temporary_files(extraction.shards_folder)  # of finished shards too: a killed task may have left a note
    return decoders


def _name(task: Extraction) -> str:
    return task.plan.shards[0].name


def shard_task(extraction: Extraction, shard: PlannedShard) -> Extraction:
    """The extraction of this one shard: all that its task needs, and no more, so that tasks stay small."""
    names = [video.clip_id for video in shard.videos]
    return dataclasses.replace(
        extraction,
        plan=dataclasses.replace(extraction.plan, videos=shard.videos, shards=(shard,), rejected=()),
        facts=ClipFacts(
            labels={name: extraction.facts.labels[name] for name in names},
            tags={name: extraction.facts.tags[name] for name in names},
            splits={name: extraction.facts.splits[name] for name in names},
        ),
        videos_folder=extraction.videos_folder.absolute(),
        shards_folder=extraction.shards_folder.absolute(),
    )


def extract_shard(task: Extraction) -> DecoderCounts:
    """What a Ray task does: write its one shard."""
    from preprocess.extract.shards import extract_shards

    _check_node(task)
    (shard,) = task.plan.shards
    if is_finished(task.shards_folder, shard):  # a task may be run again though it had all but reported
        return DecoderCounts()
    with _nameless_program():
        return extract_shards(task, task.plan.shards)


@contextlib.contextmanager
def _nameless_program() -> Iterator[None]:
    """Hide the file of this process's program: each decoding process would import it, and with it all of Ray."""
    program = vars(sys.modules["__main__"])
    file = program.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            program["__file__"] = file


def _check_node(task: Extraction) -> None:
    """Raise DataError on a node that would take every video for a bad one, because it does not see the folders."""
    folders = "videos and shards"
    if not (task.shards_folder / STATE_FILE).is_file():
        raise not_seen(f"{task.shards_folder / STATE_FILE}", folders=folders)
    for video in task.plan.videos:
        file = task.videos_folder / video.path
        if not file.is_file() or file.stat().st_size != video.num_bytes:
            raise not_seen(f"{file} as it was when the run began", folders=folders)
    if task.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise DataError(
                f"--device cuda: torch sees no GPU on node {os.uname().nodename}; see `hmdb-prep doctor` there"
            )
