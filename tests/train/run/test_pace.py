"""The time left of a whole run: all epochs of all splits, at the speed so far."""

from __future__ import annotations

import time

import pytest

from train.run.session import Pace


def test_the_time_left_is_that_of_all_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 160.0)
    pace = Pace(splits_left=2, epochs=10, started=100.0, epochs_done=1.5)
    assert pace.seconds_left(8.5) == pytest.approx((8.5 + 20) * 40)
