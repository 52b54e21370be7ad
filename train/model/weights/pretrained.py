"""Copies weights into an LS-ViT by name and says what became of each; interpolates positions to the model's size."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.errors import DataError
from train.model.config import BackboneShape, PerColour
from train.model.lmi import DirectionalLMI
from train.model.lsvit import LSViT
from train.model.smif import DirectionalSMIF
from train.model.weights.families import Weights

# How an error calls what differs between weights and model.
_WORDS = {"embed_dim": "width", "depth": "number of blocks", "num_heads": "number of heads", "patch_size": "patch size"}


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A tensor, or a module, that was there but could not be used."""

    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of the weights. Keys are the model's."""

    source: str
    loaded: tuple[str, ...]
    """Copied as they were."""
    interpolated: tuple[str, ...]
    """Copied after a change of size."""
    missing: tuple[str, ...]
    """The model's keys that got nothing, skipped ones among them."""
    unexpected: tuple[str, ...]
    """The file's keys that the model has no place for: of motion modules, pools and head."""
    skipped: tuple[Skipped, ...]
    mean: PerColour
    std: PerColour
    notes: tuple[str, ...] = ()
    """What was left out, and what was settled otherwise than by the file."""

    def lines(self) -> list[str]:
        """The report as a few lines of text."""
        total = len(self.loaded) + len(self.interpolated)
        lines = [f"loaded {total} tensors from {self.source}", *self.notes]
        if self.interpolated:
            lines.append(f"interpolated to this model's size: {', '.join(self.interpolated)}")
        lines += [f"skipped {skipped.key}: {skipped.reason}" for skipped in self.skipped]
        lines += _summary("new, not in the file", self.missing) + _summary("in the file, not used", self.unexpected)
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        lines.append(f"the weights expect mean ({mean}) and std ({std})")
        return lines


def copy_weights(
    model: LSViT, weights: Weights, *, class_names: Collection[str] = (), renew_motion: bool = False
) -> LoadReport:
    """Copy weights into ``model``, in place.

    Position embeddings are interpolated where the number of patches or frames differs. A head of other classes than
    ``class_names``, or of another number, is left out. What the source has no weights for keeps the model's own start:
    where its motion_init is the identity, a model with the weights of a ViT starts as that ViT. Of a directional module
    all is copied or nothing, and with renew_motion nothing. Raises DataError where the backbone is of another shape
    than the model's.
    """
    _check_shape(model.config, weights)
    modules, state = _directional_modules(model), model.state_dict()
    renewed = weights.tensors.keys() & set().union(*modules.values()) if renew_motion else set()
    offered = {key: weights.tensors[key] for key in state if key in weights.tensors and key not in renewed}
    others = bool(class_names and weights.class_names) and tuple(class_names) != weights.class_names
    fitted, skipped = _fitted(
        offered, state, num_prefix_tokens=model.config.num_prefix_tokens, has_other_classes=others
    )
    copied, halves = _whole_modules(fitted, modules)
    model.load_state_dict(copied, strict=False)
    return LoadReport(
        source=weights.source,
        loaded=tuple(key for key, tensor in copied.items() if tensor is weights.tensors[key]),
        interpolated=tuple(key for key, tensor in copied.items() if tensor is not weights.tensors[key]),
        missing=tuple(key for key in state if key not in copied),
        unexpected=tuple(key for key in weights.tensors if key not in state),
        skipped=(*skipped, *halves),
        mean=weights.mean,
        std=weights.std,
        notes=(*weights.notes, *_renewal(renewed, model.config.motion_init)),
    )


def _renewal(renewed: Collection[str], start: str) -> list[str]:
    return (
        [f"directional modules start anew, {start}: {len(renewed)} tensors of theirs are not used"] if renewed else []
    )


def _check_shape(shape: BackboneShape, weights: Weights) -> None:
    """Raise DataError that names what differs between a model and the backbone of the weights."""
    names = [field.name for field in fields(BackboneShape)]
    pairs = [(name, getattr(weights.shape, name), getattr(shape, name)) for name in names]
    wrong = [
        f"{_WORDS.get(name, name)} {there}, this model's is {here}" for name, there, here in pairs if there != here
    ]
    if wrong:
        raise DataError(
            f"the weights of {weights.source} do not fit: {'; '.join(wrong)}; leave --preset and sizes out, then the "
            "shape comes from the file, or choose another --init"
        )


