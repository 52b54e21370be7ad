"""Test clips that a run's weights were trained on, before this run or in it: it cannot be tested on these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.splits.parts import part_of
from shared.terminal.console import counted
from train.model.weights.trained_on import TrainedOn

if TYPE_CHECKING:
    import pandas as pd

NOTHING_KNOWN = "nothing is known of what these weights were trained on: an earlier version did not note it"


def clips_trained_on(frame: pd.DataFrame, *, split: str) -> list[str]:
    """The clip_ids that a run of the split learns from, those that it sets aside by --val-fraction among them."""
    return list((frame if split == "all" else part_of(frame, split=split, part="train"))["clip_id"])


def seen_test_clips(trained_on: TrainedOn, frame: pd.DataFrame, *, split: str, dataset_id: str) -> str:
    """Which test clips of the split the weights were trained on, in words; empty for none.

    frame: all manifest rows of the data set.
    """
    if split == "all":
        return ""
    test = set(part_of(frame, split=split, part="test")["clip_id"])
    seen = test & trained_on.of(dataset_id)
    if not seen:
        return ""
    return (
        f"{len(seen)} of the {counted(len(test), 'test clip')} of split {split}, such as {min(seen)}, have trained "
        "the weights that it begins with (--init)"
    )
