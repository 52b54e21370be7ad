"""The command line of lsvit-train: parses and calls. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os

import typer

from shared.command_line import run_app
from train.cli_describe import add_describe_command
from train.cli_outcomes import add_outcome_commands
from train.cli_run import add_run_command

app = typer.Typer(
    name="lsvit-train",
    help="LS-ViT on clip shards: training, evaluation, predictions from raw video, heatmaps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks. May stand anywhere."),
) -> None:
    """LS-ViT on clip shards: training, evaluation, predictions from raw video, heatmaps."""


add_run_command(app)
add_outcome_commands(app)
add_describe_command(app)


def main() -> None:
    """Entry point of ``lsvit-train``."""
    # OpenMP reads this when torch is imported. Threads that spin while they wait take the cores from those that work:
    # on a machine that does other things too, training on the CPU was several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_app(app, program="lsvit-train")


if __name__ == "__main__":
    main()
