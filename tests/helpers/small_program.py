"""A program that is quick to start: it begins, prints and ends as both commands do, and has one command, ``table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.terminal.console import print_table, run_app

app = typer.Typer()


@app.callback()
def group() -> None:
    """Make ``table`` the name of a command, as those of a program with several."""


@app.command()
def table(file: Annotated[Path | None, typer.Argument()] = None) -> None:
    """Print a table wider than most terminals, with letters that not every encoding has; write a file."""
    print_table("Parts", ("part", "input", "what happens"), [("smif", "B·16", "a word and another " * 8)])
    if file is not None:
        file.write_text("whole")


if __name__ == "__main__":
    run_app(app, program="small")
