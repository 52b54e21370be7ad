"""One process or several under ``torchrun``: who am I, and sums and gathers over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from shared.errors import DataError, UsageError, first_line
from shared.terminal.console import say

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among all that train together."""

    rank: int = 0
    """From 0; the first one writes files and speaks."""
    count: int = 1
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def say(self, message: str) -> None:
        """Print a line, in the first process only."""
        if self.is_first:
            say(message)

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sums over all processes, in float64."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        return [float(value) for value in self.total(tensor).tolist()]

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same on the device, without waiting: ``tensor`` itself where this process is alone."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, by rank; all of one shape and on ``device``."""
        if self.count == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(parts, tensor)
        return parts

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier()


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """auto: CUDA where there is a GPU, and never that of a Mac.

    Raises UsageError for another name than auto, cpu, cuda and mps, and where what is asked for is absent.
    """
    if name not in DEVICE_NAMES:
        raise UsageError(f"the device is {name!r}; it must be one of {', '.join(DEVICE_NAMES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device is cuda, but torch finds no GPU; use --device cpu, or see `hmdb-prep doctor`")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(
                "--device is mps, but torch finds no GPU of a Mac (Apple silicon, macOS 14 or later); use --device cpu"
            )
        return torch.device("mps")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def shares_gpu(device: torch.device, *, local_count: int) -> bool:
    """Whether this machine has fewer GPUs than processes. local_count: its processes."""
    return device.type == "cuda" and local_count > torch.cuda.device_count()


def choose_backend(device: torch.device, *, local_count: int) -> str:
    """What exchanges tensors: nccl between GPUs, which it refuses to share; gloo otherwise."""
    return "nccl" if device.type == "cuda" and not shares_gpu(device, local_count=local_count) else "gloo"


@contextmanager
def memory_errors(remedy: str) -> Iterator[None]:
    """Raise DataError, in two lines with the remedy, where a device's memory is too small."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DataError(f"the GPU's memory is too small: {first_line(error)}\n{remedy}") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in ("DefaultCPUAllocator", "MPS backend out of memory")):
            raise
        raise DataError(f"the memory is too small: {first_line(error)}\n{remedy}") from error


@contextmanager
def joined_processes(device_name: str) -> Iterator[Processes]:
    """Join the other processes where ``torchrun`` started this one; those that share a GPU are told so."""
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=choose_device(device_name))
        return
    device = choose_device(device_name, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "mps":  # gloo, which processes on a Mac would speak through, knows no tensors there
        raise UsageError("--device mps trains in one process; start `lsvit-train run` without torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    local_count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    dist.init_process_group(choose_backend(device, local_count=local_count))
    processes = Processes(rank=dist.get_rank(), count=dist.get_world_size(), device=device)
    if shares_gpu(device, local_count=local_count):
        processes.say(
            f"{local_count} processes share the GPUs of this machine, {torch.cuda.device_count()} in number: good for "
            "trying out, and slower than one process a GPU"
        )
    try:
        yield processes
    finally:
        dist.destroy_process_group()
