"""verify and merge on Ray: the same faults in the same order, and the same manifests, as on one machine."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Outcome, command_line, fail, run, run_here
from damages import DAMAGES, flip, shard
from extraction import content, places, wait_until
from ray_processes import ray_servers, task_processes

from preprocess.extract.engines.ray import reading as ray_reading
from preprocess.extract.engines.ray.reading import Batch, make_batches, read_batch, read_on_ray
from preprocess.extract.engines.reading import Item, ReadShards, Result, read_in_threads
from preprocess.extract.finish.merge import merge
from preprocess.extract.finish.verify import Fault, ShardToCheck, check_shard, verify
from shared.errors import DataError

PATIENCE_SECONDS = 1800


def ignore(count: object) -> None:
    """No progress is shown."""


@pytest.fixture
def made_ray(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tasks of two shards, run in this process, the last one first. The list has the shards of each."""
    sizes: list[int] = []

    def completed(ray: None, function: Callable[[Any], Any], tasks: Iterable[Any], **options: Any) -> Iterator[Any]:
        for task in reversed(list(tasks)):
            sizes.append(len(task.items))
            yield task, pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(task)))))

    monkeypatch.setattr(ray_reading, "connected", lambda needs: contextlib.nullcontext())
    monkeypatch.setattr(ray_reading, "completed", completed)
    return sizes


def faults(folder: Path, read: ReadShards) -> list[Fault] | str:
    try:
        return verify(folder / "shards", folder / "manifests", advance=ignore, read=read)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_faults_and_their_order_are_those_of_one_machine(
    folder: Path, damage: str, made_ray: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_reading, "TASK_BYTES", 2 * shard(folder, 0).stat().st_size + 1)
    DAMAGES[damage](folder)
    monkeypatch.chdir(folder)
    assert faults(Path(), read_on_ray) == faults(Path(), read_in_threads)
    assert sum(made_ray) == 7 and len(made_ray) > 2


def merged(folder: Path, read: ReadShards) -> str:
    try:
        merge(folder / "shards", folder / "manifests", synthetic=False, rehash=True, read=read)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("damage", ["none", "bits", "cut", "foreign", "missing"])
