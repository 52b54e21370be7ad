"""What do the motion modules bring? Trains each combination on the embedded data set, all on as many clips.

    hmdb-prep synth --clips 800 && hmdb-prep extract --frames-per-segment 3 --size 96x128
    OMP_NUM_THREADS=1 python -m benchmarks.motion_modules --seeds 3 --jobs 2 [--designs] [--places]

Compared on split full, on held-out sources: top-1, mean class accuracy, and the accuracy on the pairs that differ only
in the arrow of time (sit and stand, throw and catch: the larger of the pair's two probabilities decides; chance is
50 %). --designs: other designs of the directional modules (benchmarks/motion_designs.py) instead of the combinations;
--places: LMI in some blocks only.
Finished runs are kept, so a broken study continues. Numbers on this data set say nothing about HMDB51.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.training_runs import lsvit_train, markdown_row, run_all, study_options

PAIRS = (("sit", "stand"), ("throw", "catch"))
RECIPE = Path(__file__).parent.parent / "recipes" / "demo.toml"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A combination of modules. design: a key of motion_designs.DESIGNS, empty for the model's own."""

    name: str
    smif: str = "directional"
    lmi: str = "directional"
    design: str = ""
    lmi_every: int = 1


COMBINATIONS = (
    Row(name="plain ViT", smif="none", lmi="none"),
    Row(name="+ SMIF, classic", smif="classic", lmi="none"),
    Row(name="+ LMI, classic", smif="none", lmi="classic"),
    Row(name="both, classic", smif="classic", lmi="classic"),
    Row(name="+ SMIF, directional", lmi="none"),
    Row(name="+ LMI, directional", smif="none"),
    Row(name="both, directional"),
)
PLACES = (
    Row(name="both, LMI in the first third", design="lmi-first"),
    Row(name="both, LMI in the middle third", design="lmi-middle"),
    Row(name="both, LMI in the last third", design="lmi-last"),
    Row(name="both, LMI in the first two thirds", design="lmi-first-two"),
    Row(name="both, LMI in every third block", lmi_every=3),
)
DESIGNS = (
    Row(name="SMIF without signs (both)", design="signless-smif"),
    Row(name="SMIF without noise floor (both)", design="linear-smif"),
    Row(name="SMIF starts as the identity (both)", design="no-smif-start"),
    Row(name="SMIF starts twice as strong (both)", design="double-smif-start"),
    Row(name="SMIF starts four times as strong (both)", design="fourfold-smif-start"),
    Row(name="LMI looks by position alone", smif="none", design="positions-lmi"),
    Row(name="LMI of content, not differences", smif="none", design="content-lmi"),
    Row(name="LMI averaged over tokens", smif="none", design="frame-lmi"),
    Row(name="LMI as a temporal convolution", smif="none", design="convolution-lmi"),
)


def train(row: Row, seed: int, arguments: argparse.Namespace) -> tuple[float, ...]:
    """Top-1, mean class accuracy and accuracy on the pairs of one run, in percent."""
    every = f"every{row.lmi_every}" if row.lmi_every > 1 else ""
    depth = f"depth{arguments.depth}" if arguments.depth else ""
    name = "-".join(filter(None, ("motion", row.smif, row.lmi, row.design, every, depth, str(seed))))
    places = ["--runs", str(arguments.runs), "--shards", str(arguments.shards), "--manifests", str(arguments.manifests)]
    fixed = ["--config", str(RECIPE), "--split", "full", "--val-fraction", "0", "--plan", "none"]
    chosen = ["--smif", row.smif, "--lmi", row.lmi, "--seed", str(seed), "--epochs", str(arguments.epochs)]
    chosen += ["--lmi-every", str(row.lmi_every), "--depth", str(arguments.depth)]
    lsvit_train(row.design, "run", *fixed, *chosen, "--name", name, *places, "--resume")
    measured = json.loads(lsvit_train(row.design, "evaluate", name, *places, "--json"))["splits"][0]
    predictions = pd.read_csv(arguments.runs / name / "evaluation" / "predictions.csv")
    return 100 * measured["top1"], 100 * measured["mean_class_accuracy"], 100 * pair_accuracy(predictions)


def pair_accuracy(predictions: pd.DataFrame) -> float:
    """Share of the clips of PAIRS whose own class is the more probable of its pair."""
    right = []
    for first, second in PAIRS:
        for own, other in ((first, second), (second, first)):
            clips = predictions[predictions["true"] == own]
            right.extend(clips[own] > clips[other])
    return sum(right) / len(right)


def main() -> None:
    """Train and print the table as Markdown."""
    parser = study_options(__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--depth", type=int, default=0, help="number of blocks; 0: that of tiny, 3")
    parser.add_argument("--rows", nargs="+", help="names of rows; default: all")
    parser.add_argument("--designs", action="store_true")
    parser.add_argument("--places", action="store_true")
    arguments = parser.parse_args()
    rows = DESIGNS if arguments.designs else PLACES if arguments.places else COMBINATIONS
    rows = tuple(row for row in rows if row.name in (arguments.rows or [row.name]))
    runs = [partial(train, row, seed, arguments) for row in rows for seed in range(arguments.seeds)]
    results = run_all(runs, num_seeds=arguments.seeds, jobs=arguments.jobs)
    print("| model | top-1 % | mean class accuracy % | arrow-of-time pairs % |\n| --- | --- | --- | --- |")
    for row, measured in zip(rows, results, strict=True):
        print(markdown_row(row.name, measured))


if __name__ == "__main__":
    main()
