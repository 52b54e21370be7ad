"""Trains the temporal pool and the head of an LS-ViT on stored frame features, as ``run --train head`` would."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from shared.terminal.console import progress as show_progress
from shared.video.sampling import evaluation_rows, training_rows
from train.data.loader.batches import Step, epoch_steps
from train.learn.lessons import Lessons
from train.learn.losses import clip_losses, soft_targets
from train.learn.optimizer import set_rate, update_average
from train.learn.precision import widened
from train.learn.step import Learner, diverged
from train.model.lsvit import LSViT
from train.run.checkpoint import Checkpoint, State
from train.run.config.fields import RunConfig
from train.run.data import RunData
from train.run.loop import live_text
from train.run.progress import Progress, Validation, validation_of
from train.run.session import Pace

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFeatures:
    """Frame features of some clips of a table, in memory."""

    values: torch.Tensor
    """float16 (n, T·K, D) on the device."""
    place: Integers
    """Where among them each clip of the table lies, int64 (N,); what is not there is never asked for."""

    def of(self, clips: Integers, rows: Integers) -> torch.Tensor:
        """The rows (b, T) of some clips (b,): float32 (b, T, D)."""
        places = torch.from_numpy(self.place[clips]).to(self.values.device)
        return self.values[places[:, None], torch.from_numpy(rows).to(self.values.device)].float()


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadTraining:
    """What one head learns with and from."""

    config: RunConfig
    data: RunData
    learner: Learner
    lessons: Lessons
    features: ClipFeatures
    checkpoint: Callable[[Progress], Checkpoint]
    """Every state as it is now."""
    pace: Pace
    """Of all heads that are trained one after the other."""


def train_head(training: HeadTraining) -> tuple[Checkpoint, Checkpoint]:
    """Train to the end; returns the best state and the last one, which may be the same.

    Raises DataError where the loss or the gradient is not finite.
    """
    config, learner, num_samples = training.config, training.learner, len(training.lessons.samples)
    progress, best = Progress(), None
    title = f"split {config.split}, seed {config.seed}"
    with show_progress(title, config.epochs * num_samples, detail=lambda: _live_text(training, progress)) as advance:
        while not progress.finished:
            steps = epoch_steps(num_samples, batch_size=config.batch_size, seed=config.seed, epoch=progress.epoch)
            for step in steps:
                progress = _train_step(training, step, progress)
                training.pace.epochs_done += len(step.chosen) / num_samples
                advance(len(step.chosen))
            progress = progress.after_epoch(
                _validate(training),
                learning_rate=learner.schedule.rate(progress.step - 1),
                epochs=config.epochs,
                patience=config.patience,
            )
            if progress.history[-1].best:
                best = _kept(training.checkpoint(progress), learner.model)
    last = training.checkpoint(progress)
    assert best is not None  # the first epoch is the best so far
    return (last if progress.best_epoch == progress.epoch else best), last


def _live_text(training: HeadTraining, progress: Progress) -> str:
    """The time left of all heads, and what is known in the middle of an epoch."""
    epochs = training.config.epochs
    epochs_left = epochs - progress.epoch - progress.num_clips / len(training.lessons.samples)
    text = live_text(progress, seconds_left=training.pace.seconds_left(epochs_left))
    return f"epoch {progress.epoch + 1}/{epochs}: {text}"


def _train_step(training: HeadTraining, step: Step, progress: Progress) -> Progress:
    learner, lessons = training.learner, training.lessons
    model, chosen = learner.model, step.chosen
    set_rate(learner.optimizer, learner.schedule.rate(progress.step))
    frames = training.features.of(lessons.samples.clip[chosen], _shown_rows(training, step))
    logits = _logits(model, frames)
    labels = torch.from_numpy(lessons.samples.label[chosen]).to(frames.device)
    targets = soft_targets(labels, num_classes=lessons.model.num_classes, smoothing=lessons.loss.smoothing)
    losses = clip_losses(logits, targets, lessons.loss, lessons.class_weights)
    learner.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(losses.mean())
    norm = nn.utils.clip_grad_norm_(model.parameters(), learner.clip_grad if learner.clip_grad > 0 else math.inf)
    learner.optimizer.step()
    if learner.average is not None:
        update_average(learner.average, model, decay=learner.average_decay, step=progress.step + 1)
    loss = float(widened(losses.detach()).sum())
    for what, value in (("loss", loss), ("gradient", float(norm))):
        if not math.isfinite(value):
            raise diverged(what, value, epoch=step.epoch, step=step.index)
    num_right = int((logits.argmax(dim=1) == labels).sum())
    return progress.after_step(loss_sum=loss, num_right=num_right, num_clips=len(chosen))


def _shown_rows(training: HeadTraining, step: Step) -> Integers:
    """Which of the stored frames each clip of a step shows, int64 (G, T): those that `run` would show."""
    shape, config = training.data.reader.layout, training.config
    num_segments, per_segment = shape.num_segments, shape.frames_per_segment
    if config.sampling != "tsn":
        middle = evaluation_rows(num_segments=num_segments, frames_per_segment=per_segment)
        return np.broadcast_to(middle, (len(step.chosen), num_segments)).copy()
    keys = training.lessons.samples.key[step.chosen]
    rows = training_rows(
        keys, seed=config.seed, epoch=step.epoch, num_segments=num_segments, frames_per_segment=per_segment
    )
    if (config.smif, config.lmi) != ("none", "none"):
        # The features of a frame were made beside the same candidate of the other segments: so they are shown.
        rows = rows[:, :1] % per_segment + np.arange(num_segments) * per_segment
    return rows


def _validate(training: HeadTraining) -> Validation | None:
    clips, shape = training.data.rows.validation, training.data.reader.layout
    if not len(clips):
        return None
    middle = evaluation_rows(num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)
    frames = training.features.of(clips, np.broadcast_to(middle, (len(clips), len(middle))).copy())
    model = training.learner.average or training.learner.model
    assert isinstance(model, LSViT)
    with torch.inference_mode():
        probabilities = widened(_logits(model, frames)).softmax(dim=1).cpu().double().numpy()
    table = training.lessons.table
    return validation_of([table.clip_id[clip] for clip in clips], table.label[clips], probabilities)


def _logits(model: LSViT, frames: torch.Tensor) -> torch.Tensor:
    """Frame features (b, T, D) -> (b, classes)."""
    logits: torch.Tensor = model.head(model.pool_frames(frames))
    return logits


def _kept(checkpoint: Checkpoint, model: LSViT) -> Checkpoint:
    """A checkpoint that later steps leave as it is; what does not train is no copy."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def copied(state: State) -> State:
        return {name: value.clone() if name in trained else value for name, value in state.items()}

    return dataclasses.replace(
        checkpoint,
        model=copied(checkpoint.model),
        average=None if checkpoint.average is None else copied(checkpoint.average),
        optimizer=copy.deepcopy(checkpoint.optimizer),
    )
