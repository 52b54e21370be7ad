"""Fixtures: real clips beside the project (skipped where absent), small videos of the ffmpeg command, an extraction."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import succeed
from extraction import OPTIONS, places
from hypothesis import settings
from media import HMDB_LIKE, REAL_VIDEOS, make_video
from visits import open_browser

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script, and so in commands under test
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # speed is never asserted in a test
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of real clips."""
    if not REAL_VIDEOS.is_dir():
        pytest.skip(
            f"no real clips at {REAL_VIDEOS}; set HMDB51_REAL_VIDEOS to a folder that holds hmdb51/<class>/*.avi"
        )
    return REAL_VIDEOS


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """The ffmpeg command, the oracle of these tests."""
    command = shutil.which("ffmpeg")
    if command is None:
        pytest.skip("no ffmpeg command; apt-get install ffmpeg")
    return command


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Twelve videos of three classes, with file names as bad as HMDB51's, and five files that give no clip."""
    folder = tmp_path_factory.mktemp("videos")
    for index in range(4):
        make_video(folder / "walk" / f"src{index}_walk_f_cm_np1_le_goo_{index}.avi", *HMDB_LIKE, num_frames=20 + index)
    make_video(folder / "sit" / "-(x)!_[#]&;~@_sit_u_nm_np2_fr_med_0.avi", *HMDB_LIKE)
    make_video(folder / "sit" / "__short.avi", *HMDB_LIKE, num_frames=5)
    make_video(folder / "sit" / "wide.mp4", size="424x240", num_frames=33)
    for index in range(5):
        make_video(folder / "run" / f"src{index}_run_f_nm_np1_ri_bad_{index}.avi", *HMDB_LIKE, num_frames=17)
    make_video(folder / "walk" / "src0_walk_f_cm_np1_le_goo_0.mkv", num_frames=9)
    (folder / "walk" / "text.avi").write_text("not a video")
    (folder / "run" / "zero.avi").touch()
    audio = folder / "run" / "audio.avi"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", "sine=d=1", str(audio)], check=True)
    (folder / "sit" / "cut.avi").write_bytes((folder / "walk" / "src3_walk_f_cm_np1_le_goo_3.avi").read_bytes()[:300])
    return folder


@pytest.fixture(scope="session")
def extracted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted extraction of ``videos``."""
    folder = tmp_path_factory.mktemp("extracted")
    succeed("hmdb-prep", "extract", "--videos", videos, *places(folder), *OPTIONS, installed=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; tests that use it are skipped where there is none."""
    with open_browser() as chromium:
        yield chromium


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose fonts are all that are installed; what matplotlib knows is as before afterwards."""
    from matplotlib.font_manager import fontManager

    folder = tmp_path / "fonts"
    folder.mkdir()
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    monkeypatch.setattr("shared.pages.fonts.findSystemFonts", lambda: [str(file) for file in folder.iterdir()])
    return folder
