"""The configuration of a training run: one frozen dataclass, whose fields are the flags and the keys of TOML files.

No heavy imports: ``--help`` reads this.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar, get_type_hints

from shared.errors import UsageError
from shared.shards.places import DEFAULT_CACHE, DEFAULT_CACHE_GB, ShardsPlace, shards_place
from train.run.config.values import Flag

T = TypeVar("T")


def _flag(
    default: T,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    least: float = -math.inf,
    most: float = math.inf,
) -> T:
    flag = Flag(help=help_text, choices=choices, least=least, most=most)
    field: T = dataclasses.field(default=default, metadata={"flag": flag})
    return field


_VARIANTS = ("none", "classic", "directional")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that settles a run. 0 or an empty text: the program chooses, and says what it chose."""

    # Folders and name
    shards: str = _flag("data/shards", "Folder of shards, or its address, such as s3://bucket/shards.")
    shard_cache: str = _flag(DEFAULT_CACHE, "Folder for copies of shards that lie at an address.")
    shard_cache_gb: float = _flag(
        DEFAULT_CACHE_GB, "Room for these copies, in GB; those used longest ago make room.", least=0
    )
    manifests: str = _flag("data_manifests", "Folder of manifests and balancing plans.")
    runs: str = _flag("runs", "Folder of runs.")
    name: str = _flag("", "Name of the run: its folder below --runs. Default: lsvit-<preset or weights>.")

    # Rows
    split: str = _flag("1", "1, 2, 3, full, all (every clip: a sanity check), or several: 1,2,3.")
    plan: str = _flag("auto", "Balancing plan: auto (the split's own, where it fits), none or a CSV file.")
    val_fraction: float = _flag(0.1, "Share of the training rows, by source, that chooses `best`.", least=0, most=0.5)
    sampling: str = _flag(
        "auto",
        "Frames of a segment in training: tsn (one at random), middle or auto (tsn where K > 1).",
        choices=("auto", "tsn", "middle"),
    )

    # Model
    preset: str = _flag(
        "auto",
        "Size of the model. auto: of the weights of --init, else tiny.",
        choices=("auto", "tiny", "small", "base"),
    )
    img_size: int = _flag(0, "Side of the model's picture in pixels. 0: the largest that fits, at most 224.", least=0)
    patch_size: int = _flag(0, "Side of a patch in pixels. 0: the preset's.", least=0)
    embed_dim: int = _flag(0, "Width D of the model. 0: the preset's.", least=0)
    depth: int = _flag(0, "Number of blocks. 0: the preset's.", least=0)
    num_heads: int = _flag(0, "Attention heads. 0: the preset's.", least=0)
    smif: str = _flag("directional", "Motion injected into the frames.", choices=_VARIANTS)
    lmi: str = _flag("directional", "Motion exchanged between frames in each block.", choices=_VARIANTS)
    lmi_every: int = _flag(1, "LMI in one block of every N, the middle one: less time and memory. 1: in each.", least=1)
    spatial_pool: str = _flag(
        "auto",
        "Tokens of a frame into one. auto: as the weights of --init have it, else cls.",
        choices=("auto", "cls", "mean", "heatmap", "latent"),
    )
    temporal_pool: str = _flag("mean", "Frames of a clip into one.", choices=("mean", "attention", "directional"))
    motion_init: str = _flag(
        "auto",
        "Start of the directional modules. auto: identity with --init, else active.",
        choices=("auto", "identity", "active"),
    )
    normalisation: str = _flag(
        "auto",
        "Mean and deviation taken out of the input: dataset (of the training clips), imagenet, half (0.5) or auto "
        "(what the weights of --init expect, else dataset).",
        choices=("auto", "dataset", "imagenet", "half"),
    )
    init: str = _flag("", "Weights to start from: a .safetensors or .pth file, a run (its folder or name) or hf:REPO.")
    activation: str = _flag(
        "auto",
        "Activation of the MLPs of --init, where its file cannot tell.",
        choices=("auto", "gelu", "gelu_tanh", "quick_gelu"),
    )
    train: str = _flag(
        "all",
        "What trains: all, motion (SMIF, LMI, pools and head; the ViT of --init stays as it is) or head (pools and "
        "head alone).",
        choices=("all", "motion", "head"),
    )

    # Length and batches
    epochs: int = _flag(10, "Passes over the training rows.", least=1)
    batch_size: int = _flag(16, "Clips of one optimiser step, over all processes and accumulation steps.", least=1)
    grad_accum_steps: int = _flag(1, "Parts into which a batch is cut to save memory; the result is the same.", least=1)
    max_minutes: float = _flag(
        0.0, "Stop with a full checkpoint after so many minutes, shared by all splits. 0: no limit.", least=0
    )
    patience: int = _flag(0, "Stop after so many epochs without a better validation. 0: never.", least=0)
    shuffle_shards: int = _flag(
        0,
        "Shards whose clips are shuffled together, one such group after the other: for disks that cannot seek and "
        "shards at an address. 0: all.",
        least=0,
    )
    seed: int = _flag(0, "Settles initial weights, order, sampling and augmentation.", least=0)

    # Optimisation
    lr: float = _flag(5e-4, "Peak learning rate.", least=0)
    min_lr: float = _flag(1e-6, "Learning rate at the end of the cosine.", least=0)
    warmup_epochs: float = _flag(3.0, "Epochs of linear warm-up.", least=0)
    weight_decay: float = _flag(0.05, "AdamW's decay; none on one-dimensional parameters and positions.", least=0)
    layer_decay: float = _flag(
        1.0, "Factor on the learning rate for each layer further from the head.", least=0, most=1
    )
    clip_grad: float = _flag(1.0, "Largest norm of the gradient. 0: no clipping.", least=0)
    model_ema: bool = _flag(False, "Keep a moving average of the weights; it is what is validated and predicts.")
    model_ema_decay: float = _flag(0.999, "Decay of the moving average, after its warm-up.", least=0, most=1)
    amp: str = _flag(
        "auto",
        "Half precision. auto: on CUDA bf16, or fp16 where the chip has none; none on the CPU.",
        choices=("auto", "none", "fp16", "bf16"),
    )
    compile: bool = _flag(False, "Compile the model with torch.compile.")
    checkpoint_blocks: bool = _flag(
        False, "Save memory: keep only what goes into each block, and compute the block again in the backward pass."
    )

    # Regularisation
    drop_path: float = _flag(0.1, "Stochastic depth of the last block, rising linearly from 0.", least=0, most=0.99)
    smoothing: float = _flag(0.1, "Label smoothing.", least=0, most=0.99)
    loss: str = _flag("cross-entropy", "The loss.", choices=("cross-entropy", "class-balanced", "focal"))
    class_balanced_beta: float = _flag(0.999, "Beta of the class-balanced loss.", least=0, most=0.999999)
    focal_gamma: float = _flag(2.0, "Gamma of the focal loss.", least=0)
    mixup: float = _flag(0.0, "MixUp's alpha on whole clips. 0: off.", least=0)
    cutmix: float = _flag(0.0, "CutMix's alpha on whole clips. 0: off.", least=0)
    mixup_prob: float = _flag(1.0, "Share of the clips that are mixed, where one of the two is on.", least=0, most=1)
    mixup_switch_prob: float = _flag(0.5, "Share of CutMix among the mixed clips, where both are on.", least=0, most=1)
    mix_synthetic: bool = _flag(False, "Let MixUp and CutMix mix the plan's synthetic clips too.")

    # Augmentation
    scale: tuple[float, float] = _flag(
        (0.4, 1.0), "Area of the random crop, of the largest that fits.", least=0.01, most=1
    )
    ratio: tuple[float, float] = _flag((0.75, 1.3333), "Width over height of the random crop.", least=0.1, most=10)
    hflip: float = _flag(0.5, "Share of the clips that are mirrored.", least=0, most=1)
    aug_strength: float = _flag(1.0, "Strength of the whole augmentation. 0: off.", least=0, most=10)
    aug_class: tuple[str, ...] = _flag((), "Strength for one class, such as walk=1.5; may be repeated.")

    # Machine
    device: str = _flag(
        "auto",
        "Where to train; mps is the GPU of a Mac. auto: cuda where it is, else cpu.",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    workers: int = _flag(2, "Threads of each process that read clips.", least=1)
    prefetch: int = _flag(2, "Batches read ahead.", least=1)
    checkpoint_every: int = _flag(
        100, "Steps between checkpoints; one is written after each epoch anyway. 0: only those.", least=0
    )
    tracker: str = _flag(
        "tensorboard",
        "What shows the curves: tensorboard, wandb (Weights & Biases), trackio or none. The middle two are extras.",
        choices=("tensorboard", "wandb", "trackio", "none"),
    )
    log_every: int = _flag(10, "Steps between the tracker's entries.", least=1)


SPLITS = ("1", "2", "3", "full", "all")
"""Those that a run may train on, in the order in which they are listed."""


def flags() -> dict[str, tuple[type, Flag]]:
    """Every key of the configuration with its type and what it says about itself, in the order of the fields."""
    types = get_type_hints(RunConfig)
    return {field.name: (types[field.name], field.metadata["flag"]) for field in dataclasses.fields(RunConfig)}


def place_of_shards(config: RunConfig) -> ShardsPlace:
    """Where the shards lie. Raises UsageError for an address without room for copies."""
    return shards_place(config.shards, cache=Path(config.shard_cache), cache_gb=config.shard_cache_gb)


def default_name(config: RunConfig) -> str:
    """The name of a run that is given none: after its preset, or the weights of --init that settle its size."""
    if config.preset != "auto":
        return f"lsvit-{config.preset}"
    weights = PurePath(config.init.removeprefix("hf:").partition("@")[0])
    is_file = weights.suffix in (".safetensors", ".pth", ".pt", ".bin")
    return f"lsvit-{weights.stem if is_file else weights.name}"


def class_strengths(config: RunConfig) -> dict[str, float]:
    """``aug_class`` as class name -> strength. Raises UsageError where an entry is not NAME=NUMBER."""
    strengths: dict[str, float] = {}
    for entry in config.aug_class:
        name, separator, number = entry.partition("=")
        try:
            strengths[name] = float(number)
        except ValueError:
            strengths[name] = math.nan
        if not name or not separator or not 0 <= strengths[name] <= 10:
            raise UsageError(
                f"--aug-class is {entry!r}; write CLASS=STRENGTH such as walk=1.5, the strength from 0 to 10"
            )
    return strengths


def requested_splits(split: str, *, option: str = "--split") -> tuple[str, ...]:
    """The splits that an option names, in order. Raises UsageError for an unknown or repeated one."""
    names = tuple(part.strip() for part in split.split(","))
    for name in names:
        if name not in SPLITS or names.count(name) > 1:
            raise UsageError(f"{option} is {split!r}; use 1, 2, 3, full or all, or several such as 1,2,3, each once")
    return names
