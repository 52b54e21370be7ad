"""Loads pretrained weights into LS-ViT: timm's ViT state dicts and LS-ViT's own, from disk or the Hugging Face hub."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.checks import parse_json
from shared.errors import DataError
from train.model.config import PerColour
from train.model.lmi import DirectionalLMI
from train.model.lsvit import LSViT
from train.model.smif import DirectionalSMIF
from train.model.weight_files import WeightFile, find_weights, read_tensors

_WRAPPERS = ("_orig_mod.", "module.", "model.")  # torch.compile, DistributedDataParallel, Lightning
_OWN_ROOTS = ("smif.", "backbone.", "head.", "spatial_pool.", "temporal_pool.")


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A tensor that was there but could not be used."""

    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of the weights, by the model's keys."""

    source: str
    loaded: tuple[str, ...]
    """Copied as they were."""
    interpolated: tuple[str, ...]
    """Copied after a change of size."""
    missing: tuple[str, ...]
    """What got nothing, the skipped ones among them."""
    unexpected: tuple[str, ...]
    """The source's keys that the model has no place for."""
    skipped: tuple[Skipped, ...]
    mean: PerColour | None
    """Of the pixels in [0, 1], as the source says; None where it does not."""
    std: PerColour | None

    def lines(self) -> list[str]:
        """The report as a few lines of text."""
        total = len(self.loaded) + len(self.interpolated)
        lines = [f"loaded {total} tensors from {self.source}"]
        if self.interpolated:
            lines.append(f"interpolated to this model's size: {', '.join(self.interpolated)}")
        lines += [f"skipped {skipped.key}: {skipped.reason}" for skipped in self.skipped]
        lines += _summary("new, not in the file", self.missing) + _summary("in the file, not used", self.unexpected)
        if self.mean is not None and self.std is not None:
            lines.append(f"the weights expect mean {self.mean} and std {self.std}")
        return lines


def load_pretrained(model: LSViT, source: str, *, cache_dir: Path | None = None) -> LoadReport:
    """Copy the weights of ``source`` into ``model``, in place, by name and shape.

    source: a `.safetensors`, `.pth`, `.pt` or `.bin` file, or `hf:REPO` with an optional `@REVISION`. Position
    embeddings are interpolated where the number of patches or frames differs; a head of another number of classes is
    left out. Directional modules that the source has no weights for become the identity: the model starts as the ViT.
    Raises DataError where the source cannot be read or none of its transformer blocks fits.
    """
    found = find_weights(source, cache_dir=cache_dir)
    tensors = {_model_key(key): tensor for key, tensor in read_tensors(found.path).items()}
    state = model.state_dict()
    loaded, interpolated, skipped = [], [], []
    accepted: dict[str, Tensor] = {}
    for key, target in state.items():
        if key not in tensors:
            continue
        if tensors[key].shape == target.shape:
            accepted[key] = tensors[key]
            loaded.append(key)
        elif (resized := _resized(key, tensors[key], target)) is not None:
            accepted[key] = resized
            interpolated.append(key)
        else:
            skipped.append(Skipped(key=key, reason=_reason(key, tensors[key], target)))
    if not any(key.startswith("backbone.blocks.") for key in accepted):
        raise DataError(_nothing_fits(source, tensors, state))
    model.load_state_dict(accepted, strict=False)
    _quieten_new_motion(model, accepted)
    mean, std = _normalisation(found)
    return LoadReport(
        source=source,
        loaded=tuple(loaded),
        interpolated=tuple(interpolated),
        missing=tuple(key for key in state if key not in accepted),
        unexpected=tuple(key for key in tensors if key not in state),
        skipped=tuple(skipped),
        mean=mean,
        std=std,
    )


