"""Both programs on terminals of any width, and where standard output is closed, full, gone or of few letters."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from commands import command_line, fail, run, succeed
from warm_starts import start

from preprocess.cli import app as prepare
from shared.terminal.console import _with_fitting_help
from shared.terminal.streams import wrapped
from shared.terminal.tables import column_widths, table_text
from train.cli import app as learn

WIDTHS = (40, 80, 200)
GROUPS = {"hmdb-prep": prepare, "lsvit-train": learn}
DESCRIBE = ("describe", "--preset", "tiny")
SMALL = Path(__file__).parents[2] / "helpers" / "small_program.py"
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(
    width: int, program: str, *arguments: str | Path, installed: bool = False, **variables: str
) -> tuple[int, str]:
    """Run a command whose output is a terminal of this width: its exit code and all that came, control codes too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "JPY_PARENT_PID")}
    environment |= {"TERM": "xterm", "OMP_NUM_THREADS": "1", **variables}
    terminal = os.ttyname(theirs)
    with ThreadPoolExecutor(1) as reader:
        text = reader.submit(lambda: b"".join(chunks(ours)))
        try:
            code = start(
                [program, *map(str, arguments)],
                cwd=None,
                environment=environment,
                streams=(terminal, terminal),
                timeout=300,
                installed=installed,
            )
        finally:
            os.close(theirs)
    os.close(ours)
    return code, text.result().decode().replace("\r\n", "\n")


