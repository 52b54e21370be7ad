"""From what is given to one configuration: the command line wins over the ``--config`` file, that over the defaults.

Where a run is continued, what it was begun with stands in for the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from shared.errors import UsageError
from train.run.config.fields import RunConfig, class_strengths, flags
from train.run.config.values import Value, checked

# What may differ between a run and its continuation without changing its result, but for rounding.
HARMLESS_ON_RESUME = frozenset(
    {
        "shards",
        "shard_cache",
        "shard_cache_gb",
        "manifests",
        "runs",
        "name",
        "split",
        "device",
        "workers",
        "prefetch",
        "checkpoint_every",
        "checkpoint_blocks",
        "grad_accum_steps",
        "log_every",
        "max_minutes",
        "tracker",
    }
)

# What leaves a choice to the program; the configuration that a run saves holds the choice that was made.
LEFT_OPEN: Mapping[str, Value] = {
    "preset": "auto",
    "img_size": 0,
    "patch_size": 0,
    "embed_dim": 0,
    "depth": 0,
    "num_heads": 0,
    "spatial_pool": "auto",
    "activation": "auto",
    "sampling": "auto",
    "plan": "auto",
}


def resolve(*, command_line: Mapping[str, Value], file: Mapping[str, Value]) -> RunConfig:
    """Command line over file over defaults, every value checked. Absent keys are not given."""
    known = flags()
    complete: dict[str, Any] = {key: checked(key, value, *known[key]) for key, value in file.items()}
    for key, value in command_line.items():
        complete[key] = checked(key, value, *known[key], name=f"--{key.replace('_', '-')}")
    config = RunConfig(**complete)
    for key in ("scale", "ratio"):
        low, high = getattr(config, key)
        if low > high:
            raise UsageError(f"{key} is {low} {high}; the first number is the smaller one")
    class_strengths(config)
    if config.train == "motion" and (config.smif, config.lmi) == ("none", "none"):
        raise UsageError(
            "train is motion, but smif and lmi are none: there is no motion module; choose one, or train = head"
        )
    return config if config.init else _without_weights(config)


def _without_weights(config: RunConfig) -> RunConfig:
    """What is left to the weights of --init, for a run that has none."""
    return dataclasses.replace(
        config,
        preset="tiny" if config.preset == "auto" else config.preset,
        spatial_pool="cls" if config.spatial_pool == "auto" else config.spatial_pool,
        activation="gelu" if config.activation == "auto" else config.activation,
    )


def left_open(values: Mapping[str, Value]) -> tuple[str, ...]:
    """The keys whose choice is left to the program by what is given, on the command line or in a file."""
    return tuple(key for key, nothing in LEFT_OPEN.items() if values.get(key, nothing) == nothing)


def continued_with(saved: RunConfig, values: Mapping[str, Value]) -> RunConfig:
    """The configuration that ``saved`` becomes with what is given now; a choice left open stays as it was made."""
    given = {key: value for key, value in values.items() if (key, value) not in LEFT_OPEN.items()}
    return resolve(command_line=given, file=dataclasses.asdict(saved))


def differences(saved: RunConfig, wanted: RunConfig) -> list[str]:
    """What stops a run from being continued with another configuration: ``key: old -> new``, without harmless keys."""
    return [
        f"{key}: {getattr(saved, key)!r} -> {getattr(wanted, key)!r}"
        for key in flags()
        if key not in HARMLESS_ON_RESUME and getattr(saved, key) != getattr(wanted, key)
    ]
