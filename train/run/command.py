"""A training run from its options to its folder: sets it up, starts or continues it, reports."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shared.errors import DataError, UsageError
from shared.manifests.files import SPLITS_FILE
from shared.next_command import say_next
from shared.splits.own_files import write_split_table
from shared.terminal.console import counted
from shared.terminal.interrupts import explained
from shared.video.shape import ClipShape
from train.data.batches import num_steps
from train.data.reader import BatchReader
from train.data.seeds import Purpose, torch_seed
from train.learn.precision import in_words
from train.learn.processes import Processes, joined_processes, memory_errors
from train.learn.step import Learner
from train.model.families import Weights
from train.model.lsvit import LSViT
from train.model.trainable import num_trainable
from train.run.checkpoint import Checkpoint, RunFacts, checkpoint_path, read_checkpoint
from train.run.config.fields import RunConfig
from train.run.config.files import read_config, write_config
from train.run.config.values import Value
from train.run.conflicts import Setting, idle_options
from train.run.data import RunData, open_data
from train.run.folder import CONFIG_FILE, RunFolder, check_last, find_folder, places_of, restore_best, resume_text
from train.run.learner import make_learner, make_lessons
from train.run.loop import train
from train.run.progress import Progress, write_metrics
from train.run.report.output import REPORT_FILE, write_report
from train.run.session import Call, Interruption, Pace, Session, restore
from train.run.start import init_weights, make_model, model_config, with_shape_of
from train.run.trackers import check_tracker, open_tracker


def run(*, command_line: Mapping[str, Value], config_file: Path | None, resume: bool) -> None:
    """Train what the command line and the configuration file ask for, one split after the other.

    Raises UsageError and DataError as the command does, and KeyboardInterrupt, after a checkpoint, where it is stopped.
    """
    started = time.monotonic()
    folder = find_folder({**({} if config_file is None else read_config(config_file)), **command_line}, resume=resume)
    config = folder.config
    check_tracker(config.tracker)
    with (
        explained(partial(_how_to_continue, folder)),
        joined_processes(config.device) as processes,
        Interruption(is_shared=processes.count > 1) as interruption,
        _memory_advice(config),
    ):
        if processes.is_first and folder.path.exists() and not resume:
            raise UsageError(f"the run {folder.path} exists; continue it with --resume, or choose another --name")
        processes.wait()
        if folder.has_several_splits:
            _check_splits(folder)
            if processes.is_first:
                folder.path.mkdir(parents=True, exist_ok=True)
                write_config(folder.path / CONFIG_FILE, config)
        call = Call(
            processes=processes,
            interruption=interruption,
            pace=Pace(splits_left=len(folder.parts), epochs=config.epochs),
            deadline=started + 60 * config.max_minutes if config.max_minutes else math.inf,
        )
        _run_splits(folder, call)


def _how_to_continue(folder: RunFolder) -> str:
    """What is saved of a run that was interrupted in the middle of something, and how it goes on."""
    if not any(checkpoint_path(part, "last").is_file() for part in folder.parts.values()):
        return "nothing is saved yet; the same command with --resume begins again"
    return f"{folder.path} is saved up to its last checkpoint; {resume_text(folder.config)}"


def _run_splits(folder: RunFolder, call: Call) -> None:
    has_trained = False
    for split, part in folder.parts.items():
        if has_trained and call.wishes()[1]:
            call.processes.say(f"split {split} is left for later (--max-minutes); continue with --resume")
            return
        call.pace.splits_left -= 1
        has_trained |= _run_split(dataclasses.replace(folder.config, split=split), part, call)
    is_late = call.wishes()[1]  # asked by all processes
    if call.processes.is_first and not is_late and folder.config.split != "all":
        say_next("run", [folder.config.name], places=places_of(folder.config))


@contextmanager
def _memory_advice(config: RunConfig) -> Iterator[None]:
    """Tell in two lines what to change where a device's memory is too small."""
    parts = config.grad_accum_steps
    with memory_errors(
        f"raise --grad-accum-steps ({parts} now, {2 * parts} need about half), --checkpoint-blocks, take a smaller "
        "--preset or --img-size; --resume goes on from the last checkpoint"
    ):
        yield


