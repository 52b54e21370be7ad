"""`hmdb-prep extract --engine ray` gives what the local engine gives, byte for byte, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command_line, fail, succeed
from extraction import content, places, wait_until
from media import HMDB_LIKE, make_video
from ray_processes import ray_servers, task_processes

from preprocess.extract.command import run_extraction
from preprocess.extract.engines.ray.engine import extract_on_ray, extract_shard, shard_task
from preprocess.extract.extraction_plan import Extraction, ExtractionParameters, clip_facts, make_plan
from preprocess.extract.settings import ExtractionSettings
from preprocess.extract.state import write_extraction_plan
from shared.errors import DataError, UsageError
from shared.video.listing import list_videos

PATIENCE_SECONDS = 1800
SHARDS_OF_FOUR = ("--clips-per-shard", "4")


def on_ray(*words: str | Path, cwd: Path | None = None) -> str:
    """As ``succeed``, started as users do: Ray starts processes of its own from what it finds."""
    words = (*words, "--engine", "ray")
    return succeed("hmdb-prep", *words, cwd=cwd, timeout=PATIENCE_SECONDS, installed=True)


def settings(folder: Path, **changes: Any) -> ExtractionSettings:
    return ExtractionSettings(
        videos=folder, shards=folder / "s", manifests=folder / "m", parameters=ExtractionParameters(), **changes
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "spark"}, "--engine is 'spark'; it must be one of local, ray"),
        ({"engine": "ray", "num_tasks": 2}, "--num-tasks cannot be combined with --engine ray"),
        ({"engine": "ray", "device": "auto"}, "choose cpu or cuda"),
        ({"gpus_per_task": 0.5}, "--gpus-per-task is for --engine ray with --device cuda"),
        ({"engine": "ray", "device": "cuda", "gpus_per_task": 1.5}, "above 0 and at most 1"),
        ({"engine": "ray", "device": "cuda", "gpus_per_task": float("nan")}, "above 0 and at most 1"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run_extraction(settings(tmp_path, **changes))


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'hmdb51-lsvit\[ray\]'"):
        run_extraction(settings(tmp_path, engine="ray"))
    assert not (tmp_path / "s").exists()


def made_extraction(folder: Path) -> Extraction:
    """Of text files that are called videos, with the plan written down."""
    for name in ("walk", "run"):
        (folder / "videos" / name).mkdir(parents=True)
        (folder / "videos" / name / "a.avi").write_text("no video")
    plan = make_plan(list_videos(folder / "videos").videos, ExtractionParameters(size="16x16"))
    (folder / "shards").mkdir()
    write_extraction_plan(folder / "shards", plan)
    return Extraction(
        plan=plan, facts=clip_facts(plan), videos_folder=folder / "videos", shards_folder=folder / "shards",
        device="cpu", num_workers=1, timeout_seconds=60.0,
    )  # fmt: skip


def test_a_node_that_does_not_see_the_folders_spoils_nothing(tmp_path: Path) -> None:
    """It must not quarantine every video of its shard."""
    extraction = made_extraction(tmp_path)
    task = shard_task(extraction, extraction.plan.shards[0])
    (tmp_path / "videos" / "run" / "a.avi").write_text("another size")
    with pytest.raises(DataError, match=r"does not see .*run/a\.avi as it was"):
        extract_shard(task)
    (tmp_path / "videos" / "run" / "a.avi").unlink()
    with pytest.raises(DataError, match=r"does not see .*run/a\.avi"):
        extract_shard(task)
    (tmp_path / "shards" / "extraction.json").unlink()
    with pytest.raises(DataError, match=r"does not see .*extraction\.json"):
        extract_shard(task)
    assert list((tmp_path / "shards").iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ray_equals_the_local_engine(videos: Path, extracted: Path, tmp_path: Path) -> None:
    """With relative folders and files that are no videos; and nothing of Ray stays behind."""
    before, folders = ray_servers(), set(Path("/tmp").glob("hmdb-ray-*"))
    (tmp_path / "videos").symlink_to(videos)
    words = ("--videos", "videos", "--shards", "shards", "--manifests", "manifests", *SHARDS_OF_FOUR)
    out = on_ray("extract", *words, cwd=tmp_path)
    (tmp_path / "videos").unlink()
    assert content(tmp_path) == content(extracted)
    assert "12 clips of 3 classes in 4 shards" in out
    assert ray_servers() <= before
    assert set(Path("/tmp").glob("hmdb-ray-*")) <= folders


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ray_continues_what_the_local_engine_began(videos: Path, extracted: Path, tmp_path: Path) -> None:
    words = ("extract", "--videos", videos, *places(tmp_path), *SHARDS_OF_FOUR)
    succeed("hmdb-prep", *words, "--num-tasks", "2", "--task-id", "0")
    first = (tmp_path / "shards" / "shard-00000.h5").stat()
    on_ray(*words, "--workers", "2")
    assert content(tmp_path) == content(extracted)
    assert (tmp_path / "shards" / "shard-00000.h5").stat().st_mtime_ns == first.st_mtime_ns
    assert "nothing to do" in on_ray(*words)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("address", ["127.0.0.1:9", "[::1]:9"])
def test_no_cluster_at_the_address(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, in one line: left to itself Ray would look for it for a quarter of an hour."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    (tmp_path / "videos" / "walk" / "a.avi").write_text("no video")
    error = fail(1, "hmdb-prep", "extract", "--engine", "ray", "--videos", tmp_path / "videos", *places(tmp_path))
    assert f"no Ray cluster to be joined at RAY_ADDRESS={address} ([Errno " in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_the_last_cluster_of_this_machine_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray finds its address in a file that a machine which died has left. One attempt to reach it, of 40 seconds."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    (tmp_path / "videos" / "walk" / "a.avi").write_text("no video")
    error = fail(1, "hmdb-prep", "extract", "--engine", "ray", "--videos", tmp_path / "videos", *places(tmp_path))
    assert "no Ray cluster to be joined at RAY_ADDRESS=auto (Failed to connect" in error.splitlines()[-1]


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """60 videos of three classes and two files that are none."""
    made = tmp_path_factory.mktemp("many")
    folder = made / "videos"
    original = make_video(made / "original.avi", *HMDB_LIKE, num_frames=60)
    for index in range(60):
        name = ("run", "sit", "walk")[index % 3]
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(original, folder / name / f"src{index // 6}_{name}_f_nm_np1_fr_goo_{index}.avi")
    for name in ("run", "walk"):
        (folder / name / "broken.avi").write_bytes(b"RIFF" + bytes(200))
    return folder


@pytest.fixture(scope="module")
def many_extracted(many_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the local engine makes of them."""
    folder = tmp_path_factory.mktemp("local")
    words = ("--videos", many_videos, *places(folder), *SHARDS_OF_FOUR)
    succeed("hmdb-prep", "extract", *words, timeout=PATIENCE_SECONDS)
    return content(folder)


