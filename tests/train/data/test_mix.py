"""MixUp and CutMix: one lambda and one box a clip, soft targets, pairs that never leave their batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.mix import MixDraws, MixSettings, draw_mix, mix_clips, partners


def draw(count: int, *, may_mix: np.ndarray | None = None, seed: int = 0, mix: MixSettings) -> MixDraws:
    allowed = np.ones(count, bool) if may_mix is None else may_mix
    return draw_mix(mix, may_mix=allowed, image_size=32, rng=np.random.default_rng(seed))


def mix(video: torch.Tensor, targets: torch.Tensor, draws: MixDraws) -> tuple[torch.Tensor, torch.Tensor]:
    return mix_clips(video, targets, own=torch.from_numpy(draws.own), box=torch.from_numpy(draws.box))


def test_partners_are_pairs() -> None:
    assert partners(6).tolist() == [1, 0, 3, 2, 5, 4]
    assert partners(5).tolist() == [1, 0, 3, 2, 4]


def test_mixup_is_the_weighted_mean_of_clips_and_targets() -> None:
    video, targets = torch.rand(4, 3, 3, 32, 32), torch.eye(4)
    draws = draw(4, mix=MixSettings(mixup=0.8))
    mixed, soft = mix(video, targets, draws)
    for clip, other in enumerate([1, 0, 3, 2]):
        own = float(draws.own[clip])
        torch.testing.assert_close(mixed[clip], own * video[clip] + (1 - own) * video[other])
        torch.testing.assert_close(soft[clip], own * targets[clip] + (1 - own) * targets[other])
    assert not draws.box.any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_cutmix_pastes_one_box_into_every_frame(seed: int) -> None:
    video = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 3, 3, 32, 32).clone()
    targets = torch.eye(4)
    draws = draw(4, seed=seed, mix=MixSettings(cutmix=1.0))
    mixed, soft = mix(video, targets, draws)
    for clip, other in enumerate([1, 0, 3, 2]):
        top, left, height, width = draws.box[clip]
        expected = video[clip].clone()
        expected[:, :, top : top + height, left : left + width] = other
        assert torch.equal(mixed[clip], expected)
        assert abs(float(soft[clip, other]) - height * width / 32**2) < 1e-6
    assert torch.allclose(soft.sum(dim=1), torch.ones(4))


def test_cutmix_areas_follow_beta() -> None:
    draws = draw(20000, mix=MixSettings(cutmix=1.0))
    # Beta(1, 1) has mean 1/2; boxes cut at the border are smaller, so the clip's own share is larger.
    assert 0.55 < draws.own.mean() < 0.70


def test_synthetic_clips_and_their_partners_stay_unmixed() -> None:
    may_mix = np.array([True, True, False, True, True])
    draws = draw(5, may_mix=may_mix, mix=MixSettings(mixup=0.8))
    assert (draws.own < 1).tolist() == [True, True, False, False, False]
    video = torch.rand(5, 2, 3, 32, 32)
    mixed, _ = mix(video, torch.eye(5), draws)
    assert torch.equal(mixed[2:], video[2:])


def test_prob_and_switch_are_shares_of_clips() -> None:
    draws = draw(20000, mix=MixSettings(mixup=0.4, cutmix=1.0, prob=0.6, switch_prob=0.25))
    cut = draws.box[:, 2] * draws.box[:, 3] > 0
    assert abs((draws.own < 1).mean() - 0.6) < 0.03
    assert abs(cut.mean() - 0.15) < 0.02


def test_a_part_of_a_batch_mixes_as_the_whole() -> None:
    video, targets = torch.rand(6, 2, 3, 32, 32), torch.eye(6)
    draws = draw(6, mix=MixSettings(mixup=0.4, cutmix=1.0))
    whole, soft = mix(video, targets, draws)
    rows = np.array([2, 3])
    part, part_soft = mix(video[2:4], targets[2:4], draws.part(rows))
    assert torch.equal(part, whole[2:4]) and torch.equal(part_soft, soft[2:4])


def test_off_means_off() -> None:
    assert not MixSettings().is_on
    assert not MixSettings(mixup=0.4, prob=0).is_on
    assert MixSettings(cutmix=0.1).is_on
