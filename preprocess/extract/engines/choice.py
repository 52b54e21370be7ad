"""What ``--engine`` names: this process alone, or Ray."""

from __future__ import annotations

from preprocess.extract.engines.reading import ReadShards, read_in_threads
from shared.errors import UsageError

ENGINES = ("local", "ray")


def check_engine(engine: str, *, num_tasks: int) -> None:
    """Raise UsageError where there is no such engine, Ray is not installed, or the work would be divided twice."""
    if engine not in ENGINES:
        raise UsageError(f"--engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    if engine != "ray":
        return
    if num_tasks > 1:
        raise UsageError("--num-tasks cannot be combined with --engine ray, which divides the work itself")
    from preprocess.extract.engines.ray.cluster import require_ray

    require_ray()


def reader_of(engine: str, *, num_tasks: int) -> ReadShards:
    """How ``verify`` and ``merge`` read shards with this engine. Raises UsageError as ``check_engine`` does."""
    check_engine(engine, num_tasks=num_tasks)
    if engine == "local":
        return read_in_threads
    from preprocess.extract.engines.ray.reading import read_on_ray

    return read_on_ray
