"""Training runs of a study, several at a time, each through the command line. Finished runs are kept."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Measured = TypeVar("Measured")


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number, at least this one, from the command line."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"it is {text}; at least {least}")
        return int(text)

    return number


def study_options(description: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--jobs", type=at_least(1), default=1, help="runs at a time")
    parser.add_argument("--shards", type=Path, default=Path("data/shards"))
    parser.add_argument("--manifests", type=Path, default=Path("data_manifests"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    return parser


def call(program: str, *words: str) -> str:
    """Run a command of this environment; returns its standard output."""
    return call_python(str(Path(sys.executable).parent / program), *words)


def call_python(*words: str) -> str:
    """Run Python with these words; returns its standard output."""
    return subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def lsvit_train(design: str, *words: str) -> str:
    """`lsvit-train`, with another design of the motion modules in place where one is named; its standard output."""
    return call_python("-m", "benchmarks.motion_designs", design, *words) if design else call("lsvit-train", *words)


def run_all(runs: Sequence[Callable[[], Measured]], *, num_seeds: int, jobs: int) -> list[list[Measured]]:
    """What every run measures, ``jobs`` at a time, in groups of ``num_seeds``."""
    with ThreadPoolExecutor(jobs) as pool:
        measured = list(pool.map(lambda run: run(), runs))
    return [measured[start : start + num_seeds] for start in range(0, len(measured), num_seeds)]


def markdown_row(name: str, results: Sequence[tuple[float, ...]]) -> str:
    """Mean ± standard deviation over the seeds of each measure, as a row of a Markdown table."""
    cells = [
        f"{statistics.mean(values):.1f} ± {statistics.pstdev(values):.1f}" for values in zip(*results, strict=True)
    ]
    return f"| {name} | {' | '.join(cells)} |"
