"""Sources and splits by the command line: how names are read, what is kept, changed and refused."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

import pandas as pd
import pytest
from commands import Outcome, fail, fail_here, run_here, succeed, succeed_here
from extraction import content
from media import HMDB_LIKE, make_video

from shared.manifests.files import SPLIT_COLUMNS, read_manifests
from shared.splits.official_names import read_name
from shared.splits.parts import official_splits

CLASSES = ("ApplyEyeMakeup", "Archery", "Biking")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    return make_video(tmp_path_factory.mktemp("one") / "one.avi", *HMDB_LIKE, num_frames=4, size="32x24")


def put(folder: Path, video: Path, clip_ids: Iterable[str]) -> Path:
    """A folder of videos of these names, all with the same pictures."""
    for clip_id in clip_ids:
        path = folder / "videos" / f"{clip_id}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(video)
    return folder


def places(folder: Path) -> tuple[str | Path, ...]:
    return "--videos", folder / "videos", "--shards", folder / "shards", "--manifests", folder / "manifests"


def extract(folder: Path, *options: str | Path) -> tuple[str | Path, ...]:
    return "extract", *places(folder), "--size", "16", "--num-frames", "2", "--workers", "1", *options


def merge(folder: Path, *options: str | Path) -> str:
    return succeed_here("hmdb-prep", "merge", *places(folder), *options)


def verify(folder: Path) -> Outcome:
    return run_here("hmdb-prep", "verify", "--shards", folder / "shards", "--manifests", folder / "manifests")


def rows_of(folder: Path) -> pd.DataFrame:
    return read_manifests(folder / "manifests").set_index("clip_id")


def columns_of(folder: Path) -> dict[str, list[str]]:
    """What rules may change: sources and splits."""
    return {column: rows_of(folder)[column].tolist() for column in ("source", *SPLIT_COLUMNS)}


def shards_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in (folder / "shards").glob("*.h5")}


def dataset_of(folder: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((folder / "manifests" / "dataset.json").read_text())
    return content


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, video: Path) -> Path:
    names = [
        f"{name}/v_{name}_g{group:02d}_c{clip:02d}" for name in CLASSES for group in range(1, 6) for clip in (1, 2)
    ]
    folder = put(tmp_path_factory.mktemp("ucf101"), video, names)
    assert "warning" not in succeed("hmdb-prep", *extract(folder))
    return folder


@pytest.fixture
def ucf101(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path, dirs_exist_ok=True))


def test_the_groups_of_ucf101_are_sources(ucf101: Path) -> None:
    rows = rows_of(ucf101)
    assert rows.loc["Archery/v_Archery_g04_c02", "source"] == "v_Archery_g04"
    assert rows["source"].nunique() == 15
    assert (rows.groupby("source")[list(SPLIT_COLUMNS)].nunique() == 1).all(axis=None)
    assert dataset_of(ucf101)["source_pattern"] == dataset_of(ucf101)["splits_sha256"] == ""
    assert verify(ucf101).code == 0


def test_merge_changes_the_sources_without_extraction_and_keeps_them(ucf101: Path) -> None:
    before, shards, dataset_id = columns_of(ucf101), shards_of(ucf101), dataset_of(ucf101)["dataset_id"]
    out = merge(ucf101, "--source-pattern", r"_(g\d+)_")
    assert r"source pattern _(g\d+)_: 5 sources of 30 videos" in out
    assert set(rows_of(ucf101)["source"]) == {f"g{group:02d}" for group in range(1, 6)}
    assert (dataset_of(ucf101)["source_pattern"], dataset_of(ucf101)["dataset_id"]) == (r"_(g\d+)_", dataset_id)
    assert verify(ucf101).code == 0
    changed = columns_of(ucf101)
    shutil.rmtree(ucf101 / "manifests")
    merge(ucf101)
    assert columns_of(ucf101) == changed
    assert "nothing to do" in succeed_here("hmdb-prep", *extract(ucf101))
    assert columns_of(ucf101) == changed
    merge(ucf101, "--source-pattern", "")
    assert columns_of(ucf101) == before
    assert shards_of(ucf101) == shards


def test_extract_changes_the_rules_of_what_is_there(ucf101: Path) -> None:
    shards = shards_of(ucf101)
    table = ucf101 / "mine.csv"
    table.write_text("clip_id,part\nArchery/v_Archery_g01_c01,train\nBiking/v_Biking_g01_c01,val\n")
    out = succeed_here("hmdb-prep", *extract(ucf101, "--splits", table, "--source-pattern", "_(c.*)"))
    assert f"splits: those of {table}" in out and "videos to extract" not in out
    rows = rows_of(ucf101)
    assert rows["split1"].value_counts().to_dict() == {"unused": 28, "train": 1, "val": 1}
    assert set(rows["source"]) == {"c01", "c02"}
    assert shards_of(ucf101) == shards
    assert len(dataset_of(ucf101)["splits_sha256"]) == 64
    assert verify(ucf101).code == 0
    table.unlink()  # kept beside the shards
    kept = columns_of(ucf101)
    merge(ucf101)
    assert columns_of(ucf101) == kept
    out = succeed_here("hmdb-prep", *extract(ucf101, "--overwrite"))
    assert columns_of(ucf101) == kept
    assert f"splits: those of {ucf101 / 'shards' / 'splits.csv'}" in out
    merge(ucf101, "--splits", "auto")
    assert not (ucf101 / "shards" / "splits.csv").exists()
    assert set(rows_of(ucf101)["split1"]) == {"train", "test"}


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        (2, ("--source-pattern", r"_g\d+_"), "no group"),
        (2, ("--source-pattern", "("), "no regular expression"),
        (2, ("--splits", "absent.csv"), "absent.csv"),
        (1, ("--splits", "strange.csv"), "write them alike"),
    ],
)
def test_rules_that_cannot_serve_change_nothing(
    ucf101: Path, code: int, options: tuple[str, ...], message: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    strange = tmp_path_factory.mktemp("strange") / "strange.csv"
    strange.write_text("clip_id,part\nother/x,train\n")
    options = tuple(str(strange) if option == "strange.csv" else option for option in options)
    before = content(ucf101)
    for arguments in (("merge", *places(ucf101)), extract(ucf101), extract(ucf101, "--overwrite")):
        assert message in fail_here(code, "hmdb-prep", *arguments, *options)
    assert content(ucf101) == before


def test_the_installed_merge_changes_and_refuses(ucf101: Path) -> None:
    assert "no group" in fail(2, "hmdb-prep", "merge", *places(ucf101), "--source-pattern", "x")
    out = succeed("hmdb-prep", "merge", *places(ucf101), "--source-pattern", "(.*)", "--splits", "auto")
    assert "source pattern (.*): 30 sources of 30 videos" in out
    assert "30 clips verified" in succeed("hmdb-prep", "verify", *places(ucf101)[2:])


def test_kept_splits_of_other_videos_are_refused_with_the_way_out(ucf101: Path) -> None:
    (ucf101 / "shards" / "splits.csv").write_text("clip_id,split1\nother/x,train\n")
    before = content(ucf101)
    assert "--splits auto" in fail_here(1, "hmdb-prep", *extract(ucf101, "--overwrite"))
    assert content(ucf101) == before
    merge(ucf101, "--splits", "auto")


def test_damaged_splits_that_are_kept_can_be_replaced(ucf101: Path) -> None:
    kept, table = ucf101 / "shards" / "splits.csv", ucf101 / "mine.csv"
    table.write_text("clip_id,split1\n" + "".join(f"{name},train\n" for name in rows_of(ucf101).index))
    for command in (("merge", *places(ucf101)), extract(ucf101)):
        kept.write_bytes(b"\xff\xfe\x00")
        assert "no UTF-8 text" in fail_here(1, "hmdb-prep", *command)
        succeed_here("hmdb-prep", *command, "--splits", table)
        assert kept.read_text() == table.read_text() and set(rows_of(ucf101)["split1"]) == {"train"}


def test_splits_that_leak_or_lack_a_part_are_said(ucf101: Path) -> None:
    table, names = ucf101 / "mine.csv", list(rows_of(ucf101).index)
    table.write_text(
        "clip_id,a,b\n" + "".join(f"{name},{('train', 'test')[i % 2]},val\n" for i, name in enumerate(names))
    )
    leak = "split1 tests on 15 of 15 clips whose source, such as v_ApplyEyeMakeup_g01, also has clips that train"
    out = merge(ucf101, "--splits", table)
    assert f"warning: {leak}" in out and "split2 has no clips to train on" in out
    assert leak in succeed_here("hmdb-prep", *extract(ucf101, "--splits", table))
    report = ucf101 / "eda.html"
    assert leak in succeed_here("hmdb-prep", "eda", *places(ucf101)[2:], "--out", report)
    run = ("run", *places(ucf101)[2:], "--runs", ucf101 / "runs", "--epochs", "1", "--patch-size", "8")
    assert leak in succeed_here("lsvit-train", *run, "--split", "1")
    assert "hmdb-prep merge --splits PATH" in fail_here(1, "lsvit-train", *run, "--split", "2", "--name", "b")


def test_names_that_a_pattern_does_not_match_are_counted(ucf101: Path) -> None:
    out = merge(ucf101, "--source-pattern", "(v_A.*)_c")
    assert "it does not match 10 names, such as Biking/v_Biking_g0" in out
    rows = rows_of(ucf101)
    assert rows.loc["Biking/v_Biking_g01_c01", "source"] == "v_Biking_g01_c01"
    assert rows["source"].nunique() == 20


def test_verify_tells_edited_and_outdated_manifests(ucf101: Path) -> None:
    file = ucf101 / "manifests" / "clips" / "Archery.csv"
    whole = file.read_text()
    file.write_text(whole.replace("v_Archery_g01,", "film,", 1))
    assert "1 fault" in verify(ucf101).err
    file.write_text(whole)
    merge(ucf101, "--source-pattern", r"_(g\d+)_")
    file.write_text(whole)  # of before the pattern, as the shards have it
    error = verify(ucf101).err
    assert "faults" in error and "hmdb-prep merge" in error
    merge(ucf101)
    (ucf101 / "shards" / "splits.csv").write_text("clip_id,split1\nArchery/v_Archery_g01_c01,train\n")
    assert "1 fault" in verify(ucf101).err
    merge(ucf101)
    assert verify(ucf101).code == 0


def test_manifests_and_state_of_before_are_whole(ucf101: Path) -> None:
    """They lack the new keys, and sources may have been read by other rules, as the shards then say too."""
    for path in (ucf101 / "manifests" / "dataset.json", ucf101 / "shards" / "extraction.json"):
        found = json.loads(path.read_text())
        for key in ("source_pattern", "splits_sha256"):
            found.pop(key, None)
        path.write_text(json.dumps(found))
    assert verify(ucf101).code == 0
    assert "nothing to do" in succeed_here("hmdb-prep", *extract(ucf101))


def test_tasks_keep_to_one_set_of_rules(video: Path, tmp_path: Path) -> None:
    folder = put(tmp_path, video, [f"{name}/{index}x" for name in "ab" for index in range(4)])
    tasks = ("--clips-per-shard", "4", "--num-tasks", "2", "--task-id")
    succeed_here("hmdb-prep", *extract(folder, "--source-pattern", "(.)x", *tasks, "0"))
    error = fail_here(1, "hmdb-prep", *extract(folder, "--source-pattern", "(x)", *tasks, "1"))
    assert "other tasks" in error
    succeed_here("hmdb-prep", *extract(folder, *tasks, "1"))
    assert set(rows_of(folder)["source"]) == set("0123")
    assert verify(folder).code == 0


def test_numbers_of_several_classes_are_not_one_source(video: Path, tmp_path: Path) -> None:
    folder = put(tmp_path, video, [f"{name}/{index:03d}" for name in CLASSES for index in range(5)])
    out = succeed_here("hmdb-prep", *extract(folder))
    assert "15 videos whose names are numbers that several classes have" in out
    assert rows_of(folder)["source"].tolist() == rows_of(folder).index.tolist()
    merge(folder, "--source-pattern", r"(\d+)")
    assert rows_of(folder)["source"].nunique() == 5


def test_numbers_with_the_part_that_fetch_adds_are_numbers(video: Path, tmp_path: Path) -> None:
    names = [f"{name}/{stem}" for name in CLASSES for stem in ("000", "000_test", "001_train", "001_val")]
    folder = put(tmp_path, video, [*names, "run/7_test"])
    out = succeed_here("hmdb-prep", *extract(folder))
    assert "12 videos whose names are numbers that several classes have" in out
    assert "numbered names stand in several classes and are taken" not in out
    rows = rows_of(folder)
    assert rows.loc[names, "source"].tolist() == names
    assert rows.loc["run/7_test", "source"] == "7_test"


def test_counted_names_and_one_source_for_all_are_said(video: Path, tmp_path: Path) -> None:
    folder = put(tmp_path, video, [f"{name}/clip_{index:03d}" for name in CLASSES for index in range(4)])
    text = "4 numbered names stand in several classes and are taken for one source video each"
    assert text in succeed_here("hmdb-prep", *extract(folder))
    assert "one source, clip, holds most clips of 3 of 3 classes" in merge(folder, "--source-pattern", "(clip)")
    report = folder / "eda.html"
    out = succeed_here("hmdb-prep", "eda", *places(folder)[2:], "--out", report)
    assert "one source, clip, holds most clips" in out and "one source, clip, holds most clips" in report.read_text()
    run = ("run", *places(folder)[2:], "--runs", folder / "runs")
    out = succeed_here("lsvit-train", *run, "--split", "1", "--epochs", "1", "--patch-size", "8", "--batch-size", "4")
    assert "warning: one source, clip, holds most clips" in out
    assert "warning: split1 has no clips to test on" in out and "split2" not in out
    out = merge(folder, "--source-pattern", "(.*/.*)")
    assert "warning" not in out and "12 sources of 12 videos" in out


def test_300_clips_beside_official_names(video: Path, tmp_path: Path) -> None:
    """Altered names are official clips, further clips follow the side of their source, others have seeded splits."""
    official = sorted(official_splits())[::112]
    shown = [clip_id.replace("!", "%21").replace("#", "@").replace("(", "_") for clip_id in official]
    known = [source_of(clip_id) for clip_id in sorted(official_splits())[::33]][:200]
    further = [
        f"{name}/{source}_{name}_f_cm_np1_fr_med_{300 + i}"
        for i, source in enumerate(known)
        for name in (("walk", "run", "clap")[i % 3],)
    ]
    own = [f"{('walk', 'run')[index % 2]}/mine{index}" for index in range(100)]
    folder = put(tmp_path, video, [*shown, *further, *own])
    out = succeed_here("hmdb-prep", *extract(folder))
    assert f"{len(official)} videos of HMDB51 with its official splits, 300 others" in out
    rows = rows_of(folder)
    for clip_id, name in zip(official, shown, strict=True):
        assert tuple(rows.loc[name, list(SPLIT_COLUMNS)]) == astuple(official_splits()[clip_id])
        assert rows.loc[name, "source"] == source_of(clip_id)
    altered = sum(clip_id != name for clip_id, name in zip(official, shown, strict=True))
    assert altered and f"{altered} name{'s' if altered > 1 else ''} of HMDB51 altered, such as " in out
    for column in SPLIT_COLUMNS:
        sides: dict[str, set[str]] = defaultdict(set)
        for clip_id, parts in official_splits().items():
            sides[source_of(clip_id)] |= {getattr(parts, column)} - {"unused"}
        for source, group in rows[rows[column] != "unused"].groupby("source"):
            found = set(group[column])
            assert found <= sides[str(source)] if sides.get(str(source)) else len(found) == 1, (column, source)
    assert verify(folder).code == 0


def source_of(clip_id: str) -> str:
    class_name, _, stem = clip_id.partition("/")
    return read_name(stem, class_name=class_name).source


def test_splits_that_fetch_wrote_are_pointed_at(ucf101: Path) -> None:
    file = ucf101 / "videos" / "splits.csv"
    file.write_text("clip_id,split1\n" + "".join(f"{name},train\n" for name in rows_of(ucf101).index))
    line = f"{file} divides these videos and is not used; use --splits {file}, or --splits auto to ignore it"
    assert line in succeed_here("hmdb-prep", *extract(ucf101))
    assert str(file) not in succeed_here("hmdb-prep", *extract(ucf101, "--splits", "auto"))
    assert "is not used" not in succeed_here("hmdb-prep", *extract(ucf101, "--splits", file))
    assert set(rows_of(ucf101)["split1"]) == {"train"}
    assert "is not used" not in succeed_here("hmdb-prep", *extract(ucf101))  # it is kept beside the shards


def test_sources_that_are_formulas_are_refused(tmp_path: Path, video: Path) -> None:
    folder = put(tmp_path, video, ["a/x=1", "a/x=2"])
    said = fail_here(2, "hmdb-prep", *extract(folder, "--source-pattern", "x(.*)"))
    assert "gives a/x=1 the source '=1', which a spreadsheet would run" in said
    assert not list((folder / "shards").glob("*.h5"))
    succeed_here("hmdb-prep", *extract(folder, "--source-pattern", "x=(.*)"))
