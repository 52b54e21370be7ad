"""Weights of a file in a model that is there already."""

from __future__ import annotations

from pathlib import Path

from train.model.lsvit import LSViT
from train.model.weights.families import load_weights
from train.model.weights.pretrained import LoadReport, copy_weights


def load_pretrained(model: LSViT, source: str, *, cache_dir: Path | None = None) -> LoadReport:
    """Copy the weights of ``source`` into ``model``, in place; see `find_weights` and `copy_weights`.

    What the file leaves open (heads, a CLIP's activation) is taken to be as the model has it. Raises DataError where
    the source cannot be read, is of no family that loads exactly, or does not fit the model.
    """
    config = model.config
    activation = config.activation if config.norm_pre else "auto"
    return copy_weights(
        model, load_weights(source, num_heads=config.num_heads, activation=activation, cache_dir=cache_dir)
    )
