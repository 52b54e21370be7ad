"""What programs of users call: a trained model by the name of its run, and its answers for videos."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.errors import UsageError
from train.data.views import parse_views
from train.learn.processes import choose_device
from train.predict.answering import answer_all
from train.predict.inputs import find_inputs
from train.predict.output import Answer
from train.trained import model as trained
from train.trained.answers import ranked
from train.trained.folders import find_run
from train.trained.model import LoadedModel

Video = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of a video."""

    video: str
    """Its path, as it was given or found in a folder."""
    probabilities: dict[str, float]
    """P(action | video) of every class, the most probable first, in [0, 1]; empty where the video gave no clip."""
    error: str = ""
    """Why the video gave no clip; empty where it did."""

    @property
    def action(self) -> str:
        """The most probable class; empty where there is none."""
        return next(iter(self.probabilities), "")

    @property
    def probability(self) -> float:
        """That of the most probable class; 0 where there is none."""
        return self.probabilities.get(self.action, 0.0)


def load_model(run: Video, *, runs: Video = "runs", device: torch.device | str = "auto") -> LoadedModel:
    """The best model of a run: ``model, classes, preprocessing = load_model(run)``, or all of it in one object.

    run: a folder, or a name (or ``<name>/split1``) below ``runs``. device: ``auto``, ``cpu`` or ``cuda``, or one of torch.
    The model is in evaluation mode; it takes float32 (B, T, 3, S, S) in [0, 1], as ``preprocessing`` makes it, and
    gives logits (B, classes). Raises DataError where there is no run with a checkpoint, or it is damaged.
    """
    folder = find_run(os.fspath(run), runs=Path(runs))
    return trained.load_model(folder, device=choose_device(device) if isinstance(device, str) else device)


def predict(
    model: LoadedModel, videos: Video | Iterable[Video], *, views: str = "1x1", batch_size: int = 8, workers: int = 0
) -> list[Prediction]:
    """P(action | video) for every video, as `lsvit-train predict` gives it.

    model: what ``load_model`` gave. videos: files, folders of numbered pictures, folders of videos or patterns; one or
    several. A video that gives no clip gets its error, and costs the others nothing.
    views: temporal candidates x crops. batch_size: clips at once. workers: processes that decode. With 0 this process
    does. With more a video that crashes FFmpeg costs nothing but itself; but then a script needs its
    ``if __name__ == "__main__":``, because each process imports the script.
    Raises UsageError where ``model`` is no LoadedModel, or an option has no such value.
    """
    if not isinstance(model, LoadedModel):
        raise UsageError(f"predict got a {type(model).__name__}; give it what load_model gave, whole")
    if batch_size < 1 or workers < 0:
        raise UsageError(f"batch_size is {batch_size} and workers {workers}; use at least 1 and 0")
    names = [os.fspath(video) for video in ([videos] if isinstance(videos, str | os.PathLike) else videos)]
    found = find_inputs(names).videos
    answers = answer_all(model, found, views=parse_views(views), batch_size=batch_size, num_workers=workers)
    return [_prediction(answer, model.classes) for answer in answers]


def _prediction(answer: Answer, classes: tuple[str, ...]) -> Prediction:
    shares = answer.probabilities
    if shares is None:
        return Prediction(video=answer.video, probabilities={}, error=answer.error)
    probabilities = {classes[label]: float(shares[label]) for label in ranked(shares)}
    return Prediction(video=answer.video, probabilities=probabilities)
