"""Finds a file of weights, on disk or on the Hugging Face hub, and reads its tensors without running its code."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.errors import DataError, first_line

_HUB_PREFIX = "hf:"
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
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


def find_weights(source: str, *, cache_dir: Path | None) -> WeightFile:
    """The local file, or the file of `hf:REPO[@REVISION]`, downloaded into ``cache_dir`` or the hub's own cache.

    Raises DataError where it does not exist or cannot be reached.
    """
    if source.startswith(_HUB_PREFIX):
        return _find_on_hub(source, cache_dir)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"no weights at {source}; give a .safetensors or .pth file, or hf:REPO")
    config = path.parent / "config.json"
    return WeightFile(path=path, config=config if config.is_file() else None)


def _find_on_hub(source: str, cache_dir: Path | None) -> WeightFile:
    repo, _, revision = source.removeprefix(_HUB_PREFIX).partition("@")
    for name in _HUB_WEIGHTS:
        weights = _download(repo, name, revision=revision or None, cache_dir=cache_dir)
        if weights is not None:
            return WeightFile(
                path=weights, config=_download(repo, "config.json", revision=revision or None, cache_dir=cache_dir)
            )
    raise DataError(f"{source} holds neither {' nor '.join(_HUB_WEIGHTS)}; choose another repository")


def _download(repo: str, name: str, *, revision: str | None, cache_dir: Path | None) -> Path | None:
    """The file of the hub's repository, None where the repository does not have it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache_dir))
    except HFValidationError as error:
        raise DataError(f"hf:{repo} is no repository name; write hf:OWNER/NAME") from error
    except GatedRepoError as error:
        raise DataError(f"hf:{repo} is gated; accept its terms on the hub and log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"the hub has no repository hf:{repo}, or it is private; check the name") from error
    except RevisionNotFoundError as error:
        raise DataError(f"hf:{repo} has no revision {revision!r}; leave it out or check it") from error
    except LocalEntryNotFoundError as error:
        raise DataError(_unreachable(repo, name)) from error
    except EntryNotFoundError:
        return None
    except OSError as error:  # the hub's HTTP errors, lost connections and a full disk
        raise DataError(f"{_unreachable(repo, name)} ({first_line(error)})") from error


def _unreachable(repo: str, name: str) -> str:
    return (
        f"cannot get {name} of hf:{repo}: the hub is out of reach and the file is not in the local cache; "
        "connect, or download it elsewhere and give its path to --init"
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` file, or of a pickle read with ``weights_only=True``, by name, on the CPU.

    Of a checkpoint, the state dict inside it. Raises DataError for a file that is broken or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is no file of plain weights: {first_line(error)}; save its state_dict alone, or as .safetensors"
        ) from error
    except UNREADABLE as error:
        raise DataError(f"cannot read weights from {path}: {first_line(error)}; fetch it again") from error
    tensors = _state_dict(content)
    if not tensors:
        raise DataError(f"{path} holds no state dict; expected tensors by name, or a state_dict or model with them")
    for name, tensor in tensors.items():
        if not is_whole(tensor):
            raise DataError(f"{path}: {name} is no plain tensor; fetch the file again")
    return tensors


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
