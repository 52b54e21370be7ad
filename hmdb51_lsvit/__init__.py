"""The door for programs of one's own: clips, manifests and trained models. docs/python.md has an example of each.

It holds nothing itself. What it names is imported when it is first used, so that each takes only what it needs.
"""

from __future__ import annotations

from hmdb51_lsvit.names import check_names

TYPE_CHECKING = False  # of typing, which takes longer to import than all the rest, before Ctrl-C is one line
if TYPE_CHECKING:
    from shared.errors import DataError, UsageError
    from shared.manifests.files import read_manifests
    from shared.video.decoding import DecodedClip, decode_clip
    from shared.video.resizing import FrameSize
    from shared.video.shape import ClipShape
    from shared.video.streams import VideoError
    from train.data.clip_dataset import ClipDataset, collate
    from train.data.loader.prefetch import prefetched
    from train.predict.from_python import Prediction, TrainedModel, load_model, predict
    from train.trained.preprocessing import Preprocessing

__all__ = [
    "ClipDataset",
    "ClipShape",
    "DataError",
    "DecodedClip",
    "FrameSize",
    "Prediction",
    "Preprocessing",
    "TrainedModel",
    "UsageError",
    "VideoError",
    "collate",
    "decode_clip",
    "load_model",
    "predict",
    "prefetched",
    "read_manifests",
]

_MODULES = {
    "ClipDataset": "train.data.clip_dataset",
    "ClipShape": "shared.video.shape",
    "DataError": "shared.errors",
    "DecodedClip": "shared.video.decoding",
    "FrameSize": "shared.video.resizing",
    "Prediction": "train.predict.from_python",
    "Preprocessing": "train.trained.preprocessing",
    "TrainedModel": "train.predict.from_python",
    "UsageError": "shared.errors",
    "VideoError": "shared.video.streams",
    "collate": "train.data.clip_dataset",
    "decode_clip": "shared.video.decoding",
    "load_model": "train.predict.from_python",
    "predict": "train.predict.from_python",
    "prefetched": "train.data.loader.prefetch",
    "read_manifests": "shared.manifests.files",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_names("shared", "train")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
