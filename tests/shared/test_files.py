"""Files that are written whole: what a path may already be, and what then becomes of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import DataError
from shared.files import check_target, whole_file, write_text


def test_a_folder_and_a_socket_stay_what_they_are(tmp_path: Path) -> None:
    address, folder, link = tmp_path / "address", tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        for path, what in ((address, "a disk or a socket"), (folder, "a folder"), (link, "a folder")):
            with pytest.raises(DataError, match=f"{path} is {what} and no file; name a file"):
                write_text(path, "text")
    assert address.is_socket() and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [address, folder, link]


def test_a_pipe_gets_the_content_once_it_is_whole(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        with pytest.raises(ValueError, match="half"), whole_file(link) as temporary:
            temporary.write_text("not whole")
            raise ValueError("half")
        write_text(link, "text")
        assert reader.communicate(timeout=60)[0] == b"text"
    assert stat.S_ISFIFO(pipe.stat().st_mode) and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/dev/fd/3"])
def test_an_open_file_goes_on_where_it_was(tmp_path: Path, name: str) -> None:
    """As /dev/stdout of ``> file``: nothing that stands there is lost, nor what is written afterwards."""
    code = (
        f"from pathlib import Path; from shared.files import is_standard_output, write_text; path = Path({name!r});"
        "print(is_standard_output(path)); write_text(path, 'text'); print('after')"
    )
    with (tmp_path / "file").open("w") as file:
        file.write("before\n")
        file.flush()
        words = [sys.executable, "-c", code]
        subprocess.run(["sh", "-c", '"$@" 3>&1', "sh", *words], stdout=file, check=True)
    is_output = name != "/dev/fd/3"
    assert (tmp_path / "file").read_text() == f"before\n{is_output}\ntextafter\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "folder/1"])
def test_a_link_to_an_open_file_names_it(tmp_path: Path, target: str) -> None:
    """It is followed to the name, and not through it: else the file behind it would be replaced."""
    (tmp_path / "folder").symlink_to("/dev/fd")
    (tmp_path / "near").symlink_to(target)
    (tmp_path / "link").symlink_to("near")
    code = (
        "from pathlib import Path; from shared.files import is_standard_output, write_text; path = Path('link');"
        "print(is_standard_output(path)); write_text(path, 'text'); print('after')"
    )
    with (tmp_path / "file").open("w") as file:
        words = [sys.executable, "-c", code]
        subprocess.run(words, stdout=file, check=True, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == "True\ntextafter\n"
    assert (tmp_path / "link").is_symlink()


def test_an_open_file_that_takes_nothing_is_said_before_the_work(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, (tmp_path / "file").open() as other:
        check_target(Path(f"/dev/fd/{file.fileno()}"))
        number = other.fileno()
        with pytest.raises(DataError, match=f"^/dev/fd/{number} is open for reading alone; name a file, or open it"):
            check_target(Path(f"/dev/fd/{number}"))
    for closed in (number, 10**30):
        with pytest.raises(
            DataError, match=f"^/dev/fd/{closed} is no open file; name a file, or open it with `{closed}>"
        ):
            check_target(Path(f"/dev/fd/{closed}"))
        with pytest.raises(DataError, match="is no open file"), whole_file(Path(f"/dev/fd/{closed}")):
            raise AssertionError("the work began")
    with pytest.raises(DataError, match=f"{tmp_path} is a folder and no file"):
        check_target(tmp_path)
    check_target(tmp_path / "new" / "file")
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match=f"cannot be written: {tmp_path}/file is a file and no folder; name another"):
        check_target(tmp_path / "file" / "new" / "file")
    with pytest.raises(DataError, match=r"cannot be written \(File name too long\); name another file"):
        check_target(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["one", "other", "itself", "itself/file.csv"])
def test_links_that_lead_to_each_other_stay_and_are_said_before_the_work(tmp_path: Path, name: str) -> None:
    for link, target in (("one", "other"), ("other", "one"), ("itself", "itself")):
        (tmp_path / link).symlink_to(target)
    path = tmp_path / name
    with pytest.raises(DataError, match=f"^{path} leads through a loop of links; name another file"):
        check_target(path)
    with pytest.raises(DataError, match=f"^{path} leads through a loop of links; name another file"):
        write_text(path, "text")
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_symlink()) == ["itself", "one", "other"]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_device_that_is_full_is_named() -> None:
    with pytest.raises(DataError, match=r"^/dev/full cannot be written \(No space left on device\); name another file"):
        write_text(Path("/dev/full"), "text")


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
