"""One optimiser step: augment, mix, forward, backward, clip, update; the same whatever the batch is cut into."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import DataError
from shared.video.resizing import FrameSize
from train.data.augment import AugmentSettings, ClipChanges, Statistics, augment, draw_changes
from train.data.batches import Batch, Part, Step
from train.data.mix import MixDraws, MixSettings, draw_mix, mix_clips
from train.data.samples import ClipTable, Samples, sample_statistics
from train.data.seeds import Purpose, generator
from train.learn import drop_path
from train.learn.losses import LossSettings, clip_losses, soft_targets
from train.learn.optimizer import Schedule, set_rate, update_average
from train.learn.processes import Processes
from train.model.config import ModelConfig
from train.model.lsvit import LSViT


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """The model and what changes it."""

    model: LSViT
    forward: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    """The model itself, or with torch.compile and DDP around it."""
    synchronised: DistributedDataParallel | None
    """What exchanges the gradients, where several processes train together."""
    average: nn.Module | None
    """The moving average of the weights (EMA), None without one."""
    average_decay: float
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    amp_dtype: torch.dtype | None
    """Of the forward pass under autocast; None for float32."""
    accumulation: int
    """The parts into which a process cuts its share of a batch."""
    clip_grad: float
    """The largest norm of the gradient; 0 for no limit."""
    processes: Processes


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """What is learnt from, and how it is shown."""

    table: ClipTable
    samples: Samples
    training_statistics: Statistics
    """Of all samples, for the quantiles of the augmentation."""
    strength: npt.NDArray[np.float64]
    """Strength of the augmentation by class, float64 (classes,)."""
    model: ModelConfig
    """Of the model that learns."""
    size: FrameSize
    """Of the stored frames."""
    seed: int
    augment: AugmentSettings
    mix: MixSettings
    mix_synthetic: bool
    loss: LossSettings
    class_weights: torch.Tensor | None
    """float32 (classes,) on the device; None where the loss takes none."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Sums over the clips of the batch, all processes together."""

    loss_sum: float
    num_right: float
    num_clips: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Everything random about one step, drawn for the whole batch of G clips."""

    labels: torch.Tensor
    """int64 (G,)"""
    changes: ClipChanges
    mix: MixDraws | None
    drop_path: torch.Tensor | None
    """See ``train.learn.drop_path.draw``; None where nothing can be skipped."""


def draw_step(lessons: Lessons, step: Step) -> Draws:
    """The draws of a step: a pure function of the lessons, (seed, epoch, step) and the batch's clips."""
    place = (lessons.seed, step.epoch, step.index)
    labels = lessons.samples.label[step.chosen]
    changes = draw_changes(
        sample_statistics(lessons.table, lessons.samples, step.chosen),
        training=lessons.training_statistics,
        strength=lessons.strength[labels],
        settings=lessons.augment,
        height=lessons.size.height,
        width=lessons.size.width,
        rng=generator(Purpose.AUGMENT, *place),
    )
    mix = None
    if lessons.mix.is_on:
        may_mix = np.ones(len(labels), bool) if lessons.mix_synthetic else ~lessons.samples.synthetic[step.chosen]
        mix_rng = generator(Purpose.MIX, *place)
        mix = draw_mix(lessons.mix, may_mix=may_mix, image_size=lessons.model.image_size, rng=mix_rng)
    factors = drop_path.draw(
        lessons.model.drop_path,
        num_blocks=lessons.model.depth,
        num_clips=len(labels),
        seed=lessons.seed,
        epoch=step.epoch,
        step=step.index,
    )
    return Draws(labels=torch.from_numpy(labels), changes=changes, mix=mix, drop_path=factors)


