"""The time left of a whole run: all epochs of all splits, at the speed so far."""

from __future__ import annotations

import time

import pytest

from train.run.loop import live_text
from train.run.progress import Progress
from train.run.session import Pace


def test_the_time_left_is_that_of_all_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 160.0)
    pace = Pace(splits_left=2, epochs=10, started=100.0, epochs_done=1.5)
    assert pace.seconds_left(8.5) == pytest.approx((8.5 + 20) * 40)


def test_the_live_line_begins_with_the_time_left() -> None:
    progress = Progress(loss_sum=3.0, num_right=1.0, num_clips=4.0)
    assert live_text(progress, seconds_left=90) == "run: 90 s left; loss 0.750, top-1 25.0%"
