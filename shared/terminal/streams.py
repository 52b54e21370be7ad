"""Standard output and error as they may be: terminals of any width, pipes, closed, full, of few letters."""

from __future__ import annotations

import codecs
import io
import os
import sys
import textwrap
from typing import TextIO

WIDTH_ELSEWHERE = 140  # characters of a line that is written to no terminal
_LINE_OF_A_TERMINAL = 80  # where it does not know its width
# What stands for letters that an encoding such as ASCII lacks; of others their number is written.
_PLAIN = {"·": "*", "×": "x", "±": "+-", "²": "^2", "→": "->", "…": "...", "–": "-", "°": " deg", "█": "#", "─": "-"}
_PLAIN |= dict.fromkeys("▏▎▍▌▋▊▉", "")  # parts of a cell of a bar
_PLAIN_ERRORS = "hmdb-plain-letters"


class Output(io.TextIOWrapper):
    """A standard stream that never stops the work: where it cannot be written to, the rest of the text is dropped.

    The reader of a pipe may go away, the disk of a file may be full. ``failure`` says so afterwards.
    """

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Hand over what is written."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still in the buffer, and what comes, goes there
        os.close(nowhere)


def replace_standard_streams() -> Output:
    """Make ``sys.stdout`` and ``sys.stderr`` streams that never stop the work; returns the former.

    Closed ones lead nowhere. Their numbers are taken: the next file would get them, and what libraries print into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the system gives the lowest number that is free
    codecs.register_error(_PLAIN_ERRORS, _plain_letters)
    output = _output(sys.stdout, 1)
    sys.stdout, sys.stderr = output, _output(sys.stderr, 2)
    return output


def _output(stream: TextIO | None, number: int) -> Output:
    if stream is None:
        return Output(open(number, "wb", closefd=False), encoding="utf-8")
    errors = _PLAIN_ERRORS if stream.errors in ("strict", "backslashreplace") else stream.errors
    return Output(stream.buffer, encoding=stream.encoding, errors=errors, line_buffering=bool(stream.line_buffering))


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    """What is written for letters that cannot be encoded: others of the same look, or ``\\u`` and their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode()) for letter in letters
    ), error.end


def is_terminal(stream: TextIO) -> bool:
    """Whether lines can be drawn over: a terminal that knows control codes, and no cell of a notebook."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and "JPY_PARENT_PID" not in os.environ


def width_of(stream: TextIO) -> int:
    """Characters of a line: those of COLUMNS, else of the terminal; elsewhere lines are long."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _LINE_OF_A_TERMINAL
    except (OSError, ValueError):  # no terminal, or no file at all
        return WIDTH_ELSEWHERE


def wrapped(text: str, width: int) -> str:
    """The text with line ends between words, so that no line is longer; a word that is stays whole, as paths are."""
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip(" -"))].replace("-", " ")  # of an item of a list, its text's
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
