"""Measures a run on the test clips of its split, or its splits, as they lie in the shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared.errors import DataError, UsageError
from shared.manifests.files import SPLIT_COLUMNS, read_dataset, read_manifests
from shared.shards.places import ShardsPlace
from shared.splits.parts import part_of
from train.confusions.answers import telling_order
from train.confusions.films import clip_pictures
from train.data.columns import CLIP_COLUMNS
from train.data.views import Views, parse_views
from train.evaluate.groups import FEATURES
from train.evaluate.output import print_evaluation, write_pictures, write_texts
from train.evaluate.results import ClipFacts, Evaluation, ModelFacts, SplitResult, split_result
from train.learn.processes import choose_device
from train.run.config.fields import requested_splits
from train.trained.calibration import Calibration, calibrate
from train.trained.clips import check_dataset, check_split, check_unseen, stored_probabilities
from train.trained.folders import find_run, run_name, split_folders
from train.trained.model import LoadedModel, load_model

if TYPE_CHECKING:
    import pandas as pd


_NAME_TAGS = ("body", "camera_motion", "viewpoint", "quality", "num_people")  # columns of the manifests
EVALUATION_COLUMNS = (*CLIP_COLUMNS, *SPLIT_COLUMNS, *_NAME_TAGS, *FEATURES, "num_frames")
"""What ``evaluate_split`` asks for, whatever the split."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of the command."""

    runs: Path
    shards: ShardsPlace
    manifests: Path
    splits: str
    """Such as ``1,3``; empty for every split the run has."""
    views: str
    calibrated: bool
    json: bool
    device: str
    batch_size: int


def evaluate(run: str, options: EvaluateOptions) -> Evaluation:
    """Measure the run, write its evaluation folders and print the result."""
    views = parse_views(options.views)
    folder = find_run(run, runs=options.runs, written="the evaluation")
    dataset, frame = read_dataset(options.manifests), read_manifests(options.manifests, columns=EVALUATION_COLUMNS)
    results: list[SplitResult] = []
    folders: list[Path] = []
    chosen = _chosen_folders(folder, options.splits)
    for split_folder in chosen:
        loaded = load_model(split_folder, device=choose_device(options.device))
        _check_split(loaded.facts.split, options.splits, is_only=len(chosen) == 1)
        check_dataset(loaded, dataset)
        check_split(loaded, frame)
        check_unseen(loaded, frame)
        results.append(_evaluate_split(loaded, frame, options, views=views))
        folders.append(split_folder)
    evaluation = Evaluation(
        run=run_name(folder),
        folder=folder,
        views=views,
        calibrated=options.calibrated,
        dataset_id=dataset.dataset_id,
        results=tuple(results),
    )
    written = write_texts(evaluation, split_folders=folders)
    pictures = [
        clip_pictures(
            [result.clip_ids[place] for place in telling_order(result.probabilities, result.labels)],
            frame,
            run=split_folder,
            shards=options.shards,
            manifests=options.manifests,
            dataset=dataset,
            share=1 / len(results),
        )
        for result, split_folder in zip(results, folders, strict=True)
    ]
    write_pictures(evaluation, split_folders=folders, pictures=pictures)
    print_evaluation(evaluation, as_json=options.json, written=written)
    return evaluation


def _chosen_folders(folder: Path, splits: str) -> list[Path]:
    """The folder of each split that is to be measured. Raises DataError for a split that the run does not have."""
    found = split_folders(folder)
    if not found:
        return [folder]
    wanted = requested_splits(splits, option="--splits") if splits else tuple(found)
    for split in wanted:
        if split not in found:
            raise DataError(
                f"{folder} has no split {split}, it has {', '.join(found)}; train it with "
                f"`lsvit-train run --split {split}`, or leave it out of --splits"
            )
    return [found[split] for split in wanted]


def _check_split(split: str, splits: str, *, is_only: bool) -> None:
    """Raise what speaks against measuring a model of ``split`` where ``splits`` are asked for."""
    wanted = requested_splits(splits, option="--splits") if splits else (split,)
    if split not in wanted:
        raise UsageError(
            f"--splits is {splits}, but this run was trained on split {split}: the test clips of another split "
            f"are among its training clips. Leave --splits out, or train with `lsvit-train run --split {splits}`"
        )
    if is_only and len(wanted) > 1:
        raise DataError(
            f"--splits is {splits}, but this run has split {split} alone; leave --splits out, or train all of "
            f"them with `lsvit-train run --split {splits}`"
        )


def _evaluate_split(loaded: LoadedModel, frame: pd.DataFrame, options: EvaluateOptions, *, views: Views) -> SplitResult:
    shards, batch_size = options.shards, options.batch_size
    calibration = calibrate(loaded, frame, shards=shards, batch_size=batch_size) if options.calibrated else None
    return evaluate_split(loaded, frame, shards=shards, views=views, batch_size=batch_size, calibration=calibration)


def evaluate_split(
    loaded: LoadedModel,
    frame: pd.DataFrame,
    *,
    shards: ShardsPlace,
    views: Views,
    batch_size: int,
    calibration: Calibration | None = None,
) -> SplitResult:
    """Measure a model on the test clips of its split, all clips for split ``all``.

    frame: all manifest rows, with EVALUATION_COLUMNS.
    """
    test, training = _test_and_training(frame, split=loaded.facts.split)
    return split_result(
        split=loaded.facts.split,
        model=ModelFacts(
            checkpoint=loaded.path.name,
            epoch=loaded.epoch,
            parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        ),
        class_names=loaded.facts.class_names,
        clips=ClipFacts(
            clip_ids=tuple(test["clip_id"]),
            sources=tuple(test["source"]),
            labels=test["label"].to_numpy(np.int64),
            tags=_tags(test, training, num_segments=loaded.facts.shape.num_segments),
            features={feature: test[feature].to_numpy(np.float64) for feature in FEATURES},
        ),
        probabilities=stored_probabilities(
            loaded, test, shards=shards, views=views, batch_size=batch_size, named=set(frame["shard"])
        ),
        remarks=remarks_on(split=loaded.facts.split, synthetic=loaded.facts.synthetic),
        calibration=calibration,
    )


def _test_and_training(frame: pd.DataFrame, *, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    if split == "all":
        return frame, frame
    test = part_of(frame, split=split, part="test")
    if test.empty:
        raise DataError(f"split {split} has no test clips in these manifests; there is nothing to measure")
    return test, part_of(frame, split=split, part="train")


def remarks_on(*, split: str, synthetic: bool) -> list[str]:
    """What numbers of this split and data set are not."""
    remarks = []
    if split == "all":
        remarks.append("a sanity check, not a result: measured on the very clips that the run was trained on")
    if synthetic:
        remarks.append("measured on the embedded synthetic data set: the numbers say nothing about HMDB51")
    return remarks


def _tags(test: pd.DataFrame, training: pd.DataFrame, *, num_segments: int) -> dict[str, list[str]]:
    seen = set(training["source"])
    tags = {tag: [str(value) for value in test[tag]] for tag in _NAME_TAGS}
    tags["length"] = ["padded" if frames < num_segments else "full" for frames in test["num_frames"]]
    tags["source"] = ["seen" if source in seen else "new" for source in test["source"]]
    return tags
