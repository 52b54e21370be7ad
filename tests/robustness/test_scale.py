"""Beyond one machine: divided extraction, the scripts in examples/ as they are (with SLURM's words stood in for), and
training on two hosts, which are network namespaces here.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from commands import run, succeed
from extraction import OPTIONS, content, places, wait_until
from made_dataset import DATASET_ID, MadeDataset, make_dataset
from trained import TINY, checkpoint, train

from shared.errors import DataError
from shared.manifests import read_manifests
from train.data.reader import ClipReader
from train.data.samples import make_table
from train.run.config_values import Value

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 1800
FRESH_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # else a restart may read addresses of the processes before it


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
    monkeypatch.setattr("train.data.reader.resource.getrlimit", lambda limit: (64, 64))
    with pytest.raises(DataError, match="72 shards are 328 open files, and 64 are allowed"):
        ClipReader(made.shards, table, dataset_id=DATASET_ID)


@dataclass(frozen=True)
class Host:
    """A network namespace that stands for a machine, with one address on the wire between the two."""

    namespace: str
    address: str
    interface: str


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces joined by a veth pair, and nothing else: neither sees the machine's other networks."""
    mark = f"{os.getpid() % 100000}"
    pair = (Host(f"lsvit-a{mark}", "10.231.77.1", f"va{mark}"), Host(f"lsvit-b{mark}", "10.231.77.2", f"vb{mark}"))
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the ip command (apt-get install iproute2)")
    try:
        for host in pair:
            if subprocess.run(["ip", "netns", "add", host.namespace], capture_output=True, check=False).returncode:
                pytest.skip("network namespaces are not permitted here")
        ends = [["name", host.interface, "netns", host.namespace] for host in pair]
        subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True)
        for host in pair:
            within = ["ip", "-n", host.namespace]
            subprocess.run([*within, "addr", "add", f"{host.address}/24", "dev", host.interface], check=True)
            for device in ("lo", host.interface):
                subprocess.run([*within, "link", "set", device, "up"], check=True)
        yield pair
    finally:
        for host in pair:
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def training_words(made: MadeDataset, runs: Path, name: str, **changes: Value) -> list[str]:
    """The words of ``lsvit-train run`` with TINY and the changes."""
    words = ["run", "--shards", str(made.shards), "--manifests", str(made.manifests), "--runs", str(runs)]
    for key, value in {**TINY, **changes, "name": name}.items():
        option = f"--{key.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return words


def slow_start(folder: Path) -> dict[str, str]:
    """An environment in which a process that trains takes five seconds longer to start."""
    text = "import sys, time\nif 'train.cli' in sys.orig_argv[:4]: time.sleep(5)\n"
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def start_node(host: Host, first: Host, words: Sequence[str], *, log: Path, max_restarts: int) -> subprocess.Popen[str]:
    """``torchrun`` in a namespace, one process; is_host, because both namespaces bear the machine's one host name.

    The first host is slow: the other must wait for its address, and not take one that it had before a restart.
    """
    launcher = [
        *("ip", "netns", "exec", host.namespace, sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "2", "--nproc-per-node", "1", "--local-addr", host.address, "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", f"{first.address}:29500", "--rdzv-id", "scale", "--max-restarts", str(max_restarts)),
        *("--rdzv-conf", f"is_host={int(host is first)}", "-m", "train.cli"),
    ]
    changes = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": host.interface, FRESH_STORE: "1"}
    changes |= slow_start(log.parent) if host is first else {}
    with log.open("w") as stream:
        return subprocess.Popen(
            [*launcher, *words], stdout=stream, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=os.environ | changes
        )


@contextmanager
def started_nodes(
    hosts: tuple[Host, Host], words: Sequence[str], logs: Sequence[Path], *, max_restarts: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """``torchrun`` on both hosts; neither it nor its worker outlives the block."""
    nodes = [
        start_node(host, hosts[0], words, log=log, max_restarts=max_restarts)
        for host, log in zip(hosts, logs, strict=True)
    ]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(PATIENCE_SECONDS)


def wait_for_nodes(nodes: Sequence[subprocess.Popen[str]], logs: Sequence[Path]) -> None:
    """Wait until all have succeeded or one has failed, for which the others would wait half an hour."""
    wait_until(
        lambda: any(node.poll() for node in nodes) or all(node.poll() == 0 for node in nodes),
        seconds=PATIENCE_SECONDS,
    )
    assert [node.poll() for node in nodes] == [0, 0], "".join(log.read_text() for log in logs)


def worker_of(launcher: int) -> int:
    """The process that trains, of a torchrun (which `ip netns exec` has become)."""
    started = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    workers = [int(child) for child in started if b"train.cli" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(workers) == 1, started
    return workers[0]


def step_of(folder: Path) -> int:
    """The step of a run's last checkpoint, 0 without one."""
    return int(checkpoint(folder)["progress"]["step"]) if (folder / "checkpoints" / "last.pt").exists() else 0


def test_the_slurm_training_script_names_options_that_exist() -> None:
    text = (EXAMPLES / "slurm_train.sh").read_text()
    launcher, training = text.split("\nsrun torchrun", 1)[1].split("-m train.cli run")
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


@pytest.mark.stress
def test_two_hosts_give_the_losses_of_one_process(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "made")
    alone = train(made, tmp_path, "alone", batch_size=6, mixup=0.4)
    words = training_words(made, tmp_path, "together", batch_size=6, mixup=0.4)
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    with started_nodes(hosts, words, logs, max_restarts=0) as nodes:
        wait_for_nodes(nodes, logs)
    assert "2 processes" in "".join(log.read_text() for log in logs)
    np.testing.assert_allclose(losses(tmp_path / "together"), losses(alone), rtol=2e-4)


@pytest.mark.stress
def test_a_killed_worker_restarts_all_from_the_last_checkpoint(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """The worker of the second host is killed in the middle; the run goes on and ends as if nothing had been."""
    made = make_dataset(tmp_path / "made")
    changes: dict[str, Value] = {"batch_size": 6, "mixup": 0.4, "epochs": 12}
    alone = train(made, tmp_path, "alone", **changes)
    words = [*training_words(made, tmp_path, "killed", **changes), "--resume", "--checkpoint-every", "1"]
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    with started_nodes(hosts, words, logs, max_restarts=2) as nodes:
        wait_until(
            lambda: step_of(tmp_path / "killed") >= 4 or any(node.poll() is not None for node in nodes),
            seconds=PATIENCE_SECONDS,
        )
        os.kill(worker_of(nodes[1].pid), signal.SIGKILL)
        wait_for_nodes(nodes, logs)
    text = "".join(log.read_text() for log in logs)
    continued = re.findall(r"continuing after step (\d+)", text)
    assert len(continued) == 1, text
    assert 4 <= int(continued[0]) < int(checkpoint(alone)["progress"]["step"])
    np.testing.assert_allclose(losses(tmp_path / "killed"), losses(alone), rtol=2e-3)
    print(f"\nworker killed after step {continued[0]}: continued, same losses to 2e-3")


def losses(folder: Path) -> npt.NDArray[np.float64]:
    """Training and validation loss of each epoch: float64 (epochs, 2)."""
    rows = checkpoint(folder)["progress"]["history"]
    return np.array([[row["train_loss"], row["val_loss"]] for row in rows])
