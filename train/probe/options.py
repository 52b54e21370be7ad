"""``lsvit-train probe``: those flags of `run` that matter to a head on stored features, with defaults of its own."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated, Any, Literal

import typer

from train.probe.config import DEFAULTS, KEYS, ProbeOptions
from train.run.config.fields import RunConfig, flags
from train.run.config.values import Value
from train.run.options import ConfigFile, Resume, annotation, keyword

Head = Literal["mean", "attention", "directional"]
HeadOption = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="Frames of a clip into one, before the last layer: mean, attention (a learned weighted mean) or "
        "directional (signed differences over time, so that order counts); a file calls it temporal_pool. "
        "[default: directional]",
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Heads of each split: seed, seed + 1, ... [default: 1]", show_default=False),
]
_OTHER_HELP = {"name": "Name of the run: its folder below --runs. Default: probe-<weights>."}


def add_probe_command(app: typer.Typer) -> None:
    """Add ``probe`` to the app."""
    known = flags()

    def probe(**arguments: Any) -> None:
        """Train heads on frame features of frozen weights: features once, then seconds a head."""
        from train.probe.command import probe as run_probe

        values: dict[str, Value] = {key: arguments[key] for key in KEYS if arguments[key] is not None}
        if arguments["head"] is not None:
            values["temporal_pool"] = arguments["head"]
        run_probe(
            ProbeOptions(
                values=values,
                config_file=arguments["config"],
                seeds=arguments["seeds"] or 0,
                resume=arguments["resume"],
            )
        )

    parameters = [keyword("head", HeadOption, None), keyword("seeds", Seeds, None)]
    parameters += [keyword("config", ConfigFile, None), keyword("resume", Resume, False)]
    defaults = dataclasses.asdict(RunConfig()) | dict(DEFAULTS)
    for key in KEYS:
        kind, flag = known[key]
        flag = dataclasses.replace(flag, help=_OTHER_HELP.get(key, flag.help))
        parameters.append(keyword(key, annotation(key, kind, flag, default=defaults[key]), None))
    probe.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    probe.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("probe")(probe)
