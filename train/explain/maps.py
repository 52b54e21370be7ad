"""What a model looks at in one clip: attention rollout, gradient-weighted attention, motion, weights over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.errors import DataError
from train.data.views import evaluation_views
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.trained.clips import NO_NUMBERS
from train.trained.model import LoadedModel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Maps of one clip for one class, of g patches on a side. No value is negative; 0 is where nothing is seen."""

    probabilities: npt.NDArray[np.float64]
    """P(class | clip), (classes,)."""
    label: int
    """The class that ``gradient`` speaks of."""
    rollout: Floats
    """Attention rollout, float32 (T, g, g)."""
    gradient: Floats
    """Attention weighted by its gradient, float32 (T, g, g)."""
    motion: Floats | None
    """Size of the motion at each pixel of the model's picture, float32 (T, S, S); None without SMIF."""
    received: Floats | None
    """What LMI takes from each frame (directional) or lets through of it (classic), float32 (LMIs, T) in [0, 1]."""
    blocks: tuple[int, ...]
    """The blocks, from 1, that have an LMI: one for each row of ``received``."""
    looks: Floats | None
    """Row t says where frame t looks, the mean over LMIs, float32 (T, T); None where the LMI has no such thing."""


def explain_clip(loaded: LoadedModel, frames: Tensor, *, label: int | None = None) -> Explanation:
    """Explain the answer for one clip: frames uint8 (T, H, W, 3) as stored; the model is shown the centre crop.

    label: the class to explain, None for the most probable one. Raises DataError where the answer is no number.
    """
    video = evaluation_views(frames[None].to(loaded.device), image_size=loaded.model.config.image_size)[:, 0]
    explanation = explain_video(loaded.model, video, label=label)
    if not np.isfinite(explanation.probabilities).all():
        raise DataError(NO_NUMBERS)
    return explanation


def explain_video(model: LSViT, video: Tensor, *, label: int | None = None) -> Explanation:
    """The same for the model's own input: video float32 (1, T, 3, S, S) in [0, 1]."""
    with torch.enable_grad():
        trace = model.trace(video)
        probabilities = trace.logits[0].detach().cpu().double().softmax(dim=0).numpy()
        chosen = int(probabilities.argmax()) if label is None else label
        gradients = torch.autograd.grad(trace.logits[0, chosen], trace.attentions)
    attentions = [attention[0].detach() for attention in trace.attentions]  # each (T, heads, N, N)
    relevance = [
        (attention * gradient[0]).clamp(min=0) for attention, gradient in zip(attentions, gradients, strict=True)
    ]
    received, looks = _over_time(trace.lmi_weights)
    return Explanation(
        probabilities=probabilities,
        label=chosen,
        rollout=_patches(attention_rollout(attentions), model.config),
        gradient=_patches(gradient_rollout(relevance), model.config),
        motion=None if trace.motion_map is None else _array(trace.motion_map[0].detach().abs().mean(dim=1)),
        received=received,
        blocks=tuple(block + 1 for block in model.config.lmi_blocks),
        looks=looks,
    )


def attention_rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020): the product over blocks of (A + I) / 2, A the mean over heads.

    attentions: for each block (T, heads, N, N) with rows summing to 1. Returns (T, N, N), rows summing to 1: row i says
    which tokens of the input token i is made of. Each frame is taken by itself, without what LMI carries between them.
    """
    mixing = _identity(attentions[0])
    for attention in attentions:
        mixing = (attention.mean(dim=1) + _identity(attention)) / 2 @ mixing
    return mixing


def gradient_rollout(relevance: Sequence[Tensor]) -> Tensor:
    """Relevance of the tokens for one class (Chefer, Gur and Wolf 2021): R <- R + A R, from R = I, less the I.

    relevance: for each block the positive part of attention times its gradient, (T, heads, N, N); A is its mean over
    heads. Returns (T, N, N). Gradients reach each frame through LMI and pooling, so frames that matter more weigh more.
    """
    total = _identity(relevance[0])
    for each in relevance:
        total = total + each.mean(dim=1) @ total
    return total - _identity(relevance[0])


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device).expand(like.shape[0], -1, -1)


def _patches(rows: Tensor, config: ModelConfig) -> Floats:
    """Token by token (T, N, N) -> what the frame's answer is made of, (T, g, g): the row of CLS, or of all patches."""
    first = config.num_prefix_tokens
    answer = rows[:, 0] if config.spatial_pool == "cls" else rows[:, first:].mean(dim=1)
    side = config.image_size // config.patch_size
    return _array(torch.unflatten(answer[:, first:], 1, (side, side)))


def _over_time(weights: Sequence[Tensor] | None) -> tuple[Floats | None, Floats | None]:
    if weights is None:
        return None, None
    stacked = torch.stack([each[0].detach() for each in weights])  # (LMIs, T) or (LMIs, T, T)
    if stacked.ndim == 2:
        return _array(stacked), None
    return _array(stacked.mean(dim=1)), _array(stacked.mean(dim=0))


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.float().cpu().numpy()
    return array
