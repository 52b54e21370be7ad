"""``lsvit-train run`` as a user meets it: through a subprocess, killed, interrupted, called wrongly."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_dataset import MadeDataset
from trained import TINY, assert_same, checkpoint


def command(made: MadeDataset, runs: Path, *words: str) -> list[str]:
    base = [sys.executable, "-m", "train.cli", "run", "--shards", str(made.shards), "--manifests", str(made.manifests)]
    base += ["--runs", str(runs)]
    for key, value in TINY.items():
        base += [f"--{key.replace('_', '-')}", str(value)]
    return [*base, *words]


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False, timeout=300)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start a run and return once it trains, or is over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("training:", "continuing ")):
            break
    return process


@pytest.mark.slow
def test_a_run_and_its_exit_codes(made: MadeDataset, tmp_path: Path) -> None:
    done = call(command(made, tmp_path, "--epochs", "1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"wrote {tmp_path / 'lsvit-tiny'}")
    again = call(command(made, tmp_path, "--epochs", "1"))
    assert again.returncode == 2 and again.stderr.startswith("error: the run") and "Traceback" not in again.stderr
    resumed = call(command(made, tmp_path, "--epochs", "1", "--resume"))
    assert resumed.returncode == 0 and "is finished" in resumed.stdout
    absent = call(command(made, tmp_path, "--name", "b", "--manifests", str(tmp_path / "absent")))
    assert absent.returncode == 1 and "hmdb-prep extract" in absent.stderr
    assert not (tmp_path / "b").exists()
    assert call(command(made, tmp_path, "--epocs", "1")).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_with_a_checkpoint(made: MadeDataset, tmp_path: Path, number: int) -> None:
    process = start(command(made, tmp_path, "--epochs", "100000", "--checkpoint-every", "0"))
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    progress = checkpoint(tmp_path / "lsvit-tiny")["progress"]
    assert progress["step"] > 0 and not progress["finished"]


@pytest.mark.stress
def test_killed_at_random_moments_the_weights_stay_the_same(made: MadeDataset, tmp_path: Path) -> None:
    words = [
        "--epochs",
        "40",
        "--checkpoint-every",
        "3",
        "--model-ema",
        "--mixup",
        "0.4",
        "--cutmix",
        "1",
        "--name",
        "a",
    ]
    assert call(command(made, tmp_path / "whole", *words)).returncode == 0
    rng = random.Random(0)
    for _ in range(10):
        process = start(command(made, tmp_path / "killed", *words, "--resume"))
        time.sleep(rng.random())
        process.kill()
        process.wait()
    assert call(command(made, tmp_path / "killed", *words, "--resume")).returncode == 0
    whole, killed = tmp_path / "whole" / "a", tmp_path / "killed" / "a"
    for which in ("last", "best"):
        assert_same(checkpoint(killed, which), checkpoint(whole, which), ignored=frozenset({"runs"}))
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    """It counts only where it is set before torch, and OpenMP with it, is loaded."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | given
    script = (
        "import os, sys, train.cli as cli\n"
        "cli.run_app = lambda app, program: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert done.stdout.split() == [expected, "False"]
