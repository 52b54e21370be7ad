"""Predicts over a long video with little memory: `python long_prediction.py RUN VIDEO`; prints windows."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

from train.data.views import Views
from train.predict.inputs import Input
from train.predict.timeline import answer_over_time
from train.predict.windows import Windowing
from train.trained.model import load_model

SPARE_BYTES = 768 * 1024**2


def main() -> None:
    """One window of two seconds each second, then one window of everything."""
    torch.set_num_threads(1)
    loaded = load_model(Path(sys.argv[1]))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for windowing in (Windowing(length=2_000_000, stride=1_000_000), Windowing(length=10**12, stride=10**12)):
        timeline = answer_over_time(loaded, Input(name=sys.argv[2]), views=Views(), windowing=windowing, batch_size=1)
        sys.stdout.write(f"{len(timeline.windows)} {timeline.windows[-1].end} {timeline.error}\n")


if __name__ == "__main__":
    main()
