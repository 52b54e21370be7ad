"""Writes docs/commands.md from the commands themselves: `python scripts/write_commands_page.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
INTRODUCTION = """# Commands

Written by `python scripts/write_commands_page.py` from the commands themselves; a test fails when it is out of date.

Exit codes: 0 done, 1 the data or the run is bad, 2 wrong usage, 130 interrupted. `--debug` may stand anywhere and
shows tracebacks.
"""


def applications() -> dict[str, Any]:
    """The command groups by the name of their program."""
    from preprocess.cli import app as prepare
    from train.cli import app as learn

    return {"hmdb-prep": typer.main.get_command(prepare), "lsvit-train": typer.main.get_command(learn)}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, such as ``hmdb-prep extract``."""
    for program, group in applications().items():
        for name, command in group.commands.items():
            yield f"{program} {name}", command


def parameters(command: Any) -> Iterator[tuple[str, str, str]]:
    """Name, default and help of each argument and option of a command."""
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        if is_option and parameter.name == "help":
            continue
        names = (
            ", ".join((*parameter.opts, *parameter.secondary_opts))
            if is_option
            else (parameter.metavar or parameter.name.upper())
        )
        default = parameter.default
        hidden = default is None or default is False or default == () or callable(default)
        shown = "" if hidden else f"`{default}`"
        yield names, shown, " ".join((getattr(parameter, "help", None) or "").split())


def page() -> str:
    """The text of docs/commands.md."""
    parts = [INTRODUCTION]
    for name, command in commands():
        parts.append(f"## {name}\n\n{' '.join((command.help or '').split())}\n")
        rows = [
            f"| `{names}` | {default} | {text} |".replace("<", "&lt;") for names, default, text in parameters(command)
        ]
        parts.append("\n".join(["| argument or option | default | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
