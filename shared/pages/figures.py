"""The style of all figures on HTML pages, and figures as SVG. An SVG in an <img> runs no script and loads nothing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from shared.pages.fonts import OWN_FAMILY
from shared.pages.page import data_address

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREY = "#2f6fb5", "#e08e2b", "#c3cbd4"
_STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hmdb",
    "text.parse_math": False,  # a class called $x$ is not a formula
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
}


@contextmanager
def drawn_in(families: Sequence[str]) -> Iterator[None]:
    """A block in which figures are made and drawn with these fonts, as `shared.pages.fonts.find_letters` finds them.

    Nothing is said of letters that none of them has: in an SVG they are texts, and the browser draws them.
    """
    fonts: dict[Any, Any] = {"font.family": [*families, "sans-serif"]}
    with mpl.rc_context(fonts), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@contextmanager
def house_style(*, families: Sequence[str] = (OWN_FAMILY,)) -> Iterator[None]:
    """A block in which figures are drawn in the style of the pages, their letters as in ``drawn_in``."""
    with mpl.rc_context(dict(_STYLE)), drawn_in(families):
        yield


def svg_address(figure: Figure) -> str:
    """A figure as an SVG data address. To be called in the block of ``house_style``, which settles its letters."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return data_address(buffer.getvalue(), "svg+xml")
