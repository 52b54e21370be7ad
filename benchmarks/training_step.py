"""Forward and backward of LS-ViT: what the motion modules cost, and the classic one against a straightforward one.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.training_step [--presets tiny base] [--precisions fp32 bf16]
        [--batch-size N] [--img-size N] [--threads N] [--device cpu|cuda] [--compile] [--json FILE]

Variants: none (the plain ViT), directional, classic, and `benchmarks/straightforward_classic.py` with the same weights
as the classic one. On CUDA also fp16 with GradScaler, torch.compile and the share of the chip's bf16 peak (taken from a
large matrix product; a step counts as three forward passes). Also: memory that a step keeps for its backward pass,
the share of augmentation, and the share of a real run's time in which a step waits for data.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.clips_on_disk import REAL_VIDEOS, extract, link_videos, synthetic_videos, videos_below
from benchmarks.straightforward_classic import StraightforwardClassic
from benchmarks.timing import Results, Times, benchmark_options, start, take_turns, workplace
from shared.machine.cores import available_cores
from train.data.augment import AugmentSettings, Statistics, augment, draw_changes
from train.model.config import ModelConfig, Variant, make_config
from train.model.describe import describe
from train.model.lsvit import LSViT
from train.run.progress import read_timing

NUM_CLASSES, NUM_FRAMES = 51, 16
STORED_HEIGHT, STORED_WIDTH = 224, 304
VARIANTS: tuple[Variant, ...] = ("none", "directional", "classic")
STRAIGHTFORWARD = "straightforward classic"
_TOLERANCE = 1e-3  # of logits between the two classic models, relative to their size
_PEAK_SIDE = 8192
_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One preset at one size on one device."""

    preset: str
    config: ModelConfig
    video: Tensor
    target: Tensor
    models: dict[str, nn.Module]


def make_case(preset: str, options: argparse.Namespace) -> Case:
    """Models of all variants with their input. Checks that both classic models answer the same."""
    on_cuda = options.device == "cuda"
    size = options.img_size or (224 if preset == "tiny" or on_cuda else 112)
    batch = options.batch_size or {"tiny": 64 if on_cuda else 4}.get(preset, 16 if on_cuda else 1)
    plain = make_config(preset, num_classes=NUM_CLASSES, image_size=size, num_frames=NUM_FRAMES)
    models: dict[str, nn.Module] = {name: LSViT(replace(plain, smif=name, lmi=name)) for name in VARIANTS}
    straightforward = StraightforwardClassic(plain)
    straightforward.load_state_dict(models["classic"].state_dict())
    models[STRAIGHTFORWARD] = straightforward
    generator = torch.Generator().manual_seed(0)
    video = torch.rand((batch, NUM_FRAMES, 3, size, size), generator=generator).to(options.device)
    models = {name: model.to(options.device).train() for name, model in models.items()}
    with torch.no_grad():
        ours, theirs = models["classic"](video[:1]), models[STRAIGHTFORWARD](video[:1])
    assert (ours - theirs).abs().max() <= _TOLERANCE * ours.abs().max(), "the two classic models differ"
    target = torch.arange(batch, device=options.device) % NUM_CLASSES
    return Case(preset=preset, config=plain, video=video, target=target, models=models)


def one_step(
    forward: Callable[[Tensor], Tensor], model: nn.Module, case: Case, scaler: torch.amp.GradScaler, precision: str
) -> None:
    """Forward, loss, backward; on CUDA until it is done."""
    dtype = _DTYPES[precision]
    model.zero_grad(set_to_none=True)
    with torch.autocast(case.video.device.type, dtype=dtype, enabled=dtype is not None):
        loss = F.cross_entropy(forward(case.video).float(), case.target)
    torch.autograd.backward(scaler.scale(loss) if precision == "fp16" else loss)
    if case.video.is_cuda:
        torch.cuda.synchronize()


def steps_of(case: Case, precision: str, *, compiled: bool) -> dict[str, Callable[[], None]]:
    """A step of each variant."""
    scaler = torch.amp.GradScaler(case.video.device.type)
    return {
        name: partial(one_step, torch.compile(model) if compiled else model, model, case, scaler, precision)
        for name, model in case.models.items()
    }


def compare_steps(results: Results, case: Case, precision: str, options: argparse.Namespace, *, compiled: bool) -> None:
    """Clips a second of each variant, memory, and on CUDA the share of the peak."""
    batch, size = len(case.video), case.config.image_size
    title = f"{case.preset}, {precision}{', compiled' if compiled else ''}, {batch} clips of {size} px"
    steps = steps_of(case, precision, compiled=compiled)
    times = take_turns(steps, rounds=options.rounds, warm_up=2 if compiled else 1)
    results.add_rates(title, times, units=batch, unit="clips", reference="none")
    results.add_target(f"{title}: directional, time of none", _times_slower(times, "directional"), most=1.15)
    results.add_target(
        f"{title}: classic, speed of straightforward", results.ratio(title, "classic", to=STRAIGHTFORWARD), least=1.3
    )
    if not compiled:
        rows: dict[str, dict[str, float | str]] = {
            name: {"MiB": kept_bytes(step, case.models[name], case) / 2**20} for name, step in steps.items()
        }
        results.add_figures(f"memory of a step, {title}", rows)
    if case.video.is_cuda and precision == "bf16":
        add_share_of_peak(results, title, case)


