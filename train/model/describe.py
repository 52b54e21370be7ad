"""Describes an LS-ViT stage by stage: shapes, reshapes, parameters and FLOPs, measured on the model itself.

The model runs on torch's meta device: real shapes, no memory, no arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.model.vit import Block

COLUMNS = ("stage", "input", "output", "parameters", "MFLOPs", "what happens")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step from video to probabilities, for one clip (B = 1)."""

    name: str
    input: tuple[int, ...]
    """Shape of what goes in."""
    output: tuple[int, ...]
    """Shape of what comes out."""
    explanation: str
    reshape: bool
    """It moves numbers about and computes nothing."""
    parameters: int
    flops: int
    """Of matrix products, convolutions and attention, a multiply-add counted as two; elementwise work is left out."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The whole model: the stages follow each other, each one's output being the next one's input."""

    config: ModelConfig
    parameters: int
    flops: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Operation:
    """A stage before it is measured: what the model runs, and the layers and parameters that it owns."""

    name: str
    run: Callable[[Tensor], Tensor]
    explanation: str
    owns: Sequence[nn.Module | nn.Parameter | None] = ()
    reshape: bool = False


def describe(config: ModelConfig) -> Description:
    """Measure a model of this config: takes a second or two and no memory, whatever its size."""
    with torch.device("meta"):
        model = LSViT(config).eval().to("meta")  # what a model makes on the CPU in any case, too
        x = torch.empty(1, config.num_frames, 3, config.image_size, config.image_size)
    stages = []
    for step in steps(model):
        before = tuple(x.shape)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = step.run(x)
        stages.append(
            Stage(
                name=step.name,
                input=before,
                output=tuple(x.shape),
                explanation=step.explanation,
                reshape=step.reshape,
                parameters=sum(_count(owned) for owned in step.owns),
                flops=counter.get_total_flops(),
            )
        )
    return Description(
        config=config,
        parameters=_count(model),
        flops=sum(stage.flops for stage in stages),
        stages=tuple(stages),
    )


def _count(owned: nn.Module | nn.Parameter | None) -> int:
    if isinstance(owned, nn.Parameter):
        return owned.numel()
    return sum(parameter.numel() for parameter in owned.parameters()) if owned is not None else 0


def steps(model: LSViT) -> Iterator[Operation]:
    """What `LSViT.forward` does, one step after another, and the softmax: run in turn they give its probabilities."""
    config, backbone = model.config, model.backbone
    frames, dim = config.num_frames, config.embed_dim
    side, patch = config.image_size // config.patch_size, config.patch_size
    yield Operation("smif", model.inject_motion, _SMIF[config.smif], owns=[model.smif])
    yield Operation("normalise", model.normalise, f"minus mean {config.mean}, divided by std {config.std}, each colour")
    yield Operation("fold frames", lambda x: x.flatten(0, 1), _FOLD.format(frames=frames), reshape=True)
    yield Operation(
        "patch_embed",
        backbone.patch_embed,
        f"each {patch}x{patch} patch of 3 colours ({3 * patch * patch} numbers) becomes a token of {dim}: a "
        f"convolution of stride {patch}; the {side}x{side} grid is laid out row by row as {side * side} tokens",
        owns=[backbone.patch_embed],
    )
    yield from _prefix_steps(model)
    for index, block in enumerate(backbone.blocks):
        assert isinstance(block, Block)
        yield from _block_steps(f"blocks.{index}", block, config)
    yield Operation("norm", backbone.norm, "LayerNorm of each token", owns=[backbone.norm])
    yield from _output_steps(model)


def _prefix_steps(model: LSViT) -> Iterator[Operation]:
    """What happens between patches and blocks: a plain ViT has a CLS token and learned positions."""
    config, backbone = model.config, model.backbone
    if config.num_registers:
        text = f"{config.num_registers} learned tokens, which belong to no patch, in front of each frame's patches"
        yield Operation("reg_token", backbone.add_registers, text, owns=[backbone.reg_token])
    if config.class_token:
        text = f"one learned token in front of each frame's {config.num_tokens - 1} "
        text += "other tokens" if config.num_registers else "patches"
        yield Operation("cls_token", backbone.add_class_token, text, owns=[backbone.cls_token])
    if config.positions == "learned":
        text = "a learned position is added to each token"
        yield Operation("pos_embed", backbone.add_positions, text, owns=[backbone.pos_embed])
    if config.norm_pre:
        yield Operation("norm_pre", backbone.normalise_tokens, "LayerNorm of each token", owns=[backbone.norm_pre])


def _block_steps(name: str, block: Block, config: ModelConfig) -> Iterator[Operation]:
    heads, tokens, dim, frames = config.num_heads, config.num_tokens, config.embed_dim, config.num_frames
    hidden = block.mlp.fc1.out_features
    yield Operation(
        f"{name}.attn",
        block.attend,
        f"x + attention(LayerNorm(x)) within each frame: q, k, v of {heads} heads of {dim // heads}, "
        f"weights {tokens}x{tokens} a head and frame{_ROTATED if config.positions == 'rotary' else ''}",
        owns=[block.norm1, block.attn],
    )
    yield Operation(
        f"{name}.mlp",
        block.transform,
        f"x + mlp(LayerNorm(x)), each token on its own: {dim} -> {hidden} -> {dim}",
        owns=[block.norm2, block.mlp],
    )
    if block.lmim is not None:
        yield Operation(f"{name}.lmim", block.interact, _LMI[config.lmi].format(frames=frames), owns=[block.lmim])


