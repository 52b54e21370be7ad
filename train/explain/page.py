"""One self-contained HTML page of an explanation: opens from disk, loads nothing, one slider over the frames."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2

from shared.files import write_text
from train.explain.maps import Explanation
from train.explain.pictures import HeatLayer, Pictures, jpeg, looks_picture, overlay, strip_picture
from train.trained.answers import ranked


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """What the page says beside the pictures. notes: sentences such as what the numbers are not."""

    video: str
    origin: str
    class_names: tuple[str, ...]
    frame_index: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One kind of picture; a data address for each frame."""

    title: str
    text: str
    pictures: tuple[str, ...]


_TOP = 8


def write_page(
    path: Path, explanation: Explanation, facts: PageFacts, *, frames: Pictures, layers: Sequence[HeatLayer]
) -> None:
    """Write the page: frames (T, S, S, 3) and their layers as pictures in it, probabilities, LMI over time."""
    panels = [_panel("frame", "What the model is given: the centre of the picture.", frames)]
    panels += [_panel(layer.title, layer.text, overlay(frames, layer.heat)) for layer in layers]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("train.explain", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = _resource("explain.js")
    shares = explanation.probabilities
    page = environment.get_template("explain.html.j2").render(
        facts=facts,
        class_name=facts.class_names[explanation.label],
        panels=panels,
        predictions=[(facts.class_names[label], float(shares[label])) for label in ranked(shares)[:_TOP]],
        strip="" if explanation.received is None else _address(strip_picture(explanation.received), "png"),
        looks="" if explanation.looks is None else _address(looks_picture(explanation.looks), "png"),
        style=_resource("explain.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    write_text(path, page)


def _panel(title: str, text: str, pictures: Pictures) -> Panel:
    return Panel(title=title, text=text, pictures=tuple(_address(jpeg(picture), "jpeg") for picture in pictures))


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _resource(name: str) -> str:
    return files("train.explain").joinpath("templates", name).read_text(encoding="utf-8")
