"""Unpacking: real .zip and .rar files, archives within archives, hostile members, bombs, damage."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from made_archives import RarWriter, files_below, make_rar, make_zip, needs_rar
from rar_writer import RarMember, write_rar4, write_rar5

from preprocess.fetch.archives.kinds import checked_members, read_members
from preprocess.fetch.archives.members import Budget, HostileArchiveError, Limits, safe_parts
from preprocess.fetch.archives.rar import list_rar
from preprocess.fetch.command import fetch
from preprocess.fetch.summary import FetchSummary
from shared.errors import DataError

ODD_NAMES = (
    "-_-_walk_f_cm_np1_fr_med_0.avi",
    "_a_walk_f_cm_np1_fr_med_0.avi",
    "50!(x)#1[y]&+;~@z*?_walk_f_cm_np1_fr_med_0.avi",
    "--help_walk_f_cm_np1_fr_med_0.avi",
    "@-_walk_f_cm_np1_fr_med_0.avi",
)


@pytest.fixture(params=["unar", "bsdtar"])
def rar_tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once with each of the tools, as if the other were not installed."""
    tool = str(request.param)
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing: apt-get install {'unar' if tool == 'unar' else 'libarchive-tools'}")
    monkeypatch.setattr("preprocess.fetch.archives.rar._has_unar", lambda: tool == "unar")
    return tool


def content(name: str, size: int = 3000) -> bytes:
    return (name.encode() * (size // len(name) + 1))[:size]


def make_special_zip(path: Path, name: str, file_type: int, data: bytes = b"/etc/passwd") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("walk/good.avi", b"good")
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (file_type | 0o644) << 16
        archive.writestr(info, data)
    return path


def fetch_local(archive: Path, destination: Path, *, limits: Limits | None = None) -> FetchSummary:
    return fetch(str(archive), destination, limits=limits)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_of_class_folders(tmp_path: Path, compression: int) -> None:
    videos = {f"walk/{name}": content(name) for name in ODD_NAMES}
    archive = make_zip(tmp_path / "a.zip", {"hmdb/" + name: data for name, data in videos.items()} | {"README": b"x"})
    with zipfile.ZipFile(archive, "a", compression) as opened:
        opened.writestr("hmdb/run/one.mp4", content("one"))
    summary = fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == videos | {"run/one.mp4": content("one")}
    assert (summary.tally.num_written, summary.tally.num_kept, summary.tally.ignored.total()) == (
        len(ODD_NAMES) + 1,
        0,
        1,
    )


@pytest.mark.parametrize("write", [write_rar4, write_rar5])
def test_rar_of_rars_is_unpacked_byte_for_byte(tmp_path: Path, rar_tool: str, write: RarWriter) -> None:
    inner = {}
    for class_name in ("walk", "shoot_bow"):
        videos = {f"{class_name}/{name}": content(class_name + name, 200_000) for name in ODD_NAMES}
        inner[f"{class_name}.rar"] = make_rar(tmp_path / "inner.rar", videos, write=write).read_bytes()
    archive = make_rar(tmp_path / "hmdb51_org.rar", inner, write=write)
    summary = fetch_local(archive, tmp_path / "videos")
    expected = {f"{c}/{name}": content(c + name, 200_000) for c in ("walk", "shoot_bow") for name in ODD_NAMES}
    assert files_below(tmp_path / "videos") == expected
    assert summary.tally.num_written == 10
    again = fetch_local(archive, tmp_path / "videos")
    assert (again.tally.num_written, again.tally.num_kept, again.tally.conflicts) == (0, 10, [])


@needs_rar
def test_zip_of_rars_and_of_zips_takes_the_class_from_the_inner_name(tmp_path: Path) -> None:
    rar = make_rar(tmp_path / "inner.rar", {"a.avi": b"A"}).read_bytes()
    inner_zip = make_zip(tmp_path / "inner.zip", {"b.avi": b"B", "clips/c.avi": b"C"}).read_bytes()
    archive = make_zip(tmp_path / "outer.zip", {"hmdb/walk.rar": rar, "hmdb/run.zip": inner_zip, "d.avi": b"D"})
    summary = fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A", "run/b.avi": b"B", "run/c.avi": b"C"}
    assert summary.tally.unplaced == ["d.avi"]


def test_a_class_unknown_to_hmdb51_is_the_nearest_folder(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"all/juggle/a.avi": b"A", "all/._x/b.avi": b"B", "__MACOSX/run/c.avi": b"C"}
    )
    fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"juggle/a.avi": b"A"}


