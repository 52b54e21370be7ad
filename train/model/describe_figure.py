"""Draws a model's description as an SVG figure: boxes from video to probabilities with the shapes between them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

from train.model.describe import Description, Stage, one_block_only, shape_text

WIDTH = 960
_MARGIN, _BOX_WIDTH, _TEXT_LEFT, _GAP, _LINE = 24, 300, 360, 34, 17
_CHARACTERS = 84  # of an explanation, on one line
_FILLS = {"reshape": "#f3f4f6", "motion": "#fde8d7", "transformer": "#dbeafe", "plain": "#e8f5e9"}


def draw_svg(description: Description, path: Path) -> None:
    """Write the figure to ``path``, making its folder where it is absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_svg(description), encoding="utf-8")


def render_svg(description: Description) -> str:
    """The figure as SVG text. Shapes are those of one clip."""
    stages = one_block_only(description)
    config = description.config
    title = (
        f"LS-ViT: SMIF {config.smif}, LMI {config.lmi}, {description.parameters:,} parameters, "
        f"{description.flops / 1e9:,.1f} GFLOPs a clip"
    )
    parts = [_text(_MARGIN, 34, title, size=16, weight="600")]
    parts.append(_text(_MARGIN + 12, 68, f"video {shape_text(stages[0].input)}", family="monospace"))
    top = 84
    for stage in stages:
        drawn, height = _stage(stage, top)
        parts += drawn
        top += height
    legend = "orange: motion; blue: transformer; green: input and output; grey: reshape"
    parts.append(_text(_MARGIN, top + 16, legend, size=12, colour="#57606a"))
    body = "\n".join(parts)
    height = top + 36
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="Helvetica, Arial, sans-serif">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _stage(stage: Stage, top: int) -> tuple[list[str], int]:
    """The box of one stage, its explanation beside it, the shape that it gives below; and how much room that takes."""
    lines = textwrap.wrap(stage.explanation, _CHARACTERS)
    box_height = max(30, _LINE * len(lines) + 8)
    middle = top + box_height // 2
    below = top + box_height
    parts = [
        f'<rect x="{_MARGIN}" y="{top}" width="{_BOX_WIDTH}" height="{box_height}" rx="6" '
        f'fill="{_FILLS[_kind(stage)]}" stroke="#8c959f"/>',
        _text(_MARGIN + 12, middle + 5, stage.name, weight="600"),
    ]
    if stage.parameters:
        label = f"{stage.parameters:,} parameters"
        parts.append(_text(_MARGIN + _BOX_WIDTH - 12, middle + 5, label, size=12, anchor="end"))
    first = middle - (len(lines) - 1) * _LINE // 2 + 4
    parts += [_text(_TEXT_LEFT, first + _LINE * index, line, size=13) for index, line in enumerate(lines)]
    parts.append(f'<path d="M{_MARGIN + 16} {below} v{_GAP - 8} l-4 -6 h8 l-4 6" fill="#57606a" stroke="#57606a"/>')
    parts.append(_text(_MARGIN + 30, below + 21, shape_text(stage.output), family="monospace"))
    return parts, box_height + _GAP


def _kind(stage: Stage) -> str:
    if stage.reshape:
        return "reshape"
    if stage.name == "smif" or stage.name.endswith(".lmim"):
        return "motion"
    return "transformer" if stage.name.startswith("blocks.") or stage.name == "norm" else "plain"


def _text(
    x: int,
    y: int,
    content: str,
    *,
    size: int = 14,
    weight: str = "400",
    family: str = "inherit",
    anchor: str = "start",
    colour: str = "#1f2328",
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" font-family="{family}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'
    )
