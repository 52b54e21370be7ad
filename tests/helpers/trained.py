"""Runs ``lsvit-train run`` in this process on a made data set, small and quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from made_dataset import MadeDataset

from train.run.command import run
from train.run.config.values import Value

TINY: dict[str, Value] = {
    "img_size": 16,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "epochs": 2,
    "batch_size": 4,
    "val_fraction": 0.3,
    "device": "cpu",
    "workers": 1,
}


def train(made: MadeDataset, runs: Path, name: str, *, resume: bool = False, **changes: Value) -> Path:
    """Train with TINY and the changes; returns the run's folder."""
    run(command_line={**_places(made, runs, name), **TINY, **changes}, config_file=None, resume=resume)
    return runs / name


def go_on(made: MadeDataset, runs: Path, name: str, **changes: Value) -> Path:
    """Continue a run with nothing given again but where it lies, and the changes; returns its folder."""
    run(command_line={**_places(made, runs, name), **changes}, config_file=None, resume=True)
    return runs / name


def _places(made: MadeDataset, runs: Path, name: str) -> dict[str, Value]:
    return {"shards": str(made.shards), "manifests": str(made.manifests), "runs": str(runs), "name": name}


def training_words(made: MadeDataset, runs: Path, name: str, **changes: Value) -> list[str]:
    """The words of ``lsvit-train run`` with TINY and the changes."""
    words = ["run", "--shards", str(made.shards), "--manifests", str(made.manifests), "--runs", str(runs)]
    for key, value in {**TINY, **changes, "name": name}.items():
        option = f"--{key.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return words


def checkpoint(folder: Path, which: str = "last") -> Any:
    """The content of a checkpoint of a run's folder."""
    return torch.load(folder / "checkpoints" / f"{which}.pt", weights_only=True)


def assert_same(one: Any, other: Any, *, path: str = "", ignored: frozenset[str] = frozenset()) -> None:
    """Both hold the same values, bit for bit; keys named in ``ignored`` may differ."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one.keys() - ignored:
            assert_same(one[key], other[key], path=f"{path}.{key}", ignored=ignored)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same(first, second, path=f"{path}[{index}]", ignored=ignored)
    else:
        assert one == other, path
