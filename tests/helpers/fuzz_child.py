"""Runs a range of fuzz cases in a process of its own: ``python fuzz_child.py TARGET FIRST COUNT FOLDER``.

Says ``start N`` before each case and ``ok``, ``refused`` or ``FAILED`` with a traceback after it. What may end is a
DataError or UsageError; everything else is a finding: other exceptions, memory beyond the limit, more than
CASE_SECONDS (the alarm kills the process), a process started, a file written outside the folder.
"""

from __future__ import annotations

import importlib
import os
import random
import resource
import signal
import sys
import traceback
from pathlib import Path

from fuzz_targets import TARGETS

from shared.errors import DataError, UsageError

CASE_SECONDS = 30
MEMORY_BYTES = 1024**3  # on top of what the imports take
_STARTERS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pty.spawn")
_CHANGERS = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


class Escaped(BaseException):
    """Something was done that no input may lead to."""


def main(target: str, first: int, count: int, folder: Path) -> None:
    """Run the cases ``first`` to ``first + count - 1``. A case is a function of target and number alone."""
    case = TARGETS[target](folder)
    for number in range(5):  # so that everything is imported before memory is limited
        _outcome(lambda number=number: case(random.Random(f"{target} warm-up {number}")))
    importlib.import_module("shared.splits.folds")  # numba keeps what it compiles beside the source
    _limit_memory()
    _watch(folder)
    for number in range(first, first + count):
        print(f"start {number}", flush=True)
        signal.alarm(CASE_SECONDS)
        print(_outcome(lambda number=number: case(random.Random(f"{target} {number}"))), flush=True)
        signal.alarm(0)


def _outcome(case: object) -> str:
    try:
        case()  # type: ignore[operator]
    except (DataError, UsageError) as error:
        message = str(error)
        if len(message.splitlines()) > 2 or not message.strip():
            return f"FAILED: an error of {len(message.splitlines())} lines: {message[:500]!r}"
        return "refused"
    except BaseException:
        return "FAILED\n" + traceback.format_exc()
    return "ok"


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _watch(folder: Path) -> None:
    inside = str(folder.resolve())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STARTERS or event == "socket.connect":
            raise Escaped(f"{event} {arguments!r}")
        # Paths below an open folder (dir_fd) are shutil's, of the harness itself.
        if (event in _CHANGERS and arguments[-1] == -1) or (event == "open" and _is_writing(arguments)):
            name = arguments[0]
            if isinstance(name, (str, bytes, os.PathLike)) and not os.path.realpath(os.fsdecode(name)).startswith(
                inside
            ):
                raise Escaped(f"{event} {arguments!r}")

    sys.addaudithook(hook)


def _is_writing(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return (
        isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and arguments[0] != os.devnull
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
