"""The queue of the page, its bounds, and the folder of uploads, which outlives nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from media import make_video

from shared.errors import DataError
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from train.serve import decoding
from train.serve.decoding import UploadedVideo, read_upload
from train.serve.jobs import Answer, Jobs
from train.serve.limits import MOST_KEPT, MOST_WAITING
from train.serve.uploads import file_name, upload_folder

ROOT = Path(__file__).parents[3]
ANSWER = Answer(predictions=(("walk", 1.0),), page="<p>")


def add(jobs: Jobs, name: str) -> str:
    assert jobs.reserve()
    jobs.release()
    return jobs.add(Path(name), name=name, label=None)


def test_one_at_a_time_in_order() -> None:
    jobs = Jobs()
    assert jobs.take(seconds=0) is None
    numbers = [add(jobs, name) for name in "abc"]
    assert [jobs.look(number).position for number in numbers] == [0, 1, 2]  # type: ignore[union-attr]
    first = jobs.take(seconds=0)
    assert first is not None and first.name == "a"
    states = [jobs.look(number) for number in numbers]
    assert [(status.state, status.position) for status in states if status] == [
        ("working", 0), ("waiting", 1), ("waiting", 2),
    ]  # fmt: skip
    jobs.finish(first, ANSWER)
    second = jobs.take(seconds=0)
    assert second is not None and second.name == "b"
    jobs.finish(second, "it is broken")
    done, failed, waiting = (jobs.look(number) for number in numbers)
    assert done is not None and done.state == "done" and done.answer == ANSWER
    assert failed is not None and (failed.state, failed.error) == ("failed", "it is broken")
    assert waiting is not None and (waiting.state, waiting.position) == ("waiting", 0)
    assert jobs.look("x") is None


def test_what_waits_and_what_is_kept_is_bounded() -> None:
    jobs = Jobs()
    numbers = [add(jobs, str(index)) for index in range(MOST_WAITING - 1)]
    assert jobs.reserve()  # its upload has begun
    assert not jobs.reserve()
    jobs.release()
    assert jobs.reserve()
    jobs.release()
    while len(numbers) < MOST_KEPT + 3:
        job = jobs.take(seconds=0)
        assert job is not None
        jobs.finish(job, ANSWER)
        numbers.append(add(jobs, "more"))
    while job := jobs.take(seconds=0):
        jobs.finish(job, ANSWER)
    assert [jobs.look(number) is None for number in numbers] == [True] * 3 + [False] * MOST_KEPT


def test_an_upload_gives_the_frames_of_its_clip(tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "a.mp4", num_frames=3)
    shape = ClipShape(num_segments=4, frames_per_segment=1, size=FrameSize(height=24, width=32))
    upload = read_upload(UploadedVideo(path=tmp_path / "a.mp4", shape=shape))
    assert upload.frames.shape == (4, 24, 32, 3) and upload.frames.dtype == np.uint8
    assert upload.frame_index == (0, 1, 2, 2)
    assert (upload.num_frames, upload.num_padded) == (3, 1)
    monkeypatch.setattr(decoding, "MOST_SECONDS", 0.01)
    with pytest.raises(DataError, match=r"at most 0.01; `lsvit-train predict --window`"):
        read_upload(UploadedVideo(path=tmp_path / "a.mp4", shape=shape))


def test_names_of_files() -> None:
    assert file_name("my clip.AVI", 3) == "3.AVI"
    for name in ("../../x", "a.b/c", "x.m p4", "x.é", "x." + "y" * 20, "", "."):
        assert file_name(name, 0) == "0"


KEEPS = """
import sys, time
from train.serve.uploads import file_name, upload_folder
with upload_folder() as folder:
    (folder / "0.mp4").write_bytes(b"-")
    print(folder, flush=True)
    time.sleep(60)
"""


def keep(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds an upload in a folder of its own below ``place``."""
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KEEPS], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_uploads_go_with_their_program_or_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process, folder = keep(tmp_path)
    with upload_folder() as other:
        assert folder.is_dir() and other.is_dir() and other != folder  # that of a living program stays
        assert folder.stat().st_mode & 0o077 == 0
    assert not other.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "0.mp4").exists()
    (tmp_path / "lsvit-serve-link").symlink_to(ROOT / "docs")
    with pytest.raises(KeyboardInterrupt), upload_folder() as other:
        assert not folder.exists()
        raise KeyboardInterrupt
    assert not other.exists() and (ROOT / "docs" / "format.md").exists()
