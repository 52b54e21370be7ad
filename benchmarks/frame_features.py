"""How fast a frozen ViT makes the features of stored frames, and how long `lsvit-train probe` takes for HMDB51.

    python -m benchmarks.frame_features [--threads 1] [--passes 3]

Random weights, float32, clips of 16 frames of 224x224, one at a time, as `probe` takes them on a CPU. Beside the time
on the clock stands the processor's: on a machine with other work it says what a quiet one takes with one thread.
"""

from __future__ import annotations

import argparse
import time

import torch

from train.model.config import make_config
from train.model.lsvit import LSViT

HMDB51_CLIPS, TRAINING_CLIPS, CANDIDATES = 6766, 3570, 3


def seconds_a_clip(preset: str, *, passes: int) -> tuple[float, float]:
    """The least over the passes, for 16 frames: on the clock, and of the processor (all threads)."""
    config = make_config(preset, num_classes=51, image_size=224, smif="none", lmi="none")
    model = LSViT(config).eval()
    video = torch.rand(1, config.num_frames, 3, 224, 224)
    measured = []
    with torch.inference_mode():
        for _ in range(1 + passes):  # the first one warms up
            clock, processor = time.perf_counter(), time.process_time()
            model.frame_features(video)
            measured.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(each[0] for each in measured[1:]), min(each[1] for each in measured[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for preset in ("small", "base"):
        for what, seconds in zip(("clock", "processor"), seconds_a_clip(preset, passes=arguments.passes), strict=True):
            hours = [seconds * CANDIDATES * clips / 3600 for clips in (TRAINING_CLIPS, HMDB51_CLIPS)]
            print(
                f"{preset}, {arguments.threads} threads, by the {what}: {1 / seconds:.2f} clips of 16 frames a second; "
                f"with K = {CANDIDATES} {1 / seconds / CANDIDATES:.3f} clips/s, {TRAINING_CLIPS} clips in "
                f"{hours[0]:.1f} h, {HMDB51_CLIPS} in {hours[1]:.1f} h",
                flush=True,
            )


if __name__ == "__main__":
    main()
