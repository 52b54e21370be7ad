"""hmdb-prep extract: videos in, complete shards and manifests out. Continues where a killed run stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from preprocess.extract.decoders import say_who_decoded
from preprocess.extract.extraction_plan import (
    DECODING_MODULES,
    Extraction,
    ExtractionParameters,
    ExtractionPlan,
    PlannedShard,
    clip_facts,
    dataset_id_of,
    make_plan,
    reject_taken_names,
)
from preprocess.extract.facts import FactRules
from preprocess.extract.merge import has_manifests, merge
from preprocess.extract.ownership import check_owner, data_sets_of, disown
from preprocess.extract.rules import (
    AS_KEPT,
    AskedRules,
    keep_rules,
    kept_rules,
    made_by,
    on_unused_table,
    remarks,
    rules_for,
    say_warnings,
)
from preprocess.extract.state import (
    check_foreign_shards,
    differences,
    has_begun,
    is_finished,
    locked,
    read_extraction_plan,
    read_outcome,
    remove_extraction,
    remove_temporary_files,
)
from shared.console import counted, say
from shared.errors import DataError, UsageError
from shared.interrupts import explained
from shared.left_out import LEFT_OUT_FILE, LeftOut, left_out_line, write_left_out
from shared.manifests import Dataset, QuarantineRow, read_dataset
from shared.notes import NOTES_FILE
from shared.videos import Video, is_synthetic, list_videos
from shared.workers import start_server

DEVICES = ("cpu", "cuda", "auto")
ENGINES = ("local", "ray")
DEFAULT_GPUS_PER_TASK = 0.25
MOST_WORKERS_ON_GPU = 8  # unless asked for: each has a CUDA context of its own, of some 0.5 GB of the GPU's memory
_SPARE_BYTES = 64 * 1000**2  # manifests, checksums and the file system's own needs


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """What the user asked for. None of it but ``parameters`` changes what the shards hold."""

    videos: Path
    shards: Path
    manifests: Path
    parameters: ExtractionParameters
    asked: AskedRules = AS_KEPT
    """For sources and splits."""
    device: str = "cpu"
    num_workers: int | None = None
    """Decoding processes, of the whole run or with engine ``ray`` of each task.

    None: one a core but at most 8 on a GPU, or one a task.
    """
    timeout_seconds: float = 300.0
    num_tasks: int = 1
    task_id: int = 0
    overwrite: bool = False
    strict: bool = False
    engine: str = "local"
    gpus_per_task: float | None = None
    """Share of a GPU, for engine ``ray`` on CUDA only."""


def run_extraction(settings: ExtractionSettings) -> Dataset | None:
    """Extract what is missing and write the manifests. None where other tasks have to finish first.

    Raises DataError for bad data, a foreign or changed extraction, too small a disk, quarantine with ``strict``.
    """
    _check(settings)
    listing = list_videos(settings.videos)
    videos = list(listing.videos)
    if settings.parameters.folder_fps and not listing.num_frame_folders:
        raise UsageError(f"--fps is for folders of pictures, and {settings.videos} holds none; leave it out")
    task = f"{settings.task_id}-of-{settings.num_tasks}" if settings.num_tasks > 1 else ""
    with locked(settings.shards, task=task):
        rules = _rules(settings, videos)
        plan = _prepare(settings, videos)
        mine = [shard for shard in plan.shards if shard.index % settings.num_tasks == settings.task_id]
        todo = [shard for shard in mine if not is_finished(settings.shards, shard)]
        if todo:
            _check_device(settings)
            _say_what_it_needs(settings, plan, todo)
        plan = keep_rules(settings.shards, plan, rules)  # not before: a run that is refused leaves no plan behind
        if todo:
            with explained(partial(_how_to_continue, settings, plan)):
                _extract(settings, plan, rules, todo)
        return _finish(settings, plan, rules, left_out=listing.left_out, nothing_done=not todo)


def _how_to_continue(settings: ExtractionSettings, plan: ExtractionPlan) -> str:
    """What is there of an extraction that was interrupted, and how it goes on."""
    done = sum(is_finished(settings.shards, shard) for shard in plan.shards)
    call = "the same command without --overwrite" if settings.overwrite else "the same command"
    return f"{done} of {counted(len(plan.shards), 'shard')} are complete in {settings.shards}; {call} continues"


def _check(settings: ExtractionSettings) -> None:
    if settings.device not in DEVICES:
        raise UsageError(f"--device is {settings.device!r}; it must be one of {', '.join(DEVICES)}")
    if settings.num_tasks < 1 or not 0 <= settings.task_id < settings.num_tasks:
        raise UsageError(
            f"--task-id is {settings.task_id} with --num-tasks {settings.num_tasks}; "
            f"it must lie in 0..{settings.num_tasks - 1}"
        )
    if settings.overwrite and settings.num_tasks > 1:
        raise UsageError("--overwrite cannot be combined with --num-tasks: one task would delete the others' shards")
    if not settings.timeout_seconds > 0:  # so that nan is refused as well
        raise UsageError(f"--timeout is {settings.timeout_seconds}; it must be a positive number of seconds")
    if settings.num_workers is not None and settings.num_workers < 1:
        raise UsageError(f"--workers is {settings.num_workers}; it must be at least 1")
    _check_engine(settings)


def _check_engine(settings: ExtractionSettings) -> None:
    if settings.engine not in ENGINES:
        raise UsageError(f"--engine is {settings.engine!r}; it must be one of {', '.join(ENGINES)}")
    if settings.gpus_per_task is not None:
        if settings.engine != "ray" or settings.device != "cuda":
            raise UsageError("--gpus-per-task is for --engine ray with --device cuda")
        if not 0 < settings.gpus_per_task <= 1:
            raise UsageError(f"--gpus-per-task is {settings.gpus_per_task}; it must be above 0 and at most 1")
    if settings.engine != "ray":
        return
    if settings.num_tasks > 1:
        raise UsageError("--num-tasks cannot be combined with --engine ray, which divides the work itself")
    if settings.device == "auto":
        raise UsageError("--device auto measures this machine and no cluster; with --engine ray choose cpu or cuda")
    from preprocess.extract.ray_engine import require_ray

    require_ray()


def _check_device(settings: ExtractionSettings) -> None:
    if settings.device == "cuda" and settings.engine == "local":  # the tasks of Ray look on their own machines
        from preprocess.extract.device import require_gpu

        require_gpu()


def _rules(settings: ExtractionSettings, videos: list[Video]) -> FactRules:
    """The rules for sources and splits that are asked for or kept, once it is said how they fit the videos."""
    plan = None
    with contextlib.suppress(DataError) if settings.overwrite else contextlib.nullcontext():
        plan = read_extraction_plan(settings.shards)
    rules = rules_for(settings.asked, settings.shards, plan)
    if settings.num_tasks > 1 and plan is not None and rules != kept_rules(settings.shards, plan):
        raise DataError(
            f"--source-pattern or --splits is not that of the other tasks in {settings.shards}; give all tasks the "
            "same, or change it with `hmdb-prep merge` when they are done"
        )
    unused = on_unused_table(settings.videos, rules, settings.asked)
    for sentence in [*remarks(videos, rules, asked=settings.asked, shards=settings.shards), *unused]:
        say(sentence)
    return rules


def _prepare(settings: ExtractionSettings, videos: list[Video]) -> ExtractionPlan:
    """The plan of this extraction: the one that is there, or a new one. Of one that is replaced nothing is left."""
    dataset_id = dataset_id_of(settings.parameters, videos)
    before = data_sets_of(settings.shards) - {dataset_id}
    check_owner(settings.manifests, settings.shards, dataset_id=dataset_id, own=before)
    if settings.overwrite:
        _check_device(settings)
        _remove(settings, before)
    old = read_extraction_plan(settings.shards)
    if old is not None:
        changes = differences(old, parameters=settings.parameters, videos=videos)
        if changes and settings.num_tasks == 1 and not has_begun(settings.shards):
            _remove(settings, before)  # its run came to nothing
            old = None
        elif changes:
            raise DataError(
                f"{settings.shards} holds another extraction: {'; '.join(changes)}. "
                "Name another folder with --shards, or start anew with --overwrite"
            )
    plan = old or dataclasses.replace(_new_plan(settings, videos), synthetic=is_synthetic(settings.videos))
    check_foreign_shards(settings.shards, plan)
    if settings.num_tasks == 1:
        remove_temporary_files(settings.shards)
    return plan


def _remove(settings: ExtractionSettings, data_sets: Collection[str]) -> None:
    """Remove the extraction that is there; manifests of these data sets are nobody's then."""
    disown(settings.manifests, data_sets)
    remove_extraction(settings.shards)


