"""The model at the start of a run: from a seed alone, or from the weights of --init, which settle its shape."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import cast

from shared.errors import DataError
from train.data.seeds import Purpose, torch_seed
from train.model.config import (
    PRESETS,
    BackboneShape,
    ModelConfig,
    MotionInit,
    PerColour,
    SpatialPool,
    TemporalPool,
    Variant,
    make_config,
    middle_blocks,
)
from train.model.lsvit import LSViT
from train.model.weights.families import Weights, load_weights, own_weights
from train.model.weights.pretrained import LoadReport, copy_weights
from train.model.weights.unstated import HALF, IMAGENET
from train.run.checkpoint import Checkpoint
from train.run.config.fields import RunConfig
from train.run.data import RunData

_LMI_KEY = re.compile(r"backbone\.blocks\.(\d+)\.lmim\.(?:delta|position)")
_LEAST_STD = 0.01  # a data set of flat pictures must not blow the input up


def init_weights(config: RunConfig, found: Checkpoint | None) -> Weights | None:
    """What --init gives a run, None without it.

    A run that continues has kept what it needs to know of them in its checkpoint: the file may be gone. Raises
    DataError where the weights cannot be loaded exactly.
    """
    if not config.init:
        return None
    if found is not None:
        facts = found.facts
        return own_weights(
            config.init, {}, facts.model_config, class_names=facts.class_names, trained_on=facts.trained_on
        )
    return load_weights(config.init, num_heads=config.num_heads, activation=config.activation, runs=Path(config.runs))


def with_shape_of(config: RunConfig, weights: Weights | None) -> RunConfig:
    """The config with the shape of the weights, and their pool where none is asked for.

    Raises DataError where a preset or size that is given contradicts them.
    """
    if weights is None:
        return config
    shape, preset = weights.shape, PRESETS.get(config.preset)
    for name in ("embed_dim", "depth", "num_heads", "patch_size"):
        given = getattr(config, name) or (getattr(preset, name) if preset and name != "patch_size" else 0)
        if given and given != getattr(shape, name):
            flag = f"--{name.replace('_', '-')}" if getattr(config, name) else f"--preset {config.preset}"
            raise DataError(
                f"{flag} does not fit the weights of {weights.source}: their {name} is {getattr(shape, name)}, not "
                f"{given}; leave it out, then the shape comes from the weights"
            )
    return dataclasses.replace(
        config,
        embed_dim=shape.embed_dim,
        depth=shape.depth,
        num_heads=shape.num_heads,
        patch_size=shape.patch_size,
        activation=shape.activation,
        spatial_pool=weights.pool if config.spatial_pool == "auto" else config.spatial_pool,
    )


def motion_of(weights: Weights) -> tuple[Variant, Variant, int]:
    """Which variants of SMIF and LMI the weights were trained with, and the N of one LMI in N blocks."""
    names = weights.tensors.keys()
    smif: Variant = "classic" if "smif.alpha" in names else "directional" if "smif.weight" in names else "none"
    found = [_LMI_KEY.fullmatch(name) for name in names]
    blocks = sorted(int(match[1]) for match in found if match)
    if not blocks:
        return smif, "none", 1
    lmi: Variant = "classic" if f"backbone.blocks.{blocks[0]}.lmim.delta" in names else "directional"
    depth = weights.shape.depth
    fitting = (every for every in range(1, depth + 1) if list(middle_blocks(depth, every=every)) == blocks)
    return smif, lmi, next(fitting, 1)


def temporal_pool_of(weights: Weights) -> TemporalPool:
    """How the frames of a clip become one feature in the model that the weights are of."""
    names = weights.tensors.keys()
    if any(name.startswith("temporal_pool.lmim.") for name in names):
        return "directional"
    return "attention" if any(name.startswith("temporal_pool.") for name in names) else "mean"


def model_config(config: RunConfig, data: RunData, weights: Weights | None = None) -> ModelConfig:
    """The model's config."""
    mean, std = _normalisation(config, data, weights)
    return make_config(
        _preset_shape(config) if weights is None else weights.shape,
        num_classes=len(data.dataset.class_names),
        image_size=config.img_size,
        num_frames=data.dataset.num_segments,
        drop_path=config.drop_path if config.train == "all" else 0.0,
        smif=cast(Variant, config.smif),
        lmi=cast(Variant, config.lmi),
        lmi_every=config.lmi_every,
        temporal_pool=cast(TemporalPool, config.temporal_pool),
        spatial_pool=cast(SpatialPool, config.spatial_pool),
        motion_init=_motion_init(config),
        mean=mean,
        std=(max(std[0], _LEAST_STD), max(std[1], _LEAST_STD), max(std[2], _LEAST_STD)),
    )


def _preset_shape(config: RunConfig) -> BackboneShape:
    preset = PRESETS[config.preset]
    return dataclasses.replace(
        preset,
        embed_dim=config.embed_dim or preset.embed_dim,
        depth=config.depth or preset.depth,
        num_heads=config.num_heads or preset.num_heads,
        patch_size=config.patch_size or preset.patch_size,
    )


def _motion_init(config: RunConfig) -> MotionInit:
    if config.motion_init == "auto":
        return "identity" if config.init else "active"
    return cast(MotionInit, config.motion_init)


def _normalisation(config: RunConfig, data: RunData, weights: Weights | None) -> tuple[PerColour, PerColour]:
    """Mean and standard deviation of the input."""
    if config.normalisation == "imagenet":
        return IMAGENET
    if config.normalisation == "half":
        return HALF
    if config.normalisation == "auto" and weights is not None:
        return weights.mean, weights.std
    return data.rgb.mean, data.rgb.std


def make_model(config: RunConfig, data: RunData, weights: Weights | None = None) -> tuple[LSViT, LoadReport | None]:
    """The model at its start, on the host, and what became of the weights of --init, if there are any."""
    model = LSViT(model_config(config, data, weights), seed=torch_seed(Purpose.WEIGHTS, config.seed))
    if weights is None:
        return model, None
    report = copy_weights(
        model,
        weights,
        class_names=data.dataset.class_names,
        renew_motion=config.motion_init != "auto",  # what is given is obeyed
    )
    return model, report
