"""What reading shards in turn (--shuffle-shards) does to accuracy, on the embedded data.

    hmdb-prep synth data/turns/videos
    hmdb-prep extract --videos data/turns/videos --shards data/turns/shards --manifests data/turns/manifests \\
        --size 64x80 --clips-per-shard 8
    python -m benchmarks.shuffle_shards --shards data/turns/shards --manifests data/turns/manifests --seeds 5

Small shards, so that there are some 50 of them, as HMDB51 has a hundred; the training is that of recipes/demo.toml on
split full. The numbers say nothing about HMDB51.
"""

from __future__ import annotations

import argparse
import json
from functools import partial

from benchmarks.training_runs import call_python, markdown_row, run_all, study_options


def train(at_once: int, seed: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Train and evaluate one run; top-1 and mean class accuracy in percent. A run that was finished is kept."""
    name = f"turns{at_once}-seed{seed}"
    places = ["--shards", str(arguments.shards), "--manifests", str(arguments.manifests)]
    places += ["--runs", str(arguments.runs), "--device", arguments.device]
    words = ["--config", arguments.config, "--name", name, "--split", "full", "--seed", str(seed), "--resume"]
    words += ["--epochs", str(arguments.epochs), "--shuffle-shards", str(at_once)]
    call_python("-m", "train.cli", "run", *words, *places)
    (split,) = json.loads(call_python("-m", "train.cli", "evaluate", name, "--json", *places))["splits"]
    return 100 * split["top1"], 100 * split["mean_class_accuracy"]


def main() -> None:
    parser = study_options(__doc__)
    parser.add_argument("--at-once", type=int, nargs="+", default=[0, 4, 1], help="values of --shuffle-shards")
    parser.add_argument("--config", default="recipes/demo.toml")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    print("| shards shuffled together | top-1 % | mean class accuracy % |\n| --- | --- | --- |")
    runs = [
        partial(train, at_once, seed, arguments) for at_once in arguments.at_once for seed in range(arguments.seeds)
    ]
    results = run_all(runs, num_seeds=arguments.seeds, jobs=arguments.jobs)
    for at_once, measured in zip(arguments.at_once, results, strict=True):
        print(markdown_row(str(at_once) if at_once else "all (default)", measured))


if __name__ == "__main__":
    main()
