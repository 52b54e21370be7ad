"""Options that do nothing in a run, because of other options or of the data: a sentence for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shared.terminal.console import counted
from train.learn.optimizer import Schedule
from train.model.config import ModelConfig
from train.run.config.fields import RunConfig, class_strengths, place_of_shards
from train.run.config.resolve import resolve


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides, beside the options, whether an option has an effect."""

    config: RunConfig
    model: ModelConfig
    schedule: Schedule
    steps_per_epoch: int
    num_validation: int
    """Clips that choose the best epoch."""
    has_val_rows: bool
    """The split itself names those clips."""
    num_synthetic: int
    """Samples of the plan that are blended of two clips."""
    num_shards: int
    class_counts: tuple[int, ...]
    """Samples of each class in an epoch."""
    device: torch.device
    num_processes: int


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """An option, when it does nothing, and why."""

    key: str
    holds: Callable[[Setting], bool]
    reason: str


def idle_options(setting: Setting) -> list[str]:
    """A sentence for each option that was changed from its default and does nothing, or less than it says."""
    default = resolve(command_line={}, file={})
    sentences = [
        f"--{conflict.key.replace('_', '-')} does nothing here: {conflict.reason}"
        for conflict in CONFLICTS
        if getattr(setting.config, conflict.key) != getattr(default, conflict.key) and conflict.holds(setting)
    ]
    return [*sentences, *_cut_short(setting)]


def _cut_short(setting: Setting) -> list[str]:
    """Options that do less, or cost more, than they seem to."""
    config, schedule = setting.config, setting.schedule
    sentences = []
    if round(config.warmup_epochs * setting.steps_per_epoch) > schedule.warmup_steps:
        sentences.append(
            f"warm-up: {schedule.warmup_steps} of {counted(schedule.num_steps, 'step')}, a third of the run; "
            f"--warmup-epochs {config.warmup_epochs:g} would be {round(config.warmup_epochs * setting.steps_per_epoch)}"
        )
    parts = config.grad_accum_steps * setting.num_processes
    if config.grad_accum_steps > 1 and 2 * parts > config.batch_size + 1:
        sentences.append(
            f"--grad-accum-steps cuts a batch of {config.batch_size} into {counted(parts, 'part')}, of a pair of "
            "clips at least: some only repeat others, with weight 0; fewer parts are faster"
        )
    if config.amp == "fp16" and setting.device.type == "cpu":
        sentences.append("--amp fp16 on a CPU saves no time: it is for GPUs; leave --amp out")
    if config.device == "auto" and torch.backends.mps.is_available():
        sentences.append("this Mac's GPU lies idle: --device mps trains on it")
    if config.amp == "bf16" and setting.device.type == "cuda" and not _has_bf16():
        sentences.append("--amp bf16 is emulated on this GPU, and slow: it has fp16")
    return sentences


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _mixes(setting: Setting) -> bool:
    """Whether any two clips are mixed: those of a pair in a batch are."""
    config = setting.config
    return (config.mixup > 0 or config.cutmix > 0) and config.mixup_prob > 0 and config.batch_size > 1


def _augments(setting: Setting) -> bool:
    return setting.config.aug_strength > 0 or any(class_strengths(setting.config).values())


def _is_balanced(setting: Setting) -> bool:
    return len(set(np.array(setting.class_counts)[np.array(setting.class_counts) > 0].tolist())) < 2


def _has_directional_module(setting: Setting) -> bool:
    return "directional" in (setting.config.smif, setting.config.lmi)


