"""Builds what learns: the model, its optimiser and everything around them, from a configuration."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from train.data.augment import AugmentSettings
from train.data.loader.batches import num_steps
from train.data.mix import MixSettings
from train.data.samples import sample_statistics
from train.learn.lessons import Lessons
from train.learn.losses import LossName, LossSettings, class_weights
from train.learn.optimizer import Schedule, make_average, make_optimizer
from train.learn.precision import half_precision, use_fast_products
from train.learn.processes import Processes
from train.learn.step import Learner
from train.model.lsvit import LSViT
from train.model.trainable import Trained, freeze
from train.run.checkpoint import Checkpoint
from train.run.config.fields import RunConfig, class_strengths
from train.run.data import RunData

_LARGEST_WARMUP = 1 / 3  # of the run


def make_schedule(config: RunConfig, num_samples: int) -> Schedule:
    """The learning rate over the run; the warm-up is a third of it at most."""
    per_epoch = num_steps(num_samples, batch_size=config.batch_size)
    total = per_epoch * config.epochs
    return Schedule(
        peak=config.lr,
        least=min(config.min_lr, config.lr),
        warmup_steps=min(round(config.warmup_epochs * per_epoch), int(total * _LARGEST_WARMUP)),
        num_steps=total,
    )


def make_learner(
    config: RunConfig,
    model: LSViT,
    *,
    num_samples: int,
    processes: Processes,
    new_parameters: Collection[str] = (),
    found: Checkpoint | None = None,
) -> Learner:
    """Move the model to the device and put optimiser, EMA, DDP and compilation around it.

    new_parameters: those that --layer-decay is not for. found: what the run goes on from; its states are put back
    later.
    """
    device = processes.device
    use_fast_products(device)
    model.to(device)
    freeze(model, cast(Trained, config.train))
    model.backbone.checkpoint_blocks = config.checkpoint_blocks
    average = make_average(model) if config.model_ema else None
    wrapped = DistributedDataParallel(model) if processes.count > 1 else None
    forward = wrapped or model
    precision = half_precision(config.amp, device)
    return Learner(
        model=model,
        forward=torch.compile(forward) if config.compile else forward,
        synchronised=wrapped,
        average=average,
        average_decay=config.model_ema_decay,
        optimizer=make_optimizer(
            model,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay,
            new_parameters=new_parameters,
            is_of_old=found is not None and found.is_of_old,
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        schedule=make_schedule(config, num_samples),
        precision=precision,
        accumulation=config.grad_accum_steps,
        clip_grad=config.clip_grad,
        processes=processes,
    )


def make_lessons(config: RunConfig, data: RunData, learner: Learner) -> Lessons:
    """What the learner learns from, and how it is shown."""
    names, strengths = data.dataset.class_names, class_strengths(config)
    counts = np.bincount(data.samples.label, minlength=len(names))
    weights = class_weights(counts, beta=config.class_balanced_beta) if config.loss == "class-balanced" else None
    return Lessons(
        table=data.table,
        samples=data.samples,
        training_statistics=sample_statistics(data.table, data.samples, np.arange(len(data.samples))),
        strength=np.array([strengths.get(name, config.aug_strength) for name in names], dtype=np.float64),
        model=learner.model.config,
        size=data.size,
        seed=config.seed,
        augment=AugmentSettings(scale=config.scale, ratio=config.ratio, hflip=config.hflip),
        mix=MixSettings(
            mixup=config.mixup,
            cutmix=config.cutmix,
            prob=config.mixup_prob,
            switch_prob=config.mixup_switch_prob,
        ),
        mix_synthetic=config.mix_synthetic,
        loss=LossSettings(
            name=cast(LossName, config.loss),
            smoothing=config.smoothing,
            beta=config.class_balanced_beta,
            gamma=config.focal_gamma,
        ),
        class_weights=None if weights is None else torch.from_numpy(weights).to(learner.processes.device),
    )
