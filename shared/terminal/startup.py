"""Ctrl-C and SIGTERM from the first line of a program on. It imports almost nothing: what takes time comes later."""

import os
import signal
import sys

EXIT_INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # job schedulers and `kill` send the latter


def refuse_windows() -> None:
    """Raise SystemExit, with one sentence and exit code 1, on Windows: it lacks Unix's locks, signals and processes."""
    if sys.platform == "win32":
        raise SystemExit(
            "error: hmdb51-lsvit does not run on Windows itself; use it in WSL 2: `wsl --install`, then as on Ubuntu"
        )


def let_macs_fall_back() -> None:
    """Let the CPU do what torch cannot do on a Mac's GPU, unless the user says otherwise; before torch is imported."""
    if sys.platform == "darwin":
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def end_at_once() -> None:
    """From now on an interruption ends the process with its line: nothing is begun that would have to be tidied up.

    A signal stays ignored where the user has it so, as with ``nohup`` or ``&`` in a script.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end_now)


def ignore() -> None:
    """From now on interruptions do nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_now(number: int, frame: object) -> None:
    """The handler: say so and leave, without tidying up."""
    ignore()  # else it would be called, and speak, once more before it is over
    try:
        os.write(2, b"interrupted\n")  # sys.stderr may be in the middle of a line
    finally:
        os._exit(EXIT_INTERRUPTED)
