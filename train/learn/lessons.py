"""What is learnt from: the random draws of a step, and its clips with them on the way to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shared.video.resizing import FrameSize
from train.data.augment import AugmentSettings, ClipChanges, Statistics, draw_changes
from train.data.loader.batches import Batch, Part, Step
from train.data.loader.transfer import Sender, Sent
from train.data.mix import MixDraws, MixSettings, draw_mix
from train.data.samples import ClipTable, Samples, sample_statistics
from train.data.seeds import Purpose, generator
from train.learn import drop_path
from train.learn.losses import LossSettings
from train.model.config import ModelConfig


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Everything random about one step, drawn for the whole batch of G clips."""

    labels: torch.Tensor
    """int64 (G,)"""
    changes: ClipChanges
    mix: MixDraws | None
    drop_path: torch.Tensor | None
    """See ``train.learn.drop_path.draw``; None where nothing can be skipped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """The b clips that a process is shown at once, with the draws for them."""

    frames: torch.Tensor
    """uint8 (b, T, H, W, 3)"""
    labels: torch.Tensor
    """int64 (b,)"""
    weight: torch.Tensor
    """float32 (b,), see ``Part``."""
    photometry: torch.Tensor
    """Of ``changes``, float32 (5, b)."""
    own: torch.Tensor | None
    """The share of each clip itself, as in ``MixDraws``; None where nothing is mixed."""
    box: torch.Tensor | None
    """The partner's part, as in ``MixDraws``."""
    drop_path: torch.Tensor | None
    """Factors for ``LSViT.forward``; None where nothing can be skipped."""
    changes: ClipChanges
    """On the host: a crop is settled before any pixel is touched."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields that go to the device, the frames first."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What one process is shown in a step, on its way to the device."""

    step: Step
    parts: tuple[tuple[Shown, Sent], ...]
    """As it lies on the host, and its tensors sent."""

    def received(self) -> Iterator[Shown]:
        """The parts on the device, one after the other; its stream waits for each, the host does not."""
        for shown, sent in self.parts:
            arrived: dict[str, Any] = dict(zip(shown.tensors(), sent.received(), strict=True))
            yield replace(shown, **arrived)


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


def send_lessons(batches: Iterable[Batch], lessons: Lessons, *, device: torch.device) -> Iterator[Lesson]:
    """Draw what each batch needs and send it to the device: for a thread beside the one that trains."""
    # A loop in place of `map` would hold on to a batch.
    return map(partial(make_lesson, lessons=lessons, sender=Sender(device)), batches)


def make_lesson(batch: Batch, lessons: Lessons, sender: Sender) -> Lesson:
    """The draws of a batch, and all that its step needs sent."""
    draws = draw_step(lessons, batch.step)
    parts = []
    for part, frames in zip(batch.parts, batch.frames, strict=True):
        shown = _shown(draws, part, frames)
        _, *small = shown.tensors().values()
        parts.append((shown, sender.send([frames], small)))
    return Lesson(step=batch.step, parts=tuple(parts))


def _shown(draws: Draws, part: Part, frames: torch.Tensor) -> Shown:
    changes = draws.changes.part(part.places)
    mix = None if draws.mix is None else draws.mix.part(part.places)
    return Shown(
        frames=frames,
        labels=draws.labels[part.places],
        weight=torch.from_numpy(part.weight),
        photometry=changes.photometry(),
        own=None if mix is None else torch.from_numpy(mix.own),
        box=None if mix is None else torch.from_numpy(mix.box),
        drop_path=None if draws.drop_path is None else draws.drop_path[:, torch.from_numpy(part.places)],
        changes=changes,
    )
