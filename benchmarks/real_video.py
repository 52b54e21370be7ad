"""What helps on real video? 5 folds by source and several seeds of every row, in one table.

    hmdb-prep extract --videos ../shared/real_jhmdb --shards S --manifests M --size 112x152 --frames-per-segment 3
    OMP_NUM_THREADS=1 python -m benchmarks.real_video --shards S --manifests M --runs R --start scratch WEIGHTS

Sources are divided into folds; each fold tests once what was trained on the others, so that every clip is tested once a
seed. All trainings have the same epochs; a probe has its own, as its epochs take seconds. The last epoch is tested.
With --val-fraction it is the best one by some of the training sources: of J-HMDB these are 53 clips, which choose badly
(docs/log.md). The interval is a bootstrap over sources: clips of one source are no independent evidence. Rows run with
every --start; those that freeze the ViT need weights. Seed by seed, and a table after each: R/table.md, the same by
class and by quarter of motion in R/groups.csv, and by clip in R/clips.csv. Finished runs are kept, killed ones go on.
What all have in common, the division into folds too, is in R/study.json: another study needs another R.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_video_folds import (
    check_tested,
    fold_by_clip,
    folds_checksum,
    read_right,
    stored_checksum,
    write_folds,
)
from benchmarks.real_video_rows import ABLATIONS, ROAD, ROWS, Entry, Row
from benchmarks.real_video_tables import write_groups, write_table
from benchmarks.training_runs import at_least, call, lsvit_train, run_all, study_options
from shared.checks import parse_json
from shared.errors import DataError, UsageError
from shared.files import sha256_of, write_text
from shared.manifests.files import read_dataset, read_manifests
from train.evaluate.output import PREDICTIONS_CSV
from train.trained.folders import EVALUATION_FOLDER

SCRATCH = "scratch"
STUDY_FILE, FOLDS_FOLDER = "study.json", "folds"
FOLDS_SHA256 = "folds_sha256"  # in the study's file: of which fold tests which clip
SPLIT = "1"  # each fold has manifests of its own, in which this split is the fold
PARTS = ("--split", SPLIT, "--resume")
TRAINING = ("--plan", "none", "--normalisation", "half", "--batch-size", "16", "--lr", "1e-3", "--warmup-epochs", "2",
            "--model-ema", "--model-ema-decay", "0.99", "--checkpoint-every", "0")  # fmt: skip
DEVICES = {"cpu": "cpu", "gpu": "cuda"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all runs have in common."""

    shards: Path
    runs: Path
    """The folder of the runs, of the folds' manifests and of the table."""
    shape: tuple[str, ...]
    """Options of the model's shape from scratch."""
    shared: tuple[str, ...]
    """Options of `run` and `probe`."""
    training: tuple[str, ...]
    """Options of `run` alone."""
    epochs: int
    """Of `run`; a probe has its own default."""
    val_fraction: str
    """Of the training clips; also what a fold's plan leaves out."""


def make_entries(rows: Sequence[Row], starts: Sequence[str]) -> list[Entry]:
    """Every row with every start that suits it. Raises DataError where a file of weights is not there."""
    labels = {}
    for start in dict.fromkeys(starts):
        if start != SCRATCH and not Path(start).is_file():
            raise DataError(f"no weights at {start}; --start takes scratch and files, see benchmarks.pretrain_frames")
        # The content is part of the name: runs of weights that were made anew are not taken for those of the old ones.
        labels[start] = SCRATCH if start == SCRATCH else f"weights-{sha256_of(Path(start))[:6]}"
    entries = [
        Entry(row=row, start=start, label=label)
        for row in rows
        for start, label in labels.items()
        if start != SCRATCH or not row.is_frozen
    ]
    if not entries:
        raise DataError("these rows freeze the ViT, which needs weights; name a file of them with --start")
    return entries


def measure(entry: Entry, seed: int, manifests: Path, study: Study) -> dict[str, bool]:
    """Train on a fold and test: whether each of its test clips was right. What was measured before is read."""
    name = f"{entry.row.name}-{entry.label}-{manifests.name}-seed{seed}"
    predictions = study.runs / name / EVALUATION_FOLDER / PREDICTIONS_CSV
    if not predictions.exists():
        places = ["--shards", str(study.shards), "--manifests", str(manifests), "--runs", str(study.runs)]
        if entry.row.needs_plan:
            call("hmdb-prep", "balance", "--split", SPLIT, "--val-fraction", study.val_fraction, *places[:4])
        words = [*PARTS, "--val-fraction", study.val_fraction, *study.shared, "--seed", str(seed), "--name", name]
        if entry.row.command == "run":
            words += [*study.training, "--epochs", str(study.epochs)]
        words += study.shape if entry.start == SCRATCH else ("--init", entry.start)
        lsvit_train(entry.row.design, entry.row.command, *words, *places, *entry.row.words)  # the last word counts
        lsvit_train(entry.row.design, "evaluate", name, *places)
    return read_right(predictions)


