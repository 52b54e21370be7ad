"""One optimiser step: augment, mix, forward, backward, clip, update; the same whatever the batch is cut into."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import DataError
from train.data.augment import augment
from train.data.loader.batches import Step
from train.data.mix import mix_clips
from train.learn.lessons import Lesson, Lessons, Shown
from train.learn.losses import clip_losses, soft_targets
from train.learn.optimizer import Schedule, set_rate, update_average
from train.learn.precision import amp_dtype, widened, widest_float
from train.learn.processes import Processes
from train.model.lsvit import LSViT

# Loss scaling begins at 2^16 and is halved by every step without a finite gradient: 27 of them in a row end below this.
# fp16 reaches down to 2^-24: with a smaller scale the gradients that are finite vanish.
LEAST_LOSS_SCALE = 2.0**-10


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
    precision: str
    """Of the forward pass: none, fp16 or bf16; see ``train.learn.precision``."""
    accumulation: int
    """The parts into which a process cuts its share of a batch."""
    clip_grad: float
    """The largest norm of the gradient; 0 for no limit."""
    processes: Processes

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The type of autocast; None for float32."""
        return amp_dtype(self.precision)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Sums over the clips of the batch, all processes together."""

    loss_sum: float
    num_right: float
    num_clips: int


def train_step(learner: Learner, lessons: Lessons, lesson: Lesson, *, step: int) -> StepResult:
    """Do optimiser step number ``step``, from 0. Raises DataError where the loss or the gradient is not finite.

    The gradient is that of the mean loss over the whole batch, whatever the number of processes and parts. The host
    waits for the device once, at the end.
    """
    learner.model.train()
    set_rate(learner.optimizer, learner.schedule.rate(step))
    num_clips = len(lesson.step.chosen)
    learner.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=widest_float(learner.processes.device), device=learner.processes.device)
    for index, shown in enumerate(lesson.received()):
        with _gathering(learner, is_last=index == len(lesson.parts) - 1):
            sums += _backward(learner, lessons, shown, num_clips=num_clips)
    sums = learner.processes.total(sums)
    norm = _update(learner, step=step)
    loss_sum, num_right, norm_size = torch.cat([sums, norm.to(sums.dtype).view(1)]).tolist()
    _check_step(learner, lesson.step, loss=loss_sum / num_clips, norm=norm_size)
    return StepResult(loss_sum=loss_sum, num_right=num_right, num_clips=num_clips)


def _gathering(learner: Learner, *, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged between processes with the last part only."""
    if learner.synchronised is None or is_last:
        return nullcontext()
    return learner.synchronised.no_sync()


def _backward(learner: Learner, lessons: Lessons, shown: Shown, *, num_clips: int) -> torch.Tensor:
    """Add the gradient of one part; returns its sum of losses and number of right clips, (2,) in the widest float."""
    video = augment(shown.frames, shown.changes, image_size=lessons.model.image_size, photometry=shown.photometry)
    targets = soft_targets(shown.labels, num_classes=lessons.model.num_classes, smoothing=lessons.loss.smoothing)
    if shown.own is not None and shown.box is not None:
        video, targets = mix_clips(video, targets, own=shown.own, box=shown.box)
    with torch.autocast(video.device.type, dtype=learner.amp_dtype, enabled=learner.amp_dtype is not None):
        logits = learner.forward(video, shown.drop_path)
    losses = clip_losses(logits, targets, lessons.loss, lessons.class_weights) * shown.weight
    # DDP takes the mean over the processes, the loss is a mean over all clips: hence the number of processes.
    torch.autograd.backward(learner.scaler.scale(losses.sum() * (learner.processes.count / num_clips)))
    right = (logits.argmax(dim=1) == targets.argmax(dim=1)) * shown.weight
    return torch.stack([widened(losses.detach()).sum(), widened(right).sum()])


def _update(learner: Learner, *, step: int) -> torch.Tensor:
    """Clip the gradient and take the step; returns the gradient's norm before that, float32 ()."""
    learner.scaler.unscale_(learner.optimizer)
    limit = learner.clip_grad if learner.clip_grad > 0 else math.inf
    norm = nn.utils.clip_grad_norm_(learner.model.parameters(), limit)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        update_average(learner.average, learner.model, decay=learner.average_decay, step=step + 1)
    return norm


def _check_step(learner: Learner, place: Step, *, loss: float, norm: float) -> None:
    """Raise DataError where a step that has been taken was none: nobody saves the weights that it has left."""
    if not math.isfinite(loss):
        raise diverged("loss", loss, epoch=place.epoch, step=place.index)
    if math.isfinite(norm):
        return
    # With loss scaling an overflow is expected now and then: the scaler skips that step and halves its scale.
    if not learner.scaler.is_enabled():
        raise diverged("gradient", norm, epoch=place.epoch, step=place.index)
    if learner.scaler.get_scale() < LEAST_LOSS_SCALE:
        raise DataError(
            f"fp16 gives no finite gradient in epoch {place.epoch + 1}, step {place.index + 1}, although the loss is "
            f"scaled by {learner.scaler.get_scale():g} only: nothing is learnt. Begin anew with another --name and "
            "--amp bf16, --amp none or a smaller --lr"
        )


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
