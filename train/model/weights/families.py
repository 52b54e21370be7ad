"""Weights of timm's ViT families in this model's names and shape: exactly, or refused with what stands against it.

What a family has beside a plain ViT is either folded into the plain weights (LayerScale, absent biases) or a field of
`BackboneShape` (registers, a norm in front, rotary positions). Which weights load and which do not: docs/model.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from shared.checks import from_builtins
from shared.errors import DataError, UsageError
from train.model.config import Activation, BackboneShape, ModelConfig, PerColour, SpatialPool
from train.model.weights.files import Stated, StoredWeights, find_weights, read_found, read_stated
from train.model.weights.misfits import NUM_SHOWN, check_fit, refused, timm_names
from train.model.weights.trained_on import UNKNOWN, TrainedOn
from train.model.weights.unstated import check_activation, usual_activation, usual_heads, usual_normalisation

Tensors = dict[str, Tensor]

_WRAPPERS = ("_orig_mod.", "module.", "model.")  # torch.compile, DistributedDataParallel, Lightning
_OWN_ROOTS = ("smif.", "backbone.", "head.", "spatial_pool.", "temporal_pool.")
_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")
_LEFT_OUT = ("backbone.mask_token", "backbone.dist_token", "backbone.head_dist.weight", "backbone.head_dist.bias")
_CLIP_EPSILON = 1e-5  # of CLIP's and DINOv3's norms


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Weights in this model's names, float32 on the CPU, and everything that they settle."""

    source: str
    tensors: Mapping[str, Tensor]
    shape: BackboneShape
    pool: SpatialPool
    """How the model that they come from makes one feature of a frame's tokens."""
    mean: PerColour
    std: PerColour
    class_names: tuple[str, ...] = ()
    """Classes of the head, where the file says so."""
    image_size: int | None = None
    """Pixels of a side that the model was trained with, and its frames: of an LS-ViT, else None."""
    num_frames: int | None = None
    trained_on: TrainedOn = field(default_factory=TrainedOn)
    """Clips of the data sets here; none where the weights are from elsewhere."""
    notes: tuple[str, ...] = ()
    """What was left out, and what was settled otherwise than by the file."""


def load_weights(
    source: str,
    *,
    num_heads: int = 0,
    activation: str = "auto",
    runs: Path | None = None,
    cache_dir: Path | None = None,
) -> Weights:
    """The weights that ``source`` means, see `find_weights`.

    num_heads, activation: 0 and "auto" where the file or timm's convention is to settle them. Raises DataError where
    the source cannot be read, is of no family that loads exactly, or leaves open what must then be given.
    """
    found = find_weights(source, runs=runs, cache_dir=cache_dir)
    stored = read_found(found)
    if stored.facts is not None:
        weights = _of_checkpoint(source, stored)
        check_activation(source, activation, weights.shape.activation)
        return weights
    stated = read_stated(found.config)
    check_activation(source, activation, stated.activation)
    if not stated.architecture:
        stated = replace(stated, architecture=found.path.stem)
    return convert(stored.tensors, source=source, stated=stated, num_heads=num_heads, activation=activation)


def _of_checkpoint(source: str, stored: StoredWeights) -> Weights:
    """What a checkpoint or an exported model of lsvit-train holds, checked."""
    facts = stored.facts or {}
    try:
        config = from_builtins(ModelConfig, facts["model_config"])
        class_names = from_builtins(tuple[str, ...], facts["class_names"])
        trained_on = from_builtins(TrainedOn, facts["trained_on"]) if "trained_on" in facts else UNKNOWN
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise DataError(f"{source} is damaged or of another version of lsvit-train: {error}") from error
    _check_floating(source, stored.tensors)
    tensors = {name: tensor.float() for name, tensor in stored.tensors.items()}
    weights = own_weights(source, tensors, config, class_names=class_names, trained_on=trained_on)
    check_fit(source, tensors, weights.shape)
    return weights


