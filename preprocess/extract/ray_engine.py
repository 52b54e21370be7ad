"""Extraction on Ray: one task a shard, on a cluster or on this machine. Each task decodes as the local engine does.

Videos and shards lie on a file system that all nodes share. A task whose process or node dies is run again elsewhere;
as what a shard holds depends on nothing but the plan, the result is the same byte for byte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from preprocess.extract.decoders import DecoderCounts, warn_of_idle_gpu
from preprocess.extract.extraction_plan import Extraction, PlannedShard
from preprocess.extract.facts import ClipFacts
from preprocess.extract.state import STATE_FILE, is_finished, remove_temporary_files
from shared.errors import DataError, UsageError, first_line
from shared.machine.cores import available_cores
from shared.missing_packages import install_extra
from shared.terminal.console import progress, say

_MAX_RETRIES = 10  # of a task whose process or node died; a video cannot do that, it is decoded in another process
_MAX_IN_FLIGHT = 1000
_OBJECT_STORE_BYTES = 80 * 1024**2  # tasks pass names and numbers, never frames
_CLUSTER = "RAY_ADDRESS"
_ATTEMPTS = "RAY_gcs_server_port_wait_time_s"  # Ray's own: how often it looks for a cluster, each time for 40 seconds
_ANSWER_SECONDS = 20.0


def require_ray() -> None:
    """Raise UsageError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"--engine ray needs Ray; {install_extra('ray')}, or use --engine local")


def extract_on_ray(extraction: Extraction, shards: Sequence[PlannedShard], *, gpus_per_task: float) -> DecoderCounts:
    """Write the shards, each in a Ray task with ``num_workers`` decoding processes and as many CPUs.

    gpus_per_task: the share of a GPU that a task takes up, 0 with device ``cpu``. Interrupted at any moment it leaves
    complete shards and no others. Raises DataError and OSError as the tasks do, DataError where Ray gives up.
    """
    tasks = deque(shard_task(extraction, shard) for shard in shards)
    num_cpus = extraction.num_workers
    needs = {"CPU": float(num_cpus)} | ({"GPU": gpus_per_task} if gpus_per_task else {})
    try:
        with _connected(needs) as ray:
            remote = ray.remote(num_cpus=num_cpus, num_gpus=gpus_per_task, max_retries=_MAX_RETRIES)(extract_shard)
            return _run_all(ray, remote, tasks)
    finally:
        remove_temporary_files(extraction.shards_folder)  # of finished shards too: a killed task may have left a note


def shard_task(extraction: Extraction, shard: PlannedShard) -> Extraction:
    """The extraction of this one shard: all that its task needs, and no more, so that tasks stay small."""
    names = [video.clip_id for video in shard.videos]
    return dataclasses.replace(
        extraction,
        plan=dataclasses.replace(extraction.plan, videos=shard.videos, shards=(shard,), rejected=()),
        facts=ClipFacts(
            labels={name: extraction.facts.labels[name] for name in names},
            tags={name: extraction.facts.tags[name] for name in names},
            splits={name: extraction.facts.splits[name] for name in names},
        ),
        videos_folder=extraction.videos_folder.absolute(),
        shards_folder=extraction.shards_folder.absolute(),
    )


def extract_shard(task: Extraction) -> DecoderCounts:
    """What a Ray task does: write its one shard."""
    from preprocess.extract.shards import extract_shards

    _check_node(task)
    (shard,) = task.plan.shards
    if is_finished(task.shards_folder, shard):  # a task may be run again though it had all but reported
        return DecoderCounts()
    with _nameless_program():
        return extract_shards(task, task.plan.shards)


@contextlib.contextmanager
def _nameless_program() -> Iterator[None]:
    """Hide the file of this process's program: each decoding process would import it, and with it all of Ray."""
    program = vars(sys.modules["__main__"])
    file = program.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            program["__file__"] = file


def _check_node(task: Extraction) -> None:
    """Raise DataError on a node that would take every video for a bad one, because it does not see the folders."""
    node = os.uname().nodename
    remedy = "videos and shards must lie under the same path on every node of the Ray cluster"
    if not (task.shards_folder / STATE_FILE).is_file():
        raise DataError(f"node {node} does not see {task.shards_folder / STATE_FILE}; {remedy}")
    for video in task.plan.videos:
        file = task.videos_folder / video.path
        if not file.is_file() or file.stat().st_size != video.num_bytes:
            raise DataError(f"node {node} does not see {file} as it was when the run began; {remedy}")
    if task.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise DataError(f"--device cuda: torch sees no GPU on node {node}; see `hmdb-prep doctor` there")


def _run_all(ray: Any, remote: Any, tasks: deque[Extraction]) -> DecoderCounts:
    """Run the tasks, a window of them at a time: Ray need not keep track of more than it can run soon."""
    decoders = DecoderCounts()
    in_flight: dict[Any, Extraction] = {}
    with progress("extracting", sum(len(task.plan.videos) for task in tasks)) as advance:
        while tasks or in_flight:
            while tasks and len(in_flight) < _MAX_IN_FLIGHT:
                task = tasks.popleft()
                in_flight[remote.remote(task)] = task
            done, _ = ray.wait(list(in_flight), num_returns=1)
            for reference in done:
                task = in_flight.pop(reference)
                found = _result(ray, reference, task)
                if task.device != "cpu" and not decoders.num_clips:
                    warn_of_idle_gpu(found)
                decoders += found
                advance(len(task.plan.videos))
    return decoders


def _result(ray: Any, reference: Any, task: Extraction) -> DecoderCounts:
    try:
        counts: DecoderCounts = ray.get(reference)
        return counts
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DataError | OSError | MemoryError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise DataError(
            f"{task.plan.shards[0].name}: its Ray task died {_MAX_RETRIES + 1} times, last with "
            f"{type(error).__name__}; see Ray's logs, then run the same command again to continue"
        ) from error


@contextlib.contextmanager
def _connected(needs: dict[str, float]) -> Iterator[Any]:
    """Ray, connected to the cluster of $RAY_ADDRESS, else to one on this machine that ends with this process."""
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        ray = _join(stack) if os.environ.get(_CLUSTER) else _start_local(needs, stack)
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
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


def _start_local(needs: dict[str, float], stack: contextlib.ExitStack) -> Any:
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
            num_cpus=max(available_cores(), int(needs["CPU"])),
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


def _check_resources(ray: Any, needs: dict[str, float]) -> None:
    """Say so where no node has room for a task; on this machine alone that is an error."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0.0) >= number for name, number in needs.items()) for node in nodes):
        return
    wanted = " and ".join(f"{number:g} {name}" for name, number in needs.items())
    if not os.environ.get(_CLUSTER):
        raise DataError(f"a task needs {wanted}, and Ray finds no such thing on this machine; use --device cpu")
    say(f"no node of the Ray cluster has the {wanted} that a task needs; waiting for one to join")
