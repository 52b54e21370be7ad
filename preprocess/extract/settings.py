"""What the user asks of an extraction, and whether it can be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.extract.engines.choice import check_engine
from preprocess.extract.engines.tasks import make_task
from preprocess.extract.extraction_plan import ExtractionParameters
from preprocess.extract.rules import AS_KEPT, AskedRules
from shared.errors import UsageError
from shared.machine.cores import available_cores

DEVICES = ("cpu", "cuda", "auto")
DEFAULT_GPUS_PER_TASK = 0.25
MOST_WORKERS_ON_GPU = 8  # unless asked for: each has a CUDA context of its own, of some 0.5 GB of the GPU's memory


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """What the user asked for. None of it but ``parameters`` changes what the shards hold."""

    videos: Path
    shards: Path
    manifests: Path
    parameters: ExtractionParameters
    asked: AskedRules = AS_KEPT
    """For sources and splits."""
    device: str = "cpu"
    num_workers: int | None = None
    """Decoding processes, of the whole run or with engine ``ray`` of each task.

    None: one a core but at most 8 on a GPU, or one a task.
    """
    timeout_seconds: float = 300.0
    num_tasks: int = 1
    task_id: int = 0
    overwrite: bool = False
    strict: bool = False
    engine: str = "local"
    gpus_per_task: float | None = None
    """Share of a GPU, for engine ``ray`` on CUDA only."""


def check_settings(settings: ExtractionSettings) -> None:
    """Raise UsageError for options that cannot be or do not go together, DataError where Ray is not installed."""
    if settings.device not in DEVICES:
        raise UsageError(f"--device is {settings.device!r}; it must be one of {', '.join(DEVICES)}")
    make_task(num_tasks=settings.num_tasks, task_id=settings.task_id)
    if settings.overwrite and settings.num_tasks > 1:
        raise UsageError("--overwrite cannot be combined with --num-tasks: one task would delete the others' shards")
    if not settings.timeout_seconds > 0:  # so that nan is refused as well
        raise UsageError(f"--timeout is {settings.timeout_seconds}; it must be a positive number of seconds")
    if settings.num_workers is not None and settings.num_workers < 1:
        raise UsageError(f"--workers is {settings.num_workers}; it must be at least 1")
    _check_engine(settings)


def _check_engine(settings: ExtractionSettings) -> None:
    if settings.gpus_per_task is not None:
        if settings.engine != "ray" or settings.device != "cuda":
            raise UsageError("--gpus-per-task is for --engine ray with --device cuda")
        if not 0 < settings.gpus_per_task <= 1:
            raise UsageError(f"--gpus-per-task is {settings.gpus_per_task}; it must be above 0 and at most 1")
    if settings.engine == "ray" and settings.device == "auto":
        raise UsageError("--device auto measures this machine and no cluster; with --engine ray choose cpu or cuda")
    check_engine(settings.engine, num_tasks=settings.num_tasks)


def check_device(settings: ExtractionSettings) -> None:
    """Raise DataError where the GPU that is asked for is not there."""
    if settings.device == "cuda" and settings.engine == "local":  # the tasks of Ray look on their own machines
        from preprocess.extract.engines.device import require_gpu

        require_gpu()


def workers_of(settings: ExtractionSettings) -> int:
    """As asked for, or one for each core that this process may use."""
    return settings.num_workers or available_cores()
