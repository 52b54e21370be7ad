"""Finds a file of weights, on disk, in a run or on the Hugging Face hub, and reads it without running its code."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.checks import parse_json
from shared.errors import DataError, first_line
from shared.hub import HUB_PREFIX, hub_errors
from train.model.config import PerColour
from train.model.weights.portable import CONFIG_FILE, WEIGHTS_FILE, read_config

CHECKPOINT_FORMAT = "lsvit-checkpoint"
CHECKPOINTS_FOLDER = "checkpoints"

_HUB_WEIGHTS = (WEIGHTS_FILE, "pytorch_model.bin")
_IN_FOLDER = (f"{CHECKPOINTS_FOLDER}/best.pt", f"{CHECKPOINTS_FOLDER}/last.pt", WEIGHTS_FILE)
_NESTED = ("state_dict", "model_state_dict", "model", "weights")

# What torch.load raises on damaged files, besides UnpicklingError.
UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    AssertionError,
    struct.error,
)


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file of weights and the `config.json` that lies beside it, None where there is none."""

    path: Path
    config: Path | None


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the `config.json` beside the weights says of them, as timm writes it; nothing where there is none."""

    architecture: str = ""
    """timm's name of the model with its tag, such as vit_base_patch16_clip_224.openai."""
    activation: str = ""
    """timm's name of the MLP's activation, where it is not the architecture's own."""
    num_heads: int = 0
    """Attention heads, where they are not the architecture's own."""
    mean: PerColour | None = None
    std: PerColour | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredWeights:
    """The tensors of a file by name, on the CPU, and what lsvit-train says of them where they are its own."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] | None = None
    """The checkpoint's own facts, or those of an exported model, unchecked; None for any other file."""


def find_weights(source: str, *, runs: Path | None = None, cache_dir: Path | None = None) -> WeightFile:
    """The file that ``source`` means: a file, a run's folder or its name below ``runs``, or `hf:REPO[@REVISION]`.

    Of a run it is the best checkpoint, else the last one; of another folder its model.safetensors. What is on the hub
    is downloaded into ``cache_dir`` or the hub's own cache. Raises DataError where nothing is found or the hub is out
    of reach.
    """
    if source.startswith(HUB_PREFIX):
        return _find_on_hub(source, cache_dir)
    places = [Path(source)] if runs is None else [runs / source, Path(source)]
    candidates = [place / name for place in places for name in _IN_FOLDER] + places
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        parts = sorted(part.parent.parent for place in places for part in place.glob(f"*/{CHECKPOINTS_FOLDER}/last.pt"))
        if parts:
            raise DataError(f"{source} holds several splits; name one of them: {', '.join(map(str, parts))}")
        raise DataError(f"no weights at {source}; give a .safetensors or .pth file, a run, or hf:REPO")
    config = path.parent / CONFIG_FILE
    return WeightFile(path=path, config=config if config.is_file() else None)


def _find_on_hub(source: str, cache_dir: Path | None) -> WeightFile:
    for name in _HUB_WEIGHTS:
        weights = find_beside(source, name, cache_dir=cache_dir)
        if weights is not None:
            return WeightFile(path=weights, config=find_beside(source, CONFIG_FILE, cache_dir=cache_dir))
    raise DataError(f"{source} holds neither {' nor '.join(_HUB_WEIGHTS)}; choose another repository")


