"""Fixtures: real clips beside the project (skipped where absent), and small videos made with the ffmpeg command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from media import REAL_VIDEOS

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