HOSTILE = ("../evil.avi", "walk/../../evil.avi", "/tmp/evil.avi", "..\\evil.avi", "C:\\evil.avi", "walk/a\nb.avi")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_zip_refuse_all_of_it(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {"walk/good.avi": b"good", name: b"evil"})
    with pytest.raises(HostileArchiveError, match="refused"):
        fetch_local(archive, tmp_path / "in" / "videos")
    assert files_below(tmp_path) == {"a.zip": archive.read_bytes()}


@pytest.mark.parametrize("write", [write_rar4, write_rar5])
@pytest.mark.parametrize("name", HOSTILE[:4])
def test_hostile_names_in_a_rar_refuse_all_of_it(tmp_path: Path, rar_tool: str, name: str, write: RarWriter) -> None:
    archive = make_rar(tmp_path / "a.rar", {"walk/good.avi": b"good", name: b"evil"}, write=write)
    with pytest.raises(HostileArchiveError, match="refused"):
        fetch_local(archive, tmp_path / "in" / "videos")
    assert files_below(tmp_path) == {"a.rar": archive.read_bytes()}


@pytest.mark.parametrize("file_type", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_refuse_all_of_it(tmp_path: Path, file_type: int) -> None:
    archive = make_special_zip(tmp_path / "a.zip", "walk/link.avi", file_type)
    with pytest.raises(HostileArchiveError, match="link or a device"):
        fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


@pytest.mark.parametrize("write", [write_rar4, write_rar5])
def test_links_in_a_rar_refuse_all_of_it(tmp_path: Path, rar_tool: str, write: RarWriter) -> None:
    members = [RarMember(name="walk/a.avi", data=b"A"), RarMember(name="walk/l.avi", link_to="/etc/passwd")]
    archive = write(tmp_path / "a.rar", members)
    with pytest.raises(HostileArchiveError, match=r"walk/l\.avi.*link or a device"):
        fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


def test_reading_checks_what_listing_checked(tmp_path: Path, rar_tool: str) -> None:
    """Whoever reads without listing first is not let through either."""
    archive = write_rar5(tmp_path / "a.rar", [RarMember(name="../evil.avi", data=b"1")])
    with pytest.raises(HostileArchiveError):
        list(read_members(archive))
    archive = write_rar4(tmp_path / "b.rar", [RarMember(name="l.avi", link_to="/etc/passwd")])
    with pytest.raises(HostileArchiveError):
        list(read_members(archive))
    with pytest.raises(HostileArchiveError):
        list(read_members(make_zip(tmp_path / "c.zip", {"../evil.avi": b"1"})))


def test_a_hostile_inner_archive_is_named(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"../evil.avi": b"1"}).read_bytes()
    archive = make_zip(tmp_path / "a.zip", {"walk.zip": inner})
    with pytest.raises(HostileArchiveError, match=r"walk\.zip: .*evil"):
        fetch_local(archive, tmp_path / "videos")


def test_nesting_is_limited(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "inner.zip", {"walk/a.avi": b"A"}).read_bytes()
    for _ in range(2):
        data = make_zip(tmp_path / "inner.zip", {"more.zip": data}).read_bytes()
    (tmp_path / "three.zip").write_bytes(data)
    fetch_local(tmp_path / "three.zip", tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A"}
    make_zip(tmp_path / "four.zip", {"more.zip": data})
    with pytest.raises(HostileArchiveError, match="nested more than 3 deep"):
        fetch_local(tmp_path / "four.zip", tmp_path / "other")


def test_a_bomb_is_stopped_by_its_bytes_and_by_its_members(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"walk/a.avi": bytes(30_000_000)})
    assert bomb.stat().st_size < 40_000
    with pytest.raises(HostileArchiveError, match="decompression bomb"):
        fetch_local(bomb, tmp_path / "videos", limits=Limits(free_bytes=1_000_000))
    many = make_zip(tmp_path / "many.zip", {f"walk/{index}.avi": b"x" for index in range(30)})
    with pytest.raises(HostileArchiveError, match="more than 29 members"):
        fetch_local(many, tmp_path / "videos", limits=Limits(max_members=29))
    assert files_below(tmp_path / "videos") == {}
    assert fetch_local(many, tmp_path / "videos", limits=Limits(max_members=30)).tally.num_written == 30


