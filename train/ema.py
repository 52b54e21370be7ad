"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def make_average(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode that takes no gradients: the average before the first step."""
    average = copy.deepcopy(model).eval()
    return average.requires_grad_(False)


def update_average(average: nn.Module, model: nn.Module, *, decay: float, step: int) -> None:
    """average <- d·average + (1 - d)·model with d = min(decay, (1 + step) / (10 + step)), so that it warms
    up.

    step: 1 after the first optimiser step. Buffers and integer tensors are copied as they are.
    """
    effective = min(decay, (1 + step) / (10 + step))
    averages, values = dict(average.named_parameters()), dict(model.named_parameters())
    with torch.no_grad():
        torch._foreach_lerp_([averages[name] for name in values], list(values.values()), 1 - effective)
        for own, other in zip(average.buffers(), model.buffers(), strict=True):
            own.copy_(other)