def find_beside(source: str, name: str, *, cache_dir: Path | None = None) -> Path | None:
    """A file of the hub's repository `hf:REPO[@REVISION]` by its name, None where the repository does not have it.

    Raises DataError where the hub is out of reach or has no such repository.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repo, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        with hub_errors(f"{HUB_PREFIX}{repo}", revision=revision, out_of_reach=_unreachable(repo, name)):
            return Path(hf_hub_download(repo, name, revision=revision or None, cache_dir=cache_dir))
    except EntryNotFoundError:
        return None


def _unreachable(repo: str, name: str) -> str:
    return (
        f"cannot get {name} of hf:{repo}: the hub is out of reach and the file is not in the local cache; "
        "connect, or download it elsewhere and give its path instead"
    )


def read_found(found: WeightFile) -> StoredWeights:
    """The weights that were found; those of an exported model with the facts in its `config.json`."""
    stored = read_weights(found.path)
    if found.config is None or found.path.name != WEIGHTS_FILE:
        return stored
    config = read_config(found.config)
    if config is None:
        return stored
    facts = config.get("facts")
    return StoredWeights(tensors=stored.tensors, facts=facts if isinstance(facts, dict) else {})


def read_weights(path: Path) -> StoredWeights:
    """A `.safetensors` file, or a pickle read with ``weights_only=True``; of a checkpoint the state dict inside it.

    Of lsvit-train's own checkpoints these are the averaged weights, where there are any. Raises DataError for a file
    that is broken, empty or holds no tensors.
    """
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes), so it holds no weights; fetch it again")
    if path.suffix == ".safetensors":
        if not (stored := _read_safetensors(path)):
            raise DataError(f"{path} is a file of weights that holds none; expected tensors by name, so fetch it again")
        return StoredWeights(tensors=stored)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is no file of plain weights: it holds more than tensors, numbers and text, or was never written "
            "by torch; give a .safetensors file, or one with the state_dict alone"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read weights from {path}: {first_line(error)}; fetch it again") from error
    except UNREADABLE as error:
        raise DataError(
            f"cannot read weights from {path}: it is damaged, or no file of weights; fetch it again, or give a "
            ".safetensors or .pth file, a run or hf:REPO"
        ) from error
    facts = None
    if isinstance(content, Mapping) and content.get("format") == CHECKPOINT_FORMAT:
        facts, content = content.get("facts"), content.get("average") or content.get("model")
    tensors = _state_dict(content)
    if not tensors:
        raise DataError(f"{path} holds no state dict; expected tensors by name, or a state_dict or model with them")
    for name, tensor in tensors.items():
        if not is_whole(tensor):
            raise DataError(f"{path}: {name} is no plain tensor; fetch the file again")
    return StoredWeights(tensors=tensors, facts=facts)


def read_stated(config: Path | None) -> Stated:
    """What a `config.json` says. Raises DataError where it cannot be read."""
    if config is None:
        return Stated()
    try:
        content = parse_json(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {config}: {error}; remove it or fetch it again") from error
    if not isinstance(content, dict):
        return Stated()
    settings, arguments = (
        inner if isinstance(inner := content.get(key), dict) else {} for key in ("pretrained_cfg", "model_args")
    )
    mean, std = (_per_colour((settings or content).get(key)) for key in ("mean", "std"))
    known, num_heads = mean is not None and std is not None, arguments.get("num_heads")
    return Stated(
        architecture=".".join(str(part) for part in (content.get("architecture"), settings.get("tag")) if part),
        activation=str(arguments.get("act_layer", "")),
        num_heads=num_heads if isinstance(num_heads, int) and num_heads > 0 else 0,
        mean=mean if known else None,
        std=std if known else None,
    )


def _per_colour(value: object) -> PerColour | None:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(part, int | float) for part in value):
        return None
    return (float(value[0]), float(value[1]), float(value[2]))


def is_whole(value: object) -> bool:
    """Whether a value is a plain tensor of real numbers whose elements all lie in memory.

    Sparse tensors, those without content and views that repeat one element are refused: reading them could take any
    amount of memory, however small the file.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_complex():
        return False
    return not value.is_quantized and value.nbytes <= value.untyped_storage().nbytes()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read weights from {path}: {first_line(error)}; fetch it again") from error


def _state_dict(content: Any) -> dict[str, Tensor]:
    """The tensors by name in what a file holds: at the top, or under the usual names of a checkpoint."""
    if not isinstance(content, Mapping):
        return {}
    for name in _NESTED:
        if isinstance(content.get(name), Mapping):
            return _state_dict(content[name])
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
