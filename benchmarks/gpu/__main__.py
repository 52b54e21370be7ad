"""What a GPU does with this project, checked and measured in one run of at most 8 minutes: `make gpu`.

    python -m benchmarks.gpu [--quick] [--device cpu|cuda] [--out DIR] [--workplace DIR]

Makes its own data (below 2 GB) and needs neither a network nor the ffmpeg command. Where real clips are at hand
($HMDB51_REAL_VIDEOS, as for the tests), their decoding is compared, too. Each part runs its work in processes
of its own, under a time limit, and the next one runs whatever becomes of it. DIR/gpu.md and DIR/gpu.json are written
anew after every part, so that a run which is cut off leaves what it knows. Exit code 1 if a part failed.
--quick: the same in its smallest form (below 150 MB), also on a CPU, where what compares a GPU with it is skipped; its
figures mean nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu import parts
from benchmarks.gpu.report import Bench, Report, Row, run_part
from benchmarks.gpu.steps import BATCHES
from benchmarks.timing import benchmark_options, describe_machine, workplace
from shared.terminal.console import say

SECONDS = 480.0
_QUICK_FACTOR = 4.0  # --quick is for slow machines, too: its limits only end what hangs


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part to be done. seconds: its limit, also cut by what is left of the whole."""

    name: str
    seconds: float
    function: Callable[[Bench], Iterator[Row]]


def tasks(*, quick: bool) -> list[Task]:
    """Every part, in the order in which time may run out: compiled steps come last."""
    presets = ["tiny"] if quick else list(BATCHES)
    plain = [
        Task(name=f"steps, {p}", seconds=60, function=partial(parts.steps, preset=p, compiled=False)) for p in presets
    ]
    compiled = [
        Task(name=f"compiled steps, {p}", seconds=150, function=partial(parts.steps, preset=p, compiled=True))
        for p in reversed(presets)
    ]
    return [
        Task(name="doctor", seconds=40, function=parts.doctor),
        Task(name="tests marked cuda", seconds=90, function=parts.cuda_tests),
        Task(name="videos", seconds=90, function=parts.make_videos),
        Task(name="decoding, frame by frame", seconds=60, function=parts.compare_frames),
        Task(name="decoding of real clips, frame by frame", seconds=60, function=parts.compare_real_frames),
        *(
            Task(name=f"decoding, {c}", seconds=60, function=partial(parts.decoding_speed, codec=c))
            for c in parts.CODECS
        ),
        *plain,
        *(
            Task(name=f"memory, {p}", seconds=40, function=partial(parts.memory, preset=p))
            for p in presets
            if p != "tiny" or quick
        ),
        Task(name="run", seconds=90, function=parts.train),
        Task(name="evaluate", seconds=40, function=parts.evaluate),
        Task(name="predict", seconds=40, function=parts.predict),
        Task(name="explain", seconds=40, function=parts.explain),
        Task(name="export torch", seconds=40, function=partial(parts.export, form="torch")),
        Task(name="export onnx", seconds=60, function=partial(parts.export, form="onnx")),
        *compiled,
    ]


def main() -> None:
    parser = benchmark_options(__doc__, rounds=None)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda, and cpu where there is none")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the report; default: runs/gpu")
    options = parser.parse_args()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not options.quick:
        parser.error("torch sees no CUDA GPU; --quick runs on the CPU")
    report = Report(machine=describe_machine(), device=device, is_quick=options.quick)
    factor = _QUICK_FACTOR if options.quick else 1.0
    deadline = time.monotonic() + factor * SECONDS
    with workplace(options) as place:
        bench = Bench(place=place.absolute(), device=device, quick=options.quick, deadline=deadline)
        for task in tasks(quick=options.quick):
            part = run_part(task.name, bench.within(factor * task.seconds), task.function)
            report = report.add(part, used_bytes=bench.used_bytes())
            report.write(options.out)
    say(f"wrote {options.out}/gpu.md and gpu.json")
    sys.exit(int(report.has_failed))


if __name__ == "__main__":
    main()
