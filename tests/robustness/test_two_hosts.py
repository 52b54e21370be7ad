"""Training on two hosts, which are network namespaces here: the losses of one process, and restarts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from commands import command_line
from extraction import wait_until
from made_dataset import make_dataset
from trained import checkpoint, train, training_words

from train.run.config.values import Value

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 1800
FRESH_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # else a restart may read addresses of the processes before it


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


def slow_start(folder: Path) -> dict[str, str]:
    """An environment in which a process that trains takes five seconds longer to start."""
    text = "import sys, time\nif ''.join(sys.orig_argv[1:2]).endswith('lsvit-train'): time.sleep(5)\n"
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
        *("--rdzv-conf", f"is_host={int(host is first)}", "--no-python", command_line("lsvit-train", [])[0]),
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
    workers = [int(child) for child in started if b"lsvit-train" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(workers) == 1, started
    return workers[0]


def step_of(folder: Path) -> int:
    """The step of a run's last checkpoint, 0 without one."""
    return int(checkpoint(folder)["progress"]["step"]) if (folder / "checkpoints" / "last.pt").exists() else 0


def losses(folder: Path) -> npt.NDArray[np.float64]:
    """Training and validation loss of each epoch: float64 (epochs, 2)."""
    rows = checkpoint(folder)["progress"]["history"]
    return np.array([[row["train_loss"], row["val_loss"]] for row in rows])


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
