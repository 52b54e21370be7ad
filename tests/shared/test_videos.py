"""The videos of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.errors import DataError
from shared.videos import find_videos


def test_videos_are_found_sorted_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b/2.avi", "b/1.MP4", "a/-x (1) [#]&;.avi", "a/.hidden.avi", "a/notes.txt", ".git/x.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    videos = find_videos(tmp_path)
    assert [video.path for video in videos] == ["a/-x (1) [#]&;.avi", "b/1.MP4", "b/2.avi"]
    assert videos[0].clip_id == "a/-x (1) [#]&;"
    assert videos[0].num_bytes == 2


def test_links_that_lead_nowhere_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a" / "folder.avi").mkdir(parents=True)
    (tmp_path / "a" / "x.avi").symlink_to(tmp_path / "nothing")
    assert [(video.path, video.num_bytes) for video in find_videos(tmp_path)] == [("a/x.avi", 0)]


@pytest.mark.parametrize(
    ("name", "message"), [(b"caf\xe9.avi", "not UTF-8"), (b"a\rb.avi", "control"), (b"a\nb.avi", "control")]
)
def test_names_that_no_manifest_can_hold_are_refused(tmp_path: Path, name: bytes, message: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=message):
        find_videos(tmp_path)


def test_folders_without_videos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of videos"):
        find_videos(tmp_path / "none")
    with pytest.raises(DataError, match="no videos in"):
        find_videos(tmp_path)
    (tmp_path / "x.avi").touch()
    with pytest.raises(DataError, match="no class folders"):
        find_videos(tmp_path)
