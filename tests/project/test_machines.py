"""Other machines than Linux: what macOS lacks is not needed, and Windows is told so in one line."""

from __future__ import annotations

import io
import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import succeed
from extraction import content, places
from media import HMDB_LIKE, make_video
from trained import TINY

from preprocess.doctor.probe import libavutil_files
from shared.files import take_room
from shared.machine.workers import WorkerPool
from shared.missing_packages import install
from shared.terminal.startup import let_macs_fall_back

BARE_UNIX = Path(__file__).parents[1] / "helpers" / "bare_unix.py"  # never imported here: it takes calls away


def on_windows(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Start a program where Python says that it is on Windows and lacks what it lacks there."""
    script = (
        "import sys; sys.platform = 'win32'; sys.modules.update(fcntl=None, resource=None, termios=None, pwd=None); "
        f"sys.argv = {['program', *words]!r}; from hmdb51_lsvit.commands import {program}; {program}()"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("program", "words"),
    [("hmdb_prep", ("extract",)), ("lsvit_train", ("--help",)), ("lsvit_train", ("run", "--epochs", "1"))],
)
def test_on_windows_every_command_names_wsl(program: str, words: tuple[str, ...]) -> None:
    done = on_windows(program, *words)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "WSL 2" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1"), ("0", "0")])
def test_what_the_gpu_of_a_mac_lacks_the_cpu_does(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "environ", {} if chosen is None else {"PYTORCH_ENABLE_MPS_FALLBACK": chosen})
    let_macs_fall_back()
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == expected


def bare(program: str, *words: str | Path) -> str:
    """Run a command without what is Linux's alone; returns its standard output."""
    done = subprocess.run(
        [sys.executable, str(BARE_UNIX), program, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_chain_needs_nothing_of_linux_alone(tmp_path: Path, ffmpeg: str) -> None:
    videos = tmp_path / "videos"
    for index in range(6):
        for name in ("walk", "sit"):
            make_video(videos / name / f"src{index}_{name}.avi", *HMDB_LIKE, num_frames=17 + index, size="64x48")
    options = ("--videos", videos, "--workers", "2", "--size", "48x64")
    said = bare("hmdb-prep", "extract", *options, *places(tmp_path / "bare"))
    assert "12 clips" in said
    succeed("hmdb-prep", "extract", *options, *places(tmp_path / "whole"))
    assert content(tmp_path / "bare") == content(tmp_path / "whole")
    bare("hmdb-prep", "verify", *places(tmp_path / "bare"))
    settings = [word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    run = ("--runs", tmp_path / "runs")
    bare("lsvit-train", "run", *settings, "--epochs", "1", "--name", "a", *run, *places(tmp_path / "bare"))
    video = videos / "walk" / "src0_walk.avi"
    answer = bare("lsvit-train", "predict", "a", video, "--json", *run)
    assert json.loads(answer) == json.loads(succeed("lsvit-train", "predict", "a", video, "--json", *run))


def test_workers_may_be_fresh_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.machine.workers.START_METHOD", "spawn")
    with WorkerPool(num_workers=1, timeout_seconds=60.0, preload=[]) as pool:
        tickets = [pool.submit(operator.neg, number) for number in range(5)]
        assert [pool.wait(ticket) for ticket in tickets] == [0, -1, -2, -3, -4]


@pytest.mark.parametrize("has_call", [True, False])
def test_room_is_taken_with_and_without_the_call_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    if not has_call:
        monkeypatch.delattr(os, "posix_fallocate")
    path = tmp_path / "file"
    path.write_bytes(b"head")
    size = (1 << 20) + 5
    with path.open("r+b") as file:
        take_room(file, 4, size)
    assert path.read_bytes() == b"head" + bytes(size)
    assert path.stat().st_blocks * 512 >= size


def test_a_full_disk_is_met_at_once_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.delattr(os, "posix_fallocate")
    with pytest.raises(OSError, match="No space"):
        take_room(Full(), 0, 10)


def test_remedies_name_the_machines_own_installer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install("ffmpeg") == "apt-get install ffmpeg" and libavutil_files(60) == ["libavutil.so.60"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert install("ffmpeg") == "brew install ffmpeg"
    assert "/opt/homebrew/opt/ffmpeg/lib/libavutil.60.dylib" in libavutil_files(60)
