"""Tar archives: plain and compressed, hostile members, bombs, damage."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from made_archives import files_below, make_tar, make_zip

from preprocess.fetch.archives.kinds import checked_members, read_members
from preprocess.fetch.archives.members import HostileArchiveError, Limits
from preprocess.fetch.command import fetch
from shared.errors import DataError

VIDEOS = {"walk/a b.avi": b"A" * 3000, "walk/-x_walk_f_cm_np1_fr_med_0.avi": os.urandom(70_000), "run/é.mp4": b"E"}
KINDS = ("", "gz", "bz2", "xz")
HOSTILE = ("../evil.avi", "walk/../../evil.avi", "/tmp/evil.avi", "..\\evil.avi", "walk/a\nb.avi")


def special(path: Path, name: str, *, kind: bytes, link: str = "", size: int = 0, compression: str = "gz") -> Path:
    """An archive of one good video and one member that is no plain file, or lies about its size."""
    with tarfile.open(path, f"w:{compression}") as archive:
        good = tarfile.TarInfo("walk/good.avi")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, size
        archive.addfile(info)
    return path


@pytest.mark.parametrize("compression", KINDS)
def test_class_folders(tmp_path: Path, compression: str) -> None:
    """The name says nothing: what it is, the first bytes tell."""
    archive = make_tar(tmp_path / "archive", {f"./set/{name}": data for name, data in VIDEOS.items()} | {"R": b"x"},
                       compression=compression)  # fmt: skip
    summary = fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == VIDEOS
    assert (summary.tally.num_written, summary.tally.ignored.total()) == (3, 1)
    assert fetch(str(archive), tmp_path / "videos").tally.num_kept == 3


def test_long_names_and_other_formats(tmp_path: Path) -> None:
    name = "a" * 100 + "/" + "walk" + "/" + "b" * 150 + ".avi"
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(tmp_path / f"{number}.tar", "w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("a" * 100))
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"1"))
        fetch(str(tmp_path / f"{number}.tar"), tmp_path / str(number))
        assert files_below(tmp_path / str(number)) == {f"walk/{'b' * 150}.avi": b"1"}


def test_archives_within_archives(tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "inner", {"a.avi": b"A"}).read_bytes()
    inner_zip = make_zip(tmp_path / "inner", {"b.avi": b"B"}).read_bytes()
    archive = make_tar(tmp_path / "a.tar.xz", {"set/walk.tar.gz": inner, "set/run.ZIP": inner_zip}, compression="xz")
    fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A", "run/b.avi": b"B"}


@pytest.mark.parametrize("compression", KINDS[:2])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(tmp_path: Path, name: str, compression: str) -> None:
    archive = make_tar(tmp_path / "a.tar", {"walk/good.avi": b"good", name: b"evil"}, compression=compression)
    with pytest.raises(HostileArchiveError, match="refused"):
        fetch(str(archive), tmp_path / "in" / "videos")
    with pytest.raises(HostileArchiveError):
        list(read_members(archive))
    assert files_below(tmp_path) == {"a.tar": archive.read_bytes()}


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "good.avi"),
        (tarfile.LNKTYPE, "walk/good.avi"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (b"Z", ""),
    ],
)
def test_links_and_devices(tmp_path: Path, kind: bytes, link: str) -> None:
    archive = special(tmp_path / "a.tar.gz", "walk/link.avi", kind=kind, link=link)
    with pytest.raises(HostileArchiveError, match="link or a device"):
        fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


def test_bombs_are_stopped_by_what_they_claim(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "bomb.tar.gz", {"walk/a.avi": bytes(30_000_000)})
    assert archive.stat().st_size < 40_000
    with pytest.raises(HostileArchiveError, match="decompression bomb"):
        fetch(str(archive), tmp_path / "videos", limits=Limits(free_bytes=1_000_000))
    many = make_tar(tmp_path / "many.tar.gz", {f"walk/{index}.avi": b"x" for index in range(30)})
    with pytest.raises(HostileArchiveError, match="29 members"):
        fetch(str(many), tmp_path / "videos", limits=Limits(max_members=29))
    huge = special(tmp_path / "huge.tar.gz", "walk/b.avi", kind=tarfile.REGTYPE, size=2**60)
    with pytest.raises(HostileArchiveError, match="bomb"):
        fetch(str(huge), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("walk/a.avi")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"%011o\0" % size if size >= 0 else b"\xff" + (size % 2**88).to_bytes(11)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.REGTYPE)


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("size", [2**32, -512, -1024])
def test_headers_that_would_fill_memory_or_go_backwards(tmp_path: Path, kind: bytes, size: int) -> None:
    """Read as they are, the first takes gigabytes from a file of kilobytes, and the others never end."""
    archive = tmp_path / "a.tar.gz"
    good = io.BytesIO()
    with tarfile.open(fileobj=good, mode="w") as made:
        made.addfile(tarfile.TarInfo("walk/good.avi"))
    archive.write_bytes(gzip.compress(good.getvalue()[:512] + header(kind, size) + bytes(1 << 20)))
    with pytest.raises(DataError, match=r"refused|bomb|damaged"):
        fetch(str(archive), tmp_path / "videos")
    with pytest.raises(DataError, match=r"refused|bomb|damaged"):
        for _, data in read_members(archive):
            data.read(100)
    assert files_below(tmp_path / "videos") == {}


@pytest.mark.parametrize("compression", KINDS)
def test_damage_leaves_nothing_half(tmp_path: Path, compression: str) -> None:
    """Cut anywhere before the block of zeros that ends it, or before the checksum of what packs it."""
    videos = {"walk/a.avi": os.urandom(700), "walk/b.avi": os.urandom(700)}
    data = make_tar(tmp_path / "a", videos, compression=compression).read_bytes()
    end = len(data) if compression else 2 * (512 + 1024) + 512
    for position in range(0, end, 97):
        (tmp_path / "a").write_bytes(data[:position])
        with pytest.raises(DataError):
            fetch(str(tmp_path / "a"), tmp_path / "videos")
    (tmp_path / "a").write_bytes(data[: end - 1])
    with pytest.raises(DataError, match="damaged TAR"):
        fetch(str(tmp_path / "a"), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


@pytest.mark.parametrize("compression", KINDS)
def test_listing_malformed_archives_ends(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a"
    data = make_tar(path, {"walk/a.avi": b"AAAA", "walk/b.avi": b"B"}, compression=compression).read_bytes()
    for position in range(0, min(len(data), 1600), 9):
        for value in (0, 128, 255):
            path.write_bytes(data[:position] + bytes([value]) + data[position + 1 :])
            with contextlib.suppress(DataError):
                checked_members(path)
                for _, content in read_members(path):
                    content.read(1 << 20)


def test_a_damaged_header_in_the_middle_is_found(tmp_path: Path) -> None:
    """For tarfile it is the end of the archive, and what follows would be lost without a word."""
    archive = make_tar(tmp_path / "a.tar", {"walk/a.avi": b"A", "walk/b.avi": b"B"}, compression="")
    data = bytearray(archive.read_bytes())
    data[1024 + 5] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="one of its headers is wrong"):
        fetch(str(archive), tmp_path / "videos")
    two = make_tar(tmp_path / "one.tar", {"walk/a.avi": b"A"}, compression="").read_bytes() * 2
    archive.write_bytes(two)
    with pytest.raises(DataError, match="goes on after its end"):
        fetch(str(archive), tmp_path / "videos")


def test_a_gzip_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"RIFF" * 500))
    with pytest.raises(DataError, match=r"a\.gz is a damaged TAR archive"):
        fetch(str(tmp_path / "a.gz"), tmp_path / "videos")


def test_a_damaged_inner_archive_costs_its_own_videos_only(tmp_path: Path) -> None:
    good = make_tar(tmp_path / "inner", {"a.avi": b"A"}).read_bytes()
    archive = make_tar(tmp_path / "a.tar", {"run.tgz": good[:-5], "walk.tgz": good}, compression="")
    summary = fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A"}
    assert [failure.partition(":")[0] for failure in summary.tally.failures] == ["run.tgz"]
