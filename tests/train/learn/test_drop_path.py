"""The draws of DropPath: their probabilities, that they never change, and that a part of a batch is treated alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.data.seeds import Purpose, generator
from train.learn.drop_path import draw
from train.model.config import ModelConfig
from train.model.lsvit import LSViT


def test_the_probability_rises_linearly_and_the_expectation_is_kept() -> None:
    factors = draw(0.4, num_blocks=5, num_clips=20000, seed=0, epoch=0, step=0)
    assert factors is not None and factors.dtype == torch.float32 and factors.shape == (8, 20000)
    skipped = (factors == 0).double().mean(dim=1)
    expected = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4], dtype=torch.float64)
    torch.testing.assert_close(skipped, expected, atol=0.02, rtol=0)  # over four standard deviations
    torch.testing.assert_close(factors.mean(dim=1), torch.ones(8), atol=0.03, rtol=0)
    for row, share in zip(factors, expected.tolist(), strict=True):
        assert row.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)])


def test_nothing_is_drawn_where_nothing_can_be_skipped() -> None:
    assert draw(0.0, num_blocks=5, num_clips=2, seed=0, epoch=0, step=0) is None
    assert draw(0.4, num_blocks=1, num_clips=2, seed=0, epoch=0, step=0) is None


def test_the_draws_are_those_of_a_loop_over_one_stream() -> None:
    """A checkpoint of an earlier version is continued with the same draws: row after row, from the second block on."""
    factors = draw(0.3, num_blocks=4, num_clips=3, seed=7, epoch=2, step=5)
    assert factors is not None
    numbers = generator(Purpose.DROP_PATH, 7, 2, 5).random((8, 3), dtype=np.float32)
    for row in range(6):
        staying = np.float32(1 - 0.3 * (1 + row // 2) / 3)
        for clip in range(3):
            kept = numbers[row, clip] < staying
            assert factors[row, clip].item() == (np.float32(1) / staying if kept else 0)
    other = draw(0.3, num_blocks=4, num_clips=3, seed=7, epoch=2, step=6)
    assert other is not None and not torch.equal(other, factors)


def test_a_part_of_a_batch_skips_what_the_whole_skips() -> None:
    config = ModelConfig(
        num_classes=2, image_size=16, embed_dim=32, depth=2, num_heads=2, num_frames=4, patch_size=8, drop_path=0.5
    )
    model = LSViT(config).train()
    video = torch.rand(6, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    factors = draw(config.drop_path, num_blocks=config.depth, num_clips=6, seed=0, epoch=0, step=0)
    assert factors is not None
    whole = model(video, factors)
    torch.testing.assert_close(model(video[2:4], factors[:, 2:4]), whole[2:4])
    assert not torch.allclose(model.eval()(video), whole)
