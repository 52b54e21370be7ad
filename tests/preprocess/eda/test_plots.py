"""The report's plots: legends cover no data, names fit, few or many classes, and legible at any width of the page."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from eda_data import summary_of, write_data_set
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from visits import Visit

from preprocess.eda import plots as plots_module
from preprocess.eda.class_plots import MAX_ROWS, class_rows, draw_classes, draw_distribution, ends
from preprocess.eda.command import run_eda
from preprocess.eda.offsets import PICTURE_COLUMNS
from preprocess.eda.plots import draw_plots
from preprocess.eda.summary import Summary
from shared.manifests.files import read_manifests
from shared.pages.figures import house_style
from shared.pages.fonts import OWN_FAMILY
from shared.splits.parts import ClipSplits

LEAST_FONT = 9.0  # pixels of the smallest letters in a plot


def write_classes(folder: Path, count: int, *, name: str = "class{:03d}") -> tuple[Path, Path]:
    """Manifests of so many classes, 4 to 8 clips each, without shards."""
    splits = {}
    for label in range(count):
        for index in range(4 + label % 5):
            part = ("train", "val", "test", "unused")[index % 4]
            splits[f"{name.format(label)}/film{label}_{index}"] = ClipSplits(
                split1=part, split2="train", split3="test", split_full=part
            )
    return write_data_set(folder, list(splits), splits=splits, with_shards=False)


def summary_of_classes(folder: Path, count: int) -> Summary:
    manifests, _ = write_classes(folder, count)
    return summary_of(manifests)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary_of_classes(tmp_path_factory.mktemp("plots"), 5)


def boxes_of(figure: Figure) -> tuple[list[Any], list[Any]]:
    """Pixel boxes of the legends and of the axes of a figure, as it is drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())] + list(figure.legends)
    return [legend.get_window_extent(renderer) for legend in legends], [axes.bbox for axes in figure.axes]


def test_legends_cover_no_data(summary: Summary) -> None:
    with house_style():
        figures = [
            draw_classes(summary.clips, summary.classes["clips"]),
            plots_module._frames(summary),
            plots_module._splits(summary.clips),
        ]
        for figure in figures:
            legends, axes = boxes_of(figure)
            assert len(legends) == 1
            width, height = figure.canvas.get_width_height()
            assert legends[0].x0 >= 0
            assert legends[0].x1 <= width
            assert legends[0].y1 <= height + 1
            assert not any(legends[0].padded(-1).overlaps(box) for box in axes)


def test_every_plot_says_what_it_shows(summary: Summary) -> None:
    drawn = draw_plots(summary, families=(OWN_FAMILY,))
    assert set(drawn) == {"classes", "frames", "splits", "colour", "hue", "correlations", *PICTURE_COLUMNS}
    medians = summary.clips.groupby("class_name")["brightness"].median()
    assert f"from {medians.idxmin()} (median {medians.min():.4g}) to {medians.idxmax()}" in drawn["brightness"].alt
    assert drawn["classes"].alt.startswith("Bars: clips of 5 classes, from class004 (8) to class000 (4)")
    assert all(len(plot.alt) > 40 for plot in drawn.values())


def test_sharpness_is_explained_where_it_is_drawn(summary: Summary) -> None:
    drawn = draw_plots(summary, families=(OWN_FAMILY,))
    svg = base64.b64decode(drawn["blur"].address.split(",")[1]).decode()
    assert "higher is sharper" in svg
    assert "sharpness" in drawn["blur"].alt


@pytest.mark.parametrize("count", [1, MAX_ROWS, MAX_ROWS + 1, 400])
def test_rows_are_bounded(count: int) -> None:
    names = [f"class{index}" for index in range(count)]
    shown = ends(names)
    assert len(shown) == min(count, MAX_ROWS + 1)
    assert (shown[0], shown[-1]) == (names[0], names[-1])
    assert ("" in shown) == (count > MAX_ROWS)


def test_the_rows_hold_what_the_names_say(summary: Summary) -> None:
    """Bars add up to the clips of their class; the mark of a box is the median."""
    with house_style():
        axes = draw_classes(summary.clips, summary.classes["clips"]).axes[0]
        totals = np.zeros(len(summary.classes))
        for bars in axes.containers:
            totals += [bar.get_width() for bar in bars]
        assert totals.tolist() == summary.classes["clips"].tolist()
        rows = draw_distribution(summary.clips, "contrast").axes[0]
    names = [label.get_text() for label in rows.get_yticklabels()]
    medians = [float(segment[0, 0]) for segment in rows.collections[1].get_segments()]
    expected = summary.clips.groupby("class_name")["contrast"].median()
    assert medians == pytest.approx([expected[name] for name in names])
    assert medians == sorted(medians)


@pytest.mark.parametrize("name", ["w" * 60, "打高尔夫球" * 8, "a"])
def test_names_of_any_length_stay_in_the_picture(name: str) -> None:
    """The margin is as wide as the name in a browser: a wide letter is as wide as it is high."""
    with house_style():
        rows = class_rows([name, "b"], left_out=0)
    label = rows.axes.get_yticklabels()[0].get_text()
    ems = sum(1.0 if ord(letter) > 0x2E80 else 0.62 for letter in label)
    assert rows.axes.get_position().x0 * 5.5 * 72 > ems * 8
    assert rows.axes.get_position().width > 0.4


def test_the_words_under_a_plot_are_not_cut(tmp_path: Path) -> None:
    """The longest name leaves least room."""
    manifests, _ = write_classes(tmp_path, 2, name="w" * 40 + "{:03d}")
    clips = read_manifests(manifests)
    with house_style():
        for figure in [draw_distribution(clips, column) for column in PICTURE_COLUMNS]:
            boxes_of(figure)
            label = figure.axes[0].xaxis.label.get_window_extent()
            assert label.x0 >= 0
            assert label.x1 <= figure.bbox.width


def test_a_measure_that_does_not_vary_is_drawn(summary: Summary) -> None:
    clips = summary.clips.assign(motion=3.0, blur=0.0)
    with house_style():
        for column in ("motion", "blur"):
            boxes_of(draw_distribution(clips, column))
    assert pd.notna(clips["motion"]).all()


@pytest.mark.parametrize("count", [2, 51, pytest.param(400, marks=pytest.mark.slow)])
def test_plots_are_legible_at_both_widths(browser: Any, tmp_path: Path, count: int) -> None:
    manifests, shards = write_classes(tmp_path, count, name="brush_hair_no_{:03d}")
    page = run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")
    assert page.stat().st_size < 4_000_000
    texts = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page.read_text(encoding="utf-8"))
    sizes = [
        float(size) for text in texts for size in re.findall(r"font-size: ([\d.]+)px", base64.b64decode(text).decode())
    ]
    for width in (700, 1400):
        visit = Visit(browser, page, width=width)
        scales = visit.page.evaluate("[...document.images].map(image => image.width / image.naturalWidth)")
        assert len(scales) == 11
        # A figure's letters are given in points, of 4/3 pixels, and scaled with it.
        assert min(scales) * min(sizes) * 4 / 3 >= LEAST_FONT - 1e-6, (width, min(scales), min(sizes))
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate("document.documentElement.scrollHeight") < 30_000
        assert visit.page.evaluate("[...document.images].every(image => image.alt.length > 10)")
        assert visit.complaints == []
        visit.page.close()
