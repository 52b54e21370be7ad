"""What stands against weights under this model's names: they fit the shape that they have, or are refused."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from shared.errors import DataError, UsageError
from train.model.config import BackboneShape, make_config
from train.model.lsvit import Backbone
from train.model.pools import LatentPool

NUM_SHOWN = 4  # keys named in an error


def check_fit(source: str, tensors: Mapping[str, Tensor], shape: BackboneShape) -> None:
    """Raise DataError unless the backbone that ``shape`` describes finds each of its tensors, and no other is left."""
    try:
        config = make_config(
            replace(shape, num_heads=1), num_classes=1, image_size=shape.patch_size, num_frames=1, smif="none",
            lmi="none", spatial_pool="mean",
        )  # fmt: skip
        with torch.device("meta"):
            expected = {f"backbone.{name}": tensor for name, tensor in Backbone(config).state_dict().items()}
            pool = {f"spatial_pool.{name}": tensor for name, tensor in LatentPool(shape).state_dict().items()}
    except (UsageError, RuntimeError, OverflowError) as error:
        raise refused(source, [str(error)]) from error
    found = {key: tensor for key, tensor in tensors.items() if key.startswith("backbone.") and ".lmim." not in key}
    pooling = {key: tensor for key, tensor in tensors.items() if key.startswith("spatial_pool.")}
    if pooling.keys() != {"spatial_pool.query"}:  # a learned heatmap, of this model alone
        found |= pooling
        expected |= pool if pooling else {}
    wrong = _named("it has", found.keys() - expected.keys(), "which this model has no place for")
    wrong += _named("it lacks", expected.keys() - found.keys(), "")
    wrong += [
        f"{timm_names([key])[0]} is {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}"
        for key, tensor in found.items()
        if key in expected and tensor.shape != expected[key].shape and key != "backbone.pos_embed"
    ][:NUM_SHOWN]
    if not wrong and shape.positions == "learned":
        wrong = _wrong_positions(tensors["backbone.pos_embed"], shape)
    if wrong:
        raise refused(source, wrong)
    _check_finite(source, tensors)


def _wrong_positions(positions: Tensor, shape: BackboneShape) -> list[str]:
    is_table = positions.ndim == 3 and positions.shape[0] == 1 and positions.shape[2] == shape.embed_dim
    num_patches = positions.shape[1] - shape.num_prefix_tokens if is_table else -1
    if num_patches > 0 and math.isqrt(num_patches) ** 2 == num_patches:
        return []
    return [f"pos_embed is {tuple(positions.shape)}: no square of patches after {shape.num_prefix_tokens} other tokens"]


def _check_finite(source: str, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"{source} holds weights that are no numbers (NaN or infinite): {timm_names([key])[0]}; fetch it again"
            )


def _named(before: str, keys: Collection[str], after: str) -> list[str]:
    """Some keys by name, and how many there are."""
    if not keys:
        return []
    names = sorted(timm_names(keys))
    text = f"{before} {', '.join(names[:NUM_SHOWN])}"
    text += f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
    return [f"{text}, {after}" if after else text]


def timm_names(keys: Iterable[str]) -> list[str]:
    """Keys as timm's files have them."""
    return [key.removeprefix("backbone.").replace("spatial_pool.", "attn_pool.") for key in keys]


def refused(source: str, reasons: Iterable[str]) -> DataError:
    """The error that says what stands against the weights of ``source``."""
    return DataError(
        f"{source} cannot be loaded exactly: {'; '.join(reasons)}. "
        "Choose another --init: docs/model.md lists the families that load"
    )
