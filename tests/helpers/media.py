"""Videos for tests: real clips beside the project, small ones made with the ffmpeg command, and its frames."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

REAL_VIDEOS = Path(os.environ.get("HMDB51_REAL_VIDEOS", Path(__file__).parents[3] / "shared" / "real"))
REAL_JHMDB = REAL_VIDEOS.parent / "real_jhmdb"
CASES = REAL_VIDEOS.parent / "cases"


def real_video_files(*, folder: str = "*") -> list[Path]:
    """Every real clip, e.g. real/hmdb51/punch/....avi and real/other/....mp4; empty where the folder is absent."""
    files = [*REAL_VIDEOS.glob(f"{folder}/*"), *REAL_VIDEOS.glob(f"{folder}/*/*")]
    return sorted(file for file in files if file.is_file() and file.suffix in {".avi", ".mp4"})


def ffmpeg_frames(path: Path, *, height: int, width: int) -> npt.NDArray[np.uint8]:
    """All frames that the ffmpeg command yields with one thread, as this project decodes: uint8 (n, H, W, 3)."""
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", f"file:{path}", "-fps_mode", "passthrough"]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=False
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def make_video(path: Path, *arguments: str, num_frames: int = 40, size: str = "320x240", rate: str = "30") -> Path:
    """Encode a moving test picture of ``num_frames`` frames with the ffmpeg command and its ``arguments``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"testsrc2=size={size}:rate={rate},noise=alls=12:allf=t:all_seed=1"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-frames:v", str(num_frames)]
    subprocess.run([*command, *arguments, f"file:{path}"], check=True, capture_output=True)
    return path


def dump_frames(video: Path, folder: Path, pattern: str = "%05d.png") -> Path:
    """Write every frame of a video as a picture into a new folder, as the ffmpeg command gives them; the folder."""
    folder.mkdir(parents=True)
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", f"file:{video}", "-fps_mode", "passthrough"]
    subprocess.run([*command, "-pix_fmt", "rgb24", f"file:{folder}/{pattern}"], check=True, capture_output=True)
    return folder


def turn(path: Path, degrees: int) -> Path:
    """A copy of an MP4 whose display matrix says that it is to be turned clockwise."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix stands 40 bytes after the name
    assert data[at : at + 4] == (1 << 16).to_bytes(4, "big")
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[cosine, sine, 0], [-sine, cosine, 0]]) * (1 << 16)
    rows = np.round(matrix).astype(">i4").tobytes()
    turned = path.with_stem(f"turned_{degrees}")
    turned.write_bytes(data[:at] + rows + data[at + len(rows) :])
    return turned


HMDB_LIKE = ("-c:v", "mpeg4", "-bf", "2", "-vtag", "DX50", "-b:v", "600k")
