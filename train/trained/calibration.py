"""Calibration: one temperature, fitted on a run's validation clips, that makes its probabilities mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2: of one view, dividing the logits by T is the
same as raising the probabilities to 1/T and scaling them to the sum 1. That is what is done here, with several views to
their mean, so the order of the classes never changes, and neither does any accuracy.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.checks import from_builtins
from shared.errors import DataError
from shared.files import read_versioned_json, write_text
from shared.shards.places import ShardsPlace
from train.data.samples import choose_rows, names_sha256
from train.data.views import Views
from train.learn.metrics import expected_calibration_error, mean_loss
from train.trained.clips import stored_probabilities
from train.trained.model import LoadedModel
from train.trained.portable import CALIBRATION_FILE

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = "lsvit-calibration"
_VERSION = 1
_TEMPERATURES = np.geomspace(0.1, 10, 801)
_EXPECTED_FACTOR = 2.0  # before any clip is seen, T is taken to be 1 up to this factor (one standard deviation)
_MOST_LOSS_CHANGE = 0.05  # half precision changes the loss by less, clips that were trained on by more

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What ``calibration.json`` in a run's folder says."""

    checkpoint: str
    """File name of the checkpoint that it is for, and the epochs that this one has finished."""
    epoch: int
    temperature: float
    """Above 1 where the model is surer than it is right."""
    num_clips: int
    """The validation clips. What follows was measured on them, before and after."""
    loss_before: float
    loss_after: float
    calibration_error_before: float
    calibration_error_after: float


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """p^(1/T), scaled to the sum 1: float64 (N, classes) of (N, classes). Equal ones stay equal, and order stays."""
    scaled = _logarithms(probabilities) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result


def fit_temperature(probabilities: Floats, labels: Integers) -> float:
    """The T from 0.1 to 10, to 0.6 %, that is likeliest after N >= 1 clips.

    That is the least sum of -log p(label), plus (log T / log 2)²/2: a normal distribution of log T about 0. It weighs
    as much as a clip or two, and without it a few clips that are all right would make every answer certain.
    """
    spread = np.log(_EXPECTED_FACTOR)
    costs = [
        len(labels) * mean_loss(tempered(probabilities, temperature), labels) + (np.log(temperature) / spread) ** 2 / 2
        for temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(costs))])


def _logarithms(probabilities: Floats) -> Floats:
    result: Floats = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return result


def calibrate(loaded: LoadedModel, frame: pd.DataFrame, *, shards: ShardsPlace, batch_size: int) -> Calibration:
    """Fit the temperature of a model on the validation clips of its run, in one view, and keep it in the run's folder.

    frame: all manifest rows. Raises DataError where the run had no validation part, or the clips that these manifests
    would make it of are others than the run's.
    """
    measured = loaded.measured
    if not loaded.epoch and loaded.origin.val_fraction:
        raise DataError(
            f"{loaded.path} is of a run whose first epoch is not over, so there is nothing to calibrate it on; "
            "continue the run with --resume, or leave --calibrated out"
        )
    if measured is None or measured.val_loss is None:
        raise DataError(
            f"{loaded.path} was not measured on validation clips, so there is nothing to calibrate it on; leave "
            "--calibrated out, or train with --val-fraction 0.1"
        )
    rows = choose_rows(frame, split=loaded.facts.split, val_fraction=loaded.origin.val_fraction).validation
    foreign = DataError(
        f"{loaded.path} was validated on other clips than these manifests give, and may have been trained on some of "
        "them; name the manifests that it was trained with, or leave --calibrated out"
    )
    noted = loaded.facts.validation_sha256
    if len(rows) != measured.val_clips or noted not in ("", names_sha256(frame["clip_id"].iloc[rows])):
        raise foreign
    labels = frame["label"].to_numpy(np.int64)[rows]
    clips = frame.iloc[rows]
    probabilities = stored_probabilities(
        loaded, clips, shards=shards, views=Views(), batch_size=batch_size, named=set(frame["shard"])
    )
    if abs(mean_loss(probabilities, labels) - measured.val_loss) > _MOST_LOSS_CHANGE * max(measured.val_loss, 0.1):
        raise foreign
    calibration = _measured(loaded, probabilities, labels)
    write_calibration(loaded.folder, calibration)
    return calibration


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Keep a calibration in the folder of a run or of an exported model."""
    content = {"format": _FORMAT, "version": _VERSION, **dataclasses.asdict(calibration)}
    write_text(folder / CALIBRATION_FILE, json.dumps(content, indent=2) + "\n")


def _measured(loaded: LoadedModel, probabilities: Floats, labels: Integers) -> Calibration:
    temperature = fit_temperature(probabilities, labels)
    after = tempered(probabilities, temperature)
    return Calibration(
        checkpoint=loaded.path.name,
        epoch=loaded.epoch,
        temperature=temperature,
        num_clips=len(labels),
        loss_before=mean_loss(probabilities, labels),
        loss_after=mean_loss(after, labels),
        calibration_error_before=expected_calibration_error(probabilities, labels),
        calibration_error_after=expected_calibration_error(after, labels),
    )


def read_calibration(loaded: LoadedModel) -> Calibration:
    """The calibration kept in the run's folder. Raises DataError where there is none for this state of the model."""
    file = loaded.folder / CALIBRATION_FILE
    remedy = f"`lsvit-train evaluate {loaded.folder} --calibrated` makes it"
    content = read_versioned_json(file, kind=_FORMAT, version=_VERSION, absent=remedy, remedy=remedy)
    try:
        calibration = from_builtins(Calibration, content)
    except ValueError as error:
        raise DataError(f"{file} is damaged ({error}); {remedy}") from error
    if not _TEMPERATURES[0] <= calibration.temperature <= _TEMPERATURES[-1]:
        raise DataError(f"{file} has a temperature of {calibration.temperature}; {remedy}")
    if (calibration.checkpoint, calibration.epoch) != (loaded.path.name, loaded.epoch):
        raise DataError(f"{file} is of {calibration.checkpoint} after epoch {calibration.epoch}, not of this; {remedy}")
    return calibration