CONFLICTS = (
    *(
        Conflict(
            key=key,
            holds=lambda setting: isinstance(place_of_shards(setting.config), Path),
            reason="--shards is a folder, of which no copies are made",
        )
        for key in ("shard_cache", "shard_cache_gb")
    ),
    Conflict(
        key="shuffle_shards",
        holds=lambda setting: setting.config.shuffle_shards >= setting.num_shards,
        reason="there are no more shards than that, and all are shuffled together",
    ),
    Conflict(
        key="val_fraction",
        holds=lambda setting: setting.has_val_rows,
        reason="the split has val clips of its own, which choose the best epoch",
    ),
    Conflict(
        key="patience",
        holds=lambda setting: not setting.num_validation,
        reason="there are no validation clips (--val-fraction) by which an epoch could be better",
    ),
    Conflict(
        key="patience",
        holds=lambda setting: setting.num_validation > 0 and setting.config.patience >= setting.config.epochs,
        reason="the run has no more --epochs than that",
    ),
    Conflict(
        key="loss",
        holds=lambda setting: setting.config.loss == "class-balanced" and _is_balanced(setting),
        reason="an epoch has as many clips of each class (--plan), so that class-balanced is cross-entropy",
    ),
    Conflict(
        key="loss",
        holds=lambda setting: (
            setting.config.loss == "class-balanced"
            and not setting.config.class_balanced_beta
            and not _is_balanced(setting)
        ),
        reason="with --class-balanced-beta 0 class-balanced is cross-entropy",
    ),
    Conflict(
        key="loss",
        holds=lambda setting: setting.config.loss == "focal" and not setting.config.focal_gamma,
        reason="with --focal-gamma 0 focal is cross-entropy",
    ),
    Conflict(
        key="class_balanced_beta",
        holds=lambda setting: setting.config.loss != "class-balanced" or _is_balanced(setting),
        reason="it is for --loss class-balanced where classes have unequal numbers of clips",
    ),
    Conflict(
        key="focal_gamma",
        holds=lambda setting: setting.config.loss != "focal",
        reason="it is for --loss focal",
    ),
    Conflict(
        key="mixup",
        holds=lambda setting: not setting.config.mixup_prob,
        reason="--mixup-prob is 0",
    ),
    Conflict(
        key="cutmix",
        holds=lambda setting: not setting.config.mixup_prob,
        reason="--mixup-prob is 0",
    ),
    Conflict(
        key="mixup",
        holds=lambda setting: setting.config.cutmix > 0 and setting.config.mixup_switch_prob == 1,
        reason="--mixup-switch-prob 1 takes CutMix for every clip",
    ),
    Conflict(
        key="cutmix",
        holds=lambda setting: setting.config.mixup > 0 and setting.config.mixup_switch_prob == 0,
        reason="--mixup-switch-prob 0 takes MixUp for every clip",
    ),
    Conflict(
        key="mixup_prob",
        holds=lambda setting: not (setting.config.mixup or setting.config.cutmix),
        reason="--mixup and --cutmix are off",
    ),
    *(
        Conflict(key=key, holds=lambda setting: setting.config.batch_size == 1, reason="--batch-size 1 has no pairs")
        for key in ("mixup", "cutmix")
    ),
    Conflict(
        key="mixup_switch_prob",
        holds=lambda setting: not (setting.config.mixup and setting.config.cutmix and setting.config.mixup_prob),
        reason="it chooses between --mixup and --cutmix, which are not both on",
    ),
    Conflict(
        key="mix_synthetic",
        holds=lambda setting: not _mixes(setting),
        reason="--mixup and --cutmix mix nothing",
    ),
    Conflict(
        key="mix_synthetic",
        holds=lambda setting: _mixes(setting) and not setting.num_synthetic,
        reason="there are no synthetic clips (--plan)",
    ),
    Conflict(
        key="model_ema_decay",
        holds=lambda setting: not setting.config.model_ema,
        reason="--model-ema is off",
    ),
    *(
        Conflict(key=key, holds=lambda setting: not _augments(setting), reason="--aug-strength is 0")
        for key in ("scale", "ratio", "hflip")
    ),
    Conflict(
        key="drop_path",
        holds=lambda setting: setting.model.depth == 1,
        reason="the first block skips nothing, and there is no other (--depth)",
    ),
    Conflict(
        key="drop_path",
        holds=lambda setting: setting.config.train != "all",
        reason="the ViT does not train (--train), and loses nothing by chance",
    ),
    *(
        Conflict(
            key=key,
            holds=lambda setting: setting.config.train == "head",
            reason="no block trains (--train head)",
        )
        for key in ("layer_decay", "checkpoint_blocks")
    ),
    Conflict(
        key="layer_decay",
        holds=lambda setting: setting.config.train == "motion" and not setting.config.init,
        reason="nothing of the ViT trains (--train motion without --init)",
    ),
    Conflict(
        key="activation",
        holds=lambda setting: not setting.config.init,
        reason="it is for the weights of --init",
    ),
    Conflict(
        key="lmi_every",
        holds=lambda setting: setting.config.lmi == "none",
        reason="there is no LMI (--lmi none)",
    ),
    Conflict(
        key="motion_init",
        holds=lambda setting: not _has_directional_module(setting),
        reason="it is for directional modules (--smif, --lmi)",
    ),
    *(
        Conflict(key=key, holds=lambda setting: setting.model.num_frames == 1, reason="clips of one frame do not move")
        for key in ("smif", "lmi", "temporal_pool")
    ),
    Conflict(
        key="min_lr",
        holds=lambda setting: setting.config.min_lr > setting.config.lr,
        reason="it is above --lr, which so stays the same to the end",
    ),
    Conflict(
        key="warmup_epochs",
        holds=lambda setting: not setting.config.lr,
        reason="--lr is 0",
    ),
    Conflict(
        key="log_every",
        holds=lambda setting: setting.config.log_every > setting.schedule.num_steps,
        reason="the run has fewer steps, so that the tracker shows epochs alone",
    ),
    Conflict(key="log_every", holds=lambda setting: setting.config.tracker == "none", reason="--tracker is none"),
)
