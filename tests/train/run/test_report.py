"""The report of a run: names cannot run as a script, what `auto` chose stands in it, pictures keep their bounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from made_run import make_run

from train.confusions.picture import draw_confusion
from train.run.config import resolve
from train.run.pictures import draw_curves
from train.run.progress import EpochRow, Progress
from train.run.report import write_report

ATTACK = "<script>alert(1)</script>|$x^2$"


def epoch_row(epoch: int) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        step=3 * epoch,
        learning_rate=0.1 / epoch,
        train_loss=1.0 / epoch,
        train_top1=0.5,
        val_clips=4,
        val_loss=1.0,
        val_top1=0.25 * epoch,
        val_top5=1.0,
        val_mean_class_accuracy=0.25,
        val_calibration_error=0.1,
        best=1,
    )


def test_report_escapes_names_and_shows_what_was_chosen(tmp_path: Path) -> None:
    facts = dataclasses.replace(make_run(tmp_path / "run").facts, class_names=(ATTACK, "b", "c"))
    progress = Progress(
        epoch=2,
        history=(epoch_row(1), epoch_row(2)),
        best_epoch=2,
        best_confusion=((1, 1, 0), (0, 2, 0), (0, 0, 0)),
        finished="all epochs done",
    )
    config = resolve(command_line={"device": "cpu", "epochs": 2}, file={})
    page = write_report(tmp_path / "run", facts=facts, config=config, progress=progress).read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "script-src 'none'" in page
    assert page.count("data:image/png;base64,") == 2 and "http" not in page.replace("http-equiv", "")
    assert "Best validation top-1 50.0 % in epoch 2 (4 clips)." in page
    assert "nothing about HMDB51" in page and "auto (none)" in page
    assert f"0 ({facts.model_config.embed_dim})" in page  # the preset's own width
    text = (tmp_path / "run" / "report.md").read_text()
    assert "| <script>alert(1)</script>\\|$x^2$ | 2 | 100.0 | 50.0 |" in text and "| c |" not in text


def test_confusion_picture_of_many_classes_stays_small_and_has_no_names() -> None:
    for count, named in ((60, True), (61, False), (1000, False)):
        names = [f"class {label}" for label in range(count)]
        figure = draw_confusion(np.eye(count, dtype=np.int64), names, title="", remarks=["a remark"])
        axes = figure.axes[0]
        assert max(figure.get_size_inches() * figure.dpi) <= 2040
        assert ([label.get_text() for label in axes.get_yticklabels()] == names) == named
        assert [text.get_text() for text in axes.texts] == ["1"] * count * named


def test_epochs_are_whole_numbers_on_the_axes() -> None:
    figure = draw_curves([epoch_row(1), epoch_row(2)])
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks == [1.0, 2.0]