def _new_plan(settings: ExtractionSettings, videos: list[Video]) -> ExtractionPlan:
    if settings.parameters.frame_size is not None:
        return make_plan(videos, settings.parameters)
    from preprocess.extract.shards import probe_sizes

    kept, _ = reject_taken_names(videos)
    found = probe_sizes(
        kept,
        folder=settings.videos,
        num_workers=_num_workers(settings),
        timeout_seconds=settings.timeout_seconds,
    )
    sizes = {video.path: size for video, size in zip(kept, found, strict=True) if not isinstance(size, QuarantineRow)}
    unreadable = [row for row in found if isinstance(row, QuarantineRow)]
    return make_plan(videos, settings.parameters, native_sizes=sizes, unreadable=unreadable)


def _say_what_it_needs(settings: ExtractionSettings, plan: ExtractionPlan, todo: list[PlannedShard]) -> None:
    needed = sum(plan.layout(shard).clip_bytes * len(shard.videos) for shard in todo) + _SPARE_BYTES
    free = shutil.disk_usage(settings.shards).free
    num_clips = sum(len(shard.videos) for shard in todo)
    say(
        f"{counted(num_clips, 'video')} to extract into {counted(len(todo), 'shard')} in {settings.shards}: "
        f"needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB free"
    )
    if needed > free:
        raise DataError(
            f"the disk of {settings.shards} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed; "
            "free some, name another disk with --shards, or choose a smaller --size or --frames-per-segment"
        )


