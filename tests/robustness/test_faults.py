"""Faults of disks, clocks, locks and memory, marked ``stress``.

Kills: test_extract_stress.py, test_run_command.py. Two extractions on one folder at once: test_extract.py.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command_line, fail, run, succeed
from extraction import content, places
from hungry import extract_with_little_memory
from made_dataset import make_dataset
from media import HMDB_LIKE, make_video
from small_disk import mounted_disk

from preprocess.extract import shards as extract_shards
from preprocess.extract.command import run_extraction
from preprocess.extract.extraction_plan import make_parameters
from preprocess.extract.settings import ExtractionSettings
from shared.manifests.files import read_manifests, read_quarantine

pytestmark = pytest.mark.stress
MODEL = "--img-size 32 --patch-size 16 --embed-dim 64 --depth 2 --num-heads 2 --batch-size 4 --workers 1".split()
MODEL += ["--device", "cpu", "--val-fraction", "0.3"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Videos, shards and manifests of a small extraction."""
    folder = tmp_path_factory.mktemp("prepared")
    succeed("hmdb-prep", "synth", folder / "videos", "--clips", "24", "--classes", "3", "--workers", "2")
    succeed("hmdb-prep", "extract", "--videos", folder / "videos", *places(folder), "--size", "32")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    with mounted_disk(tmp_path / "small", size="3m") as folder:
        yield folder


def extracted(folder: Path) -> dict[str, bytes]:
    """The shards and manifests in a folder."""
    return {name: data for name, data in content(folder).items() if not name.startswith(("videos/", "preload"))}


def stage(name: str, prepared: Path, disk: Path) -> tuple[str | Path, ...]:
    """A command that writes to ``disk``, of which all that it reads lies elsewhere, or on it already."""
    given = ("--shards", prepared / "shards", "--manifests", prepared / "manifests")
    if name == "synth":
        return "hmdb-prep", "synth", disk / "videos", "--clips", "24", "--classes", "3", "--workers", "1"
    if name == "extract":  # its shards: test_extract_stress
        shards = ("--shards", prepared / "shards", "--size", "32")
        return "hmdb-prep", "extract", "--videos", prepared / "videos", *shards, "--manifests", disk / "manifests"
    if name == "merge":
        return "hmdb-prep", "merge", "--shards", prepared / "shards", "--manifests", disk / "manifests"
    if name == "eda":
        return "hmdb-prep", "eda", *given, "--out", disk / "eda.html"
    if name == "balance":
        return "hmdb-prep", "balance", "--shards", prepared / "shards", "--manifests", disk / "manifests"
    if name == "embed":
        return "lsvit-train", "embed", prepared / "runs" / "small", *given, "--out", disk / "features.npz"
    return "lsvit-train", "run", *given, "--runs", disk / "runs", "--name", "small", "--epochs", "2", *MODEL


STAGES = ("synth", "extract", "merge", "eda", "balance", "run")


def fill(disk: Path, *, leave: int) -> None:
    """Fill a file system but for ``leave`` bytes."""
    free = shutil.disk_usage(disk).free
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, free - leave)))


def prepare(name: str, prepared: Path, disk: Path) -> None:
    if name == "balance":
        shutil.copytree(prepared / "manifests", disk / "manifests")


def said(outcome_err: str) -> str:
    assert len(outcome_err.strip().splitlines()) <= 3, outcome_err
    return outcome_err


