"""Beyond one machine: divided extraction, and the scripts in examples/ as they are, with SLURM's words stood in for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import run, succeed
from test_extract import OPTIONS, content, extracted, places, videos  # noqa: F401  (fixtures)

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
BIN = Path(sys.executable).parent


def extract(videos: Path, folder: Path, *words: str) -> None:  # noqa: F811
    succeed("hmdb-prep", "extract", "--videos", videos, *places(folder), *OPTIONS, *words)


@pytest.mark.slow
def test_tasks_at_the_same_time_equal_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda task: extract(videos, tmp_path, "--num-tasks", "3", "--task-id", str(task)), range(3)))
    assert content(tmp_path) == content(extracted)


@pytest.mark.slow
def test_repeats_and_idle_tasks_change_nothing(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    """Six tasks for four shards: two have nothing to do. A task that is run again does nothing either."""
    for task in (5, 3, 3, 0, 4, 2, 1):
        extract(videos, tmp_path, "--num-tasks", "6", "--task-id", str(task))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")}
    assert content(tmp_path) == content(extracted)
    for task in (1, 4, 0):
        extract(videos, tmp_path, "--num-tasks", "6", "--task-id", str(task))
    extract(videos, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.slow
def test_merge_joins_what_tasks_left(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    """As where the last task died before it wrote the manifests."""
    for task in ("1", "0"):
        extract(videos, tmp_path, "--num-tasks", "2", "--task-id", task)
    shutil.rmtree(tmp_path / "manifests")
    succeed("hmdb-prep", "merge", "--videos", videos, *places(tmp_path))
    assert content(tmp_path) == content(extracted)


def documented_options(words: Sequence[str]) -> set[str]:
    """The options that the help of a command shows."""
    outcome = run(*words, "--help")
    assert outcome.code == 0, outcome.err
    return set(re.findall(r"--[a-z][a-z0-9-]*", outcome.out))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_example_scripts_parse(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)
    text = "\n".join(line for line in script.read_text().splitlines() if not line.startswith("#"))
    if "hmdb-prep extract" in text:
        assert set(re.findall(r"(?<=\s)--[a-z-]+", text)) <= documented_options(["hmdb-prep", "extract"])


def run_script(script: Path, *words: str, stubs: Path | None = None, **environment: str) -> str:
    """Run an example with this environment's commands first on the PATH."""
    path = os.pathsep.join([*([str(stubs)] if stubs else []), str(BIN), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(script), *words],
        capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_slurm_array_equals_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    folders = {"VIDEOS": videos, "SHARDS": tmp_path / "shards", "MANIFESTS": tmp_path / "manifests"}
    environment = {name: str(path) for name, path in folders.items()}
    for task in ("2", "0", "1"):
        run_script(
            EXAMPLES / "slurm_extract.sh", "--clips-per-shard", "4",
            NUM_TASKS="3", SLURM_ARRAY_TASK_ID=task, **environment,
        )  # fmt: skip
    assert content(tmp_path) == content(extracted)


def test_the_slurm_array_has_as_many_tasks_as_it_says() -> None:
    text = (EXAMPLES / "slurm_extract.sh").read_text()
    last = re.search(r"--array=0-(\d+)", text)
    number = re.search(r"NUM_TASKS:-(\d+)", text)
    assert last is not None
    assert number is not None
    assert int(number[1]) == int(last[1]) + 1


def kubernetes_job() -> Any:
    return yaml.safe_load((EXAMPLES / "kubernetes_extract.yaml").read_text())


def test_the_kubernetes_job_is_one() -> None:
    job = kubernetes_job()
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["command"] == ["bash", "-c"]
    (command,) = container["args"]
    assert f"--num-tasks {job['spec']['completions']} " in command
    assert set(re.findall(r"--[a-z-]+", command)) <= documented_options(["hmdb-prep", "extract"])


@pytest.mark.slow
def test_the_kubernetes_job_equals_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:  # noqa: F811
    """Its command run for every index, with /data put elsewhere."""
    job = kubernetes_job()
    script = tmp_path / "job.sh"
    (command,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    command = command.replace("/data/videos", str(videos)).replace("/data/", f"{tmp_path}/")
    script.write_text(command + " --clips-per-shard 4")
    for index in reversed(range(job["spec"]["completions"])):
        run_script(script, JOB_COMPLETION_INDEX=str(index))
    script.unlink()
    assert content(tmp_path) == content(extracted)
