"""verify and merge in tasks: together they do what one does, whatever was damaged; a task may be repeated or late."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from commands import fail, run_here, succeed, succeed_here
from extraction import content, places
from media import HMDB_LIKE, make_video

from preprocess.extract.merge_tasks import merge_task
from preprocess.extract.tasks import Task, make_task
from preprocess.extract.verify import verify
from shared.errors import DataError, UsageError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Seven clips of two classes in seven shards, and a video that gave none."""
    folder = tmp_path_factory.mktemp("tasks")
    for index in range(7):
        make_video(folder / "videos" / ("run", "walk")[index % 2] / f"s{index}.avi", *HMDB_LIKE, num_frames=17)
    (folder / "videos" / "walk" / "broken.avi").write_bytes(b"no video")
    words = ("--size", "16", "--clips-per-shard", "1", "--workers", "1")
    succeed("hmdb-prep", "extract", "--videos", folder / "videos", *places(folder), *words)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path, dirs_exist_ok=True))


def faults_of(folder: Path, task: Task) -> list[str]:
    found = verify(folder / "shards", folder / "manifests", advance=lambda count: None, task=task)
    return sorted(fault.text for fault in found)


def shard(folder: Path, place: int) -> Path:
    return sorted((folder / "shards").glob("shard-*.h5"))[place]


def flip(file: Path) -> None:
    with h5py.File(file, "r") as shard:
        place = shard["frames"].id.get_offset()
    with file.open("r+b") as raw:
        raw.seek(place + 7)
        byte = raw.read(1)[0]
        raw.seek(place + 7)
        raw.write(bytes([byte ^ 1]))


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "manifests" / "clips" / "walk.csv"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def give_another_id(folder: Path) -> None:
    with h5py.File(shard(folder, 4), "r+") as file:
        file.attrs["dataset_id"] = "e" * 64


DAMAGES: dict[str, Callable[[Path], object]] = {
    "none": lambda folder: None,
    "bits": lambda folder: [flip(shard(folder, place)) for place in (0, 3, 4)],
    "missing": lambda folder: [shard(folder, place).unlink() for place in (5, 2)],
    "cut": lambda folder: os.truncate(shard(folder, 1), 3000),
    "foreign": give_another_id,
    "unlisted": lambda folder: shutil.copy(shard(folder, 1), folder / "shards" / "shard-00099.h5"),
    "an edited row": lambda folder: edit(folder, "walk/s1.avi", "walk/s9.avi"),
    "a renamed clip": lambda folder: edit(folder, "walk/s1,", "walk/t1,"),
    "another shard in the row": lambda folder: edit(folder, "shard-0000", "shard-0001"),
}


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_tasks_find_together_what_one_finds(folder: Path, damage: str, count: int) -> None:
    DAMAGES[damage](folder)
    whole = faults_of(folder, Task())
    assert bool(whole) == (damage != "none")
    parts = [fault for index in range(count) for fault in faults_of(folder, Task(index=index, count=count))]
    assert sorted(parts) == whole


def merge_words(folder: Path, *more: str) -> list[str]:
    return ["merge", "--videos", str(folder / "videos"), *places(folder), *more]


def test_merge_in_tasks_is_merge(pristine: Path, folder: Path) -> None:
    before = content(pristine)
    shutil.rmtree(folder / "manifests")
    for index in (2, 0, 0):
        out = succeed_here("hmdb-prep", *merge_words(folder, "--num-tasks", "3", "--task-id", str(index)))
        assert "this task is done" in out and not (folder / "manifests").exists()
    assert "written to" in succeed_here("hmdb-prep", *merge_words(folder, "--num-tasks", "3", "--task-id", "1"))
    assert content(folder) == before


def test_a_merge_task_reads_its_own_shards_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr("preprocess.extract.merge.sha256_of", lambda file: read.append(file.name) or "0" * 64)
    for index in range(2):
        merge_task(folder / "shards", folder / "manifests", Task(index=index, count=2), synthetic=False)
    assert sorted(read) == sorted(file.name for file in (folder / "shards").glob("shard-*.h5"))


def test_a_shard_that_changes_after_its_task_is_read_again(folder: Path) -> None:
    shards, manifests = folder / "shards", folder / "manifests"
    merge_task(shards, manifests, Task(index=0, count=2), synthetic=False)
    flip(shards / "shard-00000.h5")
    with pytest.raises(DataError, match=r"shard-00000\.h5: frames of .* do not match their crc32"):
        merge_task(shards, manifests, Task(index=1, count=2), synthetic=False)


def test_tasks_with_other_rules_or_of_another_merge_are_not_joined(folder: Path) -> None:
    words = [*merge_words(folder), "--num-tasks", "2", "--task-id"]
    succeed_here("hmdb-prep", *words, "0", "--source-pattern", r"s(\d)")
    outcome = run_here("hmdb-prep", *words, "1")
    assert outcome.code == 1 and "task 0 of 2 was given another --source-pattern or --splits" in outcome.err
    assert "written to" in succeed_here("hmdb-prep", *words, "1", "--source-pattern", r"s(\d)")
    assert not list((folder / "shards").glob("merge-*"))


def test_damaged_notes_are_as_none(folder: Path) -> None:
    words = [*merge_words(folder), "--num-tasks", "2", "--task-id"]
    succeed_here("hmdb-prep", *words, "0")
    (folder / "shards" / "merge-0-of-2.json").write_text("{")
    assert "still to come: 1 task, 0 first" in succeed_here("hmdb-prep", *words, "1")
    assert "written to" in succeed_here("hmdb-prep", *words, "0")


def test_a_task_that_does_not_exist_is_refused(folder: Path) -> None:
    assert make_task(num_tasks=3, task_id=2).owns(5)
    for num_tasks, task_id in ((0, 0), (3, 3), (3, -1)):
        with pytest.raises(UsageError, match=f"--task-id is {task_id} with --num-tasks {num_tasks}"):
            make_task(num_tasks=num_tasks, task_id=task_id)
    assert "--task-id is 5" in fail(2, "hmdb-prep", "verify", *places(folder), "--num-tasks", "5", "--task-id", "5")
    flip(shard(folder, 1))
    words = ["verify", *places(folder), "--num-tasks", "2", "--task-id"]
    assert "1 fault" in fail(1, "hmdb-prep", *words, "1")
    assert "no faults" in succeed_here("hmdb-prep", *words, "0")
