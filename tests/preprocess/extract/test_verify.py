"""hmdb-prep verify, merge and extract on data that was damaged after it was extracted: each fault in one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pandas as pd
import pytest
from commands import fail, succeed
from media import HMDB_LIKE, make_video

from preprocess.extract.finish.merge import merge
from preprocess.extract.finish.verify import verify
from preprocess.extract.state import read_extraction_plan
from shared.errors import DataError
from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader
from shared.video.listing import SYNTHETIC_MARKER


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Four clips of two classes in two shards."""
    folder = tmp_path_factory.mktemp("verify")
    for index in range(4):
        make_video(folder / "videos" / ("run", "walk")[index % 2] / f"s{index}.avi", *HMDB_LIKE, num_frames=17)
    succeed("hmdb-prep", *extract_command(folder))
    return folder


def extract_command(folder: Path) -> tuple[str | Path, ...]:
    options = ("--size", "16", "--clips-per-shard", "2", "--workers", "1")
    return "extract", "--videos", folder / "videos", *places(folder), *options


def places(folder: Path) -> tuple[str | Path, ...]:
    return "--shards", folder / "shards", "--manifests", folder / "manifests"


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path, dirs_exist_ok=True))


def faults_of(folder: Path) -> list[str]:
    return [fault.text for fault in verify(folder / "shards", folder / "manifests", advance=lambda count: None)]


def flip_a_bit(folder: Path) -> str:
    """Flip a bit in the second clip of the first shard; returns its clip_id."""
    file = folder / "shards" / "shard-00000.h5"
    with ShardReader(file) as reader:
        clip_id, position = reader.clip_id[1], reader.frames.offset + reader.frames[0].size + 5
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)
    return clip_id


def test_no_faults(folder: Path) -> None:
    assert faults_of(folder) == []


def test_shards_written_before_errors_were_counted(folder: Path) -> None:
    for file in (folder / "shards").glob("*.h5"):
        with h5py.File(file, "r+") as shard:
            texts = shard["manifest"].asstr()[:]
            shard["manifest"][:] = [text.replace('"decode_errors": 0, ', "") for text in texts]
        with ShardReader(file) as reader:
            assert not any("decode_errors" in text for text in reader.manifest)
    merge(folder / "shards", folder / "manifests", synthetic=False, rehash=True)
    assert read_manifests(folder / "manifests")["decode_errors"].tolist() == [0, 0, 0, 0]
    assert faults_of(folder) == []
    file = folder / "manifests" / "clips" / "walk.csv"
    pd.read_csv(file).drop(columns="decode_errors").to_csv(file, index=False)
    assert faults_of(folder) == []


def test_a_flipped_bit_is_found_and_no_merge_makes_it_right(folder: Path) -> None:
    clip_id = flip_a_bit(folder)
    expected = f"frames of {clip_id} do not match their crc32"
    (fault,) = faults_of(folder)
    assert fault.endswith(expected)
    with pytest.raises(DataError, match=expected):
        merge(folder / "shards", folder / "manifests", synthetic=False, rehash=True)
    # Even where dataset.json has the checksum of the damaged file.
    merge_without_looking(folder)
    (fault,) = faults_of(folder)
    assert fault.endswith(expected)


def merge_without_looking(folder: Path) -> None:
    from shared.files import sha256_of

    file = folder / "manifests" / "dataset.json"
    content = json.loads(file.read_text())
    content["shards"][0]["sha256"] = sha256_of(folder / "shards" / "shard-00000.h5")
    file.write_text(json.dumps(content))


def test_wrong_frame_numbers_are_found_and_no_merge_makes_them_right(folder: Path) -> None:
    file = folder / "shards" / "shard-00000.h5"
    with h5py.File(file, "r+") as shard:
        shard["frame_index"][0, 0] += 1
        expected = f"{file}: row 0 ({shard['clip_id'].asstr()[0]}): its frame_index is not that of a video of 17 frames"
    assert faults_of(folder) == [expected]
    assert "delete the shards that are damaged, then run `hmdb-prep extract`" in fail(
        1, "hmdb-prep", "verify", *places(folder)
    )
    for rehash in (False, True):
        with pytest.raises(DataError, match=re.escape(f"{expected}; delete it and run `hmdb-prep extract` again")):
            merge(folder / "shards", folder / "manifests", synthetic=False, rehash=rehash)
    file.unlink()
    succeed("hmdb-prep", *extract_command(folder))
    assert faults_of(folder) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_frames", 18), ("num_frames", 0), ("num_frames", 10**30), ("row", 7), ("label", 5), ("crc32", 1)],
)
def test_a_row_inside_a_shard_that_contradicts_the_rest_is_found(folder: Path, name: str, value: int) -> None:
    file = folder / "shards" / "shard-00001.h5"
    with h5py.File(file, "r+") as shard:
        row = json.loads(shard["manifest"].asstr()[1])
        shard["manifest"][1] = json.dumps({**row, name: value})
    assert any(fault.startswith(f"{file}: row 1 ({row['clip_id']})") for fault in faults_of(folder))
    with pytest.raises(DataError, match=r"shard-00001\.h5: row 1 .*; delete it and run"):
        merge(folder / "shards", folder / "manifests", synthetic=False, rehash=False)


