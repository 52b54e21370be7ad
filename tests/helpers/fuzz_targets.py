"""What is fuzzed: a target writes good files once and returns a case, which damages a copy and reads it as users do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz_data import extractions, manifests, plans, shards, splits
from fuzz_runs import checkpoints, configs, exports, side_files, weights
from mutations import Case

TARGETS: dict[str, Callable[[Path], Case]] = {
    "shards": shards,
    "manifests": manifests,
    "plans": plans,
    "splits": splits,
    "checkpoints": checkpoints,
    "configs": configs,
    "extractions": extractions,
    "weights": weights,
    "exports": exports,
    "side_files": side_files,
}