def _fitted(
    offered: Mapping[str, Tensor], state: Mapping[str, Tensor], *, num_prefix_tokens: int, has_other_classes: bool
) -> tuple[dict[str, Tensor], list[Skipped]]:
    """Of the tensors ``offered`` to a model's ``state`` those that can be copied, and why the others cannot."""
    fitted, skipped = dict[str, Tensor](), []
    for key, tensor in offered.items():
        fitting = _fitting(key, tensor, state[key], num_prefix_tokens=num_prefix_tokens)
        if key.startswith("head.") and has_other_classes:
            skipped.append(Skipped(key=key, reason="the classes in the file are others"))
        elif fitting is None:
            skipped.append(Skipped(key=key, reason=_reason(key, tensor, state[key])))
        else:
            fitted[key] = fitting
    return fitted, skipped


def _whole_modules(
    fitted: Mapping[str, Tensor], modules: Mapping[str, set[str]]
) -> tuple[dict[str, Tensor], list[Skipped]]:
    """``fitted`` without the modules of which only some tensors are there, and these modules."""
    halves = {name: keys for name, keys in modules.items() if 0 < len(keys & fitted.keys()) < len(keys)}
    skipped = [
        Skipped(key=name, reason=f"only {len(keys & fitted.keys())} of its {len(keys)} tensors are there")
        for name, keys in halves.items()
    ]
    left_out = set().union(*halves.values())
    return {key: tensor for key, tensor in fitted.items() if key not in left_out}, skipped


def _fitting(key: str, tensor: Tensor, target: Tensor, *, num_prefix_tokens: int) -> Tensor | None:
    """``tensor`` itself where it has the size of ``target``, interpolated where it is one of positions, else None."""
    if tensor.shape == target.shape:
        return tensor
    if key == "backbone.pos_embed":
        return _resized_positions(tensor, target, num_prefix_tokens=num_prefix_tokens)
    if key.endswith(".lmim.position") and tensor.ndim == 3 and tensor.shape[0] == target.shape[0]:
        return resized_temporal_positions(tensor, num_frames=target.shape[1])
    return None


def _resized_positions(tensor: Tensor, target: Tensor, *, num_prefix_tokens: int) -> Tensor:
    """Bicubic interpolation of the patch grid, antialiased; the positions of CLS and registers are kept.

    tensor (1, p + G², D), target (1, p + S², D).
    """
    prefix, patches = tensor[:, :num_prefix_tokens], tensor[:, num_prefix_tokens:]
    side, new_side = (math.isqrt(each.shape[1] - num_prefix_tokens) for each in (tensor, target))
    grid = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, G, G)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)


def resized_temporal_positions(position: Tensor, *, num_frames: int) -> Tensor:
    """LMI's temporal positions for another number of frames: (heads, T, T) -> (heads, num_frames, num_frames).

    What a head thinks of the frame s - t ahead is kept for each offset s - t, so that the one that looks at the next
    frame still does; along t it is interpolated linearly. Beyond the offsets that there were, the nearest is taken.
    """
    largest = position.shape[1] - 1
    resized = position.new_empty(position.shape[0], num_frames, num_frames)
    for offset in range(1 - num_frames, num_frames):
        known = position.diagonal(max(-largest, min(offset, largest)), dim1=1, dim2=2)  # (heads, T - |offset|)
        place = resized.diagonal(offset, dim1=1, dim2=2)
        place.copy_(F.interpolate(known[None], size=place.shape[1], mode="linear", align_corners=True)[0])
    return resized


def _reason(key: str, tensor: Tensor, target: Tensor) -> str:
    if key.startswith("head.") and tensor.shape[1:] == target.shape[1:]:
        return f"{tensor.shape[0]} classes in the file, {target.shape[0]} here"
    return f"shape {tuple(tensor.shape)} in the file, {tuple(target.shape)} here"


def _directional_modules(model: LSViT) -> dict[str, set[str]]:
    """The directional modules by name, and the names of what each learns."""
    return {
        name: {f"{name}.{key}" for key in module.state_dict()}
        for name, module in model.named_modules()
        if isinstance(module, DirectionalSMIF | DirectionalLMI)
    }


def _summary(title: str, keys: tuple[str, ...]) -> list[str]:
    if not keys:
        return []
    shown = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
    return [f"{title}: {len(keys)} ({shown})"]
