"""Test clips that the weights of --init were trained on: a run that begins with these cannot be tested on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shared.console import counted
from shared.errors import DataError
from shared.split_files import read_kept_table
from shared.splits import part_of
from train.data.samples import table_of_split
from train.model.weight_files import CHECKPOINTS_FOLDER, find_weights
from train.run.checkpoint import read_checkpoint
from train.run.config import RunConfig
from train.run.folder import saved_config

if TYPE_CHECKING:
    import pandas as pd


def seen_test_clips(config: RunConfig, frame: pd.DataFrame, *, dataset_id: str) -> str:
    """Which test clips of the run's one split have trained a run that --init names, or one before it; empty for none.

    frame: all manifest rows. Looked at are runs on the same data set, as far as they still are where they were.
    """
    if config.split == "all":
        return ""
    test = set(part_of(frame, split=config.split, part="test")["clip_id"])
    for checkpoint, earlier in _earlier_runs(config):
        folder = checkpoint.parent.parent
        seen = test & _trained_on(folder, earlier.split, frame)
        if seen and read_checkpoint(checkpoint).facts.dataset_id == dataset_id:
            return (
                f"{len(seen)} of the {counted(len(test), 'test clip')} of split {config.split}, such as "
                f"{min(seen)}, have trained {folder} (split {earlier.split}), whose weights it begins with (--init)"
            )
    return ""


def _earlier_runs(config: RunConfig | None) -> Iterator[tuple[Path, RunConfig]]:
    """The runs whose weights a run begins with, the latest first: checkpoint and configuration of each."""
    passed = set()
    while config is not None and config.init and not config.init.startswith("hf:"):
        try:
            checkpoint = find_weights(config.init, runs=Path(config.runs)).path
        except DataError:  # it is gone: nothing is known of it
            return
        if checkpoint.parent.name != CHECKPOINTS_FOLDER or checkpoint in passed:
            return
        passed.add(checkpoint)
        config = saved_config(checkpoint.parent.parent)
        if config is not None:
            yield checkpoint, config


def _trained_on(folder: Path, split: str, frame: pd.DataFrame) -> set[str]:
    """The clips that a run has trained on; of an earlier version's, those of its split as it is now."""
    if split == "all":
        return set(frame["clip_id"])
    table = read_kept_table(folder) or table_of_split(frame, split=split)
    return set() if table is None else {name for name, parts in table.parts.items() if "train" in parts}