def test_the_budget_counts_nested_archives_together(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a.avi": bytes(600_000)}).read_bytes()
    outer = make_zip(tmp_path / "outer.zip", {"walk.zip": inner, "run.zip": inner})
    with pytest.raises(HostileArchiveError, match="bomb"):
        fetch_local(outer, tmp_path / "videos", limits=Limits(free_bytes=1_000_000))
    budget = Budget(Limits(free_bytes=10, max_ratio=0), name="outer.zip", num_bytes=99)
    budget.take_bytes(10)
    with pytest.raises(HostileArchiveError):
        budget.take_bytes(1)


def test_what_does_not_fit_the_disk_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"walk/a.avi": bytes(5_000_000)})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("preprocess.fetch.unpack.shutil.disk_usage", lambda _: usage._replace(free=4_000_000))
    with pytest.raises(DataError, match=r"needs 5 MB .* 4 MB are free"):
        fetch_local(archive, tmp_path / "videos")


def test_videos_in_place_are_kept_and_differences_reported(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"walk/a.avi": b"AAA", "walk/b.avi": b"BBB", "walk/c.avi": b"CCC"})
    folder = tmp_path / "videos" / "walk"
    folder.mkdir(parents=True)
    (folder / "a.avi").write_bytes(b"AAA")
    (folder / "b.avi").write_bytes(b"own")
    (folder / "mine.avi").write_bytes(b"mine")
    summary = fetch_local(archive, tmp_path / "videos")
    assert (summary.tally.num_written, summary.tally.num_kept, summary.tally.conflicts) == (1, 1, ["walk/b.avi"])
    expected = {"walk/a.avi": b"AAA", "walk/b.avi": b"own", "walk/c.avi": b"CCC", "walk/mine.avi": b"mine"}
    assert files_below(tmp_path / "videos") == expected


def test_a_link_in_place_is_never_written_through(tmp_path: Path) -> None:
    folder = tmp_path / "videos" / "walk"
    folder.mkdir(parents=True)
    (folder / "a.avi").symlink_to(tmp_path / "outside.avi")
    archive = make_zip(tmp_path / "a.zip", {"walk/a.avi": b"AAA", "walk/b.avi": b"BBB"})
    assert fetch_local(archive, tmp_path / "videos").tally.conflicts == ["walk/a.avi"]
    assert not (tmp_path / "outside.avi").exists()


def test_two_files_for_one_name_keep_the_first(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"x/walk/a.avi": b"first", "y/walk/a.avi": b"second", "z/walk/a.avi": b"first"}
    )
    summary = fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"first"}
    assert (summary.tally.num_written, summary.tally.num_kept, summary.tally.conflicts) == (1, 1, ["walk/a.avi"])


def test_a_damaged_zip_leaves_nothing_half(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"walk/a.avi": os.urandom(5000), "walk/b.avi": os.urandom(5000)}, compression=0
    )
    data = bytearray(archive.read_bytes())
    data[8000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}
    archive.write_bytes(data[:7000])
    with pytest.raises(DataError, match=r"a\.zip is a damaged ZIP"):
        fetch_local(archive, tmp_path / "videos")


@pytest.mark.parametrize("write", [write_rar4, write_rar5])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_rar_leaves_nothing_half(tmp_path: Path, rar_tool: str, write: RarWriter, damage: str) -> None:
    archive = make_rar(
        tmp_path / "a.rar", {"walk/a.avi": os.urandom(5000), "walk/b.avi": os.urandom(5000)}, write=write
    )
    data = bytearray(archive.read_bytes())
    data[8000] ^= 1
    archive.write_bytes(data if damage == "flip" else data[:8000])
    with pytest.raises(DataError, match=r"a\.rar cannot be (read|listed)|its CRC32 is wrong|too early"):
        fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


