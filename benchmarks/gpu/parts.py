"""The parts of `benchmarks.gpu`: each checks or measures one thing, in processes of its own, and gives rows."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clips_on_disk import REAL_VIDEOS, link_videos, videos_below
from benchmarks.gpu.decoding import agreement
from benchmarks.gpu.report import Bench, PartError, Row, SkipError, TimeUpError
from benchmarks.gpu.steps import PREFIX
from shared.manifests.files import read_manifests
from train.run.progress import read_timing

CODECS = {"MPEG-4 in AVI": ".avi", "H.264 in MP4": ".mp4"}
_COMPARED = 4  # clips of each codec whose every frame is compared
_ALL_FRAMES = ("--size", "native", "--num-frames", "96")  # nearly every synthetic clip is shorter
_LEAST_COMPILING = 30.0  # seconds
_TOLERANCE = 0.02  # of a probability, between half precision on the GPU and float32 on the CPU
_PREPARE, _TRAIN = ("-m", "preprocess.cli"), ("-m", "train.cli")


def doctor(bench: Bench) -> Iterator[Row]:
    """`hmdb-prep doctor` has nothing to object to."""
    bench.run(*_PREPARE, "doctor")
    yield from ()


def cuda_tests(bench: Bench) -> Iterator[Row]:
    """The tests marked cuda."""
    if missing := [name for name in ("pytest", "hypothesis") if not importlib.util.find_spec(name)]:
        raise SkipError(f"not installed: {', '.join(missing)}")
    files = [path for path in sorted(Path("tests").rglob("test_*.py")) if "mark.cuda" in path.read_text()]
    said = bench.run("-m", "pytest", "-m", "cuda", "-rs", "-p", "no:cacheprovider", *files).strip().splitlines()
    passed = re.search(r"(\d+) passed", said[-1])
    if passed:
        yield {"tests": int(passed[1]), "result": "passed"}
    skipped = [found for line in said if (found := re.fullmatch(r"SKIPPED \[(\d+)\] (.*)", line))]
    for found in skipped:
        yield {"tests": int(found[1]), "result": f"skipped: {found[2]}"}
    if not passed:
        raise SkipError("every test was skipped")


def make_videos(bench: Bench) -> Iterator[Row]:
    """The synthetic videos that all other parts work on."""
    clips, classes = (12, 2) if bench.quick else (64, 8)
    bench.run(*_PREPARE, "synth", bench.place / "videos", "--clips", clips, "--classes", classes)
    for codec, suffix in CODECS.items():
        yield {"codec": codec, "videos": len(videos_of(bench, suffix))}


def videos_of(bench: Bench, suffix: str) -> list[Path]:
    """The synthetic videos of one kind."""
    return [path for path in videos_below(bench.place / "videos") if path.suffix == suffix]


def extract(bench: Bench, videos: Path, name: str, *words: str, device: str) -> Path:
    """`hmdb-prep extract` into a folder, which is returned."""
    folder = bench.place / name
    places = ("--videos", videos, "--shards", folder / "shards", "--manifests", folder / "manifests")
    bench.run(*_PREPARE, "extract", *places, "--device", device, "--strict", *words)
    return folder


def compare_frames(bench: Bench) -> Iterator[Row]:
    """CUDA decoding against the CPU's, frame by frame: never another frame, at most rounding."""
    if bench.device == "cpu":
        raise SkipError("no GPU")
    count = 1 if bench.quick else _COMPARED
    chosen = [path for suffix in CODECS.values() for path in videos_of(bench, suffix)[:count]]
    yield from compare_videos(bench, chosen)


def compare_real_frames(bench: Bench) -> Iterator[Row]:
    """The same for genuine HMDB51 clips: DivX with packed B-frames, where decoders go wrong."""
    if bench.device == "cpu":
        raise SkipError("no GPU")
    if not (chosen := videos_below(REAL_VIDEOS)):
        raise SkipError(f"no real clips at {REAL_VIDEOS}; set HMDB51_REAL_VIDEOS")
    yield from compare_videos(bench, chosen)


def compare_videos(bench: Bench, chosen: list[Path]) -> Iterator[Row]:
    """A row a codec. Raises PartError where the GPU gave other frames, or decoded nothing at all."""
    place = f"compared-{len(chosen)}"
    videos = link_videos(chosen, bench.place / place, count=len(chosen))
    folders = [extract(bench, videos, f"{place}-{d}", *_ALL_FRAMES, device=d) for d in ("cpu", bench.device)]
    rows = agreement(*folders)
    for folder in folders:
        bench.remove(folder)
    yield from (row.cells() for row in rows)
    if wrong := [row.codec for row in rows if not row.is_right]:
        raise PartError(f"decoded on the GPU these differ by more than rounding: {', '.join(wrong)}")
    if not any(row.on_gpu for row in rows):
        raise PartError("the GPU decoded none of these clips; the CPU did them all")


def decoding_speed(bench: Bench, codec: str) -> Iterator[Row]:
    """Clips a second of the whole command, its start included, on each device."""
    count, suffix = 4 if bench.quick else 512, CODECS[codec]
    videos = link_videos(videos_of(bench, suffix), bench.place / f"many{suffix}", count=count)
    for device in dict.fromkeys(("cpu", bench.device)):
        started = time.perf_counter()
        folder = extract(bench, videos, f"speed-{device}{suffix}", "--size", "112x152", device=device)
        seconds = time.perf_counter() - started
        on_gpu = list(read_manifests(folder / "manifests")["decoder"]).count("cuda")
        yield {"--device": device, "clips": count, "on the GPU": on_gpu, "s": seconds, "clips/s": count / seconds}
        bench.remove(folder)


