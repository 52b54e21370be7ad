"""The roads from shards to a model, each with its recipe and its cost, and which of them suits a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from train.run.config.files import read_config
from train.run.config.values import Value

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Road:
    """A way to train. Costs are those of the recipe's own weights at 224 pixels."""

    name: str
    recipe: str
    """recipes/<recipe>.toml"""
    words: str
    """What it is, for people."""
    command: str
    """``probe`` or ``run`` of lsvit-train."""
    gflops: float
    """10^9 FLOPs of one clip of 16 frames, forwards (``lsvit-train describe``)."""
    passes: float
    """What one clip of one epoch costs in training, in forward passes."""
    run_gigabytes: float
    """What the checkpoints of one split take: best, last and one that is being written. Counted from the parameters."""
    patch: int
    """Pixels of a side of the patches of the recipe's own weights."""
    memory: str
    """Of the GPU, or where it needs none of the machine."""

    @property
    def recipe_file(self) -> str:
        """The recipe's path from the root of the checkout."""
        return f"recipes/{self.recipe}.toml"

    def words_with(self, init: str) -> str:
        """What it is, with the weights ``init`` in the place of the recipe's own, empty for these: of whatever size."""
        return re.sub("ViT-[SB]", "ViT", self.words) if init else self.words

    def settings(self) -> Mapping[str, Value]:
        """What the recipe sets."""
        return read_config(ROOT / self.recipe_file)


_ROADS = (
    Road(
        name="probe", recipe="hmdb51-probe", words="a head on stored features of a frozen ViT-S", command="probe",
        gflops=204,  # 153 of the preset small with patches of 16; patches of 14 are 257 tokens instead of 197
        passes=0,  # the heads train in seconds
        run_gigabytes=0.3, patch=14,
        memory="2 GB of main memory: 0.8 were measured with few clips, the features of all come on top",
    ),
    Road(
        name="small", recipe="hmdb51-small", words="the whole ViT-S", command="run",
        gflops=153, passes=3, run_gigabytes=1.1, patch=16, memory="8 GB of a GPU",
    ),
    Road(
        name="motion", recipe="hmdb51-motion", words="motion modules on a frozen ViT-B", command="run",
        gflops=585, passes=2, run_gigabytes=2.3, patch=16, memory="8 GB of a GPU",
    ),
    Road(
        name="whole", recipe="hmdb51", words="the whole ViT-B", command="run",
        gflops=585, passes=3, run_gigabytes=4.4, patch=16,
        memory="24 GB of a GPU; 16 in smaller parts, 8 with blocks computed twice",
    ),
)  # fmt: skip
ROADS: Mapping[str, Road] = MappingProxyType({road.name: road for road in _ROADS})

# Gigabytes (10^9 bytes) that a card sold as 24, 16 or 8 GB has at the least once the driver took its share.
CARD_OF_24, CARD_OF_16, CARD_OF_8 = 22.0, 14.5, 7.5


def suiting_road(gpu_gigabytes: float) -> Road:
    """The road for a GPU of so much memory; 0: there is none."""
    if gpu_gigabytes >= CARD_OF_16:
        return ROADS["whole"]
    return ROADS["motion"] if gpu_gigabytes >= CARD_OF_8 else ROADS["probe"]


def memory_options(road: Road, gpu_gigabytes: float) -> tuple[str, ...]:
    """The options with which a road fits into less memory than its recipe assumes; its result stays the same."""
    if road.command == "probe" or gpu_gigabytes >= CARD_OF_24:
        return ()
    if road.name == "whole":
        return ("--grad-accum-steps", "4") if gpu_gigabytes >= CARD_OF_16 else ("--checkpoint-blocks",)
    return () if gpu_gigabytes >= CARD_OF_8 else ("--checkpoint-blocks",)