def _check_splits(folder: RunFolder) -> None:
    """Raise what is wrong with a split that is not begun, before the first one is trained."""
    for split, part in folder.parts.items():
        if not checkpoint_path(part, "last").is_file():
            check_last(part)
            check_run(dataclasses.replace(folder.config, split=split))


def check_run(config: RunConfig) -> None:
    """Raise what stops a run of one split from starting: its data, its plan, the shape of its model."""
    weights = init_weights(config, None)
    config, data = open_data(with_shape_of(config, weights), weights)
    data.reader.close()
    model_config(config, data, weights)


def _run_split(config: RunConfig, folder: Path, call: Call) -> bool:
    """Train one split; False where there is nothing left to train."""
    processes, last = call.processes, checkpoint_path(folder, "last")
    check_last(folder)
    found = read_checkpoint(last) if last.is_file() else None
    if found is not None and processes.is_first and (note := restore_best(folder, found.progress)):
        processes.say(note)
    if found is not None and found.progress.finished:
        if processes.is_first and not (folder / REPORT_FILE).is_file():  # killed between the last step and its report
            write_metrics(folder, found.progress.history)
            write_report(folder, facts=found.facts, config=config, progress=found.progress)
        processes.say(f"{folder} is finished ({found.progress.finished}); nothing to do")
        return False
    weights = init_weights(config, found)
    if found is not None and not found.facts.plan_sha256 and config.plan == "auto":
        config = dataclasses.replace(config, plan="none")  # what earlier versions and several splits do not note
    config, data = open_data(with_shape_of(config, weights), weights)
    if not data.plan_sha256:
        config = dataclasses.replace(config, plan="none")  # a plan that appears later is not taken up midway
    with ExitStack() as resources:
        resources.callback(data.reader.close)
        for note in data.notes:
            processes.say(note)
        learner, facts, progress, new_parameters = _begin(config, data, weights, folder, found, processes)
        reader = BatchReader(data.reader, num_threads=config.workers, pinned=processes.device.type == "cuda")
        resources.callback(reader.close)
        session = Session(
            folder=folder,
            config=config,
            facts=facts,
            learner=learner,
            new_parameters=new_parameters,
            lessons=make_lessons(config, data, learner),
            reader=reader,
            validation=data.rows.validation,
            tracker=resources.enter_context(open_tracker(folder, config, step=progress.step))
            if processes.is_first
            else None,
            call=call,
        )
        with call.interruption.while_training():
            processes.say(_start_line(learner, config, progress))  # from now on Ctrl-C saves what is there
            progress = train(session, progress)
    if processes.is_first:
        report = write_report(folder, facts=facts, config=config, progress=progress)
        states = [path for which in ("best", "last") if (path := checkpoint_path(folder, which)).is_file()]
        names = [str(path.relative_to(folder)) for path in states]
        processes.say(f"wrote {folder}: {', '.join([*names, 'metrics.csv', report.name])}")
    return True