@contextlib.contextmanager
def started(many_videos: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """An extraction on Ray, in a process that ends with the context."""
    words = ["extract", "--engine", "ray", "--videos", many_videos, *places(folder), *SHARDS_OF_FOUR]
    run = subprocess.Popen(command_line("hmdb-prep", words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def num_shards(folder: Path) -> int:
    return len(list((folder / "shards").glob("shard-*.h5")))


def num_begun(folder: Path) -> int:
    return len(list((folder / "shards").glob(".shard-*.tmp")))


def wait_for_shards(run: subprocess.Popen[str], folder: Path, *, done: int, begun: int = 0) -> None:
    """Wait until so many shards are there and so many in work; say what the run said if it ends before."""
    wait_until(
        lambda: run.poll() is not None or (num_shards(folder) >= done and num_begun(folder) >= begun),
        seconds=PATIENCE_SECONDS,
    )
    assert run.poll() is None, run.communicate()


@pytest.mark.stress
def test_a_node_dies_and_nothing_is_lost(
    cluster: Any, many_videos: Path, many_extracted: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "ray"
    with started(many_videos, folder) as run:
        # Both nodes are at work, and some shards are done: now one of them goes, without a word.
        wait_for_shards(run, folder, done=2, begun=2)
        done_before = num_shards(folder)
        cluster.remove_node(cluster.second, allow_graceful=False)
        out, error = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, out + error
    assert done_before < 16
    assert content(folder) == many_extracted
    print(f"\none of two nodes killed after {done_before} of 16 shards: all 16 there, as the local engine makes them")


@pytest.mark.stress
def test_killed_tasks_are_run_again(
    cluster: Any, many_videos: Path, many_extracted: dict[str, bytes], tmp_path: Path
) -> None:
    """Three times the processes of all running tasks are killed."""
    folder = tmp_path / "ray"
    kills = 0
    with started(many_videos, folder) as run:
        for target in (1, 4, 8):
            wait_for_shards(run, folder, done=target)
            for process in task_processes("extract_shard"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    kills += 1
        out, error = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, out + error
    assert kills >= 3
    assert content(folder) == many_extracted
    print(f"\n{kills} task processes killed: nothing lost")


@pytest.mark.stress
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("no_cluster")
def test_an_ended_run_leaves_no_ray_behind(
    number: signal.Signals, many_videos: Path, many_extracted: dict[str, bytes], tmp_path: Path
) -> None:
    before, folder = ray_servers() | task_processes("extract_shard"), tmp_path / "ray"
    folders = set(Path("/tmp").glob("hmdb-ray-*"))
    with started(many_videos, folder) as run:
        wait_for_shards(run, folder, done=2)
        run.send_signal(number)
        _, error = run.communicate(timeout=PATIENCE_SECONDS)
    if number != signal.SIGKILL:
        assert run.returncode == 130
        assert error.splitlines()[-1].startswith("interrupted")
        assert num_begun(folder) == 0
    wait_until(lambda: ray_servers() | task_processes("extract_shard") <= before, seconds=600)
    left = set(Path("/tmp").glob("hmdb-ray-*")) - folders
    assert not left or number == signal.SIGKILL
    for temporary in left:
        shutil.rmtree(temporary)
    time.sleep(2)  # what decoded for a killed task meets the end of its pipe
    succeed("hmdb-prep", "extract", "--videos", many_videos, *places(folder), *SHARDS_OF_FOUR, timeout=PATIENCE_SECONDS)
    assert content(folder) == many_extracted


@pytest.mark.usefixtures("no_cluster")
def test_a_ray_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a plain Exception on a machine that is too busy. The environment is as before, nothing is left."""
    import ray

    def init(**options: Any) -> None:
        assert os.environ["RAY_AUTH_MODE"] == "token"
        raise Exception("The current node timed out during startup.")

    extraction, environment = made_extraction(tmp_path), dict(os.environ)
    folders = set(Path("/tmp").glob("hmdb-ray-*"))
    for name in (".shard-00000.h5.0a1b.tmp", ".tmp-0123456789ab-block-00000.json"):
        (extraction.shards_folder / name).write_text("of a killed task")
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(DataError, match=r"Ray does not start on this machine .The current node timed out"):
        extract_on_ray(extraction, extraction.plan.shards, gpus_per_task=0.0)
    assert dict(os.environ) == environment
    assert set(Path("/tmp").glob("hmdb-ray-*")) <= folders
    assert [file.name for file in extraction.shards_folder.iterdir()] == ["extraction.json"]
