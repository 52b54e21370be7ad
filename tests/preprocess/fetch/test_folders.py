"""A local folder as a source, folders called train and test, and the official archive."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from commands import fail, succeed
from hypothesis import given
from hypothesis import strategies as st
from made_archives import files_below, make_rar, make_zip, needs_rar

from preprocess.fetch.command import fetch
from preprocess.fetch.layout import archive_stem, joined, place_of, split_table_of, wrapper_of
from preprocess.fetch.summary import print_summary
from shared.errors import DataError, UsageError
from shared.splits.own_files import SplitTable, read_split_table
from shared.video.listing import list_videos


def make_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def state_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """What may not change: content, times and rights of every file and folder."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
            stat.filemode(path.stat().st_mode),
        )
        for path in folder.rglob("*")
    }


def test_a_folder_is_hard_linked_and_never_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"set/walk/a.avi": b"A", "set/run/b.MP4": b"B", "set/run/.c.avi": b"-", "set/read.me": b"r", "d.avi": b"D"}
    source = make_folder(tmp_path / "source", files)
    before = state_of(source)
    summary = fetch(str(source), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A", "run/b.MP4": b"B"}
    assert state_of(source) == before
    assert (tmp_path / "videos" / "walk" / "a.avi").samefile(source / "set" / "walk" / "a.avi")
    assert summary.tally.unplaced == ["d.avi"]
    assert print_summary(summary) == 0
    said = capsys.readouterr().out
    assert "2 videos written (2 as hard links, which take no space), 0 there already, 2 other files left out" in said
    assert f"the folder {source} is as it was" in said
    assert fetch(str(source), tmp_path / "videos").tally.num_kept == 2
    assert state_of(source) == before


def test_where_links_are_refused_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_folder(tmp_path / "source", {"walk/a.avi": b"A"})

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("preprocess.fetch.folders.os.link", refuse)
    summary = fetch(str(source), tmp_path / "videos")
    assert (summary.tally.num_written, summary.tally.num_linked) == (1, 0)
    assert not (tmp_path / "videos" / "walk" / "a.avi").samefile(source / "walk" / "a.avi")
    print_summary(summary)
    assert "1 video written (copied or unpacked)" in capsys.readouterr().out


def test_links_in_a_folder_are_followed_once(tmp_path: Path) -> None:
    elsewhere = make_folder(tmp_path / "elsewhere", {"walk/a.avi": b"A", "b.avi": b"B"})
    source = make_folder(tmp_path / "source", {"run/c.avi": b"C"})
    (source / "walk").symlink_to(elsewhere / "walk")
    (source / "run" / "b.avi").symlink_to(elsewhere / "b.avi")
    (source / "run" / "gone.avi").symlink_to(elsewhere / "gone.avi")
    (source / "run" / "again").symlink_to(source)
    summary = fetch(str(source), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A", "run/b.avi": b"B", "run/c.avi": b"C"}
    assert summary.tally.failures == ["run/gone.avi: No such file or directory"]


def test_the_destination_is_no_part_of_the_source(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "data", {"new/walk/a.avi": b"A", "videos/run/b.avi": b"B"})
    with pytest.raises(DataError, match="the destination itself"):
        fetch(str(source / "videos"), source / "videos")
    summary = fetch(str(source), source / "videos")
    assert (summary.tally.num_written, summary.tally.num_kept) == (1, 0)
    assert files_below(source / "videos") == {"walk/a.avi": b"A", "run/b.avi": b"B"}


def test_folders_of_synthetic_videos_are_refused(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "data", {"videos/walk/a.avi": b"A", "videos/synthetic.json": b"{}"})
    with pytest.raises(DataError, match="holds synthetic videos"):
        fetch(str(source), tmp_path / "videos")
    archive = make_zip(tmp_path / "a.zip", {"videos/walk/a.avi": b"A", "videos/synthetic.json": b"{}"})
    with pytest.raises(DataError, match="holds synthetic videos"):
        fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {}


def test_a_folder_without_videos_says_what_it_holds(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "data", {"a.parquet": b"1", "b.parquet": b"1", "read.me": b"1"})
    with pytest.raises(DataError, match=r"gave no video .*: it holds 2 \.parquet, 1 \.me"):
        fetch(str(source), tmp_path / "videos")
    pictures = make_folder(tmp_path / "pictures", {"walk/a/001.jpg": b"1"})
    with pytest.raises(DataError, match=r"it holds 1 \.jpg; folders of pictures need no fetching"):
        fetch(str(pictures), tmp_path / "videos")
    with pytest.raises(UsageError, match="is a folder of files; leave it out"):
        fetch(str(source), tmp_path / "videos", sha256="0" * 64)


@needs_rar
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_folder_with_the_official_archives(tmp_path: Path, is_nested: bool) -> None:
    """Either hmdb51_org.rar, or the 51 that it holds."""
    inner = {
        f"{name}.rar": make_rar(tmp_path / "a", {f"{name}/{name}_a.avi": name.encode()}).read_bytes()
        for name in ("walk", "wave", "sit")
    }
    files = {"hmdb51_org.rar": make_rar(tmp_path / "a", inner).read_bytes()} if is_nested else inner
    source = make_folder(tmp_path / "source", files)
    fetch(str(source), tmp_path / "videos")
    expected = {f"{name}/{name}_a.avi": name.encode() for name in ("walk", "wave", "sit")}
    assert files_below(tmp_path / "videos") == expected
    assert sorted(files_below(source)) == sorted(files)


def test_what_the_archives_of_a_folder_will_take_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = {
        f"{name}.zip": make_zip(tmp_path / "a", {"a.avi": os.urandom(2_000_000)}).read_bytes() for name in "abc"
    }
    source = make_folder(tmp_path / "source", archives)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("preprocess.fetch.unpack.shutil.disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(DataError, match=r"needs 6 MB .* 5 MB are free"):
        fetch(str(source), tmp_path / "videos")
    monkeypatch.setattr("preprocess.fetch.unpack.shutil.disk_usage", lambda _: usage._replace(free=7_000_000))
    fetch(str(source), tmp_path / "videos")
    monkeypatch.setattr("preprocess.fetch.unpack.shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    assert fetch(str(make_folder(tmp_path / "source", {"d/a.avi": b"1"})), tmp_path / "videos").tally.num_written == 1


PARTED = {"train": ("a", "b"), "test": ("c",)}


@pytest.mark.parametrize(
    "pattern",
    [
        "{part}/{name}/{stem}.avi",
        "{name}/{part}/{stem}.avi",
        "set/{part}/{name}/{stem}.avi",
        "s/{name}/{part}/{stem}.avi",
    ],
)
@pytest.mark.parametrize("names", [("walk", "run"), ("juggle", "knit")])
def test_train_and_test_are_no_classes(
    tmp_path: Path, pattern: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    members, expected, parts = {}, {}, {}
    for part, stems in PARTED.items():
        for name in names:
            for stem in stems:
                member = pattern.format(part=part.capitalize() if name == "run" else part, name=name, stem=stem)
                members[member] = expected[f"{name}/{stem}.avi"] = f"{name}{stem}".encode()
                parts[f"{name}/{stem}"] = (part,)
    summary = fetch(str(make_zip(tmp_path / "a.zip", members)), tmp_path / "videos")
    splits = tmp_path / "videos" / "splits.csv"
    found = files_below(tmp_path / "videos")
    assert found.pop("splits.csv").startswith(b"clip_id,split1\n")
    assert found == expected
    assert list_videos(tmp_path / "videos").left_out == ()
    assert read_split_table(splits) == SplitTable(key="clip_id", columns=("split1",), parts=parts)
    print_summary(summary)
    command = f"hmdb-prep extract --videos {tmp_path}/videos --splits {splits}"
    assert f"folders divide the videos into test, train, which {splits} keeps: {command}" in capsys.readouterr().out


def test_parts_without_class_folders_are_said(tmp_path: Path) -> None:
    """``train/x.avi``, also in a folder that holds everything: nothing says what is done in it."""
    for number, wrapper in enumerate(("", "data/")):
        archive = make_zip(tmp_path / "a.zip", {f"{wrapper}train/a.avi": b"A", f"{wrapper}test/b.avi": b"B"})
        with pytest.raises(DataError, match=r"train/a\.avi lies in no class folder"):
            fetch(str(archive), tmp_path / str(number))


def test_archives_called_train_and_test(tmp_path: Path) -> None:
    train = make_zip(tmp_path / "inner.zip", {"juggle/1.avi": b"A"}).read_bytes()
    test = make_zip(tmp_path / "inner.zip", {"juggle/2.avi": b"B"}).read_bytes()
    fetch(str(make_zip(tmp_path / "a.zip", {"train.zip": train, "test.zip": test})), tmp_path / "videos")
    assert read_split_table(tmp_path / "videos" / "splits.csv").parts == {"juggle/1": ("train",), "juggle/2": ("test",)}


def test_one_name_in_two_parts_loses_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {
        "train/walk/1.avi": b"A",
        "train/walk/2.avi": b"same",
        "test/walk/1.avi": b"B",
        "test/walk/2.avi": b"same",
    }
    archive = make_zip(tmp_path / "a.zip", members)
    for _ in range(2):
        summary = fetch(str(archive), tmp_path / "videos")
        found = files_below(tmp_path / "videos")
        splits = found.pop("splits.csv")
        assert found == {"walk/1.avi": b"A", "walk/1_test.avi": b"B", "walk/2.avi": b"same"}
        assert splits == b"clip_id,split1\nwalk/1,train\nwalk/1_test,test\nwalk/2,train\n"
        print_summary(summary)
        said = capsys.readouterr().out
        assert "1 named after their part, as another part has a video of that name: walk/1_test.avi" in said
        assert "1 in two parts at once, counted to the first: walk/2.avi" in said
    assert summary.tally.conflicts == []


def test_a_split_that_is_there_is_added_to_or_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = tmp_path / "videos"
    fetch(str(make_zip(tmp_path / "a.zip", {"train/walk/a.avi": b"A", "test/walk/b.avi": b"B"})), videos)
    fetch(str(make_zip(tmp_path / "b.zip", {"train/walk/c.avi": b"C", "test/walk/d.avi": b"D"})), videos)
    text = "clip_id,split1\nwalk/a,train\nwalk/b,test\nwalk/c,train\nwalk/d,test\n"
    assert (videos / "splits.csv").read_text() == text
    summary = fetch(str(make_zip(tmp_path / "c.zip", {"test/walk/a.avi": b"A", "train/walk/b.avi": b"B"})), videos)
    assert (videos / "splits.csv").read_text() == text
    assert summary.splits is None
    assert "says otherwise" in capsys.readouterr().out
    for own in ("clip_id,split1,split2\nwalk/a,train,test\n", "my notes"):
        (videos / "splits.csv").write_text(own)
        assert fetch(str(tmp_path / "a.zip"), videos).splits is None
        assert (videos / "splits.csv").read_text() == own


folder_names = st.sampled_from(["train", "Test", "VAL", "validation", "walk", "juggle", "data", "split", "run"])


@given(st.lists(folder_names, max_size=5), st.sampled_from(["", "data", "juggle"]))
def test_no_class_is_ever_called_after_a_part(folders: list[str], wrapper: str) -> None:
    place = place_of([*folders, "x.avi"], wrapper=wrapper)
    if place is not None:
        assert place.class_name in folders
        assert place.class_name.casefold() not in ("train", "test", "val", "validation")
        assert (place.part is None) == (
            not {name.casefold() for name in folders} & {"train", "test", "val", "validation"}
        )
    else:
        assert all(name.casefold() in ("train", "test", "val", "validation") for name in folders if name != wrapper)


def test_names_of_archives() -> None:
    assert [archive_stem(name) for name in ("walk.tar.gz", "a.b.TGZ", "x.zip", "x.gz", "walk", "x.avi")] == [
        "walk", "a.b", "x", None, None, None,
    ]  # fmt: skip
    assert wrapper_of([("a", "b"), ("a", "c", "d")]) == "a"
    assert wrapper_of([("a", "b"), ("c",)]) == wrapper_of([("a",)]) == wrapper_of([]) == ""


def test_tables_are_joined_where_they_agree() -> None:
    one = split_table_of({"walk/a.b.avi": "train", "walk/b.avi": "test", "walk/c.avi": None})
    assert one is not None and one.parts == {"walk/a.b": ("train",), "walk/b": ("test",)}
    assert split_table_of({"walk/a.avi": "train", "walk/b.avi": None}) is None
    assert joined(one, one) == one
    assert joined(SplitTable(key="path", columns=one.columns, parts=one.parts), one) is None


def test_the_official_archive_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its checksum, whatever it is called; one of its name with another is said to be another."""
    import hashlib

    from preprocess.fetch import command

    assert command.OFFICIAL_SHA256 == "9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e"
    archive = make_zip(tmp_path / "hmdb51_org.rar", {"walk/a.avi": b"A"})
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    fetch(str(archive), tmp_path / "videos")
    said = capsys.readouterr().out
    assert f"{archive} is not the official archive of HMDB51, whose SHA-256 is {command.OFFICIAL_SHA256}" in said
    assert sha256 in said
    fetch(str(archive.rename(tmp_path / "download")), tmp_path / "videos")
    assert "official archive" not in capsys.readouterr().out
    monkeypatch.setattr(command, "OFFICIAL_SHA256", sha256)
    fetch(str(tmp_path / "download"), tmp_path / "videos")
    assert f"download is the official archive of HMDB51: its SHA-256 is {sha256}" in capsys.readouterr().out


def test_the_command_line(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "my clips", {"train/walk/a.avi": b"A", "test/walk/b.avi": b"B"})
    said = succeed("hmdb-prep", "fetch", source, tmp_path / "my videos", installed=True)
    assert f"--splits '{tmp_path}/my videos/splits.csv'" in said
    assert "hf:OWNER/NAME[@REVISION]" in succeed("hmdb-prep", "fetch", "--help")
    assert "SOURCE is an http(s) address, hf:OWNER/NAME" in fail(
        1, "hmdb-prep", "fetch", tmp_path / "none", tmp_path / "v"
    )
    assert "write hf:OWNER/NAME" in fail(2, "hmdb-prep", "fetch", "hf:name", tmp_path / "v")
