"""What both commands print: progress, tables, messages. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from shared.errors import DataError, UsageError

PLAIN_INTERVAL_SECONDS = 10.0
_MEGABYTE = 1_000_000


def say(message: str, *, to: TextIO | None = None) -> None:
    """Print one line of plain text, markup and all, to standard output or the stream given."""
    stream = to or sys.stdout
    stream.write(message + "\n")
    stream.flush()


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes the plural where it has to: 1 clip, 0 clips, 3 classes, 2 entries."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "sh", "ch", "x")):
        return f"{number} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}s"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: Rich's on a terminal, tab-free aligned text elsewhere. Numbers align right.

    Cells are taken literally: a file called ``[red]`` prints as that.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    is_terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if is_terminal else 140, highlight=False)
    console.print(Text(title, style="bold"))
    console.print(table)


def _is_number(cell: str) -> bool:
    return not cell or cell.strip().rstrip("%").lstrip("+-±").replace(".", "", 1).replace(",", "").isdigit()


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "clips") -> Iterator[Callable[[int], None]]:
    """Show progress with rate and time left on standard error; yields ``advance(count)``.

    On a terminal a Rich bar; elsewhere one plain line every 10 seconds, none for what is done sooner.
    """
    if sys.stderr.isatty():
        yield from _rich_progress(description, total, unit)
    else:
        yield from _plain_progress(description, total, unit)


@contextmanager
def progress_in_megabytes(description: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress in whole megabytes; yields ``advance(num_bytes)``."""
    done = shown = 0
    total = None if total_bytes is None else -(-total_bytes // _MEGABYTE)
    with progress(description, total, unit="MB") as advance_megabytes:

        def advance(num_bytes: int) -> None:
            nonlocal done, shown
            done += num_bytes
            advance_megabytes(done // _MEGABYTE - shown)
            shown = done // _MEGABYTE

        yield advance


def _rich_progress(description: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.fields[total_text]} " + unit, markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started, done = time.monotonic(), 0
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        total_text = "?" if total is None else f"{total:,}"
        task = bar.add_task(description, total=total, total_text=total_text, rate="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, completed=done, rate=f"{_rate_text(rate)} {unit}/s")

        yield advance


def _plain_progress(description: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last < PLAIN_INTERVAL_SECONDS:
            return
        last = now
        rate = done / (now - started)
        left = "" if total is None or not rate else f", {duration_text((total - done) / rate)} left"
        of = "" if total is None else f"/{total}"
        say(f"{description}: {done}{of} {unit}, {_rate_text(rate)} {unit}/s{left}", to=sys.stderr)

    yield advance


def _rate_text(rate: float) -> str:
    return f"{rate:,.1f}" if rate >= 1 else f"{rate:.2g}"


def duration_text(seconds: float) -> str:
    """A duration in words for people: 42 s, 12 min or 7 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


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