def _begin(
    config: RunConfig,
    data: RunData,
    weights: Weights | None,
    folder: Path,
    found: Checkpoint | None,
    processes: Processes,
) -> tuple[Learner, RunFacts, Progress, tuple[str, ...]]:
    """The learner at the start of the run or as the checkpoint left it; the folder with what can be said already.

    The last value names the parameters that --init had nothing for.
    Raises DataError where the run was begun on other data, another plan or another model.
    """
    # Nothing here draws from torch's global generator; it is seeded and saved for what a model of the future may do.
    torch.manual_seed(torch_seed(Purpose.GLOBAL, config.seed))
    if found is None:
        model, report = make_model(config, data, weights)
        new_parameters = () if report is None else report.missing
        for line in () if report is None else report.lines():
            processes.say(line)
    else:
        model, new_parameters = LSViT(model_config(config, data, weights)), found.new_parameters
    facts = run_facts(config, data, model)
    if found is not None and (changed := found.facts.differences(facts)):
        raise DataError(
            f"{folder} cannot be continued, this differs from when it was begun: {'; '.join(changed)}; begin anew "
            f"under another --name, or put {_former(changed, folder)} back"
        )
    if found is not None and found.is_of_old and config.seed and config.val_fraction:
        raise DataError(  # else clips that it was trained on would choose `best`
            f"{folder} was begun by an earlier version, which set other clips aside for validation with --seed "
            f"{config.seed}; it cannot be continued: begin anew under another --name"
        )
    learner = make_learner(
        config, model, num_samples=len(data.samples), processes=processes, new_parameters=new_parameters, found=found
    )
    if found is not None:
        for note in restore(learner, found):
            processes.say(note)
    for note in idle_options(setting_of(config, data, learner)):
        processes.say(note)
    progress = Progress() if found is None else found.progress
    if found is not None and config.max_minutes:
        processes.say(f"the limit of {config.max_minutes:g} minutes counts anew; --max-minutes 0 lifts it")
    if config.train != "all" and not config.init:
        processes.say(f"the ViT is random and stays so (--train {config.train} without --init)")
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder / CONFIG_FILE, config)
        if data.split is not None:
            write_split_table(folder, data.split)
        write_metrics(folder, progress.history)
    return learner, facts, progress, new_parameters


def _former(changed: list[str], folder: Path) -> str:
    """What has to come back so that a run can go on. changed: what ``RunFacts.differences`` says."""
    if all(change.startswith("plan_sha256:") for change in changed):
        return "the old plan"
    if any(change.startswith("split_sha256:") for change in changed):
        return f"the old split (`hmdb-prep merge --splits {folder / SPLITS_FILE}`)"
    return "the old data"


def setting_of(config: RunConfig, data: RunData, learner: Learner) -> Setting:
    """What decides which options do nothing."""
    counts = np.bincount(data.samples.label, minlength=len(data.dataset.class_names))
    return Setting(
        config=config,
        model=learner.model.config,
        schedule=learner.schedule,
        steps_per_epoch=num_steps(len(data.samples), batch_size=config.batch_size),
        num_validation=len(data.rows.validation),
        has_val_rows=data.has_val_rows,
        num_synthetic=int(data.samples.synthetic.sum()),
        num_shards=len(set(data.table.shard)),
        class_counts=tuple(counts.tolist()),
        device=learner.processes.device,
        num_processes=learner.processes.count,
    )


def run_facts(config: RunConfig, data: RunData, model: LSViT) -> RunFacts:
    """What the run's checkpoints will belong to."""
    return RunFacts(
        model_config=model.config,
        class_names=data.dataset.class_names,
        shape=ClipShape(
            num_segments=data.dataset.num_segments,
            frames_per_segment=data.dataset.frames_per_segment,
            size=data.size,
        ),
        dataset_id=data.dataset.dataset_id,
        synthetic=data.dataset.synthetic,
        split=config.split,
        plan_sha256=data.plan_sha256,
        split_sha256="" if data.split is None else data.split.sha256,
        validation_sha256=data.validation_sha256,
        longest_seconds=data.longest_seconds,
        trained_on=data.trained_on,
    )


def _start_line(learner: Learner, config: RunConfig, progress: Progress) -> str:
    parameters = sum(parameter.numel() for parameter in learner.model.parameters())
    verb = "training" if not progress.step else f"continuing after step {progress.step} (epoch {progress.epoch + 1})"
    place = in_words(learner.precision, learner.processes.device)
    if learner.processes.count > 1:
        place += f", {counted(learner.processes.count, 'process')}"
    trained = f"{parameters:,} parameters"
    if config.train != "all":
        trained += f" of which {num_trainable(learner.model):,} train (--train {config.train})"
    shape = f"ViT {config.embed_dim} wide, {counted(config.depth, 'block')}"
    size = config.preset if config.preset != "auto" else shape
    return f"{verb}: {size}, {trained}, {config.img_size}x{config.img_size}, on {place}"
