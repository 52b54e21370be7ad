"""Several processes under torchrun give the losses of one, and continue each other's runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import command_line
from made_dataset import MadeDataset, make_dataset
from trained import TINY, checkpoint, train

from train.run.config.values import Value

OPTIONS: dict[str, Value] = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "drop_path": 0.3,
    "batch_size": 6,
    "model_ema": True,
    "epochs": 2,
}


def launch(made: MadeDataset, runs: Path, name: str, *, processes: int, words: tuple[str, ...] = ()) -> Path:
    """``torchrun`` with TINY and OPTIONS on the CPU, in a folder with a user's own train.py."""
    (runs / "train.py").write_text("raise SystemExit('this is not ours')\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["--no-python", *command_line("lsvit-train", ["run"])]
    command += ["--shards", str(made.shards), "--manifests", str(made.manifests)]
    command += ["--runs", str(runs), "--name", name]
    for key, value in {**TINY, **OPTIONS}.items():
        name = f"--{key.replace('_', '-')}"
        command += [name] if value is True else [name, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment, cwd=runs, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return runs


def history(folder: Path) -> np.ndarray:
    rows = checkpoint(folder)["progress"]["history"]
    return np.array([[row["train_loss"], row["val_loss"], row["train_top1"]] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_match_one(made: MadeDataset, tmp_path: Path, processes: int) -> None:
    alone = train(made, tmp_path, "alone", **OPTIONS)
    launch(made, tmp_path, "together", processes=processes)
    np.testing.assert_allclose(history(tmp_path / "together"), history(alone), rtol=2e-4)
    assert len(list((tmp_path / "together" / "tensorboard").iterdir())) == 1  # the first process alone tracks
    for name, value in checkpoint(alone)["model"].items():
        other = checkpoint(tmp_path / "together")["model"][name]
        # Adam divides by the size of a gradient, so rounding shows most where gradients are nearly zero.
        assert (value - other).abs().max() < 2e-3, name


@pytest.mark.slow
def test_frozen_and_checkpointed_processes_match_one(made: MadeDataset, tmp_path: Path) -> None:
    alone = train(made, tmp_path, "alone", **OPTIONS, train="motion")
    launch(made, tmp_path, "together", processes=2, words=("--train", "motion", "--checkpoint-blocks"))
    np.testing.assert_allclose(history(tmp_path / "together"), history(alone), rtol=2e-4)
    for name, value in checkpoint(alone)["model"].items():
        other = checkpoint(tmp_path / "together")["model"][name]
        is_frozen = name.startswith("backbone.") and ".lmim." not in name
        assert torch.equal(value, other) if is_frozen else (value - other).abs().max() < 2e-3, name


@pytest.mark.slow
def test_a_run_of_two_processes_is_continued_by_one(made: MadeDataset, tmp_path: Path) -> None:
    whole = train(made, tmp_path, "whole", **OPTIONS)
    launch(made, tmp_path, "cut", processes=2, words=("--max-minutes", "1e-7"))
    assert checkpoint(tmp_path / "cut")["progress"]["step"] == 1
    train(made, tmp_path, "cut", resume=True, **OPTIONS, max_minutes=0.0)
    np.testing.assert_allclose(history(tmp_path / "cut"), history(whole), rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_clips_of_one_frame_train_together(tmp_path: Path, variant: str) -> None:
    """Every parameter takes part, also those of LMI, which has nothing to compare there."""
    still = make_dataset(tmp_path / "still", num_segments=1)
    options: dict[str, Value] = {**OPTIONS, "epochs": 1, "smif": variant, "lmi": variant}
    alone = train(still, tmp_path, "alone", **options)
    words = ("--epochs", "1", "--smif", variant, "--lmi", variant)
    launch(still, tmp_path, "together", processes=2, words=words)
    np.testing.assert_allclose(history(tmp_path / "together"), history(alone), rtol=2e-4)