def _output_steps(model: LSViT) -> Iterator[Operation]:
    config = model.config
    frames = config.num_frames
    yield Operation("pool tokens", model.pool_tokens, _SPATIAL[config.spatial_pool], owns=[model.spatial_pool])
    yield Operation(
        "unfold frames",
        lambda x: torch.unflatten(x, 0, (-1, frames)),
        f"the frames are put back into clips: B·{frames} becomes B, {frames}",
        reshape=True,
    )
    yield Operation("pool frames", model.pool_frames, _TEMPORAL[config.temporal_pool], owns=[model.temporal_pool])
    yield Operation(
        "head", model.head, f"a linear layer: one logit for each of {config.num_classes} classes", owns=[model.head]
    )
    yield Operation("softmax", lambda x: x.softmax(dim=-1), "logits become probabilities that sum to 1")


_ROTATED = "; q and k are turned by the place of their patch (rotary positions)"
_FOLD = "clips are taken apart, B and {frames} become B·{frames}: from here each frame is a picture of its own"
_SMIF = {
    "none": "nothing (no SMIF)",
    "classic": "the mean size of the differences to 2 frames on either side is mixed into the colours",
    "directional": "signed differences to 2 frames on either side, weighed by learned 3x3 colour matrices, are added",
}
_LMI = {
    "classic": "B·{frames} becomes B, {frames}; how much each frame changes gates its tokens; back to B·{frames}",
    "directional": "B·{frames} becomes B, {frames}; each frame looks at all {frames} ({frames}x{frames} weights a "
    "head) and its signed differences to them are added, token by token; back to B·{frames}",
}
_SPATIAL = {
    "cls": "each frame keeps its CLS token alone",
    "mean": "each frame keeps the mean of its patch tokens",
    "heatmap": "each frame keeps the mean of its patch tokens under a learned heatmap",
    "latent": "each frame keeps what one learned query takes from its patch tokens by attention, then an MLP",
}
_TEMPORAL = {
    "mean": "the mean over frames",
    "attention": "the mean over frames under learned weights",
    "directional": "each frame adds signed differences to the others, as in LMI; then the mean over frames",
}


def to_json(description: Description) -> str:
    """JSON text: ``{"parameters", "flops", "stages": [{"name", "input", "output", ...}]}``, shapes as lists, B = 1."""
    stages = [
        {
            "name": stage.name,
            "input": list(stage.input),
            "output": list(stage.output),
            "parameters": stage.parameters,
            "flops": stage.flops,
            "explanation": stage.explanation,
        }
        for stage in description.stages
    ]
    content = {"parameters": description.parameters, "flops": description.flops, "stages": stages}
    return json.dumps(content, indent=2, ensure_ascii=False)


def to_table(description: Description) -> list[list[str]]:
    """Rows under COLUMNS, the last one the total. All blocks but one share rows."""
    rows = [_row(stage) for stage in one_block_only(description)]
    return [*rows, ["total", "", "", f"{description.parameters:,}", _mega(description.flops), ""]]


def one_block_only(description: Description) -> list[Stage]:
    """The stages of one block, the first that has an LMI where there is any; blocks before and after it summed up."""
    config = description.config
    shown_block = next(iter(config.lmi_blocks), 0)
    shown: list[Stage] = []
    for place, group in groupby(description.stages, key=lambda stage: _place(stage, shown_block)):
        stages = list(group)
        shown += stages if place == 0 else [_sum_up(stages, config)]
    return shown


def _place(stage: Stage, shown_block: int) -> int:
    """-1 in a block before the one that is shown, 1 in one after it, 0 elsewhere."""
    block = _block_of(stage)
    return 0 if block is None else (block > shown_block) - (block < shown_block)


def _block_of(stage: Stage) -> int | None:
    return int(stage.name.split(".")[1]) if stage.name.startswith("blocks.") else None


def _sum_up(stages: Sequence[Stage], config: ModelConfig) -> Stage:
    first, last = (_block_of(stage) or 0 for stage in (stages[0], stages[-1]))
    count = last - first + 1
    which = ""
    if config.lmi != "none" and config.lmi_every > 1:
        num_lmis = sum(block in config.lmi_blocks for block in range(first, last + 1))
        which = f", with LMI in {num_lmis}" if num_lmis else ", without LMI"
    return Stage(
        name=f"blocks.{first}" if count == 1 else f"blocks.{first} to blocks.{last}",
        input=stages[0].input,
        output=stages[-1].output,
        explanation=("the same once more" if count == 1 else f"the same {count} times more") + which,
        reshape=False,
        parameters=sum(stage.parameters for stage in stages),
        flops=sum(stage.flops for stage in stages),
    )


def shape_text(shape: Sequence[int]) -> str:
    """(1, 16, 768) as text."""
    return f"({', '.join(str(size) for size in shape)})"


def _row(stage: Stage) -> list[str]:
    parameters = f"{stage.parameters:,}" if stage.parameters else ""
    flops = _mega(stage.flops) if stage.flops else ""
    return [stage.name, shape_text(stage.input), shape_text(stage.output), parameters, flops, stage.explanation]


def _mega(flops: int) -> str:
    return f"{flops / 1e6:,.1f}"
