"""Which parameters train: all of them, what is not the ViT, or pools and head alone."""

from __future__ import annotations

import re
from typing import Literal

from train.model.lsvit import LSViT

Trained = Literal["all", "motion", "head"]

_POOLS_AND_HEAD = ("spatial_pool.", "temporal_pool.", "head.")
_MOTION = re.compile(r"smif\.|backbone\.blocks\.\d+\.lmim\.")


def freeze(model: LSViT, trained: Trained) -> None:
    """Take from the parameters that are not to train, by name, the wish for a gradient; the others have it.

    motion: SMIF, LMI, pools and head train, the ViT does not. head: pools and head alone. What wants no gradient is in
    no optimiser and stays as it is to the bit; what stands in front of all that trains keeps nothing for a backward
    pass.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trains(name, trained))


def _trains(name: str, trained: Trained) -> bool:
    if trained == "all" or name.startswith(_POOLS_AND_HEAD):
        return True
    return trained == "motion" and _MOTION.match(name) is not None


def beside_vit(model: LSViT) -> tuple[str, ...]:
    """The names of the parameters that no ViT has: of SMIF, LMI, pools and head."""
    return tuple(name for name, _ in model.named_parameters() if _trains(name, "motion"))


def num_trainable(model: LSViT) -> int:
    """How many numbers train."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
