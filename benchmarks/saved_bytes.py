"""How much memory a clip takes in training: what a forward pass keeps for the backward pass, by --train and preset.

    python -m benchmarks.saved_bytes

Counts the bytes that autograd saves (``torch.autograd.graph.saved_tensors_hooks``), each piece of memory once and the
weights left out, in float32 for one clip of 16 frames of 224x224. Nothing is computed: torch's fake tensors have the
sizes that the CPU's operators keep. With --checkpoint-blocks one block at a time is computed again; what it
keeps meanwhile comes on top. Beside that stand weights, gradients and AdamW's two moments.
"""

from __future__ import annotations

import itertools

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from train.model.config import ModelConfig, make_config
from train.model.lsvit import LSViT
from train.model.trainable import Trained, freeze, num_trainable

CLASSES, SIDE = 51, 224
PRESETS = ("small", "base")
PARTS: tuple[Trained, ...] = ("all", "motion", "head")
CARDS = (8, 16, 24)  # GB
MIB, GIB = 2**20, 2**30
RESERVED = GIB  # for CUDA itself and for what the forward pass needs for a moment


class Kept:
    """Sums what autograd saves while it is open, every storage once."""

    def __init__(self, model: LSViT) -> None:
        own = (*model.parameters(), *model.buffers())
        self._seen = {tensor.untyped_storage()._cdata for tensor in own}
        self._alive: list[torch.UntypedStorage] = []
        self.bytes = 0

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(storage)
            self.bytes += storage.nbytes()
        return tensor


def kept_bytes(model: LSViT, video: torch.Tensor) -> int:
    """Bytes that one forward pass keeps for the backward pass."""
    kept = Kept(model)
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
        model(video)
    return kept.bytes


def measure(preset: str, part: Trained, *, checkpointed: bool, side: int = SIDE, fake: bool = True) -> tuple[int, int]:
    """Bytes that one clip keeps, and bytes of weights, gradients and AdamW's moments."""
    config = make_config(preset, num_classes=CLASSES, image_size=side, motion_init="identity")
    with FakeTensorMode(allow_non_fake_inputs=True) if fake else torch.enable_grad():
        model = LSViT(config)
        freeze(model, part)
        model.backbone.checkpoint_blocks = checkpointed
        kept = kept_bytes(model, torch.empty(1, config.num_frames, 3, side, side))
        if checkpointed and part != "head":  # one block, computed again
            kept += _one_block(model, config)
        weights = sum(parameter.numel() for parameter in model.parameters()) * 4
        state = 3 * 4 * num_trainable(model)
    return kept, weights + state


def _one_block(model: LSViT, config: ModelConfig) -> int:
    kept = Kept(model)
    tokens = torch.empty(config.num_frames, config.num_tokens, config.embed_dim, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
        model.backbone.blocks[0](tokens)
    return kept.bytes


def clips_that_fit(kept: int, state: int) -> str:
    """How many clips fit at once into each card."""
    return ", ".join(f"{max(0, int((card * GIB - RESERVED - state) // max(kept, MIB)))}" for card in CARDS)


def main() -> None:
    cards = "/".join(map(str, CARDS))
    print("| preset | --train | --checkpoint-blocks | MiB a clip | MiB for weights, gradients, AdamW | ", end="")
    print(f"clips at once on {cards} GB |\n| --- | --- | --- | --- | --- | --- |")
    for preset, part, checkpointed in itertools.product(PRESETS, PARTS, (False, True)):
        kept, state = measure(preset, part, checkpointed=checkpointed)
        fits = clips_that_fit(kept, state) if part != "head" else "any: nothing is kept"
        on = "yes" if checkpointed else "no"
        print(f"| {preset} | {part} | {on} | {kept / MIB:,.1f} | {state / MIB:,.0f} | {fits} |")


if __name__ == "__main__":
    main()
