"""Trains heads on the frame features of a frozen backbone: several splits and seeds, each a run like those of `run`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import UsageError
from shared.next_command import say_next
from shared.splits.own_files import write_split_table
from shared.terminal.console import counted, say
from shared.terminal.interrupts import explained
from train.data.loader.reader import BatchReader
from train.data.seeds import Purpose, torch_seed
from train.learn.processes import Processes, choose_device
from train.learn.step import Learner
from train.model.lsvit import LSViT
from train.model.trainable import num_trainable
from train.model.weights.families import Weights
from train.model.weights.pretrained import LoadReport
from train.probe.config import ProbeOptions, probe_config
from train.probe.features import FEATURES_FILE, FeatureFile, compute_features, feature_key, open_features
from train.probe.heads import ClipFeatures, HeadTraining, train_head
from train.run.beginning import run_facts, setting_of
from train.run.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from train.run.config.conflicts import idle_options
from train.run.config.fields import RunConfig, requested_splits
from train.run.config.files import read_config, write_config
from train.run.config.resolve import differences, resolve
from train.run.data import RunData, open_data
from train.run.folder import CONFIG_FILE, places_of, run_folder, split_folder
from train.run.learner import make_learner, make_lessons
from train.run.model import init_weights, make_model, motion_of, with_shape_of
from train.run.progress import Progress, Timing, append_timing, write_metrics
from train.run.report.output import complete_report, write_report
from train.run.session import Pace, make_checkpoint
from train.run.trackers import check_tracker, log_epoch, open_tracker


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One head to train: of one split and one seed."""

    folder: Path
    config: RunConfig
    """With every choice made."""
    data: RunData


def probe(options: ProbeOptions) -> None:
    """Compute what features are missing, then train a head for each split and seed.

    Raises UsageError and DataError as the command does.
    """
    config, seeds = probe_config(options)
    check_tracker(config.tracker)
    folder = run_folder(config)
    if folder.exists() and not options.resume:
        raise UsageError(f"the run {folder} exists; continue it with --resume, or choose another --name")
    weights = init_weights(config, None)
    assert weights is not None  # a probe has --init
    smif, lmi, lmi_every = motion_of(weights)
    config = with_shape_of(dataclasses.replace(config, smif=smif, lmi=lmi, lmi_every=lmi_every), weights)
    device = choose_device(config.device)
    with (
        explained(lambda: "what is computed so far is kept; the same command with --resume continues"),
        ExitStack() as resources,
    ):
        datas = {}
        for split in requested_splits(config.split):
            datas[split] = open_data(dataclasses.replace(config, split=split), weights)
            resources.callback(datas[split][1].reader.close)
            for note in datas[split][1].notes:
                say(note)
        parts = _parts(folder, datas, seeds=seeds)
        _check_parts(folder, parts)
        learner, report = _learner(parts[0], weights, device)
        for line in (*report.lines(), *_idle_options(parts[0], learner)):
            say(line)
        if new := [name for name in report.missing if name.startswith("spatial_pool.")]:
            raise UsageError(f"{', '.join(new)} would stay random; choose --spatial-pool cls or mean")
        _note_configs(config, parts)
        features = _features(folder, parts[0], list(datas.values()), learner.model, device)
        pace = Pace(splits_left=len(parts), epochs=config.epochs)
        for part in parts:
            pace.splits_left -= 1
            _train_part(part, weights, features, device, pace)
    name = f"{config.name}/seed0" if seeds > 1 else config.name
    say_next("probe", [name], places=places_of(config))


def _parts(folder: Path, datas: Mapping[str, tuple[RunConfig, RunData]], *, seeds: int) -> list[Part]:
    parts = []
    for seed in range(seeds):
        of_seed = folder / f"seed{seed}" if seeds > 1 else folder
        for split, (config, data) in datas.items():
            parts.append(
                Part(
                    folder=split_folder(of_seed, split) if len(datas) > 1 else of_seed,
                    config=dataclasses.replace(config, seed=config.seed + seed),
                    data=data,
                )
            )
    return parts


def _check_parts(folder: Path, parts: list[Part]) -> None:
    """Raise UsageError where a part was begun another way, or the folder has other parts."""
    begun = {path.parent.parent for path in folder.glob("**/checkpoints/last.pt")}
    if strange := begun - {part.folder for part in parts}:
        raise UsageError(
            f"{folder} was begun with other splits or seeds ({', '.join(sorted(map(str, strange)))}); name those too, "
            "or choose another --name: the features are found again"
        )
    for part in parts:
        if part.folder in begun:
            saved = resolve(command_line={}, file=read_config(part.folder / CONFIG_FILE))
            if changed := differences(saved, part.config):
                raise UsageError(
                    f"{part.folder} was begun another way: {'; '.join(changed)}; choose another --name: the features "
                    "are found again"
                )