def test_candidates_that_sampling_does_not_know_are_a_fault(folder: Path) -> None:
    file = folder / "shards" / "shard-00000.h5"
    with h5py.File(file, "r+") as shard:
        shard.attrs["num_segments"], shard.attrs["frames_per_segment"] = 8, 2
    assert [fault.partition(": ")[0] for fault in faults_of(folder)] == [str(file), str(file)]


def contradict_attributes(shard: h5py.File) -> None:
    shard.attrs["num_segments"] = 5


def damage_row(shard: h5py.File) -> None:
    shard["manifest"][0] = "{"


@pytest.mark.parametrize("damage", [contradict_attributes, damage_row])
def test_a_fault_without_a_common_remedy_says_its_own(folder: Path, damage: Callable[[h5py.File], None]) -> None:
    file = folder / "shards" / "shard-00000.h5"
    with h5py.File(file, "r+") as shard:
        damage(shard)
    (fault,) = faults_of(folder)[:1]
    assert fault.startswith(str(file))
    assert "; delete it and run `hmdb-prep extract` again" in fault
    with pytest.raises(DataError, match=r"shard-00000\.h5.*; delete it and run `hmdb-prep extract` again"):
        merge(folder / "shards", folder / "manifests", synthetic=False, rehash=True)


def test_missing_truncated_and_foreign_shards(folder: Path) -> None:
    first, second = (folder / "shards" / f"shard-0000{index}.h5" for index in range(2))
    shutil.copy(first, folder / "shards" / "shard-00007.h5")
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    faults = faults_of(folder)
    assert faults[0] == f"{first}: missing"
    assert faults[1].startswith(f"{second} is ")
    assert "bytes, dataset.json says" in faults[1]
    assert faults[2].endswith("shard-00007.h5: not listed in dataset.json")
    assert len(faults) == 3


def edit_row(folder: Path, column: str, value: str) -> str:
    """Change a cell of the first row of run.csv; returns its clip_id."""
    file = folder / "manifests" / "clips" / "run.csv"
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    clip_id = rows[0]["clip_id"]
    rows[0][column] = value
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return clip_id


@pytest.mark.parametrize(
    ("column", "value"), [("brightness", "3.5"), ("split1", "none"), ("row", "77"), ("fps", "nan"), ("width", "0")]
)
def test_an_edited_row_is_named(folder: Path, column: str, value: str) -> None:
    clip_id = edit_row(folder, column, value)
    (fault,) = faults_of(folder)
    assert f"run.csv: {clip_id}: {column} is {value}, the shard says " in fault


def test_a_renamed_row_is_in_no_shard_and_missing(folder: Path) -> None:
    clip_id = edit_row(folder, "clip_id", "run/other")
    assert [fault.partition("run.csv: ")[2] for fault in faults_of(folder)] == [
        "run/other is in no shard", f"{clip_id} is missing"
    ]  # fmt: skip


def test_merge_without_the_videos_keeps_the_label_of_synthetic_ones(folder: Path) -> None:
    (folder / "videos" / SYNTHETIC_MARKER).write_text("{}")
    succeed("hmdb-prep", *extract_command(folder), "--overwrite")
    shutil.rmtree(folder / "manifests")
    assert merge(folder / "shards", folder / "manifests", synthetic=False, rehash=True).synthetic


@pytest.mark.parametrize("missing", ["clips", "clips/run.csv", "quarantine.csv", "dataset.json"])
def test_extract_writes_missing_manifests_again(folder: Path, missing: str) -> None:
    path = folder / "manifests" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    succeed("hmdb-prep", *extract_command(folder))
    assert path.exists()
    assert faults_of(folder) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("videos", 0, 0), 5),
        (("videos", 0, 1), 1),
        (("dataset_id",), 5),
        (("blocks", 0, 0), "x"),
        (("blocks", 0, 2), [0]),
        (("parameters", "num_segments"), "16"),
        (("rejected",), [{"path": 1, "stage": 2, "error": 3}]),
    ],
)
def test_a_damaged_plan_is_refused(folder: Path, place: tuple[str | int, ...], value: object) -> None:
    file = folder / "shards" / "extraction.json"
    content = json.loads(file.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="--overwrite"):
        read_extraction_plan(folder / "shards")


@pytest.mark.parametrize(("column", "value"), [("brightness", "inf"), ("width", "0"), ("num_frames", "-5")])
def test_a_report_is_not_drawn_of_impossible_numbers(folder: Path, column: str, value: str) -> None:
    clip_id = edit_row(folder, column, value)
    assert f"the row of {clip_id} holds impossible" in fail(1, "hmdb-prep", "eda", *places(folder))


def test_a_report_cannot_be_a_folder(folder: Path) -> None:
    assert "name the file" in fail(2, "hmdb-prep", "eda", *places(folder), "--out", folder)
