"""Results of an evaluation made without a model: seeded answers to any number of clips of any number of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.confusions.films import NUM_FRAMES, ClipPictures, film
from train.data.views import Views
from train.evaluate.groups import FEATURES, TAG_MEANINGS
from train.evaluate.results import ClipFacts, Evaluation, ModelFacts, SplitResult, split_result

MODEL = ModelFacts(checkpoint="best.pt", epoch=7, parameters=1234)


def answers(seed: int, *, num_clips: int, num_classes: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities (N, classes) that favour the label and its neighbour, and labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_clips)
    logits = rng.normal(size=(num_clips, num_classes))
    rows = np.arange(num_clips)
    logits[rows, labels] += 3.0
    logits[rows, (labels + 1) % num_classes] += 2.0
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), labels


def clip_facts(labels: npt.NDArray[np.int64], class_names: tuple[str, ...], *, clips_a_source: int = 2) -> ClipFacts:
    """Facts of clips with these labels: every tag's values in turn, features at random."""
    rng = np.random.default_rng(0)
    known = {tag: ["", *(meanings or ("1", "2", "10"))] for tag, meanings in TAG_MEANINGS.items()}
    return ClipFacts(
        clip_ids=tuple(f"{class_names[label]}/clip{place}" for place, label in enumerate(labels)),
        sources=tuple(f"source{place // clips_a_source}" for place in range(len(labels))),
        labels=labels,
        tags={tag: [values[place % len(values)] for place in range(len(labels))] for tag, values in known.items()},
        features={feature: rng.gamma(2, 50, len(labels)) for feature in FEATURES},
    )


def made_result(
    *, num_clips: int, class_names: tuple[str, ...], seed: int = 0, split: str = "1", remarks: tuple[str, ...] = ()
) -> SplitResult:
    """The result of a split."""
    probabilities, labels = answers(seed, num_clips=num_clips, num_classes=len(class_names))
    facts = clip_facts(labels, class_names)
    return split_result(
        split=split, model=MODEL, class_names=class_names, clips=facts, probabilities=probabilities, remarks=remarks
    )


def made_evaluation(folder: Path, *results: SplitResult) -> Evaluation:
    """An evaluation of these splits."""
    return Evaluation(
        run="made", folder=folder, views=Views(), calibrated=False, dataset_id="d" * 64, results=tuple(results)
    )


def made_pictures(result: SplitResult, *, count: int) -> ClipPictures:
    """Films of the first clips of a split: bars that move over noise."""
    films = {}
    for place, clip_id in enumerate(result.clip_ids[:count]):
        frames = np.random.default_rng(place).integers(30, 90, (NUM_FRAMES, 48, 64, 3), dtype=np.uint8)
        for number, frame in enumerate(frames):
            frame[:, 6 * number : 6 * number + 8, place % 3] = 230
        films[clip_id] = film(frames)
    return ClipPictures(films=films, num_frames=NUM_FRAMES, explain=("lsvit-train explain runs/made ", ""))
