"""Tries out the installed libraries, each in turn, in a process of its own: no crash may take `doctor` along.

Run as ``python -m preprocess.doctor.probe``; prints one line ``PROBE <JSON>`` a stage, as soon as it is known.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PREFIX = "PROBE "
PACKAGES = ("torch", "torchcodec", "numpy", "h5py", "numba", "pandas", "scikit-learn", "imbalanced-learn")
# The major version of libavutil of each FFmpeg that torchcodec may load.
AVUTIL_MAJORS = {4: 56, 5: 57, 6: 58, 7: 59, 8: 60, 9: 61}
_HOMEBREW = ("/opt/homebrew/opt/ffmpeg/lib/", "/usr/local/opt/ffmpeg/lib/")
NUM_FRAMES = 20


def report(stage: str, facts: dict[str, object]) -> None:
    """Print what a stage found."""
    sys.stdout.write(PREFIX + json.dumps({"stage": stage, **facts}) + "\n")
    sys.stdout.flush()


def find_versions() -> dict[str, object]:
    """The version of each package that is installed, without importing it."""
    versions: dict[str, object] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {"versions": versions}


def find_ffmpeg_libraries() -> dict[str, object]:
    """The major versions of FFmpeg whose libraries the dynamic linker finds."""
    return {"majors": [major for major, avutil in AVUTIL_MAJORS.items() if any(map(_loads, libavutil_files(avutil)))]}


def libavutil_files(major: int) -> list[str]:
    """What the library is called here. On macOS torchcodec also looks where Homebrew puts it, the linker does not."""
    names = [f"{folder}libavutil.{major}.dylib" for folder in ("", *_HOMEBREW)]
    return names if sys.platform == "darwin" else [f"libavutil.so.{major}"]


def find_nvdec() -> dict[str, object]:
    """Whether the driver's decoding library can be loaded."""
    return {"loads": _loads("libnvcuvid.so.1")}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def import_torch() -> dict[str, object]:
    """torch's build, and the GPU that it sees."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cuda": torch.version.cuda,
        "gpu": gpu,
        "mps": sys.platform == "darwin" and torch.backends.mps.is_available(),
    }


def import_h5py() -> dict[str, object]:
    """HDF5's version."""
    import h5py

    return {"hdf5": h5py.version.hdf5_version}


def import_torchcodec() -> dict[str, object]:
    """FFmpeg as torchcodec loaded it, and whether there is a way to read frame after frame."""
    import torchcodec._core as core
    from torchcodec import decoders

    versions = core.get_ffmpeg_library_versions()
    reads_in_order = hasattr(decoders, "Demuxer") or hasattr(core, "get_next_frame")
    return {"ffmpeg": str(versions["ffmpeg_version"]), "reads_in_order": reads_in_order}


def decode_clip() -> dict[str, object]:
    """Encode 20 frames like HMDB51's (MPEG-4 in AVI with B-frames) and count what decodes."""
    import torch
    from torchcodec.encoders import VideoEncoder

    from shared.video.streams import OpenVideo

    ramp = torch.arange(64, dtype=torch.uint8).expand(NUM_FRAMES, 3, 48, 64)
    frames = ramp + 8 * torch.arange(NUM_FRAMES, dtype=torch.uint8).view(-1, 1, 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        VideoEncoder(frames, frame_rate=30).to_file(path, codec="mpeg4", extra_options={"bf": 2})
        return {"num_frames": sum(1 for _ in OpenVideo(path).read_frames())}


STAGES: dict[str, Callable[[], dict[str, object]]] = {
    "packages": find_versions,
    "ffmpeg_libraries": find_ffmpeg_libraries,
    "nvdec": find_nvdec,
    "h5py": import_h5py,
    "torch": import_torch,
    "torchcodec": import_torchcodec,
    "decode": decode_clip,
}


def main() -> None:
    """Run every stage; one that fails reports its error and the next is tried."""
    from shared.errors import DataError

    for stage, function in STAGES.items():
        try:
            facts = function()
        except (
            ImportError,
            OSError,
            RuntimeError,
            AttributeError,
            ValueError,
            TypeError,
            KeyError,
            DataError,
        ) as error:
            facts = {"error": f"{type(error).__name__}: {error}"}
        report(stage, facts)


if __name__ == "__main__":
    main()