def own_weights(
    source: str,
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    *,
    class_names: tuple[str, ...],
    trained_on: TrainedOn,
) -> Weights:
    """The weights of an LS-ViT whose config is known: nothing is left open."""
    return Weights(
        source=source,
        tensors=tensors,
        shape=BackboneShape(**{field.name: getattr(config, field.name) for field in fields(BackboneShape)}),
        pool=config.spatial_pool,
        mean=config.mean,
        std=config.std,
        class_names=class_names,
        image_size=config.image_size,
        num_frames=config.num_frames,
        trained_on=trained_on,
    )


def convert(
    stored: Mapping[str, Tensor], *, source: str, stated: Stated, num_heads: int = 0, activation: str = "auto"
) -> Weights:
    """A state dict under timm's names, or this model's, as `load_weights` gives it."""
    _check_floating(source, stored)
    tensors = {_model_key(key): tensor.float() for key, tensor in stored.items()}
    notes = (
        [f"left out: {', '.join(timm_names(left))}"] if (left := [key for key in _LEFT_OUT if key in tensors]) else []
    )
    _without_distillation(tensors)
    shape = _shape(source, tensors)
    is_scaled = "backbone.blocks.0.ls1.gamma" in tensors or "backbone.blocks.0.gamma_1" in tensors
    if shape.positions == "rotary":
        _rename_rotary(tensors, shape)
    if shape.norm_pre:
        tensors.setdefault("backbone.patch_embed.proj.bias", torch.zeros(shape.embed_dim))
    else:  # CLIP has no attention pool: beside its norm it belongs to PE, whose rotary positions are in no file
        _rename(tensors, "backbone.attn_pool.", "spatial_pool.")
    _fold_scales(tensors)
    num_positions = _complete_positions(tensors, shape)
    check_fit(source, tensors, shape)
    if not num_heads:
        num_heads, reason = usual_heads(source, shape.embed_dim, stated)
        notes.append(reason)
    if activation == "auto":
        activation, reason = usual_activation(source, shape, stated, num_positions=num_positions)
        notes += [reason] if reason else []
    mean, std, reason = usual_normalisation(shape, stated, is_scaled=is_scaled)
    has_pool = "spatial_pool.latent" in tensors
    return Weights(
        source=source,
        tensors=tensors,
        shape=replace(shape, num_heads=num_heads, activation=cast(Activation, activation)),
        pool="cls" if shape.class_token else "latent" if has_pool else "mean",
        mean=mean,
        std=std,
        notes=(*notes, *([reason] if reason else [])),
    )


def _model_key(key: str) -> str:
    """Name of the file's tensor in this model: wrappers off, timm's keys below `backbone`."""
    while key.startswith(_WRAPPERS):
        key = key.removeprefix(next(wrapper for wrapper in _WRAPPERS if key.startswith(wrapper)))
    if key.startswith("backbone.head."):
        return key.removeprefix("backbone.")
    return key if key.startswith(_OWN_ROOTS) else f"backbone.{key}"


def _shape(source: str, tensors: Mapping[str, Tensor]) -> BackboneShape:
    """What names and sizes tell, heads and activation aside. Raises DataError where this is no ViT."""
    patches = tensors.get("backbone.patch_embed.proj.weight")
    blocks = {int(found[1]) for key in tensors if (found := _BLOCK.match(key))}
    if patches is None or not blocks:
        some = ", ".join(timm_names(list(tensors)[:3]))
        raise DataError(
            f"no weights of {source} fit: it holds {some}..., but a ViT of timm holds patch_embed.proj.weight and "
            "blocks.0.attn.qkv.weight; choose another --init"
        )
    if patches.ndim != 4 or patches.shape[1] != 3 or patches.shape[2] != patches.shape[3]:
        text = f"patch_embed.proj.weight is {tuple(patches.shape)}, expected (width, 3, patch, patch)"
        raise refused(source, [text])
    if blocks != set(range(len(blocks))):
        text = f"it holds blocks {', '.join(map(str, sorted(blocks)[:NUM_SHOWN]))}... of {max(blocks) + 1}"
        raise refused(source, [text])
    dim, patch_size = patches.shape[0], patches.shape[2]
    hidden, registers = tensors.get("backbone.blocks.0.mlp.fc1.weight"), tensors.get("backbone.reg_token")
    is_rotary = "backbone.pos_embed" not in tensors and "backbone.blocks.0.gamma_1" in tensors and registers is not None
    norm_pre = "backbone.norm_pre.weight" in tensors
    return BackboneShape(
        embed_dim=dim,
        depth=len(blocks),
        num_heads=1,
        patch_size=patch_size,
        mlp_ratio=4.0 if hidden is None or not dim or not hidden.ndim else hidden.shape[0] / dim,
        layer_norm_epsilon=_CLIP_EPSILON if norm_pre or is_rotary else 1e-6,
        class_token="backbone.cls_token" in tensors,
        num_registers=0 if registers is None or registers.ndim != 3 else registers.shape[1],
        norm_pre=norm_pre,
        positions="rotary" if is_rotary else "learned",
    )