def test_a_damaged_inner_archive_costs_its_own_videos_only(tmp_path: Path) -> None:
    good = make_zip(tmp_path / "inner.zip", {"a.avi": b"A" * 3000}, compression=0).read_bytes()
    bad = bytearray(good)
    bad[1000] ^= 1
    archive = make_zip(tmp_path / "a.zip", {"run.zip": bytes(bad), "sit.zip": b"no archive", "walk.zip": good})
    summary = fetch_local(archive, tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A" * 3000}
    assert len(summary.tally.failures) == 2
    assert summary.tally.failures[0].startswith("run.zip: ")
    assert "neither a RAR, a ZIP nor a TAR" in summary.tally.failures[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"{}", "begins with b'{}'"),
        (b"<!DOCTYPE html>", "is a web page, not an archive; delete it"),
        (b"PK\x05\x06", "damaged ZIP"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.rar").write_bytes(data)
    with pytest.raises(DataError, match=reason):
        fetch_local(tmp_path / "a.rar", tmp_path / "videos")


def test_an_encrypted_zip_is_named(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "a.zip", {"walk/a.avi": b"A"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        fetch_local(tmp_path / "a.zip", tmp_path / "videos")


def test_an_archive_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gave no video"):
        fetch_local(make_zip(tmp_path / "a.zip", {"walk/readme.txt": b"x"}), tmp_path / "videos")


def test_without_a_tool_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_rar(tmp_path / "a.rar", {"walk/a.avi": b"A"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="apt-get install unar"):
        fetch_local(archive, tmp_path / "videos")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exec yes", "cannot be read"),
        ("head -c 20480 /dev/zero; exec yes", "does not end"),
        ("exec sleep 60", "gave nothing for 0 s"),
        ("exec yes oh no >&2", "cannot be read"),
        ("echo some trouble >&2; exit 1", "some trouble"),
    ],
)
def test_a_tool_gone_mad_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    """Seen with bsdtar 3.6 on malformed archives of 200 bytes: it lists without end."""
    archive = make_rar(tmp_path / "a.rar", {"walk/a.avi": b"A"})
    tool = tmp_path / "bin" / "bsdtar"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("preprocess.fetch.archives.rar._has_unar", lambda: False)
    monkeypatch.setattr("preprocess.fetch.archives.tool_output.STALL_SECONDS", 0.4 if "sleep" in script else 20.0)
    with pytest.raises(DataError, match=reason):
        fetch_local(archive, tmp_path / "videos")


def test_names_are_split_into_safe_parts() -> None:
    assert safe_parts("./a//b/./c.avi") == ("a", "b", "c.avi")
    assert safe_parts("a\\b..avi") == ("a", "b..avi")
    assert safe_parts("./") == ()


def test_a_listing_says_kinds_and_sizes(tmp_path: Path, rar_tool: str) -> None:
    members = [RarMember(name="walk", is_folder=True), RarMember(name="walk/-x  y.avi", data=b"12345")]
    for write in (write_rar4, write_rar5):
        listed = checked_members(write(tmp_path / "a.rar", members))
        assert [(m.name, m.num_bytes, m.kind) for m in listed] == [("walk", 0, "folder"), ("walk/-x  y.avi", 5, "file")]
        read = [(m.name, data.read(99)) for m, data in read_members(tmp_path / "a.rar")]
        assert read == [("walk/-x  y.avi", b"12345")]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("walk/", b"")
        archive.writestr("walk/a.avi", b"12345")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    listed = checked_members(tmp_path / "a.zip")
    assert [(m.name, m.num_bytes, m.kind) for m in listed] == [("walk/", 0, "folder"), ("walk/a.avi", 5, "file")]


def test_listing_malformed_headers_ends(tmp_path: Path) -> None:
    """A header of size 0 must not be read for ever, nor one that points beyond the file."""
    path = tmp_path / "a.rar"
    for write in (write_rar4, write_rar5):
        data = make_rar(path, {"walk/a.avi": b"AAAA", "walk/b.avi": b"B"}, write=write).read_bytes()
        assert [(one.num_bytes, one.crc32) for one in list_rar(path)] == [
            (4, zlib.crc32(b"AAAA")),
            (1, zlib.crc32(b"B")),
        ]
        for position in range(7, len(data)):
            for damaged in (
                data[:position],
                *(data[:position] + bytes([n]) + data[position + 1 :] for n in (0, 128, 255)),
            ):
                path.write_bytes(damaged)
                with contextlib.suppress(DataError):
                    list_rar(path)


@needs_rar
def test_comments_are_given_to_no_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comment = (
        struct.pack("<HBHHHBBH", 0, 0x75, 0, 13 + 4, 9, 29, 0x33, 0) + b"text"
    )  # packed, so a tool had to unpack it
    head = struct.pack("<BHH6x", 0x73, 0x0002, 13 + len(comment))
    blocks = [
        struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + comment,
        write_rar4(tmp_path / "a.rar", []).read_bytes()[20:],
    ]
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x00" + b"".join(blocks))
    monkeypatch.setattr("subprocess.Popen", None)
    monkeypatch.setattr("rarfile.Popen", None)
    assert list_rar(tmp_path / "a.rar") == []
