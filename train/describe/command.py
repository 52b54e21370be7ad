"""The architecture of a model, without any data: as a table, as JSON and as a figure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError
from shared.terminal.console import print_table, say, write_out
from train.model.config import ModelConfig, Variant, make_config
from train.model.describe import COLUMNS, Description, describe, to_json, to_table
from train.model.describe_figure import draw_svg
from train.model.families import Weights, load_weights
from train.model.unstated import HALF


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """The options of the command."""

    preset: str
    """tiny, small, base, or auto: of the weights, base where there are none."""
    init: str
    """Weights whose architecture is described; empty: none."""
    num_heads: int
    activation: str
    runs: Path
    smif: Variant
    lmi: Variant
    lmi_every: int
    num_classes: int
    img_size: int
    num_frames: int
    json: bool
    svg: Path | None
    """None where no figure is wanted."""

    @property
    def name(self) -> str:
        """What the model is called in the table."""
        return self.init or ("base" if self.preset == "auto" else self.preset)


def describe_model(options: DescribeOptions) -> None:
    """Print the architecture and draw its figure. Raises UsageError where preset and weights are both given."""
    if options.init and options.preset != "auto":
        raise UsageError(
            f"--preset is {options.preset!r} beside --init, whose weights settle the size; leave one of them out"
        )
    weights = _weights(options)
    description = describe(_config(options, weights))
    aside = sys.stderr if options.json else None
    for note in () if weights is None else weights.notes:
        say(note, to=aside)
    if options.svg is not None:
        draw_svg(description, options.svg)
        say(f"the figure was written to {options.svg}", to=aside)
    if options.json:
        write_out(to_json(description))
    else:
        _print(description, title=f"LS-ViT {options.name}, SMIF {options.smif}, LMI {options.lmi}, one clip")


def _weights(options: DescribeOptions) -> Weights | None:
    if not options.init:
        return None
    return load_weights(options.init, num_heads=options.num_heads, activation=options.activation, runs=options.runs)


def _config(options: DescribeOptions, weights: Weights | None) -> ModelConfig:
    return make_config(
        options.name if weights is None else weights.shape,
        num_classes=options.num_classes,
        image_size=options.img_size,
        num_frames=options.num_frames,
        smif=options.smif,
        lmi=options.lmi,
        lmi_every=options.lmi_every,
        spatial_pool="cls" if weights is None else weights.pool,
        mean=HALF[0] if weights is None else weights.mean,
        std=HALF[1] if weights is None else weights.std,
    )


def _print(description: Description, *, title: str) -> None:
    print_table(title, COLUMNS, to_table(description))
    say(f"{description.parameters:,} parameters, {description.flops / 1e9:.1f} GFLOPs a clip")
