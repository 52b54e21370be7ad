"""The beginning of a run of one split: its first state, or the one that its checkpoint left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shared.errors import DataError
from shared.manifests.files import SPLITS_FILE
from shared.splits.own_files import write_split_table
from shared.video.shape import ClipShape
from train.data.loader.batches import num_steps
from train.data.seeds import Purpose, torch_seed
from train.learn.processes import Processes
from train.learn.step import Learner
from train.model.lsvit import LSViT
from train.model.trainable import beside_vit
from train.model.weights.families import Weights
from train.run.checkpoint import Checkpoint, RunFacts
from train.run.config.conflicts import Setting, idle_options
from train.run.config.fields import RunConfig
from train.run.config.files import write_choices, write_config
from train.run.data import RunData
from train.run.folder import CHOICES_FILE, CONFIG_FILE
from train.run.learner import make_learner
from train.run.model import make_model, model_config
from train.run.progress import Progress, write_metrics
from train.run.session import restore


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """What a run begins or goes on with."""

    learner: Learner
    facts: RunFacts
    progress: Progress
    new_parameters: tuple[str, ...]
    """Those that --init had nothing for; without it SMIF, LMI, pools and head. --layer-decay is not for them."""


def begin(
    config: RunConfig,
    data: RunData,
    weights: Weights | None,
    *,
    folder: Path,
    left_open: tuple[str, ...],
    found: Checkpoint | None,
    processes: Processes,
) -> Beginning:
    """Make or restore what learns, say what there is to say of it, and write to the folder what is known already.

    left_open: what the program was to choose. found: None at the first start. Raises DataError where the run was begun
    on other data, another plan or another model.
    """
    # Nothing here draws from torch's global generator; it is seeded and saved for what a model of the future may do.
    torch.manual_seed(torch_seed(Purpose.GLOBAL, config.seed))
    if found is None:
        model, report = make_model(config, data, weights)
        new_parameters = beside_vit(model) if report is None else report.missing
        for line in () if report is None else report.lines():
            processes.say(line)
    else:
        model, new_parameters = LSViT(model_config(config, data, weights)), found.new_parameters
    facts = run_facts(config, data, model)
    if found is not None:
        _check_unchanged(folder, config, facts, found)
    learner = make_learner(
        config, model, num_samples=len(data.samples), processes=processes, new_parameters=new_parameters, found=found
    )
    restored = () if found is None else restore(learner, found)
    for note in (*restored, *idle_options(setting_of(config, data, learner)), *_remarks(config, found)):
        processes.say(note)
    progress = Progress() if found is None else found.progress
    if processes.is_first:
        if found is None:  # before the configuration, which does not show any more what was left open
            write_choices(folder / CHOICES_FILE, left_open, config)
        _write(folder, config, data, progress)
    return Beginning(learner=learner, facts=facts, progress=progress, new_parameters=new_parameters)


def _check_unchanged(folder: Path, config: RunConfig, facts: RunFacts, found: Checkpoint) -> None:
    """Raise DataError where a run cannot go on from its checkpoint as it was begun."""
    if changed := found.facts.differences(facts):
        raise DataError(
            f"{folder} cannot be continued, this differs from when it was begun: {'; '.join(changed)}; begin anew "
            f"under another --name, or put {_former(changed, folder)} back"
        )
    if found.is_of_old and config.seed and config.val_fraction:
        raise DataError(  # else clips that it was trained on would choose `best`
            f"{folder} was begun by an earlier version, which set other clips aside for validation with --seed "
            f"{config.seed}; it cannot be continued: begin anew under another --name"
        )


def _former(changed: list[str], folder: Path) -> str:
    """What has to come back so that a run can go on. changed: what ``RunFacts.differences`` says."""
    if all(change.startswith("plan_sha256:") for change in changed):
        return "the old plan"
    if any(change.startswith("split_sha256:") for change in changed):
        return f"the old split (`hmdb-prep merge --splits {folder / SPLITS_FILE}`)"
    return "the old data"


def _remarks(config: RunConfig, found: Checkpoint | None) -> list[str]:
    """What a user may not expect of this start."""
    remarks = []
    if found is not None and config.max_minutes:
        remarks.append(f"the limit of {config.max_minutes:g} minutes counts anew; --max-minutes 0 lifts it")
    if config.train != "all" and not config.init:
        remarks.append(f"the ViT is random and stays so (--train {config.train} without --init)")
    return remarks


def _write(folder: Path, config: RunConfig, data: RunData, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / CONFIG_FILE, config)
    if data.split is not None:
        write_split_table(folder, data.split)
    write_metrics(folder, progress.history)


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
