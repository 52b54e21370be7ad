"""Contestants take turns, so that all of them meet the same machine; medians and ratios, as a table and as JSON.

What the benchmarks share. CPU time is that of this process and of the children it has waited for: on a machine that
does other work as well it means more than seconds do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shared.machine.cores import available_cores
from shared.terminal.console import print_table, say

_PACKAGES = ("torch", "torchcodec", "numpy", "h5py", "opencv-python-headless", "av", "decord", "pillow")


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of each counted round: by the wall clock, and of CPU."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant. rate: units a second, by the median round; slowest and fastest: of all rounds. cpu_rate: units a
    second of CPU time, 0 where that was not measured. ratio: rate over that of the table's reference.
    """

    rate: float
    slowest: float
    fastest: float
    cpu_rate: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a benchmark is to reach: a value that is at least, or at most, a limit."""

    value: float
    limit: float
    is_least: bool

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.is_least else self.value <= self.limit


@dataclass(kw_only=True)
class Results:
    """What one run of a benchmark found; ``save`` writes it as JSON. figures: single numbers, in their tables."""

    benchmark: str
    options: dict[str, object]
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, float | str]]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=lambda: describe_machine())

    def add_rates(
        self,
        title: str,
        times: Mapping[str, Times],
        *,
        units: float,
        unit: str,
        reference: str,
        with_cpu: bool = True,
    ) -> None:
        """Add and print a table of rates; ``units`` of work were done in every round. with_cpu: False where processes
        that outlive a round did the work, so that their CPU time is not known.
        """
        rows = {name: _row(taken, units, with_cpu=with_cpu) for name, taken in times.items()}
        base = rows[reference].rate
        rows = {name: Row(**(asdict(row) | {"ratio": row.rate / base})) for name, row in rows.items()}
        self.tables[title] = rows
        columns = ["", f"{unit}/s", "slowest", "fastest", "ratio", *([f"{unit}/CPU s"] if with_cpu else [])]
        cells = [[name, *(f"{value:.2f}" for value in _shown(row))][: len(columns)] for name, row in rows.items()]
        print_table(title, columns, cells)

    def add_figures(self, title: str, rows: Mapping[str, Mapping[str, float | str]]) -> None:
        """Add and print a table of single numbers; all rows have the same columns."""
        self.figures[title] = {name: dict(row) for name, row in rows.items()}
        columns = list(next(iter(rows.values())))
        cells = [[name, *(_cell(row[column]) for column in columns)] for name, row in rows.items()]
        print_table(title, ["", *columns], cells)

    def add_target(self, name: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        """Note and print whether a target is met; exactly one of the two limits is given."""
        limit = least if least is not None else most
        assert limit is not None
        target = Target(value=value, limit=limit, is_least=least is not None)
        self.targets[name] = target
        sign, verdict = ("at least" if target.is_least else "at most"), ("met" if target.is_met else "MISSED")
        say(f"{name}: {value:.3f} ({sign} {limit:g}: {verdict})")

    def add_note(self, text: str) -> None:
        """Note and print a sentence."""
        self.notes.append(text)
        say(text)

    def ratio(self, title: str, name: str, *, to: str) -> float:
        """How many times as fast one row of a table is as another."""
        return self.tables[title][name].rate / self.tables[title][to].rate

    def save(self, path: Path | None) -> None:
        """Write everything as JSON, where a path is given."""
        if path is None:
            return
        content = asdict(self)
        for name, target in self.targets.items():
            content["targets"][name]["is_met"] = target.is_met
        content["machine"]["load_after"] = os.getloadavg()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, default=str) + "\n")
        say(f"wrote {path}")


def take_turns(contestants: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, Times]:
    """Call each contestant once a round, every round beginning with another one; the first rounds do not count."""
    names = list(contestants)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for index in range(warm_up + rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            cpu_before, before = _cpu_seconds(), time.perf_counter()
            contestants[name]()
            if index >= warm_up:
                wall[name].append(time.perf_counter() - before)
                cpu[name].append(_cpu_seconds() - cpu_before)
    return {name: Times(wall=tuple(wall[name]), cpu=tuple(cpu[name])) for name in names}


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _shown(row: Row) -> tuple[float, ...]:
    return row.rate, row.slowest, row.fastest, row.ratio, row.cpu_rate


def _row(times: Times, units: float, *, with_cpu: bool) -> Row:
    cpu = statistics.median(times.cpu) if with_cpu else 0.0
    return Row(
        rate=units / statistics.median(times.wall),
        slowest=units / max(times.wall),
        fastest=units / min(times.wall),
        cpu_rate=units / cpu if cpu > 1e-3 else 0.0,
        ratio=1.0,
    )


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def describe_machine() -> dict[str, object]:
    """The machine in a few words, and the versions that matter. Names no path, no host and no user."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "ffmpeg": _ffmpeg(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _ffmpeg() -> str:
    command = shutil.which("ffmpeg")
    if command is None:
        return ""
    text = subprocess.run([command, "-version"], capture_output=True, text=True, check=True).stdout
    return text.partition("Copyright")[0].strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def benchmark_options(description: str | None, *, rounds: int | None) -> argparse.ArgumentParser:
    """The options that every benchmark has. rounds: the default of ``--rounds``; None: there are no rounds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="counted rounds; one more comes first")
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds, whose figures mean nothing")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--workplace", type=Path, help="folder for what is made; default: a temporary one")
    return parser


def start(benchmark: str, options: argparse.Namespace) -> Results:
    """Empty results of a benchmark. ``--quick`` leaves one round. Paths are not noted."""
    if options.quick and "rounds" in options:
        options.rounds = 1
    shown = {name: value for name, value in vars(options).items() if not isinstance(value, Path | None)}
    return Results(benchmark=benchmark, options=shown)


@contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Path]:
    """The folder to work in: the one asked for, which is kept, or a temporary one, which is not."""
    if options.workplace is not None:
        options.workplace.mkdir(parents=True, exist_ok=True)
        yield options.workplace
        return
    with tempfile.TemporaryDirectory(prefix="hmdb-benchmark-") as folder:
        yield Path(folder)
