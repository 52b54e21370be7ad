"""What users would write instead of `hmdb-prep extract`: other decoders, NumPy, h5py, and a pool of processes.

Each peer decodes a whole video with one thread, takes the frames that this project's rule picks, and scales them to
cover a square of which it keeps the centre. None of them measures statistics (unless asked), checks what it wrote,
synchronises it to the disk or writes manifests.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.video.resizing import FrameSize, resize_frames, scaled_size
from shared.video.sampling import candidate_frames

NUM_SEGMENTS = 16
VIDEOS_A_FILE = 16

Frames = npt.NDArray[np.uint8]
Picked = tuple[int, list[Frames]]  # n, and the rows of the clip, each uint8 (H, W, 3) RGB


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to do the job. counts: n comes from decoding and not from the header, so that the frames can be right.

    pick: n and the rows of a clip; scale: to uint8 (T, side, side, 3).
    """

    module: str
    counts: bool
    pick: Callable[[Path], Picked]
    scale: Callable[[list[Frames], int], Frames]


@dataclass(frozen=True, kw_only=True)
class PeerJob:
    """Some videos for one HDF5 file. with_statistics: measure them too, as one would with OpenCV."""

    peer: str
    videos: tuple[Path, ...]
    file: Path
    side: int
    with_statistics: bool


def pick_with_opencv(path: Path) -> Picked:
    """Every frame read and kept until n is known."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while True:
        is_there, frame = capture.read()
        if not is_there:
            break
        frames.append(frame)
    rows = _rows(len(frames))
    return len(frames), [cv2.cvtColor(frames[row], cv2.COLOR_BGR2RGB) for row in rows]


def pick_with_opencv_header(path: Path) -> Picked:
    """n believed from the header: only the frames wanted are converted."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    num_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rows = _rows(num_frames)
    wanted = set(rows)
    kept: dict[int, Frames] = {}
    for number in range(max(rows) + 1):
        if not capture.grab():
            break
        if number in wanted:
            kept[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    last = kept[max(kept)]
    return num_frames, [kept.get(row, last) for row in rows]


def pick_with_pyav(path: Path) -> Picked:
    """Every frame decoded and kept as it is; only the frames wanted are converted."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frames = list(container.decode(stream))
        return len(frames), [frames[row].to_ndarray(format="rgb24") for row in _rows(len(frames))]


def pick_with_decord(path: Path) -> Picked:
    """By index, as its documentation shows."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    num_frames = len(reader)
    return num_frames, list(reader.get_batch(_rows(num_frames)).asnumpy())


def _rows(num_frames: int) -> list[int]:
    rows: list[int] = candidate_frames(num_frames, num_segments=NUM_SEGMENTS, frames_per_segment=1).tolist()
    return rows


def scale_with_torch(frames: list[Frames], side: int) -> Frames:
    """Bilinear with antialiasing, by this project's own function."""
    import torch

    torch.set_num_threads(1)
    size = FrameSize(height=side, width=side)
    return resize_frames(torch.from_numpy(np.stack(frames)), size).numpy()


def scale_with_opencv(frames: list[Frames], side: int) -> Frames:
    """INTER_AREA, OpenCV's choice for making pictures smaller."""
    import cv2

    height, width = scaled_size(frames[0].shape[0], frames[0].shape[1], FrameSize(height=side, width=side))
    top, left = (height - side) // 2, (width - side) // 2
    scaled = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([frame[top : top + side, left : left + side] for frame in scaled])


PEERS: Mapping[str, Peer] = {
    "OpenCV": Peer(module="cv2", counts=True, pick=pick_with_opencv, scale=scale_with_opencv),
    "OpenCV, trusting the header": Peer(
        module="cv2", counts=False, pick=pick_with_opencv_header, scale=scale_with_opencv
    ),
    "PyAV, torch's resize": Peer(module="av", counts=True, pick=pick_with_pyav, scale=scale_with_torch),
    "PyAV, OpenCV's resize": Peer(module="av", counts=True, pick=pick_with_pyav, scale=scale_with_opencv),
    "decord": Peer(module="decord", counts=False, pick=pick_with_decord, scale=scale_with_opencv),
}


def is_installed(peer: Peer) -> bool:
    """Whether a peer's module is there."""
    return importlib.util.find_spec(peer.module) is not None


def clip_with(name: str, path: Path, *, side: int) -> Frames:
    """One clip, uint8 (T, side, side, 3)."""
    return PEERS[name].scale(PEERS[name].pick(path)[1], side)


def write_file(job: PeerJob) -> int:
    """Do one job in a worker process; returns the number of clips."""
    import h5py

    with h5py.File(job.file, "w") as file:
        shape = (len(job.videos), NUM_SEGMENTS, job.side, job.side, 3)
        data = file.create_dataset("frames", shape, np.uint8)
        rows = []
        for place, path in enumerate(job.videos):
            frames = clip_with(job.peer, path, side=job.side)
            if job.with_statistics:
                from benchmarks.clip_statistics import measure_with_opencv

                rows.append(measure_with_opencv(frames))
            data[place] = frames
        if rows:
            file["statistics"] = np.array(rows)
    return len(job.videos)


def count_frames(videos: tuple[Path, ...]) -> int:
    """The limit: decode, convert nothing, keep nothing. Returns the number of frames."""
    import av

    num_frames = 0
    for path in videos:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            num_frames += sum(1 for _ in container.decode(stream))
    return num_frames


def run_peer(
    name: str, videos: list[Path], folder: Path, *, pool: ProcessPoolExecutor, side: int, with_statistics: bool
) -> None:
    """The whole job by one peer: files of 16 videos, a worker process each."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        PeerJob(
            peer=name,
            videos=tuple(videos[start : start + VIDEOS_A_FILE]),
            file=folder / f"part-{start:05d}.h5",
            side=side,
            with_statistics=with_statistics,
        )
        for start in range(0, len(videos), VIDEOS_A_FILE)
    ]
    assert sum(pool.map(write_file, jobs)) == len(videos)


def run_limit(videos: list[Path], *, pool: ProcessPoolExecutor) -> None:
    """Decoding alone, by as many processes."""
    chunks = [tuple(videos[start : start + VIDEOS_A_FILE]) for start in range(0, len(videos), VIDEOS_A_FILE)]
    assert sum(pool.map(count_frames, chunks)) > 0