def test_a_merge_is_that_of_one_machine(
    folder: Path, damage: str, made_ray: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several damaged shards the first one is told, though its task ends last."""
    monkeypatch.setattr(ray_reading, "TASK_BYTES", 1)
    DAMAGES[damage](folder)
    shutil.rmtree(folder / "manifests")
    said, by_ray = merged(folder, read_on_ray), content(folder)
    shutil.rmtree(folder / "manifests", ignore_errors=True)
    assert said == merged(folder, read_in_threads)
    assert by_ray == content(folder)
    assert bool(said) == (damage != "none")


def test_tasks_are_some_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of TASK_BYTES and one shard at most; shards that are not there take up no room."""
    monkeypatch.setattr(ray_reading, "TASK_BYTES", 100)
    items = [Sized(tmp_path / str(place), size) for place, size in enumerate([40, 50, None, 60, 250, 10, 10, None])]
    batches = list(make_batches(len_of, items))
    assert [item for batch in batches for item in batch.items] == items
    assert [batch.num_bytes for batch in batches] == [(40, 50, None), (60,), (250, 10, 10, None)]
    assert [batch.number for batch in batches] == [0, 1, 2]


class Sized:
    """A file of so many bytes, or none."""

    def __init__(self, file: Path, size: int | None) -> None:
        self.file = file
        if size is not None:
            file.write_bytes(bytes(size))


def len_of(item: Sized) -> int:
    return len(item.file.read_bytes())


def test_a_node_that_does_not_see_the_shards_ends_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not call them missing."""
    monkeypatch.chdir(folder)
    items = [Sized(Path("shards") / shard(folder, place).name, None) for place in (0, 1)]
    (batch,) = make_batches(len_of, items)
    assert read_batch(batch).results == tuple(item.file.stat().st_size for item in items)
    with pytest.raises(DataError, match="does not see /nowhere as it was when the run began; shards must lie"):
        read_batch(Batch(number=0, folder=Path("/nowhere"), read=len_of, items=batch.items, num_bytes=batch.num_bytes))
    items[1].file.unlink()
    with pytest.raises(DataError, match=f"does not see {items[1].file} as it was"):
        read_batch(batch)


@pytest.mark.parametrize("command", ["verify", "merge"])
def test_what_does_not_go_together(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*more: str) -> str:
        outcome = run_here("hmdb-prep", command, *places(folder), "--engine", *more)
        assert outcome.code == 2
        return outcome.err

    before = content(folder)
    assert "--engine is 'spark'; it must be one of local, ray" in said("spark")
    assert "--num-tasks cannot be combined with --engine ray" in said("ray", "--num-tasks", "2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'hmdb51-lsvit[ray]'" in said("ray")
    assert content(folder) == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ray_equals_the_local_engine(folder: Path) -> None:
    """With relative folders; and nothing of Ray stays behind."""

    def on_ray(*words: str) -> Outcome:
        words = (*words, "--engine", "ray")
        return run("hmdb-prep", *words, cwd=folder, timeout=PATIENCE_SECONDS, installed=True)

    servers, before = ray_servers(), content(folder)
    words = ("--shards", "shards", "--manifests", "manifests")
    assert "7 clips verified" in on_ray("verify", *words).out
    shutil.rmtree(folder / "manifests")
    assert on_ray("merge", "--videos", "videos", *words).code == 0
    assert content(folder) == before
    flip(shard(folder, 3))
    shard(folder, 5).unlink()
    assert on_ray("verify", *words) == run("hmdb-prep", "verify", *words, cwd=folder)
    assert ray_servers() <= servers


@pytest.mark.usefixtures("no_cluster")
def test_no_cluster_at_the_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    error = fail(1, "hmdb-prep", "verify", "--engine", "ray", *places(folder))
    assert "no Ray cluster to be joined at RAY_ADDRESS=127.0.0.1:9" in error
    assert len(error.splitlines()) == 1


def slowly(log: Path) -> ReadShards:
    """Reads on Ray, two seconds a shard; each that is begun leaves a line with its node."""

    def slow_check(shard: ShardToCheck) -> Any:  # not a function of a module: Ray sends it as it stands
        import ray

        with log.open("a") as lines:
            lines.write(f"{ray.get_runtime_context().get_node_id()}\n")
        time.sleep(2)
        return check_shard(shard)

    def read(function: Callable[[Item], Result], items: Any, *, advance: Any) -> Any:
        return read_on_ray(slow_check, items, advance=advance)

    return read


@pytest.mark.stress
@pytest.mark.parametrize("what", ["a node", "its processes"])
def test_what_dies_is_read_again(
    cluster: Any, what: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_reading, "TASK_BYTES", 1)
    DAMAGES["bits"](folder)
    log = tmp_path / "log"
    log.touch()

    def begun() -> list[str]:
        return log.read_text().splitlines()

    def kill() -> None:
        wait_until(lambda: cluster.second.node_id in begun() or len(begun()) >= 7, seconds=PATIENCE_SECONDS)
        if what == "a node":
            cluster.remove_node(cluster.second, allow_graceful=False)
        else:
            for process in task_processes("read_batch"):
                os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = faults(folder, slowly(log))
    killer.join()
    assert found == faults(folder, read_in_threads)
    assert len(begun()) > 7, "nothing was read twice: the kill met no task"
    print(f"\n{what} killed: {len(begun()) - 7} of 7 shards read again, the same faults")


@pytest.mark.stress
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("no_cluster")
def test_an_ended_run_leaves_no_ray_behind(number: signal.Signals, folder: Path) -> None:
    before, folders = ray_servers(), set(Path("/tmp").glob("hmdb-ray-*"))
    words = command_line("hmdb-prep", ["verify", "--engine", "ray", *places(folder)])
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        wait_until(lambda: run.poll() is not None or bool(ray_servers() - before), seconds=PATIENCE_SECONDS)
        run.send_signal(number)
        out, error = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130, out + error
    assert error.splitlines()[-1].startswith("interrupted")
    wait_until(lambda: ray_servers() <= before, seconds=600)
    assert set(Path("/tmp").glob("hmdb-ray-*")) <= folders
