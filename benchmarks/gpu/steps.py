"""Whole training steps of one preset, with its motion modules and without: clips a second, memory, share of the peak.

    python -m benchmarks.gpu.steps PRESET [--compiled] [--quick] [--device cpu|cuda]

A step is what `lsvit-train run` does with a batch that is on the device: forward in half precision, loss, backward,
clipping, AdamW; fp16 scales the loss (GradScaler). `benchmarks.gpu` reads the lines ``ROW <JSON>``, each printed as
soon as it is known. What fails costs its row; the exit code is then 1. Where memory is short the batch is halved.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import take_turns
from train.learn.optimizer import make_optimizer
from train.model.config import Variant, make_config
from train.model.describe import describe
from train.model.lsvit import LSViT

PREFIX = "ROW "
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NUM_CLASSES, NUM_FRAMES = 51, 16
BATCHES = {"tiny": 64, "small": 32, "base": 16}
# TFLOP/s of dense half-precision matrix products, summed in float32, by NVIDIA's data sheets. The T4 has no bf16.
_PEAKS = (
    (r"H200", 989.5, 989.5),
    (r"H100 PCIe", 756.0, 756.0),
    (r"H100 NVL", 835.0, 835.0),
    (r"H100", 989.5, 989.5),
    (r"A100", 312.0, 312.0),
    (r"RTX 4090(?! D)", 165.2, 165.2),
    (r"T4", 65.0, None),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one row measures. motion: of SMIF and LMI alike."""

    preset: str
    motion: Variant
    precision: str
    is_compiled: bool
    batch: int
    image_size: int


def peak_flops(device_name: str, precision: str) -> float | None:
    """FLOP/s that a chip can reach at most, one multiply-add counted as two; None where the table lacks it."""
    for pattern, fp16, bf16 in _PEAKS:
        if re.search(rf"\b{pattern}\b", device_name):
            peak = fp16 if precision == "fp16" else bf16
            return None if peak is None else peak * 1e12
    return None


def measure(case: Case, *, device: torch.device, rounds: int) -> dict[str, float | str]:
    """One row. Raises RuntimeError where the device cannot do it or the loss is not finite."""
    plain = make_config(case.preset, num_classes=NUM_CLASSES, image_size=case.image_size, num_frames=NUM_FRAMES)
    config = replace(plain, smif=case.motion, lmi=case.motion)
    model = LSViT(config).to(device).train()
    step = step_of(model, case, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first = take_turns({"step": step}, rounds=1, warm_up=0)["step"].wall[0]
    seconds = statistics.median(take_turns({"step": step}, rounds=rounds, warm_up=2)["step"].wall)
    flops = 3 * describe(config).flops * case.batch / seconds  # backward counts as two forward passes
    peak = peak_flops(torch.cuda.get_device_name(), case.precision) if device.type == "cuda" else None
    return {
        "preset": case.preset,
        "motion": case.motion,
        "precision": case.precision,
        "compiled": "yes" if case.is_compiled else "no",
        "clips": case.batch,
        "pixels": case.image_size,
        "first step, s": first,
        "ms a step": 1000 * seconds,
        "clips/s": case.batch / seconds,
        "peak memory, MiB": torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else "",
        "TFLOP/s": flops / 1e12,
        "of the chip's peak, %": "" if peak is None else 100 * flops / peak,
    }


def step_of(model: nn.Module, case: Case, device: torch.device) -> Callable[[], None]:
    """One optimiser step on a batch of noise, done when it returns."""
    generator = torch.Generator().manual_seed(0)
    size = (case.batch, NUM_FRAMES, 3, case.image_size, case.image_size)
    video = torch.rand(size, generator=generator).to(device)
    target = torch.arange(case.batch, device=device) % NUM_CLASSES
    optimizer = make_optimizer(model, weight_decay=0.05, layer_decay=1.0)
    for group in optimizer.param_groups:
        group["lr"] = 1e-5
    scaler = torch.amp.GradScaler(device.type, enabled=case.precision == "fp16")
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if case.is_compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=DTYPES[case.precision]):
            loss = F.cross_entropy(forward(video).float(), target)
        torch.autograd.backward(scaler.scale(loss))
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        if not math.isfinite(loss.item()):  # waits for the device, too
            raise RuntimeError(f"the loss is {loss.item()}")

    return step


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device, and not the program, is the reason."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def measure_smaller(case: Case, *, device: torch.device, rounds: int) -> dict[str, float | str]:
    """As ``measure``, with half the clips as often as memory is short."""
    while True:
        try:
            return measure(case, device=device, rounds=rounds)
        except RuntimeError as error:
            if not is_out_of_memory(error) or case.batch == 1:
                raise
        free_memory()
        case = replace(case, batch=case.batch // 2)


def free_memory() -> None:
    """Let go of what the last case held, so that the next one's peak is its own."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()  # does nothing without CUDA


def cases_of(preset: str, *, is_compiled: bool, is_quick: bool, device: torch.device) -> list[Case]:
    """The rows wanted, each plain ViT first. Compiling takes long: the classic modules are left out of it."""
    motions = ("none", "directional") if is_compiled else get_args(Variant)
    has_bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    return [
        Case(
            preset=preset,
            motion=motion,
            precision=precision,
            is_compiled=is_compiled,
            batch=1 if is_quick else BATCHES[preset],
            image_size=32 if is_quick else 224,
        )
        for precision in ("fp16", *(["bf16"] if has_bf16 else []))
        for motion in motions
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=tuple(BATCHES))
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one clip of 32 pixels; the figures mean nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_float32_matmul_precision("high")  # as `lsvit-train run` does on CUDA
    failed, batch = False, BATCHES[options.preset]
    plain: dict[str, float] = {}  # clips/s of the ViT without motion, by precision
    for case in cases_of(options.preset, is_compiled=options.compiled, is_quick=options.quick, device=device):
        smaller = replace(case, batch=min(case.batch, batch))
        free_memory()
        try:
            row = measure_smaller(smaller, device=device, rounds=1 if options.quick else 10)
        except RuntimeError as error:
            print(f"{case}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        batch, rate = int(row["clips"]), float(row["clips/s"])
        if case.motion == "none":
            plain[case.precision] = rate
        base = plain.get(case.precision)
        print(PREFIX + json.dumps(row | {"of the plain ViT's speed, %": 100 * rate / base if base else ""}), flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