@pytest.mark.parametrize("leave", [0, 40_000])
@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk(name: str, leave: int, prepared: Path, small_disk: Path) -> None:
    """One line, nothing half written under a final name, and done once there is room."""
    prepare(name, prepared, small_disk)
    command = stage(name, prepared, small_disk)
    fill(small_disk, leave=leave)
    outcome = run(*command)  # type: ignore[arg-type]
    if leave == 0 or outcome.code:
        assert outcome.code == 1, outcome
        assert "Traceback" not in outcome.err
        assert "No space left" in outcome.err or "free" in outcome.err, outcome.err
        assert not list(small_disk.rglob("*.tmp")), "a temporary file was left"
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    succeed(*command, *(("--resume",) if name == "run" else ()))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STAGES)
def test_a_read_only_destination(name: str, prepared: Path, small_disk: Path) -> None:
    prepare(name, prepared, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    error = fail(1, *stage(name, prepared, small_disk))  # type: ignore[arg-type]
    assert "Read-only file system" in error


def preload(folder: Path, source: str) -> dict[str, str]:
    """An environment in which functions of the C library are replaced."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "preload.c").write_text(source)
    library = folder / "preload.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "preload.c"), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


NO_LOCKS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
int flock(int descriptor, int operation) { errno = NUMBER; return -1; }
static int locking(int command) { return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK; }
int fcntl64(int descriptor, int command, ...) {
    va_list list; va_start(list, command); long argument = va_arg(list, long); va_end(list);
    if (locking(command)) { errno = NUMBER; return -1; }
    return syscall(SYS_fcntl, descriptor, command, argument);
}
int fcntl(int descriptor, int command, ...) {
    va_list list; va_start(list, command); long argument = va_arg(list, long); va_end(list);
    return fcntl64(descriptor, command, argument);
}
"""


@pytest.mark.parametrize("number", ["ENOLCK", "ENOTSUP", "ENOSYS"])
def test_a_file_system_without_locks(
    number: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS without its lock service: HDF5 would refuse to open a file. The result is the same."""
    for name, value in preload(tmp_path, NO_LOCKS.replace("NUMBER", number)).items():
        monkeypatch.setenv(name, value)
    probe = "import fcntl\ntry:\n fcntl.flock(0, fcntl.LOCK_SH)\nexcept OSError: print('refused')"
    assert subprocess.run(["python3", "-c", probe], capture_output=True, text=True, check=True).stdout == "refused\n"
    words = ("--videos", prepared / "videos", *places(tmp_path / "out"), "--size", "32")
    succeed("hmdb-prep", "extract", *words, installed=True)
    succeed("hmdb-prep", "verify", *places(tmp_path / "out"), installed=True)
    assert content(tmp_path / "out") == extracted(prepared)


BACKWARDS = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long back = 0;
int clock_gettime(clockid_t clock, struct timespec *result) {
    int code = syscall(SYS_clock_gettime, clock, result);
    if (clock == CLOCK_REALTIME) result->tv_sec -= (back += 60);
    return code;
}
"""


def test_a_clock_that_runs_backwards(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute back at each look; file times in 1970 and 2100. Rates stay positive, results the same."""
    videos = tmp_path / "videos"
    shutil.copytree(prepared / "videos", videos)
    for place, video in enumerate(sorted(videos.glob("*/*"))):
        os.utime(video, (0, 0) if place % 2 else (4102444800, 4102444800))
    for name, value in preload(tmp_path, BACKWARDS).items():
        monkeypatch.setenv(name, value)
    succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--size", "32", installed=True)
    assert extracted(tmp_path) == extracted(prepared)
    for shard in (tmp_path / "shards").glob("*.h5"):
        os.utime(shard, (4102444800, 4102444800))
    succeed("hmdb-prep", "verify", *places(tmp_path), installed=True)
    options = ("--runs", tmp_path / "runs", "--name", "clock", "--epochs", "2", "--max-minutes", "5", *MODEL)
    succeed("lsvit-train", "run", *places(tmp_path), *options, installed=True)
    with (tmp_path / "runs" / "clock" / "timing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(float(row["seconds"]) > 0 and float(row["clips_per_second"]) > 0 for row in rows)


def flip(shard: Path) -> None:
    with shard.open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)[0]
        file.seek(100_000)
        file.write(bytes([byte ^ 1]))


def cut(shard: Path) -> None:
    os.truncate(shard, 8192)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_shard_that_changes_while_training(damage: object, tmp_path: Path) -> None:
    """Noticed at the next clip that is read from it; the run continues once the shard is back."""
    made = make_dataset(tmp_path / "made", height=64, width=64)
    folders = ("--shards", made.shards, "--manifests", made.manifests, "--runs", tmp_path / "runs", "--name", "one")
    options = (*folders, "--epochs", "400", *MODEL)
    arguments = command_line("lsvit-train", ["run", *options])
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    metrics = tmp_path / "runs" / "one" / "metrics.csv"
    deadline = time.monotonic() + 200
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    shard = made.shards / "shard-00001.h5"
    whole = shard.read_bytes()
    damage(shard)  # type: ignore[operator]
    _, error = process.communicate(timeout=200)
    assert process.returncode == 1, (process.returncode, error)
    assert "Traceback" not in error
    assert "shard-00001.h5 was changed while it was being read" in error
    shard.write_bytes(whole)
    succeed("lsvit-train", "run", *folders, "--resume", "--max-minutes", "0.05")


def test_a_worker_that_runs_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ffmpeg: str) -> None:
    """The video is quarantined, the others are clips."""
    for place in range(6):
        make_video(tmp_path / "videos" / "walk" / f"{place}.avi", *HMDB_LIKE)
    make_video(tmp_path / "videos" / "walk" / "huge.avi", "-c:v", "mpeg4", num_frames=18, size="8000x8000")
    monkeypatch.setattr(extract_shards, "extract_clip", extract_with_little_memory)
    parameters = make_parameters(size="32", fit="crop", num_segments=16, frames_per_segment=1, clips_per_shard=4)
    shards, manifests = tmp_path / "shards", tmp_path / "manifests"
    settings = ExtractionSettings(
        videos=tmp_path / "videos", shards=shards, manifests=manifests, parameters=parameters, num_workers=1
    )
    run_extraction(settings)
    assert len(read_manifests(manifests)) == 6
    (row,) = read_quarantine(manifests).to_dict("records")
    assert row["path"] == "walk/huge.avi"
    print(f"\nquarantined: {row['stage']}: {row['error']}")