def _times_slower(times: dict[str, Times], name: str) -> float:
    return statistics.median(times[name].wall) / statistics.median(times["none"].wall)


def kept_bytes(step: Callable[[], None], model: nn.Module, case: Case) -> int:
    """CUDA: the peak of allocated memory. CPU: what a step keeps for its backward pass, without the parameters."""
    if case.video.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    kept: dict[int, int] = {}
    owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


def add_share_of_peak(results: Results, title: str, case: Case) -> None:
    """A step's FLOPs (three forward passes) over what a large bf16 product reaches on the same chip."""
    left, right = (torch.randn(_PEAK_SIDE, _PEAK_SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)
        torch.cuda.synchronize()

    peak = 2 * _PEAK_SIDE**3 / min(take_turns({"product": product}, rounds=20)["product"].wall)
    rows: dict[str, dict[str, float | str]] = {}
    for name in VARIANTS:
        flops = 3 * describe(replace(case.config, smif=name, lmi=name)).flops
        rate = results.tables[title][name].rate * flops
        rows[name] = {"TFLOP/s": rate / 1e12, "of the peak, %": 100 * rate / peak, "peak, TFLOP/s": peak / 1e12}
    results.add_figures(f"share of the bf16 peak, {title}", rows)


def compare_augmentation(results: Results, case: Case, options: argparse.Namespace) -> None:
    """Augmentation of a batch beside the step that follows it (directional, fp32)."""
    batch = len(case.video)
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (batch, NUM_FRAMES, STORED_HEIGHT, STORED_WIDTH, 3), dtype=np.uint8)
    frames = torch.from_numpy(stored).to(case.video.device)
    clips, every = (Statistics(**{name: rng.uniform(20, 90, n) for name in _STATISTICS}) for n in (batch, 500))

    def augmented() -> None:
        changes = draw_changes(
            clips,
            training=every,
            strength=np.ones(batch),
            settings=AugmentSettings(),
            height=STORED_HEIGHT,
            width=STORED_WIDTH,
            rng=np.random.default_rng(1),
        )
        augment(frames, changes, image_size=case.config.image_size)
        if frames.is_cuda:
            torch.cuda.synchronize()

    step = steps_of(case, "fp32", compiled=False)["directional"]
    times = take_turns({"step, directional, fp32": step, "augmentation": augmented}, rounds=options.rounds)
    title = f"augmentation, {case.preset}"
    results.add_rates(title, times, units=batch, unit="clips", reference="step, directional, fp32")
    medians = [statistics.median(taken.wall) for taken in times.values()]
    share = medians[1] / sum(medians)
    results.add_figures(f"share of {title}", {"augmentation": {"of the step with it, %": 100 * share}})


_STATISTICS = ("brightness", "contrast", "blur", "colorfulness")


def measure_data_wait(results: Results, options: argparse.Namespace, place: Path) -> None:
    """The share of the last epoch in which `lsvit-train run` waited for clips (tiny, K = 3, TSN)."""
    originals = videos_below(options.real) or synthetic_videos(place / "synthetic", clips=8)
    videos = link_videos(originals, place / "videos", count=options.run_clips)
    size = f"{STORED_HEIGHT}x{STORED_WIDTH}"
    done = extract(videos, place, workers=available_cores(), size=size, frames_per_segment=3)
    words = ["--split", "all", "--val-fraction", "0", "--epochs", "2", "--batch-size", "8", "--device", options.device]
    places = ["--shards", str(done.shards), "--manifests", str(done.manifests), "--runs", str(place / "runs")]
    if options.quick:
        words += ["--img-size", "32"]
    command = [str(Path(sys.executable).parent / "lsvit-train"), "run", "--name", "wait", *words, *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    timing = read_timing(place / "runs" / "wait")[-1]
    results.add_target("data wait, share of an epoch", timing.data_wait_share, most=0.05)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=7)
    parser.add_argument("--presets", nargs="+", choices=("tiny", "small", "base"), default=["tiny", "base"])
    parser.add_argument("--precisions", nargs="+", choices=tuple(_DTYPES), default=[])
    parser.add_argument("--batch-size", type=int, default=0, help="0: 4 for tiny and 1 for others, on CUDA 64 and 16")
    parser.add_argument("--img-size", type=int, default=0, help="0: 224, but 112 on the CPU for others than tiny")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too; always so on CUDA")
    parser.add_argument("--real", type=Path, default=REAL_VIDEOS / "hmdb51", help="videos of the run that is timed")
    parser.add_argument("--run-clips", type=int, default=64, help="clips of the run that is timed; 0: no such run")
    options = parser.parse_args()
    on_cuda = options.device == "cuda"
    options.precisions = options.precisions or ["fp32", "bf16", *(["fp16"] if on_cuda else [])]
    results = start("training_step", options)
    if options.quick:
        options.presets, options.batch_size, options.img_size, options.run_clips = ["tiny"], 1, 32, 8
    torch.set_num_threads(options.threads)
    for preset in options.presets:
        case = make_case(preset, options)
        for precision in options.precisions:
            compare_steps(results, case, precision, options, compiled=False)
        if on_cuda or options.compile:
            compare_steps(results, case, "bf16", options, compiled=True)
        compare_augmentation(results, case, options)
    if options.run_clips:
        with workplace(options) as place:
            measure_data_wait(results, options, place)
    results.save(options.json)


if __name__ == "__main__":
    main()
