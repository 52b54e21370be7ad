"""A training run from its options to its folder: sets it up, starts or continues it, reports."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from shared.errors import DataError, UsageError
from shared.video.shape import ClipShape
from train.data.reader import BatchReader
from train.data.seeds import Purpose, torch_seed
from train.learn.processes import Processes, joined_processes
from train.learn.step import Learner, learner_states
from train.run.checkpoint import Checkpoint, RunFacts, checkpoint_path, read_checkpoint, write_checkpoint
from train.run.config import (
    RunConfig,
    continued_with,
    differences,
    read_config,
    requested_splits,
    resolve,
    write_config,
)
from train.run.config_values import Value
from train.run.data import RunData, open_data
from train.run.learner import make_learner, make_lessons, make_model, model_config
from train.run.loop import Interruption, Session, train
from train.run.progress import Progress, write_metrics
from train.run.report import write_report

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFIG_FILE = "config.toml"
EVENTS_FOLDER = "tensorboard"


def run(*, command_line: Mapping[str, Value], config_file: Path | None, resume: bool) -> None:
    """Train what the command line and the configuration file ask for, one split after the other.

    Raises UsageError and DataError as the command does, KeyboardInterrupt after a checkpoint where it is
    interrupted.
    """
    values = {**({} if config_file is None else read_config(config_file)), **command_line}
    config = resolve(command_line=values, file={})
    config = dataclasses.replace(config, name=config.name or f"lsvit-{config.preset}")
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
    config, data = open_data(config)
    data.reader.close()
    model_config(config, data)


def run_folder(config: RunConfig) -> Path:
    """``<runs>/<name>``. Raises UsageError for a name that leaves the folder of runs."""
    if Path(config.name).name != config.name or config.name in (".", ".."):
        raise UsageError(f"--name is {config.name!r}; it must be one folder name, without slashes")
    return Path(config.runs) / config.name


def _continued_config(folder: Path, config: RunConfig, values: Mapping[str, Value]) -> RunConfig:
    """The configuration of the run to continue, with the harmless options that are given now.

    Without any checkpoint the run starts from the beginning, with what is given. Raises UsageError where
    something is given that would change the run.
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
    config, data = open_data(config)
    for note in data.notes:
        processes.say(note)
    # Nothing here draws from torch's global generator; it is seeded and saved for what a model of the future may do.
    torch.manual_seed(torch_seed(Purpose.GLOBAL, config.seed))
    model = make_model(config, data, processes)
    facts = _facts(config, data, model_config=model.config)
    if found is not None:
        _check_same(folder, found, facts)
    learner = make_learner(config, model, num_samples=len(data.samples), processes=processes)
    progress = Progress() if found is None else _restore(learner, found, processes)
    processes.say(_start_line(learner, config, progress))
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder / CONFIG_FILE, config)
        write_metrics(folder, progress.history)
    with ExitStack() as resources:
        session = _open_session(config, folder, data, learner, facts, progress, interruption, resources)
        progress = train(session, progress)
    if processes.is_first:
        report = write_report(folder, facts=facts, config=config, progress=progress)
        processes.say(f"wrote {folder}: checkpoints/best.pt, checkpoints/last.pt, metrics.csv, {report.name}")


def _open_session(
    config: RunConfig,
    folder: Path,
    data: RunData,
    learner: Learner,
    facts: RunFacts,
    progress: Progress,
    interruption: Interruption,
    resources: ExitStack,
) -> Session:
    processes = learner.processes
    reader = BatchReader(data.reader, num_threads=config.workers, pinned=processes.device.type == "cuda")
    resources.callback(data.reader.close)
    resources.callback(reader.close)
    events = _open_events(folder, progress) if processes.is_first else None
    if events is not None:
        resources.callback(events.close)
    return Session(
        folder=folder,
        config=config,
        learner=learner,
        lessons=make_lessons(config, data, learner),
        reader=reader,
        validation=data.rows.validation,
        save=_saver(config, folder, facts, learner),
        events=events,
        interruption=interruption,
        deadline=time.monotonic() + 60 * config.max_minutes,
    )


def _saver(config: RunConfig, folder: Path, facts: RunFacts, learner: Learner) -> Callable[[Progress, bool], None]:
    def save(progress: Progress, is_best: bool) -> None:
        if not learner.processes.is_first:
            return
        states = cast(dict[str, Any], learner_states(learner))
        checkpoint = Checkpoint(
            facts=facts,
            progress=progress,
            config={key: _plain(value) for key, value in dataclasses.asdict(config).items()},
            scheduler=dataclasses.asdict(learner.schedule),
            rng=_random_states(),
            **states,
        )
        write_checkpoint(folder, checkpoint, is_best=is_best)

    return save


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _random_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _facts(config: RunConfig, data: RunData, *, model_config: Any) -> RunFacts:
    return RunFacts(
        model_config=model_config,
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


def _check_same(folder: Path, found: Checkpoint, facts: RunFacts) -> None:
    """Raises DataError where the run was begun on other data, another plan or another model."""
    if changed := found.facts.differences(facts):
        raise DataError(f"{folder} cannot be continued, this differs from when it was begun: {'; '.join(changed)}")


def _restore(learner: Learner, found: Checkpoint, processes: Processes) -> Progress:
    """Put every state back. Raises DataError where a state does not fit."""
    try:
        learner.model.load_state_dict(found.model)
        if learner.average is not None:
            learner.average.load_state_dict(found.average or {})
        learner.optimizer.load_state_dict(dict(found.optimizer))
        if learner.scaler.is_enabled():
            learner.scaler.load_state_dict(dict(found.scaler))
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"the checkpoint does not fit this run: {error}") from error
    torch.set_rng_state(found.rng["cpu"])
    if processes.device.type == "cuda" and "cuda" in found.rng:
        torch.cuda.set_rng_state(found.rng["cuda"].cpu())
    return found.progress


def _start_line(learner: Learner, config: RunConfig, progress: Progress) -> str:
    parameters = sum(parameter.numel() for parameter in learner.model.parameters())
    verb = "training" if not progress.step else f"continuing after step {progress.step} (epoch {progress.epoch + 1})"
    place = str(learner.processes.device)
    if learner.processes.count > 1:
        place += f", {learner.processes.count} processes"
    return f"{verb}: {config.preset}, {parameters:,} parameters, {config.img_size}x{config.img_size}, on {place}"


def _open_events(folder: Path, progress: Progress) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / EVENTS_FOLDER), purge_step=progress.step + 1 if progress.step else None)
