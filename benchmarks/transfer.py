"""Does what is pretrained help, and does what is new learn? From some of the embedded classes to the others.

    OMP_NUM_THREADS=1 python -m benchmarks.transfer --seeds 3 --jobs 2 --workplace /tmp/transfer

A plain ViT learns classes that a single frame shows; SMIF and LMI are then added to it (--init) and it is fine-tuned on
two pairs of exact reversals, on split full: with a layer decay under which new parameters keep the full rate, and with
the decay on them too, as it was. Three blocks at 0.4 hold SMIF back as twelve at 0.75 do: 0.026 and 0.024. Finished
runs are kept. Numbers on this data set say nothing about HMDB51.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.training_runs import call, call_python, markdown_row, run_all, study_options

SECOND = ("catch", "sit", "stand", "throw")
FIXED = ("--config", "recipes/demo.toml", "--split", "full", "--val-fraction", "0", "--plan", "none", "--resume")
DECAY_ON_ALL = "benchmarks.transfer_decay_on_all"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of learning the second half of the classes."""

    name: str
    words: tuple[str, ...] = ()
    is_pretrained: bool = True
    decays_new: bool = False
    """Whether the layer decay holds for what is new too."""


WAYS = (
    Way(name="from scratch", is_pretrained=False),
    Way(name="pretrained, no layer decay"),
    Way(name="layer decay 0.4, new parameters too", words=("--layer-decay", "0.4"), decays_new=True),
    Way(name="layer decay 0.4, new parameters at the full rate", words=("--layer-decay", "0.4")),
)


def make_halves(folder: Path) -> None:
    """Two data sets of the embedded videos, the classes of SECOND and the others: shards and manifests."""
    if not (folder / "videos").is_dir():
        call("hmdb-prep", "synth", str(folder / "videos"))
    classes = sorted(entry for entry in (folder / "videos").iterdir() if entry.is_dir())
    for half in (0, 1):
        videos = folder / f"videos{half}"
        videos.mkdir(exist_ok=True)
        shutil.copy(folder / "videos" / "synthetic.json", videos)
        for entry in classes:
            if (entry.name in SECOND) == bool(half) and not (videos / entry.name).exists():
                (videos / entry.name).symlink_to(entry.resolve())
        words = ["--videos", str(videos), "--frames-per-segment", "3", "--size", "72x96"]
        call("hmdb-prep", "extract", *words, *places(folder, half))


def places(folder: Path, half: int) -> list[str]:
    """The options that name a half."""
    return ["--shards", str(folder / f"shards{half}"), "--manifests", str(folder / f"manifests{half}")]


def pretrain(folder: Path, arguments: argparse.Namespace) -> None:
    """A plain ViT on the first half."""
    words = ["--smif", "none", "--lmi", "none", "--name", "pretrained", "--epochs", str(arguments.pretraining_epochs)]
    call("lsvit-train", "run", *FIXED, *words, "--runs", str(folder / "runs"), *places(folder, 0))


def train(way: Way, seed: int, folder: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Top-1 and mean class accuracy on the test clips of the second half, in percent."""
    name = f"{way.name.replace(' ', '-').replace(',', '')}-{seed}"
    words = ["--epochs", str(arguments.epochs), "--seed", str(seed), "--name", name, *way.words]
    words += ["--init", "pretrained"] if way.is_pretrained else []
    words += ["--runs", str(folder / "runs"), *places(folder, 1)]
    program = ("-m", DECAY_ON_ALL) if way.decays_new else ("-m", "train.cli")
    call_python(*program, "run", *FIXED, *words)
    measured = json.loads(
        call("lsvit-train", "evaluate", name, "--runs", str(folder / "runs"), *places(folder, 1), "--json")
    )
    split = measured["splits"][0]
    return 100 * split["top1"], 100 * split["mean_class_accuracy"]


def main() -> None:
    """Train and print the table as Markdown."""
    parser = study_options(__doc__)
    parser.add_argument("--workplace", type=Path, default=Path("data/transfer"))
    parser.add_argument("--pretraining-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    folder = arguments.workplace
    make_halves(folder)
    pretrain(folder, arguments)
    runs = [partial(train, way, seed, folder, arguments) for way in WAYS for seed in range(arguments.seeds)]
    print("| way | top-1 % | mean class accuracy % |\n| --- | --- | --- |")
    for way, measured in zip(WAYS, run_all(runs, num_seeds=arguments.seeds, jobs=arguments.jobs), strict=True):
        print(markdown_row(way.name, measured))


if __name__ == "__main__":
    main()