def _extract(settings: ExtractionSettings, plan: ExtractionPlan, rules: FactRules, todo: list[PlannedShard]) -> None:
    is_local = settings.engine == "local"
    if is_local:
        start_server(DECODING_MODULES)  # before the imports of this process, which take as long
    extraction = Extraction(
        plan=plan,
        facts=clip_facts(plan, rules),
        videos_folder=settings.videos,
        shards_folder=settings.shards,
        device=settings.device,
        num_workers=_num_workers(settings) if is_local else settings.num_workers or 1,
        timeout_seconds=settings.timeout_seconds,
    )
    if is_local:
        from preprocess.extract.device import choose_extraction
        from preprocess.extract.shards import extract_shards

        extraction = choose_extraction(extraction, most_on_gpu=settings.num_workers or MOST_WORKERS_ON_GPU)
        decoders = extract_shards(extraction, todo)
    else:
        from preprocess.extract.ray_engine import extract_on_ray

        share = DEFAULT_GPUS_PER_TASK if settings.gpus_per_task is None else settings.gpus_per_task
        decoders = extract_on_ray(extraction, todo, gpus_per_task=share if settings.device == "cuda" else 0.0)
    if extraction.device != "cpu":
        say_who_decoded(decoders)


def _num_workers(settings: ExtractionSettings) -> int:
    """As asked for, or one for each core that this process may use."""
    return settings.num_workers or len(os.sched_getaffinity(0))


def _finish(
    settings: ExtractionSettings,
    plan: ExtractionPlan,
    rules: FactRules,
    *,
    left_out: Sequence[LeftOut],
    nothing_done: bool,
) -> Dataset | None:
    waiting = [shard for shard in plan.shards if not is_finished(settings.shards, shard)]
    if waiting:
        say(
            f"this task is done; still to come from other tasks: {counted(len(waiting), 'shard')}; "
            "the last task writes the manifests"
        )
        return None
    dataset = _finished_dataset(settings, plan, rules) if nothing_done else None
    if dataset is not None:
        say(f"nothing to do: all {counted(dataset.num_clips, 'clip')} are in {settings.shards} already")
    else:
        synthetic = is_synthetic(settings.videos)
        dataset = merge(settings.shards, settings.manifests, synthetic=synthetic, rehash=False)
    _note_left_out(settings, left_out)
    _say_outcome(settings, dataset)
    return dataset


def _finished_dataset(settings: ExtractionSettings, plan: ExtractionPlan, rules: FactRules) -> Dataset | None:
    """What dataset.json says if it is of this plan, shards and rules and all manifests are there, else None."""
    try:
        dataset = read_dataset(settings.manifests)
    except DataError:
        return None
    outcomes = [read_outcome(settings.shards, shard) for shard in plan.shards]
    noted = [outcome.sha256 for outcome in outcomes if outcome is not None and outcome.sha256]
    is_current = dataset.dataset_id == plan.dataset_id and [entry.sha256 for entry in dataset.shards] == noted
    return dataset if is_current and made_by(rules, dataset) and has_manifests(settings.manifests, dataset) else None


def _note_left_out(settings: ExtractionSettings, left_out: Sequence[LeftOut]) -> None:
    write_left_out(settings.manifests, left_out)
    if left_out:
        say(f"{left_out_line(left_out)}; all of it: {settings.manifests / LEFT_OUT_FILE}")


def _say_outcome(settings: ExtractionSettings, dataset: Dataset) -> None:
    quarantine = f"{dataset.num_quarantined} of {counted(dataset.num_videos, 'video')} quarantined"
    if dataset.num_quarantined:
        quarantine += f", see {settings.manifests / 'quarantine.csv'}"
    if dataset.num_clips == 0:
        raise DataError(f"no clip came of it: {quarantine}")
    say_warnings(settings.manifests, dataset)
    say(
        f"{counted(dataset.num_clips, 'clip')} of {counted(len(dataset.class_names), 'class')} in "
        f"{counted(len(dataset.shards), 'shard')}: "
        f"{settings.shards}; "
        f"manifests: {settings.manifests}; {quarantine}"
    )
    if (settings.manifests / NOTES_FILE).is_file():
        say(f"some videos are unusual in a way that no column says: see {settings.manifests / NOTES_FILE}")
    if settings.strict and dataset.num_quarantined:
        raise DataError(f"--strict: {quarantine}")
