"""verify and merge in tasks: together they do what one does, whatever was damaged; a task may be repeated or late."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import fail, run_here, succeed_here
from damages import DAMAGES, flip, shard
from extraction import content, places

from preprocess.extract.engines.tasks import Task, make_task
from preprocess.extract.finish.merge_tasks import merge_task
from preprocess.extract.finish.verify import verify
from shared.errors import DataError, UsageError


def faults_of(folder: Path, task: Task) -> list[str]:
    found = verify(folder / "shards", folder / "manifests", advance=lambda count: None, task=task)
    return sorted(fault.text for fault in found)


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
    monkeypatch.setattr("preprocess.extract.finish.merge.sha256_of", lambda file: read.append(file.name) or "0" * 64)
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
