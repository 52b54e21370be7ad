"""Exact reversals, to sit and to stand up: the `directional` head tells them apart, `mean` and `attention` cannot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from preprocess.synth.scene import render_clip
from preprocess.synth.specs import ClipSpec, SetParameters, clip_specs
from shared.video.sampling import candidate_frames
from train.data.views import evaluation_views
from train.model.config import TemporalPool, make_config
from train.model.lsvit import LSViT
from train.model.trainable import freeze

FRAMES = 16


@pytest.fixture(scope="module")
def specs() -> list[ClipSpec]:
    """The clips of sit and stand: half of them of actors that no head is trained on."""
    return [
        spec for spec in clip_specs(SetParameters(num_clips=60, num_classes=4)) if spec.class_name in ("sit", "stand")
    ]


@pytest.fixture(scope="module")
def videos(specs: list[ClipSpec]) -> Tensor:
    """float32 (n, T, 3, 64, 64)"""
    clips = []
    for spec in specs:
        frames = render_clip(spec)
        chosen = candidate_frames(len(frames), num_segments=FRAMES, frames_per_segment=1)
        clips.append(torch.from_numpy(frames[chosen]))
    return evaluation_views(torch.stack(clips), image_size=64)[:, 0]


def backbone(videos: Tensor, *, num_steps: int) -> LSViT:
    """A plain ViT of random weights, after some steps of telling the clips apart."""
    config = make_config("tiny", num_classes=len(videos), image_size=64, smif="none", lmi="none")
    model = LSViT(config, seed=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(num_steps):
        optimizer.zero_grad()
        F.cross_entropy(model(videos), torch.arange(len(videos))).backward()
        optimizer.step()
    return model


def head_on(features: Tensor, labels: Tensor, temporal: TemporalPool) -> LSViT:
    """A model whose pool and head are trained on frame features (n, T, D)."""
    config = make_config("tiny", num_classes=2, image_size=64, smif="none", lmi="none", motion_init="identity")
    model = LSViT(dataclasses.replace(config, temporal_pool=temporal), seed=1)
    freeze(model, "head")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model.head(model.pool_frames(features)), labels).backward()
        optimizer.step()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, 10])
def test_only_the_directional_head_tells_reversals_apart(specs: list[ClipSpec], videos: Tensor, num_steps: int) -> None:
    model = backbone(videos, num_steps=num_steps)
    with torch.no_grad():
        forward, backward = model.frame_features(videos), model.frame_features(videos.flip(1))
    torch.testing.assert_close(backward, forward.flip(1))  # each frame has its feature from itself alone
    stands_up = torch.tensor([spec.class_name == "stand" for spec in specs]).long()
    features, labels = torch.cat([forward, backward]), torch.cat([stands_up, 1 - stands_up])
    sources = [spec.source.name for spec in specs]
    held_out = np.isin(sources, sorted(set(sources))[::2])
    is_new = torch.from_numpy(np.concatenate([held_out, held_out]))
    assert 8 <= is_new.sum() <= len(labels) - 8
    for temporal, can in (("mean", False), ("attention", False), ("directional", True)):
        head = head_on(features[~is_new], labels[~is_new], temporal)  # type: ignore[arg-type]
        with torch.no_grad():
            logits = head.head(head.pool_frames(features))
        right = (logits.argmax(dim=1) == labels).float()
        one_way, other_way = logits.chunk(2)
        if can:
            assert right[~is_new].mean() == 1.0 and right[is_new].mean() >= 0.75, temporal
        else:
            torch.testing.assert_close(one_way, other_way, rtol=0, atol=1e-4)
