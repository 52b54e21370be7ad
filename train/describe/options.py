"""``lsvit-train describe``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from train.options import DEFAULT_RUNS, Runs

Variant = Literal["none", "classic", "directional"]


def describe_command(
    preset: Annotated[
        str, typer.Option("--preset", help="Size of the model: tiny, small, base or auto (of --init, else base).")
    ] = "auto",
    init: Annotated[str, typer.Option("--init", metavar="WEIGHTS", help="Weights: a file, a run or hf:REPO.")] = "",
    num_heads: Annotated[int, typer.Option("--num-heads", help="Attention heads of --init. 0: as timm has it.")] = 0,
    activation: Annotated[
        Literal["auto", "gelu", "gelu_tanh", "quick_gelu"], typer.Option("--activation", help="Of the MLPs of --init.")
    ] = "auto",
    runs: Runs = DEFAULT_RUNS,
    smif: Annotated[
        Variant | None,
        typer.Option("--smif", help="How motion is injected into the frames. Default: of the run, else directional."),
    ] = None,
    lmi: Annotated[
        Variant | None,
        typer.Option("--lmi", help="How frames exchange motion in each block. Default: of the run, else directional."),
    ] = None,
    lmi_every: Annotated[
        int | None, typer.Option("--lmi-every", min=1, help="LMI in one block of every N. Default: of the run, else 1.")
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option("--num-classes", help="Number of classes. Default: of the run, else 51.")
    ] = None,
    img_size: Annotated[
        int | None,
        typer.Option("--img-size", help="Side of the model's picture in pixels. Default: of the run, else 224."),
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option("--num-frames", help="Frames T of a clip. Default: of the run, else 16.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw the figure of the stages to this file too.")] = None,
) -> None:
    """The architecture without reading any data: shapes before and after each stage, parameters and FLOPs."""
    from train.describe.command import DescribeOptions, describe_model

    describe_model(
        DescribeOptions(
            preset=preset,
            init=init,
            num_heads=num_heads,
            activation=activation,
            runs=runs,
            smif=smif,
            lmi=lmi,
            lmi_every=lmi_every,
            num_classes=num_classes,
            img_size=img_size,
            num_frames=num_frames,
            json=as_json,
            svg=svg,
        )
    )
