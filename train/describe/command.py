"""The architecture of a model, without any data: as a table, as JSON and as a figure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from shared.terminal.console import print_table, say, write_out
from train.model.config import ModelConfig, Variant, make_config
from train.model.describe import COLUMNS, Description, describe, to_json, to_table
from train.model.describe_figure import draw_svg
from train.model.weights.families import Weights, load_weights
from train.model.weights.unstated import HALF
from train.run.config.fields import RunConfig
from train.run.model import motion_of, temporal_pool_of, with_shape_of

_USUAL: tuple[Variant, Variant, int, int] = ("directional", "directional", 1, 51)  # SMIF, LMI, its N, HMDB51's classes
_USUAL_SIDE, _USUAL_FRAMES = 224, 16


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
    smif: Variant | None
    """None, here and in the next five: as in the run of --init, else as usual."""
    lmi: Variant | None
    lmi_every: int | None
    num_classes: int | None
    img_size: int | None
    num_frames: int | None
    json: bool
    svg: Path | None
    """None where no figure is wanted."""

    @property
    def name(self) -> str:
        """What the model is called in the table."""
        return self.init or ("base" if self.preset == "auto" else self.preset)


def describe_model(options: DescribeOptions) -> None:
    """Print the architecture and draw its figure. Raises DataError where a preset contradicts the weights."""
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
        _print(description, name=options.name)


def _weights(options: DescribeOptions) -> Weights | None:
    if not options.init:
        return None
    weights = load_weights(options.init, num_heads=options.num_heads, activation=options.activation, runs=options.runs)
    with_shape_of(RunConfig(preset=options.preset), weights)  # as `run` has it
    return weights


def _config(options: DescribeOptions, weights: Weights | None) -> ModelConfig:
    smif, lmi, lmi_every, num_classes = _USUAL
    if weights is not None and weights.class_names:  # of a run
        smif, lmi, lmi_every = motion_of(weights)
        num_classes = len(weights.class_names)
    of_run = (None, None) if weights is None else (weights.image_size, weights.num_frames)
    return make_config(
        options.name if weights is None else weights.shape,
        num_classes=num_classes if options.num_classes is None else options.num_classes,
        image_size=_first(options.img_size, of_run[0], _USUAL_SIDE),
        num_frames=_first(options.num_frames, of_run[1], _USUAL_FRAMES),
        smif=options.smif or smif,
        lmi=options.lmi or lmi,
        lmi_every=options.lmi_every or lmi_every,
        spatial_pool="cls" if weights is None else weights.pool,
        temporal_pool="mean" if weights is None else temporal_pool_of(weights),
        mean=HALF[0] if weights is None else weights.mean,
        std=HALF[1] if weights is None else weights.std,
    )


def _first(given: int | None, of_run: int | None, usual: int) -> int:
    return next(number for number in (given, of_run, usual) if number is not None)


def _print(description: Description, *, name: str) -> None:
    config = description.config
    some = f" in 1 block of {config.lmi_every}" if config.lmi != "none" and config.lmi_every > 1 else ""
    print_table(f"LS-ViT {name}, SMIF {config.smif}, LMI {config.lmi}{some}, one clip", COLUMNS, to_table(description))
    say(f"{description.parameters:,} parameters, {description.flops / 1e9:.1f} GFLOPs a clip")
