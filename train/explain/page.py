"""One self-contained HTML page of an explanation: it opens from disk and has one slider over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.files import write_text
from shared.pages.page import data_address, render_page
from train.explain.maps import Explanation
from train.explain.pictures import HeatLayer, Pictures, jpeg, looks_picture, overlay, strip_picture
from train.trained.answers import ranked


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """What the page says beside the pictures."""

    video: str
    """The video's name."""
    origin: str
    """Which run and which of its checkpoints answers."""
    class_names: tuple[str, ...]
    frame_index: tuple[int, ...]
    """The number of each frame in the video, from 0."""
    notes: tuple[str, ...]
    """Sentences about what the numbers are not."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One kind of picture, with a data address for each frame."""

    title: str
    text: str
    pictures: tuple[str, ...]


_TOP = 8


def write_page(
    path: Path, explanation: Explanation, facts: PageFacts, *, frames: Pictures, layers: Sequence[HeatLayer]
) -> None:
    """Write the page of an explanation."""
    write_text(path, explanation_page(explanation, facts, frames=frames, layers=layers))


def explanation_page(
    explanation: Explanation, facts: PageFacts, *, frames: Pictures, layers: Sequence[HeatLayer]
) -> str:
    """The page: frames (T, S, S, 3) and their layers as pictures in it, probabilities, LMI over time."""
    panels = [_panel("frame", "What the model is given: the centre of the picture.", frames)]
    panels += [_panel(layer.title, layer.text, overlay(frames, layer.heat)) for layer in layers]
    shares = explanation.probabilities
    content = {
        "facts": facts,
        "class_name": facts.class_names[explanation.label],
        "panels": panels,
        "predictions": [(facts.class_names[label], float(shares[label])) for label in ranked(shares)[:_TOP]],
        "strip": ""
        if explanation.received is None
        else data_address(
            strip_picture(explanation.received, blocks=explanation.blocks, frame_index=facts.frame_index), "png"
        ),
        "looks": ""
        if explanation.looks is None
        else data_address(looks_picture(explanation.looks, facts.frame_index), "png"),
    }
    return render_page("train.explain", "explain", content)


def _panel(title: str, text: str, pictures: Pictures) -> Panel:
    return Panel(title=title, text=text, pictures=tuple(data_address(jpeg(picture), "jpeg") for picture in pictures))
