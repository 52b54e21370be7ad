"""What both commands print: progress, tables, messages. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from shared.errors import DataError, UsageError
from shared.missing_packages import PACKAGE
from shared.terminal.interrupts import end, interrupted_line
from shared.terminal.startup import EXIT_INTERRUPTED, end_at_once
from shared.terminal.streams import is_terminal, replace_standard_streams, width_of, wrapped
from shared.terminal.tables import table_text

PLAIN_INTERVAL_SECONDS = 10.0
_MEGABYTE = 1_000_000


def say(message: str, *, to: TextIO | None = None) -> None:
    """Print plain text, markup and all, to standard output or the stream given.

    A terminal gets it broken between words; elsewhere it is one line, so that it can be searched.
    """
    stream = to or sys.stdout
    write_out(wrapped(message, width_of(stream)) if stream.isatty() else message, to=stream)


def write_out(text: str, *, to: TextIO | None = None) -> None:
    """Print text as it is, such as JSON, which programs read."""
    stream = to or sys.stdout
    stream.write(text + "\n")
    stream.flush()


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes the plural where it has to: 1 clip, 0 clips, 3 classes, 2 entries."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "sh", "tch", "x")):  # batches, but epochs
        return f"{number} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}s"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal, elsewhere as wide as COLUMNS says or 140 characters. Numbers align right.

    Cells are taken literally: a file called ``[red]`` prints as that. Where not even the words find room side by side,
    each row becomes a few lines.
    """
    width, styled = width_of(sys.stdout), is_terminal(sys.stdout)
    write_out(table_text(title, columns, rows, width=width, styled=styled))


@contextmanager
def progress(
    description: str, total: int | None, *, unit: str = "clips", detail: Callable[[], str] | None = None
) -> Iterator[Callable[[int], None]]:
    """Show progress with rate and time left on standard error; yields ``advance(count)``.

    On a terminal a Rich bar; elsewhere one plain line every 10 seconds, none for what is done sooner. detail: what
    else there is to say just now, instead of the time left.
    """
    if is_terminal(sys.stderr):
        yield from _rich_progress(description, total, unit, detail)
    else:
        yield from _plain_progress(description, total, unit, detail)


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


def _rich_progress(
    description: str, total: int | None, unit: str, detail: Callable[[], str] | None
) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.fields[total_text]} " + unit, markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn() if detail is None else TextColumn("{task.fields[detail]}", markup=False),
    )
    started, done = time.monotonic(), 0
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        total_text = "?" if total is None else f"{total:,}"
        task = bar.add_task(description, total=total, total_text=total_text, rate="", detail="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, completed=done, rate=f"{_rate_text(rate)} {unit}/s", detail=detail() if detail else "")

        yield advance


def _plain_progress(
    description: str, total: int | None, unit: str, detail: Callable[[], str] | None
) -> Iterator[Callable[[int], None]]:
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
        left = f", {detail()}" if detail else left
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
_WIDEST_HELP = 100  # characters of a line
_LEAST_HELP = 40  # of them for what an option means, before its name gets a line of its own
_LEAST_INDENT = 4

EXIT_BAD_DATA = 1
EXIT_USAGE = 2


def run_app(app: typer.Typer, *, program: str) -> None:
    """Run ``app`` on ``sys.argv`` and leave the process with the exit code of the outcome."""
    arguments = sys.argv[1:]
    end_at_once()
    output = replace_standard_streams()
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    group = _with_fitting_help(typer.main.get_command(app))
    width = min(_WIDEST_HELP, shutil.get_terminal_size().columns - 2)
    code = exit_code_of(
        lambda: group(arguments, prog_name=program, standalone_mode=False, terminal_width=width), debug=debug
    )
    output.flush()
    sys.exit(code or _code_of_failure(output.failure))


def _code_of_failure(failure: OSError | None) -> int:
    """The exit code of a command whose work is done and whose text could not all be written."""
    if failure is None:
        return 0
    if isinstance(failure, BrokenPipeError):  # the reader has seen enough (`| head`)
        return 128 + signal.SIGPIPE
    say(f"error: standard output: {failure.strerror}; what belongs into files was written", to=sys.stderr)
    return EXIT_BAD_DATA


def _with_fitting_help(group: Any) -> Any:
    """The command group, with help that fits short lines: names and their meaning one below the other, nothing cut."""

    class Formatter(group.context_class.formatter_class):  # type: ignore[misc]
        def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
            narrow = max(_LEAST_INDENT, min(col_max, self.width - _LEAST_HELP))
            broken = [
                (name.replace(" ", "\n    ", 1) if len(name) + 2 > self.width else name, text) for name, text in rows
            ]
            super().write_dl(broken, narrow, col_spacing)

    class Context(group.context_class):  # type: ignore[misc]
        formatter_class = Formatter

    for command in (group, *group.commands.values()):
        command.context_class = Context
        command.short_help = " ".join((command.help or "").split())  # else it is cut where the line ends
    return group


def show_version(is_asked: bool) -> None:
    """Callback of ``--version``: print the version of the package and end."""
    if is_asked:
        say(f"{PACKAGE} {importlib.metadata.version(PACKAGE)}")
        raise typer.Exit


def exit_code_of(command: Callable[[], object], *, debug: bool = False) -> int:
    """Call ``command`` and translate what it raises into an exit code and at most two lines of text."""
    try:
        result = _result_of(command)
    except typer.Exit as stop:
        result = stop.exit_code
    except _CallError as error:
        _say_call_error(error)
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        end()
        say(interrupted_line(), to=sys.stderr)
        return EXIT_INTERRUPTED
    except (DataError, UsageError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        say(f"error: {_one_line(error)}", to=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_BAD_DATA
    if result == EXIT_INTERRUPTED:  # some versions of Typer turn Ctrl-C into this, without a word
        say(interrupted_line(), to=sys.stderr)
    return result if isinstance(result, int) else 0


def _result_of(command: Callable[[], object]) -> object:
    """What a command gives. Whatever became of it, no interruption is raised any more: only those here are caught."""
    try:
        return command()
    finally:
        end()


def _say_call_error(error: Any) -> None:
    """Say in one line what is wrong with a call; a call without a command gets the help instead."""
    message = error.format_message()
    if "\n" in message or error.ctx is None:  # no_args_is_help: the message is the help
        error.show()
        return
    message = message.replace("Value error, ", "").rstrip(".")  # some versions of Typer begin with what pydantic says
    say(f"error: {message}; see `{error.ctx.command_path} --help`", to=sys.stderr)


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use fewer --workers, a smaller --batch-size or a smaller --size"
    return str(error) or type(error).__name__
