"""The configuration of a probe: that of a run whose backbone is frozen and whose clips are not augmented."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shared.errors import UsageError
from train.run.config.fields import RunConfig, default_name
from train.run.config.files import read_config
from train.run.config.resolve import continued_with, resolve
from train.run.config.values import Value

# The keys of `run` that a probe has, besides temporal_pool, which is --head.
KEYS = (
    *("shards", "shard_cache", "shard_cache_gb", "manifests", "runs", "name", "split", "val_fraction", "sampling"),
    *("init", "num_heads", "activation", "spatial_pool", "normalisation", "img_size"),
    *("epochs", "batch_size", "patience", "seed", "lr", "min_lr", "warmup_epochs", "weight_decay", "clip_grad"),
    *("model_ema", "model_ema_decay", "smoothing", "loss", "class_balanced_beta", "focal_gamma"),
    *("device", "workers", "tracker"),
)
DEFAULTS: Mapping[str, Value] = MappingProxyType(
    {"temporal_pool": "directional", "epochs": 100, "batch_size": 64, "lr": 1e-3, "warmup_epochs": 5.0}
)
# With these `run` does the same, the slow way.
SETTLED: Mapping[str, Value] = MappingProxyType(
    {"train": "head", "plan": "none", "aug_strength": 0.0, "drop_path": 0.0, "amp": "none"}
)


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What the command line says."""

    values: Mapping[str, Value]
    """By key of RunConfig, those alone that are given."""
    config_file: Path | None
    seeds: int
    """0: as many as the probe was begun with, one where it is new."""
    resume: bool


def probe_config(options: ProbeOptions) -> tuple[RunConfig, int]:
    """The configuration of all parts, its ``split`` naming all of them and its ``seed`` the first one; and their number
    of seeds. With --resume, what is not given is as the probe was begun.

    Raises UsageError where --init is missing, or the file has keys that do nothing here.
    """
    from train.run.folder import run_folder, saved_config, seed_folders  # loads torch, which --help does not need

    file = {} if options.config_file is None else read_config(options.config_file)
    allowed = {*KEYS, "temporal_pool"}
    if idle := [key for key in file if key not in allowed and file[key] != SETTLED.get(key)]:
        raise UsageError(f"{options.config_file} sets {', '.join(idle)}, which a probe does not have; take it out")
    values = {**file, **options.values, **SETTLED}
    config = resolve(command_line={**DEFAULTS, **values}, file={})
    config = dataclasses.replace(config, name=config.name or default_name(config).replace("lsvit-", "probe-", 1))
    folder = run_folder(config)
    begun = seed_folders(folder) if options.resume else []
    if options.resume and (saved := saved_config(begun[0] if begun else folder)):
        config = continued_with(dataclasses.replace(saved, runs=config.runs, name=config.name), values)
    if not config.init:
        raise UsageError("--init is missing: a probe trains a head on a ViT that is there, a file, a run or hf:REPO")
    if config.normalisation == "dataset":
        raise UsageError("normalisation is dataset, which differs between splits; choose imagenet, half or auto")
    return config, options.seeds or max(1, len(begun))
