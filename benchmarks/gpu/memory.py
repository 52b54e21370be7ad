"""Memory and speed of a training step on a GPU, by --train and --checkpoint-blocks: what fits a card.

    python -m benchmarks.gpu.memory PRESET [--quick] [--device cpu|cuda]

Steps as in `benchmarks.gpu.steps` in fp16, with two sizes of batch: their difference is what a clip takes, the rest is
weights, gradients and AdamW's moments. `benchmarks.saved_bytes` works the same out without a GPU. Lines ``ROW <JSON>``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics

import torch

from benchmarks.gpu.steps import BATCHES, NUM_CLASSES, NUM_FRAMES, PREFIX, Case, free_memory, step_of
from benchmarks.timing import take_turns
from train.model.config import make_config
from train.model.lsvit import LSViT
from train.model.trainable import Trained, freeze

PARTS: tuple[Trained, ...] = ("all", "motion", "head")
FEW, MANY = 2, 8  # clips
MIB = 2**20


def measure(
    preset: str, part: Trained, *, checkpointed: bool, batch: int, side: int, device: torch.device
) -> tuple[float, float]:
    """Peak memory in MiB (0 on a CPU) and seconds of a step."""
    config = make_config(
        preset, num_classes=NUM_CLASSES, image_size=side, num_frames=NUM_FRAMES, motion_init="identity"
    )
    model = LSViT(config)
    freeze(model, part)
    model.backbone.checkpoint_blocks = checkpointed
    model = model.to(device).train()
    case = Case(preset=preset, motion="directional", precision="fp16", is_compiled=False, batch=batch, image_size=side)
    step = step_of(model, case, device)
    step()  # AdamW makes its moments
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(take_turns({"step": step}, rounds=5, warm_up=1)["step"].wall)
    return torch.cuda.max_memory_allocated() / MIB if device.type == "cuda" else 0.0, seconds


def main() -> None:
    """Print a row for each way of training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=tuple(BATCHES))
    parser.add_argument("--quick", action="store_true", help="clips of 32 pixels; the figures mean nothing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options = parser.parse_args()
    device, side = torch.device(options.device), 32 if options.quick else 224
    few, many = (1, 2) if options.quick else (FEW, MANY)
    torch.set_float32_matmul_precision("high")  # as `lsvit-train run` does on CUDA
    for part, checkpointed in itertools.product(PARTS, (False, True)):
        if part == "head" and checkpointed:  # nothing is kept in frozen blocks
            continue
        small, large = (
            measure(options.preset, part, checkpointed=checkpointed, batch=batch, side=side, device=device)
            for batch in (few, many)
        )
        a_clip = (large[0] - small[0]) / (many - few)
        row = {
            "preset": options.preset,
            "--train": part,
            "--checkpoint-blocks": "yes" if checkpointed else "no",
            "MiB a clip": a_clip,
            "MiB besides": small[0] - few * a_clip,
            f"clips/s, {many} at once": many / large[1],
        }
        print(PREFIX + json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
