"""Progress where the output is no terminal: honest rates and durations, in words for people."""

from __future__ import annotations

import pytest

from shared.terminal import console


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (119.4, "119 s"),
        (121, "2 min"),
        (3570, "1 h 00 min"),
        (25500, "7 h 05 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert console.duration_text(seconds) == expected


def test_slow_work_shows_its_rate_and_the_hours_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter((0.0, 5.0, 80.0))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("frame features", 1001) as advance:
        advance(0)
        advance(1)
    assert capsys.readouterr().err == "frame features: 1/1001 clips, 0.013 clips/s, 22 h 13 min left\n"


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (1, "clip", "1 clip"),
        (0, "clip", "0 clips"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (3, "batch", "3 batches"),
        (2, "entry", "2 entries"),
        (2, "day", "2 days"),
    ],
)
def test_nouns_after_numbers(number: int, noun: str, expected: str) -> None:
    assert console.counted(number, noun) == expected


def test_a_detail_stands_in_place_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter((0.0, 20.0))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("epoch 2/3", 90, detail=lambda: "loss 1.000; run: 7 min left") as advance:
        advance(30)
    assert capsys.readouterr().err == "epoch 2/3: 30/90 clips, 1.5 clips/s, loss 1.000; run: 7 min left\n"
