"""Which remedy for imbalance helps? Trains each on the embedded data set with the same number of clips seen.

    hmdb-prep synth && hmdb-prep extract --frames-per-segment 3 --size 96x128
    OMP_NUM_THREADS=1 python -m benchmarks.imbalance --seeds 3 --jobs 2

Compared on split full, on held-out sources: top-1, mean class accuracy, and the mean recall of the three rarest
classes. Finished runs are kept, so a broken study continues. Numbers on this data set say nothing about HMDB51.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.training_runs import call, markdown_row, run_all, study_options

NUM_RAREST = 3
BALANCING = threading.Lock()  # `balance` writes to one place; each run takes its plan from there


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One way of dealing with imbalance: a balancing plan (strategy and target), or words for `lsvit-train run`."""

    name: str
    strategy: str = ""
    target: str = "max"
    words: tuple[str, ...] = ()


REMEDIES = (
    Remedy(name="none"),
    Remedy(name="repetition", strategy="oversample"),
    Remedy(name="class-balanced loss", words=("--loss", "class-balanced")),
    Remedy(name="focal loss", words=("--loss", "focal")),
    Remedy(name="SMOTE plan, max", strategy="smote"),
    Remedy(name="SMOTE plan, median", strategy="smote", target="median"),
)


def train(remedy: Remedy, seed: int, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Top-1, mean class accuracy and recall of the rarest classes of one run, in percent."""
    places = ["--shards", str(arguments.shards), "--manifests", str(arguments.manifests)]
    name = f"imbalance-{remedy.name.replace(' ', '-').replace(',', '')}-{seed}"
    plan, rows = "none", count_rows(arguments.manifests)
    if remedy.strategy:
        file = make_plan(remedy, seed, arguments.runs / f"{name}-plan", arguments.manifests, places)
        plan, rows = str(file), sum(json.loads(file.with_suffix(".json").read_text())["counts_after"].values())
    epochs = str(max(1, round(arguments.clips_seen / rows)))
    fixed = ["--config", "recipes/demo.toml", "--split", "full", "--val-fraction", "0", "--max-minutes", "0"]
    chosen = ["--plan", plan, "--epochs", epochs, "--seed", str(seed), "--name", name, *remedy.words]
    call("lsvit-train", "run", *fixed, *chosen, "--runs", str(arguments.runs), *places, "--resume")
    measured = json.loads(call("lsvit-train", "evaluate", name, "--runs", str(arguments.runs), *places, "--json"))
    return read_measures(measured, rarest_classes(arguments.manifests))


def make_plan(remedy: Remedy, seed: int, folder: Path, manifests: Path, places: list[str]) -> Path:
    """The balancing plan of one run, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with BALANCING:
        words = ["--split", "full", "--strategy", remedy.strategy, "--target", remedy.target, "--seed", str(seed)]
        call("hmdb-prep", "balance", "--val-fraction", "0", *words, *places)
        for name in ("full.csv", "full.json"):
            shutil.copy(manifests / "balance" / name, folder / name)
    return folder / "full.csv"


def count_rows(manifests: Path) -> int:
    """Training clips of split full."""
    return json.loads((manifests / "dataset.json").read_text())["clips_per_split"]["split_full"]["train"]


def rarest_classes(manifests: Path) -> list[str]:
    """The classes with the fewest clips."""
    counts = json.loads((manifests / "dataset.json").read_text())["clips_per_class"]
    return sorted(counts, key=lambda name: (counts[name], name))[:NUM_RAREST]


def read_measures(measured: dict, rarest: list[str]) -> tuple[float, float, float]:
    """The three numbers from the JSON of `lsvit-train evaluate`."""
    split = measured["splits"][0]
    recalls = {row["class_name"]: row["recall"] for row in split["classes"]}
    rare = statistics.mean(recalls[name] for name in rarest)
    return 100 * split["top1"], 100 * split["mean_class_accuracy"], 100 * rare


def main() -> None:
    """Train and print the table as Markdown."""
    parser = study_options(__doc__)
    parser.add_argument("--clips-seen", type=int, default=4500, help="clips that each run sees")
    parser.add_argument("--remedies", nargs="+", help="names of the remedies to compare; all without it")
    arguments = parser.parse_args()
    print("| remedy | top-1 % | mean class accuracy % | recall of the three rarest % |\n| --- | --- | --- | --- |")
    remedies = [remedy for remedy in REMEDIES if not arguments.remedies or remedy.name in arguments.remedies]
    runs = [partial(train, remedy, seed, arguments) for remedy in remedies for seed in range(arguments.seeds)]
    results = run_all(runs, num_seeds=arguments.seeds, jobs=arguments.jobs)
    for remedy, measured in zip(remedies, results, strict=True):
        print(markdown_row(remedy.name, measured))


if __name__ == "__main__":
    main()
