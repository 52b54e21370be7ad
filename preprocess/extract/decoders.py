"""How many clips were decoded where: what a GPU was asked to do and what it did."""

from __future__ import annotations

from dataclasses import dataclass

from shared.terminal.console import counted, say


@dataclass(frozen=True, kw_only=True)
class DecoderCounts:
    """Clips by where they were decoded. Two of them can be added."""

    on_gpu: int = 0
    on_cpu: int = 0
    gpu_error: str = ""
    """Why the GPU did not decode the last of those that it was given and the CPU decoded."""

    def __add__(self, other: DecoderCounts) -> DecoderCounts:
        return DecoderCounts(
            on_gpu=self.on_gpu + other.on_gpu,
            on_cpu=self.on_cpu + other.on_cpu,
            gpu_error=other.gpu_error or self.gpu_error,
        )

    @property
    def num_clips(self) -> int:
        """All of them."""
        return self.on_gpu + self.on_cpu

    @property
    def reason(self) -> str:
        """Why the GPU failed, in brackets, to stand behind a number; empty where it did not."""
        return f" ({self.gpu_error})" if self.gpu_error else ""


def warn_of_idle_gpu(first: DecoderCounts) -> None:
    """Say so where the GPU has decoded none of the first clips."""
    if first.num_clips and not first.on_gpu:
        say(
            f"the GPU decoded none of the first {counted(first.num_clips, 'clip')}{first.reason}; the CPU decodes "
            "them. `--device cpu` spares the attempt; `hmdb-prep doctor` says what is missing"
        )


def say_who_decoded(counts: DecoderCounts) -> None:
    """The numbers at the end of a run on a GPU."""
    on_gpu, on_cpu = counted(counts.on_gpu, "clip"), counted(counts.on_cpu, "clip")
    say(f"decoded on the GPU: {on_gpu}, on the CPU: {on_cpu}{counts.reason}")
