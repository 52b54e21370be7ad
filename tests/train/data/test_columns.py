"""Columns of the manifests: every program reads enough, and training few."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_dataset import make_dataset

from shared.manifests.files import MANIFEST_COLUMNS, read_manifests
from train.data.columns import CLIP_COLUMNS, columns_of_split, training_columns
from train.data.samples import make_table


@pytest.mark.parametrize("split", ["1", "2", "3", "full", "all"])
def test_training_reads_columns_that_manifests_have(split: str) -> None:
    assert set(CLIP_COLUMNS) <= set(columns_of_split(split)) < set(training_columns(split)) < set(MANIFEST_COLUMNS)


def test_clips_need_each_of_their_columns_and_no_other(tmp_path: Path) -> None:
    made = make_dataset(tmp_path, clips_per_class=2)
    frame = read_manifests(made.manifests, columns=CLIP_COLUMNS)
    assert make_table(frame).clip_id == tuple(read_manifests(made.manifests)["clip_id"])
    for column in CLIP_COLUMNS:
        with pytest.raises(KeyError, match=column):
            make_table(frame.drop(columns=column))
