"""Runs a Typer app with this project's rules: short errors, exit codes 0, 1, 2 and 130, tracebacks only on --debug."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from shared.console import say
from shared.errors import DataError, UsageError

# Typer brings its own copy of click, or uses the installed one, depending on its version: this is whichever it raises.
_CallError: Any = typer.BadParameter.__base__

EXIT_BAD_DATA = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def run_app(app: typer.Typer, *, program: str) -> None:
    """Run ``app`` on ``sys.argv`` and leave the process with the exit code of the outcome."""
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)  # what `kill` and job schedulers send ends a command as Ctrl-C does
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(exit_code_of(lambda: app(arguments, prog_name=program, standalone_mode=False), debug=debug))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def exit_code_of(command: Callable[[], object], *, debug: bool = False) -> int:
    """Call ``command`` and translate what it raises into an exit code and at most two lines of text."""
    try:
        result: object = command()
    except typer.Exit as stop:
        result = stop.exit_code
    except _CallError as error:
        _say_call_error(error)
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted", to=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (DataError, UsageError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        say(f"error: {_one_line(error)}", to=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_BAD_DATA
    if result == EXIT_INTERRUPTED:  # some versions of Typer turn Ctrl-C into this, without a word
        say("interrupted", to=sys.stderr)
    return result if isinstance(result, int) else 0


def _say_call_error(error: Any) -> None:
    """Say in one line what is wrong with a call; a call without a command gets the help instead."""
    message = error.format_message()
    if "\n" in message or error.ctx is None:  # no_args_is_help: the message is the help
        error.show()
        return
    say(f"error: {message.rstrip('.')}; see `{error.ctx.command_path} --help`", to=sys.stderr)


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use fewer --workers, a smaller --batch-size or a smaller --size"
    return str(error) or type(error).__name__
