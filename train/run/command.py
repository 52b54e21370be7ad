"""A training run from its options to its folder: sets it up, starts or continues it, reports."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from shared.errors import DataError, UsageError
from shared.video.shape import ClipShape
from train.data.reader import BatchReader
from train.data.seeds import Purpose, torch_seed
from train.learn.processes import Processes, joined_processes
from train.learn.step import Learner
from train.model.families import Weights
from train.model.lsvit import LSViT
from train.run.checkpoint import Checkpoint, RunFacts, checkpoint_path, read_checkpoint
from train.run.config import (
    RunConfig,
    continued_with,
    default_name,
    differences,
    read_config,
    requested_splits,
    resolve,
    write_config,
)
from train.run.config_values import Value
from train.run.data import RunData, open_data
from train.run.learner import make_learner, make_lessons
from train.run.loop import train
from train.run.progress import Progress, write_metrics
from train.run.report import write_report
from train.run.session import Interruption, Session, open_events, restore
from train.run.start import init_weights, make_model, model_config, with_shape_of

CONFIG_FILE = "config.toml"


def run(*, command_line: Mapping[str, Value], config_file: Path | None, resume: bool) -> None:
    """Train what the command line and the configuration file ask for, one split after the other.

    Raises UsageError and DataError as the command does, and KeyboardInterrupt, after a checkpoint, where it is stopped.
    """
    values = {**({} if config_file is None else read_config(config_file)), **command_line}
    config = resolve(command_line=values, file={})
    config = dataclasses.replace(config, name=config.name or default_name(config))
    folder = run_folder(config)
    if resume:
        config = _continued_config(folder, config, values)
    splits = requested_splits(config.split)
    with joined_processes(config.device) as processes, Interruption() as interruption:
        if processes.is_first and folder.exists() and not resume:
            raise UsageError(f"the run {folder} exists; continue it with --resume, or choose another --name")
        processes.wait()
        parts = {split: folder / (f"split{split}" if split.isdigit() else split) for split in splits}
        if len(splits) == 1:
            parts = {config.split: folder}
        else:
            _check_splits(config, parts)
        for split, part in parts.items():
            _run_split(dataclasses.replace(config, split=split), part, processes, interruption)
            if processes.is_first and len(splits) > 1:
                write_config(folder / CONFIG_FILE, config)


def _check_splits(config: RunConfig, parts: Mapping[str, Path]) -> None:
    """Raise what is wrong with a split that is not begun, before the first one is trained."""
    for split, part in parts.items():
        if not checkpoint_path(part, "last").is_file():
            check_run(dataclasses.replace(config, split=split))


def check_run(config: RunConfig) -> None:
    """Raise what stops a run of one split from starting: its data, its plan, the shape of its model."""
    weights = init_weights(config, None)
    config, data = open_data(with_shape_of(config, weights))
    data.reader.close()
    model_config(config, data, weights)


def run_folder(config: RunConfig) -> Path:
    """``<runs>/<name>``. Raises UsageError for a name that leaves the folder of runs."""
    if Path(config.name).name != config.name or config.name in (".", ".."):
        raise UsageError(f"--name is {config.name!r}; it must be one folder name, without slashes")
    return Path(config.runs) / config.name


def _continued_config(folder: Path, config: RunConfig, values: Mapping[str, Value]) -> RunConfig:
    """The configuration of the run to continue, with the harmless options that are given now.

    Without any checkpoint the run starts from the beginning, with what is given. Raises UsageError where something is
    given that would change the run.
    """
    saved_at = [folder / CONFIG_FILE, *sorted(folder.glob(f"*/{CONFIG_FILE}"))]
    saved_at = [path for path in saved_at if path.is_file()]
    if not any(folder.glob("**/checkpoints/last.pt")) or not saved_at:
        return config
    saved = resolve(command_line={}, file=read_config(saved_at[0]))
    if saved_at[0].parent != folder:  # killed in the first of several splits: each folder knows its own split only
        values = {"split": config.split, **values}
    wanted = continued_with(saved, values)
    if changed := differences(saved, wanted):
        raise UsageError(f"--resume continues {folder} as it was begun, but this differs: {'; '.join(changed)}")
    return wanted


def _run_split(config: RunConfig, folder: Path, processes: Processes, interruption: Interruption) -> None:
    last = checkpoint_path(folder, "last")
    found = read_checkpoint(last) if last.is_file() else None
    if found is not None and found.progress.finished:
        processes.say(f"{folder} is finished ({found.progress.finished}); nothing to do")
        return
    weights = init_weights(config, found)
    config, data = open_data(with_shape_of(config, weights))
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
            events=resources.enter_context(open_events(folder, progress)) if processes.is_first else None,
            interruption=interruption,
            deadline=time.monotonic() + 60 * config.max_minutes,
        )
        progress = train(session, progress)
    if processes.is_first:
        report = write_report(folder, facts=facts, config=config, progress=progress)
        processes.say(f"wrote {folder}: checkpoints/best.pt, checkpoints/last.pt, metrics.csv, {report.name}")


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
        model, new_parameters = make_model(config, data, processes, weights)
    else:
        model, new_parameters = LSViT(model_config(config, data, weights)), found.new_parameters
    facts = _facts(config, data, model)
    if found is not None and (changed := found.facts.differences(facts)):
        raise DataError(f"{folder} cannot be continued, this differs from when it was begun: {'; '.join(changed)}")
    learner = make_learner(
        config, model, num_samples=len(data.samples), processes=processes, new_parameters=new_parameters
    )
    if found is not None:
        restore(learner, found)
    progress = Progress() if found is None else found.progress
    processes.say(_start_line(learner, config, progress))
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder / CONFIG_FILE, config)
        write_metrics(folder, progress.history)
    return learner, facts, progress, new_parameters


def _facts(config: RunConfig, data: RunData, model: LSViT) -> RunFacts:
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
    )


def _start_line(learner: Learner, config: RunConfig, progress: Progress) -> str:
    parameters = sum(parameter.numel() for parameter in learner.model.parameters())
    verb = "training" if not progress.step else f"continuing after step {progress.step} (epoch {progress.epoch + 1})"
    place = str(learner.processes.device)
    if learner.processes.count > 1:
        place += f", {learner.processes.count} processes"
    size = config.preset if config.preset != "auto" else f"ViT {config.embed_dim} wide, {config.depth} blocks"
    return f"{verb}: {size}, {parameters:,} parameters, {config.img_size}x{config.img_size}, on {place}"
