"""Starts commands as forks of a process that has everything imported: an installed one spends seconds on its imports.

A fork is a process of its own in all else: it has its own streams, folder, signals and exit code, and ends as an
interpreter does. Its worker processes are forked from one server for all. Run as a script, this is that process.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

_STREAMS = ("stdout", "stderr"), ("strict", "backslashreplace")
_COMMANDS = [
    f"{program}.{file.parent.name}.command"
    for program in ("preprocess", "train")
    for file in sorted((Path(__file__).parents[2] / program).glob("*/command.py"))
]
_FURTHER = (
    "preprocess.cli preprocess.extract.clips preprocess.extract.shards preprocess.extract.finish.verify train.cli "
    "train.explain.clips train.trained.embed train.trained.export imblearn.over_sampling rich.progress "
    "matplotlib.backends.backend_agg matplotlib.backends.backend_svg torch._dynamo torch.utils.tensorboard"
).split()
_MODULES_OF_WORKERS = (
    "preprocess.extract.clips preprocess.extract.pixel_sums preprocess.synth.encode train.predict.videos "
    "torchcodec.decoders torchcodec.encoders"
).split()


def start(
    words: Sequence[str],
    *,
    cwd: Path | None,
    environment: Mapping[str, str],
    streams: tuple[str | Path, str | Path],
    timeout: float,
    installed: bool = False,
) -> int:
    """Run a command to its end; returns its exit code, negative for a signal.

    words: the program's name and its arguments. environment: all of it; for a fork, what a library reads while it is
    imported comes too late. streams: the files or terminals of its two outputs. installed: start the script that a
    user starts. Raises subprocess.TimeoutExpired after ``timeout`` seconds.
    """
    if installed or sys.platform == "darwin":  # where a process that is forked after its imports may crash
        return _start_installed(words, cwd=cwd, environment=environment, streams=streams, timeout=timeout)
    connection, _ = _server()
    connection.send((list(words), str(cwd or Path.cwd()), [str(stream) for stream in streams], dict(environment)))
    process = connection.recv()
    if not connection.poll(timeout):
        os.kill(process, signal.SIGKILL)
        connection.recv()
        raise subprocess.TimeoutExpired(list(words), timeout)
    return int(connection.recv())


def _start_installed(
    words: Sequence[str],
    *,
    cwd: Path | None,
    environment: Mapping[str, str],
    streams: tuple[str | Path, str | Path],
    timeout: float,
) -> int:
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    with Path(streams[0]).open("wb") as out, Path(streams[1]).open("wb") as err:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=dict(environment), timeout=timeout
        )
    return done.returncode


@functools.cache
def _server() -> tuple[Connection, subprocess.Popen[bytes]]:
    """The process from which commands are forked, and a connection with it. It ends when this process does."""
    mine, theirs = multiprocessing.Pipe()
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},  # as the workers of a command have it
    )
    theirs.close()
    return mine, process


def _serve(connection: Connection) -> list[str]:
    """Fork for each command that is asked for. Returns its words in the fork, which is to run it, none at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in (*_COMMANDS, *_FURTHER):
        importlib.import_module(module)
    multiprocessing.get_context("forkserver").set_forkserver_preload(_MODULES_OF_WORKERS)
    forkserver.ensure_running()
    gc.freeze()  # the forks need not look through what is imported
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            words, folder, streams, environment = connection.recv()
            process = os.fork()
            if not process:
                connection.close()
                _become(folder=folder, streams=streams, environment=environment)
                return list(words)
            connection.send(process)
            connection.send(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    return []


def _become(*, folder: str, streams: list[str], environment: dict[str, str]) -> None:
    """Turn the fork into what a process that was started there would be."""
    for number, (file, name, errors) in enumerate(zip(streams, *_STREAMS, strict=True), start=1):
        stream = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY)
        os.dup2(stream, number)
        os.close(stream)
        text = os.fdopen(number, "w", errors=errors, closefd=False)  # the old one would seek in a terminal
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # Both servers are children of the process from which this one was forked: it cannot wait for them, nor need it.
    resource_tracker._resource_tracker._pid = None
    for server in (forkserver, forkserver._forkserver):
        server.ensure_running = lambda: None


if __name__ == "__main__":
    words = _serve(Connection(int(sys.argv[1])))
    if words:
        from hmdb51_lsvit.commands import hmdb_prep, lsvit_train

        sys.argv = words
        {"hmdb-prep": hmdb_prep, "lsvit-train": lsvit_train}[words[0]]()
