"""What programs of users call: a trained model by the name of its run, and its answers for videos."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared.errors import UsageError
from train.data.views import parse_views
from train.learn.processes import DEVICE_NAMES, choose_device
from train.predict.answering import answer_all
from train.predict.inputs import find_inputs
from train.predict.output import Answer
from train.trained import model as trained
from train.trained.answers import ranked
from train.trained.folders import find_run
from train.trained.model import LoadedModel
from train.trained.preprocessing import Preprocessing

Video = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
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


class TrainedModel(nn.Module):
    """A trained model in evaluation mode, which knows its classes and what is done to frames before it sees them.

    Called with float32 (B, T, 3, S, S) in [0, 1], as ``preprocessing`` makes it, it gives logits (B, classes). It can
    be taken apart: ``model, classes, preprocessing = load_model(run)``, where ``model`` is itself.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.network = loaded.model
        self.loaded = loaded

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.loaded.facts.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """From frames to the model's input."""
        shape = dataclasses.replace(self.loaded.facts.shape, frames_per_segment=1)
        return Preprocessing(shape=shape, image_size=self.network.config.image_size)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(video)
        return logits

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self.classes, self.preprocessing))


def load_model(run: Video, *, runs: Video = "runs", device: torch.device | str = "auto") -> TrainedModel:
    """The best model of a run, or one of the hub.

    run: a folder, a name (or ``<name>/split1``) below ``runs``, or ``hf:REPO``. device: as `lsvit-train predict` takes
    it (``auto`` is a GPU where there is one), the number of a GPU as in ``cuda:1``, or one of torch. Raises UsageError
    where there is no such device; DataError where there is no run with a checkpoint, or it is damaged.
    """
    device = _find_device(device) if isinstance(device, str) else device
    folder = find_run(os.fspath(run), runs=Path(runs))
    return TrainedModel(trained.load_model(folder, device=device)).eval()


def _find_device(name: str) -> torch.device:
    if name in DEVICE_NAMES:
        return choose_device(name)
    numbered = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name not in numbered:
        raise UsageError(f"device is {name!r}; here it must be one of {', '.join([*DEVICE_NAMES, *numbered])}")
    return torch.device(name)


def predict(
    model: TrainedModel, videos: Video | Iterable[Video], *, views: str = "1x1", batch_size: int = 8, workers: int = 0
) -> list[Prediction]:
    """P(action | video) for every video, as `lsvit-train predict` gives it.

    model: what ``load_model`` gave. videos: files, folders of numbered pictures, folders of videos or patterns; one or
    several. A video that gives no clip gets its error, and costs the others nothing.
    views: temporal candidates x crops. batch_size: clips at once. workers: processes that decode. With 0 this process
    does. With more a video that crashes FFmpeg costs nothing but itself; but then a script needs its
    ``if __name__ == "__main__":``, because each process imports the script.
    Raises UsageError where ``model`` is none of load_model's, or an option has no such value.
    """
    if not isinstance(model, TrainedModel):
        raise UsageError(f"predict got a {type(model).__name__}; give it the model that load_model gave")
    if batch_size < 1 or workers < 0:
        raise UsageError(f"batch_size is {batch_size} and workers {workers}; use at least 1 and 0")
    names = [os.fspath(video) for video in ([videos] if isinstance(videos, str | os.PathLike) else videos)]
    found = find_inputs(names).videos
    answers = answer_all(model.loaded, found, views=parse_views(views), batch_size=batch_size, num_workers=workers)
    return [_prediction(answer, model.classes) for answer in answers]


def _prediction(answer: Answer, classes: tuple[str, ...]) -> Prediction:
    shares = answer.probabilities
    if shares is None:
        return Prediction(video=answer.video, probabilities={}, error=answer.error)
    probabilities = {classes[label]: float(shares[label]) for label in ranked(shares)}
    return Prediction(video=answer.video, probabilities=probabilities)
