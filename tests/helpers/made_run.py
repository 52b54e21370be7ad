"""Runs made without training: a model with seeded weights in a checkpoint, as `lsvit-train run` would leave it."""

from __future__ import annotations

from pathlib import Path

import torch
from made_dataset import CLASSES, DATASET_ID

from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.run.checkpoint import Checkpoint, RunFacts, write_checkpoint
from train.run.progress import Progress
from train.trained.model import LoadedModel, load_model


def small_config(*, num_classes: int = len(CLASSES), num_frames: int = 4, smif: str = "directional") -> ModelConfig:
    """A model of two narrow blocks on 32x32 pictures."""
    return ModelConfig(
        num_classes=num_classes,
        image_size=32,
        embed_dim=32,
        depth=2,
        num_heads=2,
        num_frames=num_frames,
        patch_size=8,
        smif=smif,  # type: ignore[arg-type]
        lmi="none" if smif == "none" else smif,  # type: ignore[arg-type]
    )


def spread_weights(model: LSViT, *, seed: int = 0) -> None:
    """Draw the weights anew, so large that different clips get different answers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.25, generator=generator)


def make_run(
    folder: Path,
    *,
    config: ModelConfig | None = None,
    class_names: tuple[str, ...] = CLASSES,
    split: str = "1",
    dataset_id: str = DATASET_ID,
    synthetic: bool = True,
    frames_per_segment: int = 3,
    height: int = 24,
    width: int = 32,
    seed: int = 0,
    longest_seconds: float = 0.0,
) -> LoadedModel:
    """Write ``folder/checkpoints/{best,last}.pt`` and load the model again."""
    config = config or small_config(num_classes=len(class_names))
    model = LSViT(config)
    spread_weights(model, seed=seed)
    facts = RunFacts(
        model_config=config,
        class_names=class_names,
        shape=ClipShape(
            num_segments=config.num_frames,
            frames_per_segment=frames_per_segment,
            size=FrameSize(height=height, width=width),
        ),
        dataset_id=dataset_id,
        synthetic=synthetic,
        split=split,
        plan_sha256="",
        longest_seconds=longest_seconds,
    )
    checkpoint = Checkpoint(
        facts=facts,
        progress=Progress(epoch=1),
        config={},
        model=model.state_dict(),
        average=None,
        optimizer={},
        scheduler={},
        scaler={},
        rng={},
    )
    write_checkpoint(folder, checkpoint, is_best=True)
    return load_model(folder)
