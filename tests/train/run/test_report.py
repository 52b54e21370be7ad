"""The report of a run: names cannot run as a script, what `auto` chose stands in it, pictures keep their bounds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_dataset import CLASSES, make_dataset
from made_results import answers
from made_run import make_run
from visits import Visit

from shared.manifests.files import read_manifests
from train.confusions.picture import draw_confusion
from train.run.config.files import write_choices
from train.run.config.resolve import resolve
from train.run.folder import CHOICES_FILE
from train.run.progress import EpochRow, Progress, validation_of
from train.run.report.curves import draw_curves
from train.run.report.output import write_report

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


def validated(class_names: tuple[str, ...], clip_ids: Sequence[str], *, num_epochs: int = 2) -> Progress:
    """A finished run whose clips, of the classes in turn, got seeded answers."""
    probabilities, _ = answers(0, num_clips=len(clip_ids), num_classes=len(class_names))
    labels = np.array([class_names.index(clip_id.rpartition("/")[0]) for clip_id in clip_ids])
    best = validation_of(clip_ids, labels, probabilities)
    progress = Progress(epoch=num_epochs - 1, num_clips=1.0, history=tuple(map(epoch_row, range(1, num_epochs))))
    return progress.after_epoch(best, learning_rate=0.1, epochs=num_epochs, patience=0)


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
    chosen = dataclasses.replace(config, sampling="middle", patch_size=8)  # as a run that has begun holds them
    write_choices(tmp_path / "run" / CHOICES_FILE, ("sampling", "patch_size"), chosen)
    config = dataclasses.replace(config, sampling="middle", patch_size=4)
    page = write_report(tmp_path / "run", facts=facts, config=config, progress=progress).read_text()
    assert "<td>sampling</td><td>middle</td><td>auto</td>" in page
    assert "<td>patch_size</td><td>4</td><td></td>" in page  # given later than 8 was chosen
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "\\u003cscript" in page
    assert "Best validation top-1 50.0 % in epoch 2 (4 clips)." in page
    assert "which did not note what became of which clip" in page  # as it is with a checkpoint of an earlier version
    assert f'<code class="command">tensorboard --logdir {tmp_path / "run"}</code>' in page
    assert "nothing about HMDB51" in page
    assert "<td>plan</td><td>none</td><td>auto</td>" in page
    assert f"<td>embed_dim</td><td>{facts.model_config.embed_dim}</td><td>0</td>" in page  # the preset's own width
    text = (tmp_path / "run" / "report.md").read_text()
    assert "| <script>alert(1)</script>\\|$x^2$ | 2 | 100.0 | 50.0 |" in text and "| c |" not in text
    assert f"    tensorboard --logdir {tmp_path / 'run'}" in text


def test_cells_show_validation_clips_as_moving_pictures(browser: Any, tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "data")
    clip_ids = read_manifests(made.manifests)["clip_id"].tolist()
    facts = make_run(tmp_path / "run").facts
    progress = validated(CLASSES, clip_ids)
    given = {"device": "cpu", "shards": str(made.shards), "manifests": str(made.manifests)}
    config = resolve(command_line=given, file={})
    path = write_report(tmp_path / "run", facts=facts, config=config, progress=progress)
    visit = Visit(browser, path)
    row, column = np.argwhere(np.array(progress.best_confusion) - np.diag(np.diag(progress.best_confusion or ())))[0]
    title = f"{CLASSES[row]} taken for {CLASSES[column]}"
    visit.page.locator(f'.matrix td button[title^="{title}:"]').click()
    shown = {answer.clip_id: answer for answer in progress.best_answers}
    cards = visit.page.locator("dialog .card")
    assert cards.count() == (progress.best_confusion or ())[row][column]
    for card in cards.all():
        answer = shown[card.locator(".clip").inner_text()]
        assert (answer.label, answer.shares[0][0]) == (row, column)
        assert card.locator(".share").first.inner_text() == f"{100 * answer.shares[0][1]:.1f} %"
        assert card.locator(".film img").count() == 1
        assert card.locator("code").inner_text().startswith(f"lsvit-train explain {tmp_path / 'run'} {answer.clip_id}")
    assert visit.column("classes", 0)
    assert visit.complaints == [] and visit.foreign_requests(path) == []
    visit.page.close()


def test_a_report_without_validation_has_no_matrix(browser: Any, tmp_path: Path) -> None:
    progress = Progress().after_step(loss_sum=1.0, num_right=1.0, num_clips=2.0)
    progress = progress.after_epoch(None, learning_rate=0.1, epochs=1, patience=0)
    config = resolve(command_line={"device": "cpu", "epochs": 1, "tracker": "none"}, file={})
    path = write_report(tmp_path / "run", facts=make_run(tmp_path / "run").facts, config=config, progress=progress)
    visit = Visit(browser, path)
    assert visit.complaints == [] and visit.page.locator(".matrix").count() == 0
    assert visit.page.locator("h2").all_inner_texts()[:3] == ["Curves", "Data", "Environment"]
    assert "Nothing was set aside for validation" in visit.page.locator("header").inner_text()
    assert "tensorboard --logdir" not in path.read_text()
    visit.page.close()


def test_without_its_data_a_report_says_why_nothing_moves(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    progress = validated(CLASSES, ["walk/a", "walk/b", "run/c"])
    other = make_dataset(tmp_path / "other", dataset_id="e" * 64)
    for manifests, word in ((tmp_path / "gone", "Without moving pictures: "), (other.manifests, "of another data set")):
        config = resolve(command_line={"device": "cpu", "manifests": str(manifests)}, file={})
        page = write_report(tmp_path / "run", facts=run.facts, config=config, progress=progress).read_text()
        assert word in page and "walk/a" in page


@pytest.mark.parametrize("num_classes", [2, 400])
def test_any_number_of_classes_fits_any_width(browser: Any, tmp_path: Path, num_classes: int) -> None:
    """Writes pictures of the pages to $REPORT_SCREENSHOTS where that is set, for a person to look at."""
    names = tuple(f"class number {number}" for number in range(num_classes))
    facts = dataclasses.replace(make_run(tmp_path / "run").facts, class_names=names)
    progress = validated(names, [f"{names[clip % num_classes]}/clip{clip}" for clip in range(4 * num_classes)])
    path = write_report(
        tmp_path / "run", facts=facts, config=resolve(command_line={"device": "cpu"}, file={}), progress=progress
    )
    assert path.stat().st_size < 2_000_000
    visit = Visit(browser, path)
    assert visit.page.locator(".matrix tbody th button").count() == min(60, num_classes)
    for width in (1400, 700, 400):
        visit.page.set_viewport_size({"width": width, "height": 900})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        if folder := os.environ.get("REPORT_SCREENSHOTS"):
            visit.page.screenshot(path=f"{folder}/{num_classes}-{width}.png", full_page=True)
    assert visit.complaints == []
    visit.page.close()


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
