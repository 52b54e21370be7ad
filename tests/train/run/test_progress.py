"""timing.csv: rows are added, also to a file that a kill left empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DataError
from train.run.progress import TIMING_FILE, Timing, append_timing, read_timing

ROW = Timing(epoch=1, steps=2, seconds=3.5, clips_per_second=4.25, data_wait_share=0.125, processes=1)


@pytest.mark.parametrize("before", [None, ""])
def test_rows_are_added(tmp_path: Path, before: str | None) -> None:
    if before is not None:
        (tmp_path / TIMING_FILE).write_text(before)
    append_timing(tmp_path, ROW)
    append_timing(tmp_path, ROW)
    assert read_timing(tmp_path) == [ROW, ROW]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / TIMING_FILE).write_text("epoch,steps\n1,two\n")
    with pytest.raises(DataError, match=r"timing\.csv is damaged"):
        read_timing(tmp_path)