def _model_key(key: str) -> str:
    """Name of the file's tensor in this model: wrappers off, timm's keys below `backbone`."""
    while key.startswith(_WRAPPERS):
        key = key.removeprefix(next(wrapper for wrapper in _WRAPPERS if key.startswith(wrapper)))
    if key.startswith("backbone.head."):
        return key.removeprefix("backbone.")
    return key if key.startswith(_OWN_ROOTS) else f"backbone.{key}"


def _resized(key: str, tensor: Tensor, target: Tensor) -> Tensor | None:
    """``tensor`` in the size of ``target`` where it is a position embedding that can be interpolated, else None."""
    if key == "backbone.pos_embed" and tensor.ndim == 3 and tensor.shape[-1] == target.shape[-1]:
        return _resized_positions(tensor, target)
    if key.endswith(".lmim.position") and tensor.ndim == 3 and tensor.shape[0] == target.shape[0]:
        size = (target.shape[1], target.shape[2])
        return F.interpolate(tensor.float()[None], size=size, mode="bilinear", align_corners=True)[0]
    return None


def _resized_positions(tensor: Tensor, target: Tensor) -> Tensor | None:
    """Bicubic interpolation of the patch grid, antialiased; the CLS token's position is kept, or zero.

    tensor (1, G² + 1 or G², D), target (1, S² + 1, D). None where the patches form no square.
    """
    num_positions = tensor.shape[1]
    has_class = math.isqrt(num_positions) ** 2 != num_positions
    side, new_side = math.isqrt(num_positions - has_class), math.isqrt(target.shape[1] - 1)
    if side * side != num_positions - has_class:
        return None
    tensor = tensor.float()
    of_class = tensor[:, :1] if has_class else torch.zeros_like(tensor[:, :1])
    grid = tensor[:, int(has_class) :].reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, G, G)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([of_class, grid.flatten(2).transpose(1, 2)], dim=1)


def _reason(key: str, tensor: Tensor, target: Tensor) -> str:
    if key.startswith("head.") and tensor.shape[1:] == target.shape[1:]:
        return f"{tensor.shape[0]} classes in the file, {target.shape[0]} here"
    return f"shape {tuple(tensor.shape)} in the file, {tuple(target.shape)} here"


def _nothing_fits(source: str, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    key = "backbone.blocks.0.attn.qkv.weight"
    if key in tensors:
        here, there = state[key].shape[1], tensors[key].shape[-1]
        return f"no weights of {source} fit: width {there}, this model's is {here}; choose another --preset or --init"
    some = ", ".join(name.removeprefix("backbone.") for name in list(tensors)[:3])
    return (
        f"no weights of {source} fit: it holds {some}..., but a ViT of timm holds blocks.0.attn.qkv.weight; "
        "choose another --init"
    )


def _quieten_new_motion(model: LSViT, accepted: Mapping[str, Tensor]) -> None:
    """Directional modules without loaded weights become the identity."""
    for name, module in model.named_modules():
        if not isinstance(module, DirectionalSMIF | DirectionalLMI):
            continue
        if not all(f"{name}.{key}" in accepted for key in module.state_dict()):
            module.initialise("identity")


def _normalisation(found: WeightFile) -> tuple[PerColour | None, PerColour | None]:
    """Mean and standard deviation from timm's `config.json` beside the weights, where there is one."""
    if found.config is None:
        return None, None
    try:
        config = parse_json(found.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {found.config}: {error}; remove it or fetch it again") from error
    if not isinstance(config, dict):
        return None, None
    inner = config.get("pretrained_cfg")
    settings = inner if isinstance(inner, dict) else config
    mean, std = _per_colour(settings.get("mean")), _per_colour(settings.get("std"))
    return (mean, std) if mean and std else (None, None)


def _per_colour(value: object) -> PerColour | None:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(part, int | float) for part in value):
        return None
    return (float(value[0]), float(value[1]), float(value[2]))


def _summary(title: str, keys: tuple[str, ...]) -> list[str]:
    if not keys:
        return []
    shown = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
    return [f"{title}: {len(keys)} ({shown})"]
