"""The describe command: parses and calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

Variant = Literal["none", "classic", "directional"]


def add_describe_command(app: typer.Typer) -> None:
    """Add describe to the app."""
    app.command("describe")(describe_command)


def describe_command(
    preset: Annotated[str, typer.Option("--preset", help="Size of the model: tiny, small or base.")] = "base",
    smif: Annotated[Variant, typer.Option("--smif", help="How motion is injected into the frames.")] = "directional",
    lmi: Annotated[Variant, typer.Option("--lmi", help="How frames exchange motion in each block.")] = "directional",
    num_classes: Annotated[int, typer.Option("--num-classes", help="Number of classes.")] = 51,
    img_size: Annotated[int, typer.Option("--img-size", help="Side of the model's picture in pixels.")] = 224,
    num_frames: Annotated[int, typer.Option("--num-frames", help="Frames T of a clip.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw the figure of the stages to this file too.")] = None,
) -> None:
    """The architecture without reading any data: shapes before and after each stage, parameters and FLOPs."""
    from shared.console import print_table, say
    from train.describe import COLUMNS, describe, to_json, to_table
    from train.model_config import make_config

    config = make_config(
        preset, num_classes=num_classes, image_size=img_size, num_frames=num_frames, smif=smif, lmi=lmi
    )
    description = describe(config)
    if svg is not None:
        from train.describe_figure import draw_svg

        draw_svg(description, svg)
        say(f"the figure was written to {svg}", to=sys.stderr if as_json else None)
    if as_json:
        say(to_json(description))
        return
    print_table(f"LS-ViT {preset}, SMIF {smif}, LMI {lmi}, one clip", COLUMNS, to_table(description))
    say(f"{description.parameters:,} parameters, {description.flops / 1e9:.1f} GFLOPs a clip")
