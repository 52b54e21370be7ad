"""Beyond one machine: divided extraction, and the scripts in examples/ as they are, with SLURM's words stood in for."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import run, succeed
from extraction import OPTIONS, content, places
from made_dataset import DATASET_ID, make_dataset
from trained import training_words

from shared.manifests.files import read_manifests
from train.data.loader.open_shards import files_allowed
from train.data.loader.reader import ClipReader
from train.data.samples import make_table

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 1800


def extract(videos: Path, folder: Path, *words: str) -> None:
    succeed("hmdb-prep", "extract", "--videos", videos, *places(folder), *OPTIONS, *words)


@pytest.mark.slow
def test_tasks_at_the_same_time_equal_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda task: extract(videos, tmp_path, "--num-tasks", "3", "--task-id", str(task)), range(3)))
    assert content(tmp_path) == content(extracted)


@pytest.mark.slow
def test_repeats_and_idle_tasks_change_nothing(videos: Path, extracted: Path, tmp_path: Path) -> None:
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
def test_merge_joins_what_tasks_left(videos: Path, extracted: Path, tmp_path: Path) -> None:
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
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_slurm_array_equals_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:
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
def test_the_kubernetes_job_equals_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:
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


def test_more_shards_than_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_dataset(tmp_path, clips_per_class=24, clips_per_shard=1, height=8, width=8)
    table = make_table(read_manifests(made.manifests))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        ClipReader(made.shards, table, dataset_id=DATASET_ID).close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 72
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr("train.data.loader.open_shards.resource.getrlimit", lambda limit: (64, 300))
    monkeypatch.setattr("train.data.loader.open_shards.resource.setrlimit", lambda limit, values: None)
    assert files_allowed(72) == 44  # of 300 files that are allowed at most, torch and others need 256


def test_the_slurm_training_script_names_options_that_exist() -> None:
    text = (EXAMPLES / "slurm_train.sh").read_text()
    launcher, training = text.split("\nsrun torchrun", 1)[1].split("--no-python lsvit-train run")
    assert set(re.findall(r"--[a-z-]+", training)) <= documented_options(["lsvit-train", "run"])
    launched = subprocess.run([BIN / "torchrun", "--help"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"(?<=\s)--[a-z-]+", launcher)) <= set(re.findall(r"--[a-z-]+", launched))


@pytest.mark.slow
def test_the_slurm_training_script_trains_and_may_be_requeued(tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "made")
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, text in {"scontrol": "echo localhost; echo other", "srun": 'exec "$@"'}.items():
        (stubs / name).write_text(f"#!/bin/sh\n{text}\n")
        (stubs / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "[localhost,other]", "SLURM_JOB_ID": "7"}
    words = training_words(made, tmp_path, "requeued")[1:]
    for expected in ("wrote", "is finished"):
        out = run_script(EXAMPLES / "slurm_train.sh", *words, stubs=stubs, PROCESSES_PER_NODE="1", PORT=port, **slurm)
        assert expected in out