def steps(bench: Bench, preset: str, *, compiled: bool) -> Iterator[Row]:
    """Training steps of one preset, as `benchmarks.gpu.steps` measures them."""
    if compiled and bench.quick:
        raise SkipError("--quick does not compile")
    if compiled and bench.seconds_left() < _LEAST_COMPILING:
        raise SkipError("no time was left to compile")
    words = ["--compiled"] if compiled else []
    count = 0
    try:
        for row in rows_of(bench, "benchmarks.gpu.steps", preset, *words):
            yield row
            count += 1
    except TimeUpError as error:
        if not compiled or not count:
            raise
        raise SkipError(f"after {count} rows, {error}") from error  # how long it compiles is no fault


def memory(bench: Bench, preset: str) -> Iterator[Row]:
    """What a clip takes, as `benchmarks.gpu.memory` measures it."""
    yield from rows_of(bench, "benchmarks.gpu.memory", preset)


def rows_of(bench: Bench, module: str, *words: str) -> Iterator[Row]:
    """The rows that another benchmark prints, one by one."""
    quick = ["--quick"] if bench.quick else []
    for line in bench.lines("-m", module, *words, "--device", bench.device, *quick):
        if line.startswith(PREFIX):
            yield json.loads(line.removeprefix(PREFIX))


def train(bench: Bench) -> Iterator[Row]:
    """A real run from shards, with the share of its time in which a step waited for clips."""
    stored = ("--size", "32x44") if bench.quick else ("--frames-per-segment", "3")
    videos = link_videos(
        videos_below(bench.place / "videos"), bench.place / "trained", count=12 if bench.quick else 128
    )
    extract(bench, videos, "data", *stored, device="cpu")
    words = ("--epochs", "2", "--batch-size", "4") if bench.quick else ("--epochs", "8", "--batch-size", "16")
    try:
        bench.run(*_TRAIN, "run", "--name", "run", *words, "--device", bench.device, *data_of(bench), *runs_of(bench))
    except PartError:  # the parts to come need some run
        bench.run(
            *_TRAIN, "run", "--name", "spare", "--epochs", "1", "--device", "cpu", *data_of(bench), *runs_of(bench)
        )
        raise
    for epoch in read_timing(bench.place / "runs" / "run"):
        share = 100 * epoch.data_wait_share
        yield {"epoch": epoch.epoch, "clips/s": epoch.clips_per_second, "waiting for clips, %": share}


def data_of(bench: Bench) -> tuple[str | Path, ...]:
    """The flags that name the extracted data."""
    return "--shards", bench.place / "data" / "shards", "--manifests", bench.place / "data" / "manifests"


def runs_of(bench: Bench) -> tuple[str | Path, ...]:
    """The flag that names the folder of runs."""
    return "--runs", bench.place / "runs"


def trained(bench: Bench) -> str:
    """The run that there is."""
    return "spare" if (bench.place / "runs" / "spare").exists() else "run"


def evaluate(bench: Bench) -> Iterator[Row]:
    """`lsvit-train evaluate` on the run."""
    words = (trained(bench), "--json", "--device", bench.device)
    json.loads(bench.run(*_TRAIN, "evaluate", *words, *data_of(bench), *runs_of(bench)))
    yield from ()


def predict(bench: Bench) -> Iterator[Row]:
    """`lsvit-train predict` on the device and on the CPU: the same probabilities but for rounding."""
    videos = videos_below(bench.place / "videos")[:4]
    answers = []
    for device in dict.fromkeys(("cpu", bench.device)):
        said = bench.run(*_TRAIN, "predict", trained(bench), *videos, "--json", "--device", device, *runs_of(bench))
        answers.append([each for answer in json.loads(said) for each in by_action(answer["predictions"])])
    if bench.device == "cpu":
        raise SkipError("no GPU; the CPU alone answered")
    largest = max(abs(a - b) for a, b in zip(answers[0], answers[-1], strict=True))
    yield {"videos": len(videos), "largest difference to the CPU's probability": largest}
    if largest > _TOLERANCE:
        raise PartError(f"a probability differs from the CPU's by {largest:.3g}; at most {_TOLERANCE} is expected")


def by_action(predictions: list[dict[str, Any]]) -> list[float]:
    """The probabilities of one video, ordered by the name of the action."""
    return [each["probability"] for each in sorted(predictions, key=lambda each: str(each["action"]))]


def explain(bench: Bench) -> Iterator[Row]:
    """`lsvit-train explain` on one video."""
    video, out = videos_below(bench.place / "videos")[0], bench.place / "explained"
    bench.run(*_TRAIN, "explain", trained(bench), video, "--out", out, "--device", bench.device, *runs_of(bench))
    yield {"files written": sum(path.is_file() for path in out.rglob("*"))}


def export(bench: Bench, form: str) -> Iterator[Row]:
    """`lsvit-train export`, which checks the file against the model itself."""
    if form == "onnx" and not (importlib.util.find_spec("onnxscript") and importlib.util.find_spec("onnxruntime")):
        raise SkipError("the extra `export` is not installed")
    out = bench.place / f"model.{form}"
    bench.run(*_TRAIN, "export", trained(bench), "--format", form, "--out", out, *runs_of(bench))
    yield {"MB": out.stat().st_size / 1e6}
