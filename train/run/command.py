"""A training run from its options to its folder: sets it up, starts or continues it, reports."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from shared.errors import UsageError
from shared.next_command import say_next
from shared.terminal.console import counted
from shared.terminal.interrupts import explained
from train.data.loader.reader import BatchReader
from train.learn.precision import in_words
from train.learn.processes import joined_processes, memory_errors
from train.learn.step import Learner
from train.model.trainable import num_trainable
from train.model.weights.families import Weights
from train.run.beginning import begin
from train.run.checkpoint import Checkpoint, checkpoint_path, read_checkpoint
from train.run.config.fields import RunConfig
from train.run.config.files import read_config, write_config
from train.run.config.values import Value
from train.run.data import RunData, open_data
from train.run.folder import (
    CONFIG_FILE,
    RunFolder,
    check_last,
    find_folder,
    places_of,
    restore_best,
    resume_text,
)
from train.run.learner import make_lessons
from train.run.loop import train
from train.run.model import init_weights, model_config, with_shape_of
from train.run.progress import Progress
from train.run.report.output import complete_report, write_report
from train.run.session import Call, Interruption, Pace, Session
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
        config = dataclasses.replace(folder.config, split=split)
        has_trained |= _run_split(config, part, call, left_open=folder.left_open)
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


def _run_split(config: RunConfig, folder: Path, call: Call, *, left_open: tuple[str, ...]) -> bool:
    """Train one split; False where there is nothing left to train. left_open: what the program is to choose."""
    processes, last = call.processes, checkpoint_path(folder, "last")
    check_last(folder)
    found = read_checkpoint(last) if last.is_file() else None
    if found is not None and processes.is_first and (note := restore_best(folder, found.progress)):
        processes.say(note)
    if found is not None and found.progress.finished:
        if processes.is_first:
            complete_report(folder, found, config=config)
        processes.say(f"{folder} is finished ({found.progress.finished}); nothing to do")
        return False
    config, data, weights = _open(config, found)
    with ExitStack() as resources:
        resources.callback(data.reader.close)
        for note in data.notes:
            processes.say(note)
        beginning = begin(config, data, weights, folder=folder, left_open=left_open, found=found, processes=processes)
        learner, progress = beginning.learner, beginning.progress
        reader = BatchReader(data.reader, num_threads=config.workers, pinned=processes.device.type == "cuda")
        resources.callback(reader.close)
        session = Session(
            folder=folder,
            config=config,
            facts=beginning.facts,
            learner=learner,
            new_parameters=beginning.new_parameters,
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
        report = write_report(folder, facts=beginning.facts, config=config, progress=progress)
        states = [path for which in ("best", "last") if (path := checkpoint_path(folder, which)).is_file()]
        names = [str(path.relative_to(folder)) for path in states]
        processes.say(f"wrote {folder}: {', '.join([*names, 'metrics.csv', report.name])}")
    return True


def _open(config: RunConfig, found: Checkpoint | None) -> tuple[RunConfig, RunData, Weights | None]:
    """The configuration with all choices made, what is learnt from, and the weights of --init."""
    weights = init_weights(config, found)
    if found is not None and not found.facts.plan_sha256 and config.plan == "auto":
        config = dataclasses.replace(config, plan="none")  # what earlier versions and several splits do not note
    config, data = open_data(with_shape_of(config, weights), weights)
    if not data.plan_sha256:
        config = dataclasses.replace(config, plan="none")  # a plan that appears later is not taken up midway
    return config, data, weights


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
