"""Pictures of classes whose names have letters that the plots' own font lacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_fonts import make_font

from train.ablate.table import SUMMARY_PLOT, Ablation, CellResult, write_ablation
from train.confusions.picture import write_confusion
from train.explain.pictures import HeatLayer, write_sheet

NAME = "跑步"


def confusion(folder: Path) -> Path:
    write_confusion(folder / "confusion.png", np.eye(2, dtype=np.int64), [NAME, "walk"], title="two")
    return folder / "confusion.png"


def ablation(folder: Path) -> Path:
    cell = CellResult(
        row=NAME,
        seed=0,
        split="1",
        num_clips=4,
        top1=0.5,
        mean_class_accuracy=0.5,
        milliseconds_per_step=1.0,
        num_parameters=1,
        dataset_id="d",
    )
    study = Ablation(title="study", compared_to={NAME: ""}, cells=(cell,), skipped={}, remarks=())
    write_ablation(folder, study)
    return folder / SUMMARY_PLOT


def explanation(folder: Path) -> Path:
    frames = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    layer = HeatLayer(title=f"attention for {NAME}", text="", heat=np.zeros((2, 8, 8), dtype=np.float32))
    path = folder / "sheet.png"
    write_sheet(path, frames=frames, frame_index=(0, 1), layers=[layer], received=None, blocks=(), title="clip")
    return path


@pytest.mark.parametrize("draw", [confusion, ablation, explanation])
def test_names_are_drawn_with_the_font_that_has_their_letters(
    tmp_path: Path, installed: Path, draw: Callable[[Path], Path]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = draw(tmp_path).read_bytes()
        make_font(installed / "a.ttf", NAME, family="Two Letters")
        assert draw(tmp_path).read_bytes() != without
