"""AdamW with layer-wise learning rates and no decay on one-dimensional parameters; warm-up and cosine."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_LAST_NORM = "backbone.norm."
_FIRST = re.compile(r"(?:^|\.)(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre|smif)(?:\.|$)")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate by step: linear warm-up to ``peak``, then a cosine to ``least`` at ``num_steps``."""

    peak: float
    least: float
    warmup_steps: int
    num_steps: int

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ...; a pure function, so nothing needs to be saved but the step."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        return self.least + (self.peak - self.least) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def layer_of(name: str, *, num_blocks: int) -> int:
    """The layer of a parameter by its name: 0 before the blocks, 1 + i in block i, num_blocks + 1 after them.

    The norm after the blocks goes with the last of them, as in timm's groups.
    """
    block = _BLOCK.search(name)
    if block is not None:
        return int(block[1]) + 1
    if name.startswith(_LAST_NORM):
        return num_blocks
    return 0 if _FIRST.search(name) else num_blocks + 1


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies: not to positions, nor to what has one axis only, as ``cls_token`` has."""
    return parameter.squeeze().ndim > 1 and not name.endswith(("pos_embed", "position", "reg_token"))


def make_optimizer(
    model: nn.Module,
    *,
    weight_decay: float,
    layer_decay: float,
    new_parameters: Collection[str] = (),
    is_of_old: bool = False,
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in groups by layer and decay.

    A parameter of layer l has the learning rate of the schedule times layer_decay ** (last layer - l); its group keeps
    this factor as ``lr_scale``. The decay is for what was pretrained: ``new_parameters``, by name, have the full rate
    wherever they stand. is_of_old: the groups of a run whose checkpoints do not name the parameters in them; there the
    last norm stood with the head.
    """
    everything = list(model.named_parameters())
    num_blocks = 1 + max((int(found[1]) for name, _ in everything if (found := _BLOCK.search(name))), default=-1)
    parameters = [(name, parameter) for name, parameter in everything if parameter.requires_grad]
    groups: dict[tuple[int, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in parameters:
        goes_last = name in new_parameters or (is_of_old and name.startswith(_LAST_NORM))
        layer = num_blocks + 1 if goes_last else layer_of(name, num_blocks=num_blocks)
        groups.setdefault((layer, decays(name, parameter)), []).append((name, parameter))
    return torch.optim.AdamW(
        [
            {
                "params": [each for _, each in groups[layer, decay]] if is_of_old else groups[layer, decay],
                "weight_decay": weight_decay if decay else 0.0,
                "lr_scale": layer_decay ** (num_blocks + 1 - layer),
            }
            for layer, decay in sorted(groups)
        ],
        lr=0.0,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate to ``rate`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def make_average(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode that takes no gradients: the average before the first step."""
    average = copy.deepcopy(model).eval()
    return average.requires_grad_(False)


def update_average(average: nn.Module, model: nn.Module, *, decay: float, step: int) -> None:
    """average <- d·average + (1 - d)·model with d = min(decay, (1 + step) / (10 + step)): small at first.

    step: 1 after the first optimiser step. Buffers are copied as they are.
    """
    effective = min(decay, (1 + step) / (10 + step))
    averages = dict(average.named_parameters())
    values = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        torch._foreach_lerp_([averages[name] for name in values], list(values.values()), 1 - effective)
        for own, other in zip(average.buffers(), model.buffers(), strict=True):
            own.copy_(other)