def chunks(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # how a terminal ends whose other side is closed
            return
        if not chunk:
            return
        yield chunk


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which {train} is the program, and {small} one that takes less time to start."""
    words = {"train": command_line("lsvit-train", ())[0], "small": f"{sys.executable} {SMALL}"}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("COLUMNS", None)
    return subprocess.run(
        ["bash", "-c", script.format(**words)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def commands_of(program: str) -> list[str]:
    return list(typer.main.get_command(GROUPS[program]).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("program", GROUPS)
def test_help_fits_the_terminal(program: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    group = _with_fitting_help(typer.main.get_command(GROUPS[program]))
    for words in ([], *([name] for name in commands_of(program))):
        wide, narrow = (help_of(group, words, width=columns, capsys=capsys) for columns in (1000, width))
        assert wide.split() == re.sub(r"-\n\s+", "-", narrow).split()  # no word is broken but at a hyphen, or cut
        longest = max(narrow.splitlines(), key=len)
        assert len(longest) <= width or len(longest.split()) == 1, longest


def help_of(group: object, words: list[str], *, width: int, capsys: pytest.CaptureFixture[str]) -> str:
    group([*words, "--help"], prog_name="program", standalone_mode=False, terminal_width=width)  # type: ignore[operator]
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
def test_words_wrap_on_a_terminal(width: int, tmp_path: Path) -> None:
    wrong = ("evaluate", "nothing", "--runs", tmp_path)
    table, error = (_CODES.sub("", on_a_terminal(width, "lsvit-train", *words)[1]) for words in (DESCRIBE, wrong))
    long = [line for line in (table + error).splitlines() if len(line.rstrip()) > width]
    assert all(str(tmp_path) in line for line in long), long
    elsewhere = run("lsvit-train", *wrong)
    assert set(error.replace(";", " ").split()) >= set(elsewhere.err.replace(";", " ").split())


def test_columns_says_how_wide_a_table_is_elsewhere() -> None:
    piped = shell("COLUMNS=70 {small} table").stdout.splitlines()
    assert 60 < max(map(len, piped)) <= 70
    assert 100 < max(map(len, shell("{small} table").stdout.splitlines())) <= 140


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"JPY_PARENT_PID": "7"}])
def test_no_control_codes_where_they_are_not_understood(variables: dict[str, str], tmp_path: Path) -> None:
    assert "\x1b" not in on_a_terminal(80, "lsvit-train", *DESCRIBE, **variables)[1]
    words = ("synth", tmp_path / "videos", "--clips", "4", "--classes", "2")
    code, text = on_a_terminal(80, "hmdb-prep", *words, installed="TERM" in variables, **variables)
    assert code == 0
    assert "\x1b" not in text
    assert "\r" not in text


def test_control_codes_are_for_terminals_alone() -> None:
    assert "\x1b" in on_a_terminal(80, "lsvit-train", *DESCRIBE)[1]
    assert "\x1b" not in shell("FORCE_COLOR=1 {train} describe --preset tiny 2>&1").stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_cannot_be_printed_are_replaced(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, SMALL, "table"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "140"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode(encoding)
    assert ("B*16" if encoding == "ascii" else "B·16") in text
    assert ("─" if encoding == "utf-8" else "-----") in text


def test_a_name_that_cannot_be_printed_is_an_error_like_any_other(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xe8\xb7\x91"
    done = subprocess.run(
        [*map(os.fsencode, command_line("hmdb-prep", ("extract", "--videos"))), folder],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: no folder of videos ")
    assert rb"\udcff\u8dd1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("ending", "code", "error"),
    [
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">/dev/full", 1, "error: standard output: No space left on device; what belongs into files was written"),
        (">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_files_are_written_whatever_becomes_of_the_text(tmp_path: Path, ending: str, code: int, error: str) -> None:
    done = shell(f"{{small}} table {tmp_path}/written {ending}")
    assert done.returncode == code
    assert done.stderr.strip() == error
    if "2>/dev/full" not in ending or ">/dev/full" in ending.replace("2>", ""):
        assert done.stdout == ""
    assert (tmp_path / "written").read_text() == "whole"


def test_a_reader_that_went_away_stops_no_work(tmp_path: Path) -> None:
    script = f"{{small}} table {tmp_path}/written | exec true; echo ${{{{PIPESTATUS[0]}}}}"
    done = shell(f"sleep 0; ({script})")
    assert done.stderr == ""
    assert done.stdout.strip() in ("141", "0")  # 0 where all was handed over before the reader went away
    assert (tmp_path / "written").exists()
    done = shell("(sleep 2; {train} describe --preset tiny --json) | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stderr, done.stdout) == ("", "141\n")


def test_json_stays_as_it_is_on_a_terminal() -> None:
    code, text = on_a_terminal(40, "lsvit-train", "describe", "--json", installed=True)
    assert code == 0
    assert json.loads(text)["parameters"] > 90_000_000


@pytest.mark.parametrize("program", GROUPS)
def test_version(program: str) -> None:
    assert re.fullmatch(r"hmdb51-lsvit \d+\.\d+\.\d+\S*\n", succeed(program, "--version"))


def test_options_whose_values_are_named(tmp_path: Path) -> None:
    error = fail(2, "lsvit-train", "export", tmp_path)
    assert error == "error: --format is missing; give onnx (for which the extra `export` is needed), torch or hub\n"
    text = " ".join(succeed("lsvit-train", "predict", "--help").split())
    assert "probabilities: a column for each class; competition: the columns id,class" in text


def test_columns_are_narrowed_from_the_widest_on() -> None:
    head = ("name", "what happens")
    assert column_widths([head, ("a" * 10, "one two three four")], available=40) == [10, 18]
    assert column_widths([head, ("a" * 10, "one two three four")], available=20) == [10, 10]
    assert column_widths([head, ("a" * 10, "one two three four")], available=17) == [10, 7]
    assert column_widths([head, ("a" * 10, "one two three four")], available=16) is None
    assert column_widths([head, ("a" * 90, "one")], available=31) is not None  # a path may be broken
    assert column_widths([("跑步", "x")], available=9) == [4, 1]


def test_rows_become_lines_where_no_table_fits() -> None:
    rows = [("brush_hair", "12", "a_long_word_of_letters"), ("walk", "", "b")]
    text = table_text("Classes", ("class", "before", "kind"), rows, width=24, styled=False)
    assert text.splitlines() == [
        "Classes", "brush_hair", "  before: 12; kind:", "  a_long_word_of_letters", "walk", "  kind: b"
    ]  # fmt: skip


def test_wrapping_keeps_paths_and_indents() -> None:
    assert wrapped("a bb ccc", 4) == "a bb\nccc"
    assert wrapped("  a bb ccc", 6) == "  a bb\n  ccc"
    assert wrapped("see /a/very/long-path/of/files here", 10) == "see\n/a/very/long-path/of/files\nhere"
    assert wrapped("one\ntwo", 3) == "one\ntwo"
    assert wrapped("- one two", 6) == "- one\n  two"


def test_an_interruption_put_off_until_a_command_has_ended_does_nothing(tmp_path: Path) -> None:
    """One that comes while a module is imported waits a moment, and the command may be over by then."""
    (tmp_path / "interrupting.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    program = """
import sys, time
from shared.terminal.console import _result_of
from shared.terminal.interrupts import begin
from shared.terminal.startup import end_at_once
def command():
    begin()
    import interrupting
end_at_once()
_result_of(command)
time.sleep(0.2)
"""
    paths = os.pathsep.join((str(tmp_path), str(SMALL.parents[2])))
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
