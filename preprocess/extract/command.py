"""hmdb-prep extract: videos in, complete shards and manifests out. Continues where a killed run stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Collection, Sequence
from functools import partial

from preprocess.extract.decoders import say_who_decoded
from preprocess.extract.extraction_plan import (
    DECODING_MODULES,
    Extraction,
    ExtractionPlan,
    PlannedShard,
    clip_facts,
    dataset_id_of,
    make_plan,
    reject_taken_names,
)
from preprocess.extract.facts import FactRules
from preprocess.extract.finish.merge import has_manifests, merge
from preprocess.extract.ownership import check_owner, data_sets_of, disown
from preprocess.extract.rules import (
    keep_rules,
    kept_rules,
    made_by,
    on_unused_table,
    remarks,
    rules_for,
    say_warnings,
)
from preprocess.extract.settings import (
    DEFAULT_GPUS_PER_TASK,
    MOST_WORKERS_ON_GPU,
    ExtractionSettings,
    check_device,
    check_settings,
    workers_of,
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
from shared.errors import DataError, UsageError
from shared.machine.workers import start_server
from shared.manifests.files import Dataset, QuarantineRow, read_dataset
from shared.manifests.left_out import LEFT_OUT_FILE, LeftOut, left_out_line, write_left_out
from shared.manifests.notes import NOTES_FILE
from shared.terminal.console import counted, say
from shared.terminal.interrupts import explained
from shared.video.listing import Video, is_synthetic, list_videos

_SPARE_BYTES = 64 * 1000**2  # manifests, checksums and the file system's own needs


def run_extraction(settings: ExtractionSettings) -> Dataset | None:
    """Extract what is missing and write the manifests. None where other tasks have to finish first.

    Raises DataError for bad data, a foreign or changed extraction, too small a disk, quarantine with ``strict``.
    """
    check_settings(settings)
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
            check_device(settings)
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
    verb = "is" if 1 in (done, len(plan.shards)) else "are"
    return f"{done} of {counted(len(plan.shards), 'shard')} {verb} complete in {settings.shards}; {call} continues"


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
        check_device(settings)
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
        num_workers=workers_of(settings),
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
        num_workers=workers_of(settings) if is_local else settings.num_workers or 1,
        timeout_seconds=settings.timeout_seconds,
    )
    if is_local:
        from preprocess.extract.engines.device import choose_extraction
        from preprocess.extract.shards import extract_shards

        extraction = choose_extraction(extraction, most_on_gpu=settings.num_workers or MOST_WORKERS_ON_GPU)
        decoders = extract_shards(extraction, todo)
    else:
        from preprocess.extract.engines.ray.engine import extract_on_ray

        share = DEFAULT_GPUS_PER_TASK if settings.gpus_per_task is None else settings.gpus_per_task
        decoders = extract_on_ray(extraction, todo, gpus_per_task=share if settings.device == "cuda" else 0.0)
    if extraction.device != "cpu":
        say_who_decoded(decoders)


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
    if (settings.manifests / NOTES_FILE).is_file():
        say(f"some videos are unusual in a way that no column says: see {settings.manifests / NOTES_FILE}")
    say(
        f"{counted(dataset.num_clips, 'clip')} of {counted(len(dataset.class_names), 'class')} in "
        f"{counted(len(dataset.shards), 'shard')}: "
        f"{settings.shards}; "
        f"manifests: {settings.manifests}; {quarantine}"
    )
    if settings.strict and dataset.num_quarantined:
        raise DataError(f"--strict: {quarantine}")