def keep_study(study: Study, manifests: Path, *, folds: int) -> dict[str, int]:
    """Write what all runs have in common into study.json; returns the fold that tests each clip.

    Raises DataError where runs are there that lack it.
    """
    fold = fold_by_clip(manifests, num_folds=folds)
    content = {
        "dataset_id": read_dataset(manifests).dataset_id, "folds": folds, "epochs": study.epochs,
        "shape": list(study.shape), "shared": ["--val-fraction", study.val_fraction, *study.shared],
        "training": list(study.training), FOLDS_SHA256: folds_checksum(fold.items()),
    }  # fmt: skip
    if any(study.runs.glob("*-seed*")):
        _check_study(study.runs, content)
        check_tested(study.runs, fold, num_folds=folds)
    write_text(study.runs / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return fold


def _check_study(runs: Path, content: dict[str, object]) -> None:
    """Raise DataError where the runs that are there have other things in common."""
    before = _read_study(runs)
    differ = "; ".join(
        f"{name} was {before.get(name)}, is {value}"
        for name, value in content.items()
        if name != FOLDS_SHA256 and before.get(name) != value
    )
    if differ:
        raise DataError(f"the runs in {runs} are of another study ({differ}); name another --runs")
    # Studies from before the checksum was kept have their folds' manifests.
    checksum = before.get(FOLDS_SHA256) or stored_checksum(runs / FOLDS_FOLDER, num_folds=before["folds"])
    if checksum != content[FOLDS_SHA256]:
        raise DataError(f"the runs in {runs} have other folds: clips or sources have changed; name another --runs")


def _read_study(runs: Path) -> dict[str, Any]:
    file = runs / STUDY_FILE
    try:
        return dict(parse_json(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise DataError(
            f"{runs} holds runs but no {STUDY_FILE}, which says what they have in common; name another --runs"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); name another --runs") from error


def run_study(entries: Sequence[Entry], study: Study, manifests: Path, *, folds: int, seeds: int, jobs: int) -> None:
    """All runs, seed by seed, and the table after each seed."""
    fold = keep_study(study, manifests, folds=folds)
    clips = read_manifests(manifests)
    places = write_folds(manifests, study.runs / FOLDS_FOLDER, fold)
    measured: list[list[list[bool]]] = [[] for _ in entries]
    for seed in range(seeds):
        runs = [partial(measure, entry, seed, place, study) for entry in entries for place in places]
        for right, of_folds in zip(measured, run_all(runs, num_seeds=folds, jobs=jobs), strict=True):
            together = {clip_id: is_right for fold in of_folds for clip_id, is_right in fold.items()}
            right.append([together[clip_id] for clip_id in clips["clip_id"]])
        shares = [np.array(right, np.float64) for right in measured]
        write_groups(entries, shares, clips, study.runs)
        print(write_table(entries, shares, clips, study.runs), flush=True)


def main() -> None:
    """Read the options, train and print the table as Markdown."""
    parser = study_options(__doc__)
    rows = {row.name: row for row in (*ROWS, *ABLATIONS)}
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=rows,
        default=ROAD,
        metavar="ROW",
        help=f"the first is compared with: {', '.join(rows)}",
    )
    parser.add_argument("--start", nargs="+", default=[SCRATCH], help="scratch, files of weights, or both")
    parser.add_argument("--options", default="", help="further options of `run`, in one text, for all rows")
    parser.add_argument("--epochs", type=int, default=8, help="of every training; a probe has its own")
    parser.add_argument("--folds", type=at_least(2), default=5)
    parser.add_argument("--val-fraction", default="0", help="of the training clips, to choose the epoch that is tested")
    parser.add_argument("--preset", default="tiny", help="the model from scratch; weights bring their own shape")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--spatial-pool", default="mean")
    parser.add_argument("--on", choices=tuple(DEVICES), default="cpu")
    arguments = parser.parse_args()
    study = Study(
        shards=arguments.shards,
        runs=arguments.runs,
        shape=("--preset", arguments.preset),
        shared=(
            "--img-size", str(arguments.image_size), "--spatial-pool", arguments.spatial_pool,
            "--device", DEVICES[arguments.on], "--workers", "1",
        ),
        training=(*TRAINING, *arguments.options.split()),
        epochs=arguments.epochs,
        val_fraction=arguments.val_fraction,
    )  # fmt: skip
    try:
        entries = make_entries([rows[name] for name in dict.fromkeys(arguments.rows)], arguments.start)
        run_study(
            entries, study, arguments.manifests, folds=arguments.folds, seeds=arguments.seeds, jobs=arguments.jobs
        )
    except (DataError, UsageError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