def train_step(learner: Learner, lessons: Lessons, batch: Batch, *, step: int) -> StepResult:
    """Do optimiser step number ``step``, from 0. Raises DataError where the loss or the gradient is not finite.

    The gradient is that of the mean loss over the whole batch, whatever the number of processes and parts.
    """
    learner.model.train()
    set_rate(learner.optimizer, learner.schedule.rate(step))
    draws = draw_step(lessons, batch.step)
    num_clips = len(batch.step.chosen)
    learner.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=torch.float64, device=learner.processes.device)
    for index, (part, frames) in enumerate(zip(batch.parts, batch.frames, strict=True)):
        is_last = index == len(batch.parts) - 1
        with _gathering(learner, is_last=is_last):
            sums += _backward(learner, lessons, draws, part, frames, num_clips=num_clips)
    loss_sum, num_right = learner.processes.sum(sums.tolist())
    if not math.isfinite(loss_sum):
        raise diverged("loss", loss_sum / num_clips, epoch=batch.step.epoch, step=batch.step.index)
    _update(learner, batch.step, step=step)
    return StepResult(loss_sum=loss_sum, num_right=num_right, num_clips=num_clips)


def _gathering(learner: Learner, *, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged between processes with the last part only."""
    if learner.synchronised is None or is_last:
        return nullcontext()
    return learner.synchronised.no_sync()


def _backward(
    learner: Learner, lessons: Lessons, draws: Draws, part: Part, frames: torch.Tensor, *, num_clips: int
) -> torch.Tensor:
    """Add the gradient of one part; returns its sum of losses and its number of right clips, float64 (2,)."""
    device = learner.processes.device
    video = augment(
        frames.to(device, non_blocking=True), draws.changes.part(part.places), image_size=lessons.model.image_size
    )
    targets = soft_targets(
        draws.labels[part.places].to(device), num_classes=lessons.model.num_classes, smoothing=lessons.loss.smoothing
    )
    if draws.mix is not None:
        video, targets = mix_clips(video, targets, draws.mix.part(part.places))
    factors = None if draws.drop_path is None else draws.drop_path[:, torch.from_numpy(part.places)].to(device)
    weight = torch.from_numpy(part.weight).to(device)
    with torch.autocast(device.type, dtype=learner.amp_dtype, enabled=learner.amp_dtype is not None):
        logits = learner.forward(video, factors)
    losses = clip_losses(logits, targets, lessons.loss, lessons.class_weights) * weight
    # DDP takes the mean over the processes, the loss is a mean over all clips: hence the number of processes.
    torch.autograd.backward(learner.scaler.scale(losses.sum() * (learner.processes.count / num_clips)))
    right = (logits.argmax(dim=1) == targets.argmax(dim=1)) * weight
    return torch.stack([losses.detach().double().sum(), right.double().sum()])


def _update(learner: Learner, place: Step, *, step: int) -> None:
    learner.scaler.unscale_(learner.optimizer)
    limit = learner.clip_grad if learner.clip_grad > 0 else math.inf
    norm = nn.utils.clip_grad_norm_(learner.model.parameters(), limit)
    # With loss scaling an overflow is expected now and then: the scaler skips that step and lowers its scale.
    if not learner.scaler.is_enabled() and not bool(norm.isfinite()):
        raise diverged("gradient", float(norm), epoch=place.epoch, step=place.index)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        update_average(learner.average, learner.model, decay=learner.average_decay, step=step + 1)


def check_weights(learner: Learner, *, epoch: int, step: int) -> None:
    """Raise DataError where a weight or its moving average is not finite after a step; both counted from 0."""
    models = [learner.model] if learner.average is None else [learner.model, learner.average]
    weights = [parameter.detach() for model in models for parameter in model.parameters()]
    largest = nn.utils.get_total_norm(weights, norm_type=math.inf)  # of all at once; keeps NaN
    if not bool(largest.isfinite()):
        raise diverged("largest weight", float(largest), epoch=epoch, step=step)


def diverged(what: str, value: float, *, epoch: int, step: int) -> DataError:
    """The error of a run whose numbers are no numbers any more. epoch and step: counted from 0."""
    return DataError(
        f"the {what} is {value} in epoch {epoch + 1}, step {step + 1}: training has diverged. Begin anew with another "
        "--name and a smaller --lr, a longer --warmup-epochs, --clip-grad 1 or --amp none; checkpoints from before "
        "this, if any, are kept"
    )
