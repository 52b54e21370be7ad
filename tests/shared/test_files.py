"""Files that are written whole: what a path may already be, and what then becomes of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shared.errors import DataError
from shared.files import write_text


def test_a_pipe_and_a_folder_stay_what_they_are(tmp_path: Path) -> None:
    pipe, folder, link = tmp_path / "pipe", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(pipe)
    for path, what in ((pipe, "a device or a pipe"), (link, "a device or a pipe"), (folder, "a folder")):
        with pytest.raises(DataError, match=f"{path} is {what} and no file; name a file"):
            write_text(path, "text")
    assert stat.S_ISFIFO(pipe.stat().st_mode) and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [folder, link, pipe]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path, is_there: bool) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link.csv"
    target.parent.mkdir()
    if is_there:
        target.write_text("old")
    link.symlink_to(Path("elsewhere") / "target")
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