def _features(
    folder: Path, part: Part, datas: list[tuple[RunConfig, RunData]], model: LSViT, device: torch.device
) -> ClipFeatures:
    """The features of all clips that train or validate, computed where they are missing."""
    table, reader = part.data.table, part.data.reader
    clips = np.unique(np.concatenate([rows for _, data in datas for rows in (data.samples.clip, data.rows.validation)]))
    key = feature_key(model, table, dataset_id=part.data.dataset.dataset_id, num_rows=reader.layout.num_rows)
    with open_features(folder / FEATURES_FILE, key, others=folder.parent) as stored:
        missing = stored.missing(clips)
        say(
            f"features of {counted(len(clips), 'clip')}, {counted(reader.layout.num_rows, 'frame')} each, "
            f"by {key.width} numbers a frame: "
            f"{len(clips) - len(missing)} are there, {len(missing)} are computed on {device}"
        )
        if len(missing):
            batches = BatchReader(reader, num_threads=part.config.workers, pinned=device.type == "cuda")
            try:
                with explained(partial(_how_to_continue, stored, clips)):
                    compute_features(model, batches, missing, stored, device=device)
            finally:
                batches.close()
        place = np.full(len(table.clip_id), -1)
        place[clips] = np.arange(len(clips))
        return ClipFeatures(values=stored.read(clips).to(device), place=place)


def _how_to_continue(stored: FeatureFile, clips: npt.NDArray[np.int64]) -> str:
    """What is there of features whose computation was interrupted, and how it goes on."""
    done = len(clips) - len(stored.missing(clips))
    there = f"features of {done} of {counted(len(clips), 'clip')} are in {stored.path}"
    return f"{there}; the same command with --resume continues"


def _learner(part: Part, weights: Weights, device: torch.device) -> tuple[Learner, LoadReport]:
    """The learner at the start of a part, its model as `run` makes it."""
    config, data = part.config, part.data
    torch.manual_seed(torch_seed(Purpose.GLOBAL, config.seed))
    model, report = make_model(config, data, weights)
    assert report is not None  # there are weights
    processes = Processes(device=device)
    learner = make_learner(
        config, model, num_samples=len(data.samples), processes=processes, new_parameters=report.missing
    )
    return learner, report


def _idle_options(part: Part, learner: Learner) -> list[str]:
    """A sentence for each option that does nothing, as `run` has them; drop_path is none of a probe's."""
    return idle_options(
        setting_of(dataclasses.replace(part.config, drop_path=RunConfig().drop_path), part.data, learner)
    )


def _train_part(part: Part, weights: Weights, features: ClipFeatures, device: torch.device, pace: Pace) -> None:
    last = checkpoint_path(part.folder, "last")
    if last.is_file() and (found := read_checkpoint(last)).progress.finished:
        complete_report(part.folder, found, config=part.config)
        say(f"{part.folder} is finished ({found.progress.finished}); nothing to do")
        return
    started = time.perf_counter()
    config, data = part.config, part.data
    learner, report = _learner(part, weights, device)
    facts = run_facts(config, data, learner.model)
    write_config(part.folder / CONFIG_FILE, config)
    if data.split is not None:
        write_split_table(part.folder, data.split)
    training = HeadTraining(
        config=config,
        data=data,
        learner=learner,
        lessons=make_lessons(config, data, learner),
        features=features,
        checkpoint=partial(make_checkpoint, learner, config=config, facts=facts, new_parameters=report.missing),
        pace=pace,
    )
    best, latest = train_head(training)
    write_checkpoint(part.folder, best, is_best=True)
    if latest is not best:
        write_checkpoint(part.folder, latest, is_best=False)
    _write_records(part, latest.progress, seconds=time.perf_counter() - started)
    page = write_report(part.folder, facts=facts, config=config, progress=latest.progress)
    say(f"{_result(part, latest.progress, learner.model)}; wrote {part.folder}: checkpoints, metrics.csv, {page.name}")


def _write_records(part: Part, progress: Progress, *, seconds: float) -> None:
    """metrics.csv, timing.csv with one row for all epochs, and the tracker's record."""
    write_metrics(part.folder, progress.history)
    num_clips = len(part.data.samples) * progress.epoch
    append_timing(
        part.folder,
        Timing(
            epoch=progress.epoch,
            steps=progress.step,
            seconds=seconds,
            clips_per_second=num_clips / seconds,
            data_wait_share=0.0,
            processes=1,
        ),
    )
    with open_tracker(part.folder, part.config, step=0) as tracker:
        for row in progress.history:
            log_epoch(tracker, row)


def _result(part: Part, progress: Progress, model: LSViT) -> str:
    config, best = part.config, progress.history[progress.best_epoch - 1]
    size = f"{config.temporal_pool} head of {num_trainable(model):,} parameters"
    text = f"split {config.split}, seed {config.seed}, {size}: "
    if best.val_top1 is None:
        return f"{text}training top-1 {100 * best.train_top1:.1f} %, no validation"
    return (
        f"{text}validation top-1 {100 * best.val_top1:.1f} % ({counted(best.val_clips, 'clip')}) in epoch {best.epoch}"
    )


def _note_configs(config: RunConfig, parts: list[Part]) -> None:
    """Write what --resume goes on with: for every part, and beside several splits one that names them all."""
    for part in parts:
        part.folder.mkdir(parents=True, exist_ok=True)
        if not (part.folder / CONFIG_FILE).is_file():
            write_config(part.folder / CONFIG_FILE, part.config)
        if "," in config.split:
            write_config(part.folder.parent / CONFIG_FILE, dataclasses.replace(config, seed=part.config.seed))
