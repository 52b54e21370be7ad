"""Functions run as tasks on Ray: on the cluster of $RAY_ADDRESS, else on this machine. What the tasks do is others'."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from shared.errors import DataError, UsageError, first_line
from shared.machine.cores import available_cores
from shared.missing_packages import install_extra
from shared.terminal.console import say
from shared.terminal.interrupts import begin

Task = TypeVar("Task")
Result = TypeVar("Result")
_MAX_RETRIES = 10  # of a task whose process or node died; a video cannot do that, it is decoded in another process
_MAX_IN_FLIGHT = 1000  # Ray need not keep track of more than it can run soon
_OBJECT_STORE_BYTES = 80 * 1024**2  # tasks pass names and numbers, never frames
_CLUSTER = "RAY_ADDRESS"
_ATTEMPTS = "RAY_gcs_server_port_wait_time_s"  # Ray's own: how often it looks for a cluster, each time for 40 seconds
_ANSWER_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one task takes up while it runs."""

    num_cpus: int
    num_gpus: float = 0.0
    """A share of one, or 0."""

    def __str__(self) -> str:
        return f"{self.num_cpus} CPU" + (f" and {self.num_gpus:g} GPU" if self.num_gpus else "")

    def are_met_by(self, node: Any) -> bool:
        """Whether a node of ``ray.nodes()`` has so much."""
        found = node["Resources"]
        return bool(found.get("CPU", 0.0) >= self.num_cpus and found.get("GPU", 0.0) >= self.num_gpus)


def require_ray() -> None:
    """Raise UsageError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"--engine ray needs Ray; {install_extra('ray')}, or use --engine local")


def completed(
    ray: Any, function: Callable[[Task], Result], tasks: Iterable[Task], *, needs: Needs, name: Callable[[Task], str]
) -> Iterator[tuple[Task, Result]]:
    """Run ``function``, one of a module, once for each task; tasks and results come as they are completed.

    name: what a task that comes to nothing is called. Raises what the function does, where that is a DataError,
    OSError or MemoryError, and DataError where processes and nodes die again and again.
    """
    remote = ray.remote(num_cpus=needs.num_cpus, num_gpus=needs.num_gpus, max_retries=_MAX_RETRIES)(function)
    coming, in_flight = iter(tasks), dict[Any, Task]()
    while True:
        for task in islice(coming, _MAX_IN_FLIGHT - len(in_flight)):
            in_flight[remote.remote(task)] = task
        if not in_flight:
            return
        (reference,), _ = ray.wait(list(in_flight), num_returns=1)
        task = in_flight.pop(reference)
        yield task, _result(ray, reference, name(task))


def _result(ray: Any, reference: Any, name: str) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DataError | OSError | MemoryError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise DataError(
            f"{name}: its Ray task died {_MAX_RETRIES + 1} times, last with {type(error).__name__}; see Ray's logs, "
            "then run the same command again"
        ) from error


def not_seen(what: str, *, folders: str) -> DataError:
    """The error of a node that does not see a file as the machine does on which the command was called."""
    return DataError(
        f"node {os.uname().nodename} does not see {what}; {folders} must lie under the same path on every node of the "
        "Ray cluster"
    )


@contextlib.contextmanager
def connected(needs: Needs) -> Iterator[Any]:
    """Ray, connected to the cluster of $RAY_ADDRESS, else to one on this machine that ends with this process."""
    begin()  # an interruption ends Ray too
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        try:
            ray = _join(stack) if os.environ.get(_CLUSTER) else _start_local(needs, stack)
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which ends the process without a word
        except SystemExit as end:
            raise KeyboardInterrupt from end
        _check_resources(ray, needs)
        yield ray


def _join(stack: contextlib.ExitStack) -> Any:
    ray: Any = importlib.import_module("ray")
    stack.callback(ray.shutdown)
    _set_environment(stack, {_ATTEMPTS: os.environ.get(_ATTEMPTS, "1")})
    try:
        _check_answer(os.environ[_CLUSTER])
        ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # what Ray itself raises, where a node does not answer in time
        raise DataError(
            f"no Ray cluster to be joined at {_CLUSTER}={os.environ[_CLUSTER]} ({first_line(error)}); "
            f"start it with `ray start`, or unset {_CLUSTER} to use this machine alone"
        ) from error
    return ray


def _check_answer(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT. Ray would try 20 times, for 14 minutes in all."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:  # neither `auto` nor a URL
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()


def _start_local(needs: Needs, stack: contextlib.ExitStack) -> Any:
    """Ray on this machine only. Its ports are open to the network, so they ask for a token that nobody else has."""
    _set_environment(stack, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    ray: Any = importlib.import_module("ray")  # reads the two only once, when it is imported
    # In /tmp, because the paths of Ray's sockets must not be long.
    folder = tempfile.TemporaryDirectory(prefix="hmdb-ray-", dir="/tmp", ignore_cleanup_errors=True)
    stack.enter_context(folder)
    stack.callback(ray.shutdown)
    try:
        ray.init(
            address="local",
            num_cpus=max(available_cores(), needs.num_cpus),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            logging_level="ERROR",
            log_to_driver=False,
            _temp_dir=folder.name,
        )
    except Exception as error:  # what Ray itself raises, where a node does not answer in time
        raise DataError(f"Ray does not start on this machine ({first_line(error)}); use --engine local") from error
    return ray


def _set_environment(stack: contextlib.ExitStack, values: dict[str, str]) -> None:
    """Set environment variables until the stack ends."""
    stack.callback(_restore_environment, {name: os.environ.get(name) for name in values})
    os.environ.update(values)


def _restore_environment(kept: dict[str, str | None]) -> None:
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _check_resources(ray: Any, needs: Needs) -> None:
    """Say so where no node has room for a task; on this machine alone that is an error."""
    if any(needs.are_met_by(node) for node in ray.nodes() if node["Alive"]):
        return
    if not os.environ.get(_CLUSTER):
        raise DataError(f"a task needs {needs}, and Ray finds no such thing on this machine; use --device cpu")
    say(f"no node of the Ray cluster has the {needs} that a task needs; waiting for one to join")
