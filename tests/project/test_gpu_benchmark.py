"""The check of a GPU: its quick form on the CPU; no part that fails, hangs or runs out of memory ends the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import succeed
from media import HMDB_LIKE, make_video

from benchmarks.gpu import parts as gpu_parts
from benchmarks.gpu import steps as gpu_steps
from benchmarks.gpu.__main__ import tasks
from benchmarks.gpu.decoding import agreement, num_strays
from benchmarks.gpu.parts import extract, steps
from benchmarks.gpu.report import Bench, Report, Row, SkipError, TimeUpError, markdown, run_part
from benchmarks.gpu.steps import Case, measure_smaller, peak_flops

ROOT = Path(__file__).parents[2]
CASE = Case(preset="tiny", motion="none", precision="fp16", is_compiled=False, batch=64, image_size=32)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(place=tmp_path, device="cpu", quick=True, deadline=time.monotonic() + 300)


@pytest.mark.slow
def test_the_quick_form_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick", "--device", "cpu", "--out", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "out" / "gpu.json").read_text()
    assert str(Path(sys.executable).parent) not in text
    report = json.loads(text)
    assert report["megabytes"] < 100
    parts = {part["name"]: part for part in report["parts"]}
    assert list(parts) == [task.name for task in tasks(quick=True)]
    assert parts.pop("compiled steps, tiny")["state"] == "skipped"
    if not torch.cuda.is_available():
        tests = parts.pop("tests marked cuda")
        assert tests["error"] == "every test was skipped"
        assert all(row["tests"] and row["result"].startswith("skipped") for row in tests["rows"])
    for name in (
        "decoding, frame by frame",
        "decoding of real clips, frame by frame",
        "predict",
    ):  # the CPU agrees with itself: that says nothing
        part = parts.pop(name)
        assert part["state"] == "skipped" and part["error"].startswith("no GPU") and not part["rows"]
    assert {part["state"] for part in parts.values()} == {"passed"}
    steps = parts["steps, tiny"]["rows"]
    assert {row["motion"] for row in steps} == {"none", "classic", "directional"}
    assert {row["precision"] for row in steps} == {"fp16", "bf16"}
    assert all(0 <= row["waiting for clips, %"] <= 100 for row in parts["run"]["rows"])


@pytest.mark.slow
def test_a_gpu_that_decodes_nothing_is_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_the_cpu(given: Bench, videos: Path, name: str, *words: str, device: str) -> Path:
        return extract(given, videos, name, *words, device="cpu")

    monkeypatch.setattr(gpu_parts, "extract", on_the_cpu)
    assert run_part("videos", bench, gpu_parts.make_videos).state == "passed"
    part = run_part("decoding", replace(bench, device="cuda"), gpu_parts.compare_frames)
    assert part.state == "failed" and "the GPU decoded none of these clips" in part.error
    assert {row["codec"] for row in part.rows} == {"h264", "mpeg4"}
    for row in part.rows:
        assert int(row["frames compared"]) > 16 and row["largest"] == 0 and row["strayed frames"] == 0
    assert bench.used_bytes() < 150e6


@pytest.mark.parametrize("said", ["2 passed, 1 skipped in 3 s", "1 skipped in 3 s"])
def test_tests_that_passed_have_a_row_only_where_some_did(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(Bench, "run", lambda *words: f"SKIPPED [1] tests/test_a.py:7: no CUDA GPU\n{said}\n")
    part = run_part("tests", bench, gpu_parts.cuda_tests)
    assert part.state == ("passed" if "passed" in said else "skipped")
    assert part.rows[-1] == {"tests": 1, "result": "skipped: tests/test_a.py:7: no CUDA GPU"}
    assert part.rows[:-1] == (({"tests": 2, "result": "passed"},) if "passed" in said else ())


@pytest.mark.parametrize("name", ["decoding, frame by frame", "predict"])
def test_the_cpu_is_not_compared_with_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Bench, "run", lambda *words: "[]")
    (task,) = (task for task in tasks(quick=True) if task.name == name)
    part = run_part(name, bench, task.function)
    assert part.state == "skipped" and part.error.startswith("no GPU") and not part.rows


def test_a_part_that_fails_keeps_its_rows_and_its_reason(bench: Bench) -> None:
    def function(given: Bench) -> Iterator[Row]:
        yield {"clips": 3}
        given.run("-c", "import sys; sys.exit('no such codec')")

    part = run_part("decoding", bench, function)
    assert part.state == "failed" and part.rows == ({"clips": 3},)
    assert "exit code 1\nno such codec" in part.error
    report = Report(machine={"gpu": "T4"}, device="cuda", is_quick=False).add(part, used_bytes=5 * 10**6)
    assert report.has_failed
    text = markdown(report)
    assert "0 passed, 1 failed, 0 skipped" in text and "    no such codec" in text and "| 3 |" in text
    report.write(bench.place / "out")
    assert json.loads((bench.place / "out" / "gpu.json").read_text())["parts"][0]["rows"] == [{"clips": 3}]


def test_a_part_that_cannot_be_tried_is_no_failure(bench: Bench) -> None:
    def function(given: Bench) -> Iterator[Row]:
        raise SkipError("not here")
        yield {}

    part = run_part("export", bench, function)
    assert (part.state, part.error) == ("skipped", "not here")
    assert not Report(machine={}, device="cpu", is_quick=True).add(part, used_bytes=0).has_failed


def test_what_hangs_is_ended_with_its_children(bench: Bench, tmp_path: Path) -> None:
    child = "import subprocess, sys; print('first', flush=True); "
    child += "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait())"
    lines = []
    with pytest.raises(TimeUpError, match="its time was up"):
        for line in bench.within(5).lines("-c", child):
            lines.append(line)
    assert lines == ["first"]  # and reading ended: the child's child, which held the pipe, is gone


def test_no_part_begins_when_the_time_is_up(bench: Bench) -> None:
    with pytest.raises(TimeUpError, match="no time was left"):
        bench.within(0).run("-c", "")


@pytest.mark.parametrize(("printed", "state"), [(1, "skipped"), (0, "failed")])
def test_time_that_runs_out_while_compiling_is_no_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, printed: int, state: str
) -> None:
    def lines(self: Bench, *words: object) -> Iterator[str]:
        yield from ['ROW {"clips/s": 7}'] * printed
        raise TimeUpError("its time was up")

    monkeypatch.setattr(Bench, "lines", lines)
    part = run_part("compiled", replace(bench, quick=False), partial(steps, preset="base", compiled=True))
    assert (part.state, len(part.rows)) == (state, printed)
    part = run_part("plain", replace(bench, quick=False), partial(steps, preset="base", compiled=False))
    assert (part.state, len(part.rows)) == ("failed", printed)


def test_the_limits_leave_compiling_to_the_end() -> None:
    names = [task.name for task in tasks(quick=False)]
    assert [name for name in names if name.startswith("compiled")] == names[-3:]
    assert {"steps, tiny", "steps, small", "steps, base"} < set(names)


def test_less_memory_means_fewer_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(case: Case, *, device: torch.device, rounds: int) -> Row:
        if case.batch > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"clips": case.batch}

    monkeypatch.setattr(gpu_steps, "measure", measure)
    assert measure_smaller(CASE, device=torch.device("cpu"), rounds=1) == {"clips": 8}


def test_what_is_not_a_lack_of_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(case: Case, *, device: torch.device, rounds: int) -> Row:
        raise RuntimeError("the loss is nan")

    monkeypatch.setattr(gpu_steps, "measure", measure)
    with pytest.raises(RuntimeError, match="nan"):
        measure_smaller(replace(CASE, batch=2), device=torch.device("cpu"), rounds=1)


@pytest.mark.parametrize(
    ("device", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "fp16", 756.0),
        ("NVIDIA H200", "fp16", 989.5),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA GeForce RTX 4090", "fp16", 165.2),
        ("Tesla T4", "fp16", 65.0),
        ("Tesla T4", "bf16", None),
        ("NVIDIA T400 4GB", "fp16", None),
        ("NVIDIA GeForce RTX 3060", "fp16", None),
    ],
)
def test_peaks(device: str, precision: str, tera: float | None) -> None:
    assert peak_flops(device, precision) == (None if tera is None else tera * 1e12)


def test_a_frame_too_late_is_told_from_rounding() -> None:
    rng = np.random.default_rng(0)
    ours = rng.integers(20, 200, (6, 8, 8, 3), dtype=np.uint8)
    rounded = (ours + rng.integers(0, 3, ours.shape)).astype(np.uint8)
    assert num_strays(ours, rounded) == 0
    assert num_strays(ours, np.roll(rounded, 1, axis=0)) == 5  # the first holds the last one, which is no neighbour
    still = np.repeat(ours[:1], 6, axis=0)
    assert num_strays(still, still + np.uint8(2)) == 0


@pytest.mark.slow
def test_another_number_of_frames_is_seen(tmp_path: Path, ffmpeg: str) -> None:
    folders = []
    for name, num_frames in (("cpu", 30), ("cuda", 29)):
        folder = tmp_path / name
        make_video(folder / "videos" / "walk" / "a.avi", *HMDB_LIKE, num_frames=num_frames, size="64x48")
        make_video(folder / "videos" / "walk" / "b.avi", *HMDB_LIKE, num_frames=20, size="64x48")
        places = [word for kind in ("videos", "shards", "manifests") for word in (f"--{kind}", folder / kind)]
        succeed("hmdb-prep", "extract", *places, "--size", "native", "--num-frames", "16", "--workers", "1")
        folders.append(folder)
    (row,) = agreement(*folders)
    assert (row.codec, row.clips, row.other_counts, row.other_indices) == ("mpeg4", 2, 1, 1)
    assert not row.is_right
    assert agreement(folders[0], folders[0])[0].is_right
