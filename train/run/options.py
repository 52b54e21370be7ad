"""``lsvit-train run``: a flag for each field of RunConfig, so that flags, TOML keys and defaults stay the same."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from train.run.config.fields import RunConfig, flags
from train.run.config.values import Flag, Value

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file of these flags as keys; flags win over it.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run, or begin it where there is no checkpoint.")]


def add_run_command(app: typer.Typer) -> None:
    """Add ``run`` to the app, its signature made from the fields of RunConfig."""
    known = flags()

    def run(**arguments: Any) -> None:
        """Train LS-ViT on shards; see recipes/ for configurations with their reasons."""
        from train.run.command import run as run_training

        given: dict[str, Value] = {key: arguments[key] for key in known if arguments[key] not in (None, [])}
        run_training(command_line=given, config_file=arguments["config"], resume=arguments["resume"])

    defaults = RunConfig()
    parameters = [keyword("config", ConfigFile, None), keyword("resume", Resume, False)]
    parameters += [
        keyword(key, annotation(key, kind, flag, default=getattr(defaults, key)), None)
        for key, (kind, flag) in known.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("run")(run)


def keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    """A parameter of a command's signature."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def annotation(key: str, kind: Any, flag: Flag, *, default: Value) -> Any:
    """The option of a key. Nothing given is None, so that the configuration file can tell."""
    name = key.replace("_", "-")
    text = f"{flag.help} {_choices(flag)}{_default(default)}"
    declaration = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    if kind == tuple[str, ...]:
        kind = list[str]
    return Annotated[Optional[kind], typer.Option(declaration, help=text, show_default=False)]  # noqa: UP045


def _choices(flag: Flag) -> str:
    return f"One of {', '.join(flag.choices)}. " if flag.choices else ""


def _default(default: Value) -> str:
    if default in ("", ()):
        return ""
    if isinstance(default, tuple):
        default = " ".join(f"{number:g}" for number in default)
    if isinstance(default, bool):
        default = "on" if default else "off"
    return f"[default: {default}]"
