"""The features of every stored frame of some clips, computed once with a frozen model and kept in an HDF5 file.

The file holds room for all clips of the data set; what a killed run had finished stays, and other splits add theirs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch

from shared.errors import DataError, first_line
from shared.files import synchronise, whole_file
from shared.terminal.console import progress
from train.data.loader.reader import BatchReader
from train.data.samples import ClipTable
from train.data.views import Views, candidate_rows, evaluation_views
from train.model.lsvit import LSViT

FEATURES_FILE = "frame_features.h5"
FEATURES_FORMAT = "lsvit-frame-features"
FEATURES_VERSION = 1
_TRAINED_LATER = ("head.", "temporal_pool.")
_CLIPS_ON_A_GPU = 8  # at once; a CPU is as fast with one

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """What features belong to: they are used again only where all of this is the same."""

    weights: str
    """SHA-256 of the frozen weights and of what the model makes of them."""
    dataset_id: str
    clips: str
    """SHA-256 of the clip_ids in their order."""
    image_size: int
    num_clips: int
    num_rows: int
    """Stored frames of a clip, T·K."""
    width: int
    """D"""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.num_clips, self.num_rows, self.width


def feature_key(model: LSViT, table: ClipTable, *, dataset_id: str, num_rows: int) -> FeatureKey:
    """The key of the features that a model gives to the clips of a table."""
    return FeatureKey(
        weights=weights_sha256(model),
        dataset_id=dataset_id,
        clips=hashlib.sha256(json.dumps(table.clip_id).encode()).hexdigest(),
        image_size=model.config.image_size,
        num_clips=len(table.clip_id),
        num_rows=num_rows,
        width=model.config.embed_dim,
    )


def weights_sha256(model: LSViT) -> str:
    """SHA-256 of everything that a frame's feature depends on: weights and config, temporal pool and head aside."""
    config = dataclasses.asdict(model.config)
    for name in ("num_classes", "temporal_pool", "drop_path", "motion_init"):
        del config[name]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(_TRAINED_LATER):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class FeatureFile:
    """An open file of features. One process writes it at a time; a kill at any moment leaves it whole."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    def missing(self, clips: Integers) -> Integers:
        """Those of the clips, sorted, whose features are not there yet."""
        done = self._file["done"][:].astype(bool)
        wanted = np.unique(clips)
        missing: Integers = wanted[~done[wanted]]
        return missing

    def write(self, clips: Integers, features: npt.NDArray[np.float16]) -> None:
        """Put the features (b, T·K, D) of some clips in, and only then note that they are there."""
        for clip, values in zip(clips.tolist(), features, strict=True):
            self._file["features"][clip] = values
        self._file.flush()
        synchronise(self.path)
        for clip in clips.tolist():
            self._file["done"][clip] = 1
        self._file.flush()

    def read(self, clips: Integers) -> torch.Tensor:
        """The features of some clips, float16 (n, T·K, D)."""
        values = np.empty((len(clips), *self._file["features"].shape[1:]), np.float16)
        for place, clip in enumerate(clips.tolist()):
            self._file["features"].read_direct(values[place : place + 1], np.s_[clip : clip + 1])
        return torch.from_numpy(values)


@contextmanager
def open_features(path: Path, key: FeatureKey, *, others: Path) -> Iterator[FeatureFile]:
    """The file of a key, made where it is absent: from the fullest one of the same key in the runs below ``others``.

    Raises DataError where it belongs to another key, is damaged, or another process is writing it.
    """
    if not path.exists():
        _make(path, key, others=others)
    try:
        file = h5py.File(path, "r+")
    except BlockingIOError as error:
        raise DataError(f"{path} is in use by another process; wait for its end, or choose another --name") from error
    except OSError as error:
        raise _damaged(path, error) from error
    with file:
        try:
            differing = _differences(file, key)
        except (OSError, KeyError, ValueError) as error:
            raise _damaged(path, error) from error
        if differing:
            raise DataError(f"{path} holds features of another {', '.join(differing)}; choose another --name")
        yield FeatureFile(path, file)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged: {first_line(error)}; delete it, and it is computed again")


def _make(path: Path, key: FeatureKey, *, others: Path) -> None:
    found = {other: count for other in sorted(others.glob(f"*/{FEATURES_FILE}")) if (count := _count(other, key))}
    with whole_file(path) as temporary:
        if found:
            shutil.copyfile(max(found, key=lambda other: found[other]), temporary)
            return
        with h5py.File(temporary, "w", locking=False) as file:  # `whole_file` has locked it
            file.attrs.update({"format": FEATURES_FORMAT, "version": FEATURES_VERSION, **dataclasses.asdict(key)})
            file.create_dataset("features", key.shape, np.float16)
            file.create_dataset("done", (key.num_clips,), np.uint8)


def _count(path: Path, key: FeatureKey) -> int:
    """How many clips a file of another run has of this key; 0 where it is of another, or cannot be read now."""
    try:
        with h5py.File(path, "r") as file:
            return 0 if _differences(file, key) else int(file["done"][:].sum())
    except (OSError, KeyError, ValueError):
        return 0


def _differences(file: h5py.File, key: FeatureKey) -> list[str]:
    """In what a file differs from what it should hold."""
    expected = {"format": FEATURES_FORMAT, "version": FEATURES_VERSION, **dataclasses.asdict(key)}
    differing = [name for name, value in expected.items() if file.attrs.get(name) != value]
    if not differing and (file["features"].shape != key.shape or file["done"].shape != key.shape[:1]):
        raise ValueError("its data sets have another shape than it says")
    return differing


def compute_features(
    model: LSViT, reader: BatchReader, clips: Integers, features: FeatureFile, *, device: torch.device
) -> None:
    """Compute and write the features of all T·K stored frames of some clips; shows clips/s and the time left.

    Candidate j of all segments makes a clip of T frames, and there are K such clips. A model without motion modules
    gives each frame its feature whatever the others are. Raises DataError for features that float16 cannot hold.
    """
    layout = reader.layout
    views = Views(num_candidates=layout.frames_per_segment)
    rows = candidate_rows(views, num_segments=layout.num_segments, frames_per_segment=layout.frames_per_segment)
    at_once = 1 if device.type == "cpu" else _CLIPS_ON_A_GPU
    model.to(device).eval()
    clips = clips[reader.suitable_order(clips)]
    with torch.inference_mode(), progress("frame features", len(clips)) as advance:
        for start in range(0, len(clips), at_once):
            some = clips[start : start + at_once]
            values = np.empty((len(some), layout.num_rows, model.config.embed_dim), np.float16)
            for candidate in rows:
                crops = evaluation_views(
                    reader.evaluation(some, candidate).to(device), image_size=model.config.image_size
                )
                values[:, candidate] = model.frame_features(crops.flatten(0, 1)).half().cpu().numpy()
            if not np.isfinite(values).all():
                raise DataError("the model's features are no numbers, or too large for float16; choose another --init")
            features.write(some, values)
            advance(len(some))
