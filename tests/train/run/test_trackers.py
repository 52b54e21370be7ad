"""Trackers show a run, continue its record and never cost it anything: made ones, wandb and trackio where at hand."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from commands import command_line
from made_dataset import MadeDataset
from trained import train, training_words

from shared.errors import UsageError
from train.run.trackers import RECORD_FILE, check_tracker


@dataclass
class Recorder:
    """A tracker that keeps what it is given, and fails where it is told to."""

    fails_at: str = ""
    entries: list[tuple[int, int | None, dict[str, float]]] = field(default_factory=list)
    num_closed: int = 0

    def start(self, *arguments: object, **options: object) -> Recorder:
        self._perhaps_fail("start")
        return self

    def log(self, values: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        self._perhaps_fail("log")
        self.entries.append((step, epoch, dict(values)))

    def close(self) -> None:
        self.num_closed += 1
        self._perhaps_fail("close")

    def _perhaps_fail(self, place: str) -> None:
        if place == self.fails_at:
            raise RuntimeError(f"no {place}\nsecond line")


def test_a_run_tells_its_tracker_steps_and_epochs(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr("train.run.trackers._start", recorder.start)
    train(made, tmp_path, "a", log_every=2)
    steps = [entry for entry in recorder.entries if entry[1] is None]
    assert [step for step, _, _ in steps] == [2, 4, 6] and recorder.num_closed == 1
    assert {name for _, _, values in steps for name in values} == {"step/loss", "step/learning_rate"}
    epochs = [values for _, epoch, values in recorder.entries if epoch == 2]
    names = {name for values in epochs for name in values}
    assert {"epoch/train_loss", "epoch/val_top1", "epoch/clips_per_second"} <= names
    assert not {"epoch/epoch", "epoch/best", "epoch/val_clips"} & names


@pytest.mark.parametrize("place", ["start", "log", "close"])
def test_a_tracker_that_fails_costs_one_line(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    recorder = Recorder(fails_at=place)
    monkeypatch.setattr("train.run.trackers._start", recorder.start)
    folder = train(made, tmp_path, "a", log_every=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "--tracker" in line]
    assert lines == [f"--tracker tensorboard failed (no {place}); the run goes on without it"]
    assert (folder / "report.html").is_file() and recorder.num_closed == (place == "close")


def test_a_full_disk_costs_tensorboard_and_not_the_run(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "tensorboard").write_text("in the way")
    train(made, tmp_path, "a", resume=True)
    assert capsys.readouterr().out.count("--tracker tensorboard failed") == 1
    assert (folder / "metrics.csv").is_file()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_what_is_not_installed_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, made: MadeDataset, tmp_path: Path
) -> None:
    monkeypatch.setattr("train.run.trackers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"pip install 'hmdb51-lsvit\[{name}\]'") as raised:
        train(made, tmp_path, "a", tracker=name)
    assert len(str(raised.value).splitlines()) <= 2 and not (tmp_path / "a").exists()


def test_a_folder_of_its_name_is_no_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(UsageError, match="wandb is not installed"):
        check_tracker("wandb")


def tracked(made: MadeDataset, runs: Path, tracker: str, **changes: str | int) -> str:
    """``lsvit-train run`` with a tracker, and environment variables in capitals; returns its output."""
    environment = {name: str(value) for name, value in changes.items() if name.isupper()}
    options = {name: value for name, value in changes.items() if not name.isupper()}
    words = training_words(made, runs, "a", tracker=tracker, log_every=1, **options)
    done = subprocess.run(
        [*command_line("lsvit-train", words), "--resume"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(runs)} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def half(made: MadeDataset, runs: Path, tracker: str, **environment: str) -> None:
    """The first step of a run, which stops there."""
    tracked(made, runs, tracker, max_minutes="1e-7", **environment)


@pytest.mark.slow
def test_wandb_offline_continues_its_record(made: MadeDataset, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[wandb]'")
    half(made, tmp_path, "wandb", WANDB_MODE="offline")
    said = tracked(made, tmp_path, "wandb", max_minutes=0, WANDB_MODE="offline")
    name = (tmp_path / "a" / RECORD_FILE).read_text().strip()
    records = sorted((tmp_path / "a" / "wandb").glob("offline-run-*"))
    assert len(records) == 2 and all(record.name.endswith(f"-{name}") for record in records)
    content = b"".join((record / f"run-{name}.wandb").read_bytes() for record in records)
    assert b"epoch/val_top1" in content and b"step/loss" in content and b"embed_dim" in content
    assert "wandb sync" in said and "failed" not in said and not (tmp_path / "a" / "tensorboard").exists()


@pytest.mark.slow
def test_wandb_without_a_login_costs_one_line(made: MadeDataset, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[wandb]'")
    said = tracked(made, tmp_path, "wandb", epochs=1)
    assert said.count("--tracker wandb failed") == 1 and "`wandb login`" in said
    assert said.count("wandb") <= 4, said


@pytest.mark.slow
def test_wandb_without_a_network_costs_one_line(made: MadeDataset, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[wandb]'")
    said = tracked(
        made,
        tmp_path,
        "wandb",
        epochs=1,
        WANDB_API_KEY="a" * 40,
        WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_INIT_TIMEOUT="3",
    )
    assert said.count("--tracker wandb failed") == 1


@pytest.mark.slow
def test_trackio_continues_its_record(made: MadeDataset, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed: pip install -e '.[trackio]'")
    store = tmp_path / "store"
    half(made, tmp_path, "trackio", TRACKIO_DIR=str(store))
    said = tracked(made, tmp_path, "trackio", max_minutes=0, TRACKIO_DIR=str(store))
    name = f"a-{(tmp_path / 'a' / RECORD_FILE).read_text().strip()}"
    assert f"trackio: run {name}" in said and "failed" not in said and "Uploading" not in said
    with sqlite3.connect(next(store.glob("*.db"))) as database:
        rows = database.execute("select run_name, run_id, step, metrics from metrics").fetchall()
    assert {row[0] for row in rows} == {name} and len({row[1] for row in rows}) == 1
    assert {row[2] for row in rows} >= {1, 2, 3, 6}
    assert any("epoch/val_top1" in str(row[3]) for row in rows)


@pytest.mark.slow
def test_trackio_without_a_disk_costs_one_line(made: MadeDataset, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed: pip install -e '.[trackio]'")
    (tmp_path / "file").touch()
    said = tracked(made, tmp_path, "trackio", epochs=1, TRACKIO_DIR=str(tmp_path / "file" / "store"))
    assert said.count("--tracker trackio failed") == 1