def _without_distillation(tensors: Tensors) -> None:
    """Take out what a plain ViT has no use for, with the position of the distillation token (DeiT), the second one."""
    positions = tensors.get("backbone.pos_embed")
    if "backbone.dist_token" in tensors and positions is not None and positions.ndim == 3:
        tensors["backbone.pos_embed"] = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    for key in _LEFT_OUT:
        tensors.pop(key, None)


def _rename(tensors: Tensors, old: str, new: str) -> None:
    """Another beginning of names."""
    for key in [key for key in tensors if key.startswith(old)]:
        tensors[new + key.removeprefix(old)] = tensors.pop(key)


def _rename_rotary(tensors: Tensors, shape: BackboneShape) -> None:
    """DINOv3's names: its LayerScale is called otherwise, and of q, k and v only q and v have a bias, or none."""
    for index in range(shape.depth):
        block = f"backbone.blocks.{index}"
        for number in (1, 2):
            _rename(tensors, f"{block}.gamma_{number}", f"{block}.ls{number}.gamma")
        nothing = torch.zeros(shape.embed_dim)
        of_query, of_value = (tensors.pop(f"{block}.attn.{name}_bias", nothing) for name in ("q", "v"))
        if of_query.shape == of_value.shape == nothing.shape:
            tensors.setdefault(f"{block}.attn.qkv.bias", torch.cat([of_query, nothing, of_value]))


def _fold_scales(tensors: Tensors) -> None:
    """LayerScale (Touvron et al. 2021, "Going deeper with Image Transformers"): γ (W x + b) = (γ W) x + γ b."""
    for scale, layer in (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2")):
        for key in [key for key in tensors if key.endswith(f".{scale}")]:
            name = f"{key.removesuffix(scale)}{layer}"
            weight, bias, gamma = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias"), tensors[key]
            if weight is not None and bias is not None and bias.shape == gamma.shape == weight.shape[:1]:
                tensors[f"{name}.weight"], tensors[f"{name}.bias"] = gamma[:, None] * weight, gamma * bias
                del tensors[key]


def _complete_positions(tensors: Tensors, shape: BackboneShape) -> int:
    """Give CLS and registers a position of zero where only patches have one; the number of patches, 0 without any."""
    positions = tensors.get("backbone.pos_embed")
    if positions is None or positions.ndim != 3:
        return 0
    num_positions = positions.shape[1]
    if math.isqrt(num_positions) ** 2 != num_positions:
        return num_positions - shape.num_prefix_tokens
    nothing = positions.new_zeros(1, shape.num_prefix_tokens, positions.shape[2])
    tensors["backbone.pos_embed"] = torch.cat([nothing, positions], dim=1)
    return num_positions


def _check_floating(source: str, stored: Mapping[str, Tensor]) -> None:
    """Raise DataError for a backbone in whole numbers: quantised weights mean nothing without their scales."""
    for key, tensor in stored.items():
        if not tensor.is_floating_point() and _model_key(key).startswith("backbone."):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise refused(source, [f"{key} is {kind}, not of floating point; quantised weights lack their scales"])
