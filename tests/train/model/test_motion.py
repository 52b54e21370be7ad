"""SMIF and LMI against slow loops, their gradients against finite differences, and what each variant promises."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from train.model import smif as motion
from train.model.lmi import ClassicLMI, DirectionalLMI
from train.model.smif import ClassicSMIF, DirectionalSMIF

DIM = 16


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def video(frames: int = 5, *, seed: int = 1, clips: int = 2, size: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(clips, frames, 3, size, size + 1, generator=generator, dtype=torch.float64)


def tokens(frames: int = 5, *, seed: int = 1, clips: int = 2, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(clips, frames, count, DIM, generator=generator, dtype=torch.float64)


def slow_classic_smif(module: ClassicSMIF, clip: Tensor) -> Tensor:
    num_frames = clip.shape[1]
    weight, bias = module.conv_fuse.weight[:, :, 0, 0], module.conv_fuse.bias
    output = torch.empty_like(clip)
    for t in range(num_frames):
        motion = torch.zeros_like(clip[:, t])
        for offset in (1, 2):
            if t + offset < num_frames:
                motion += (clip[:, t + offset] - clip[:, t]).abs()
            if t - offset >= 0:
                motion += (clip[:, t] - clip[:, t - offset]).abs()
        motion = torch.where(motion / 2 > 0.05, motion / 2, 0.0)
        fused = torch.einsum("oc,bchw->bohw", weight, torch.cat([clip[:, t], motion], dim=1))
        output[:, t] = (clip[:, t] + math.tanh(module.alpha.item()) * (fused + bias[:, None, None])).clamp(-1, 1)
    return output


def slow_directional_smif(module: DirectionalSMIF, clip: Tensor) -> Tensor:
    num_frames = clip.shape[1]
    output = clip.clone()
    for t in range(num_frames):
        for neighbour, offset in enumerate((-2, -1, 1, 2)):
            if not 0 <= t + offset < num_frames:
                continue
            difference = clip[:, t + offset] - clip[:, t]
            shrunk = difference * difference.abs() / (difference.abs() + 0.05)
            for colour in range(3):
                for source in range(3):
                    output[:, t, colour] += module.weight[colour, neighbour, source] * shrunk[:, source]
    return output


def slow_classic_lmi(module: ClassicLMI, x: Tensor) -> Tensor:
    clips, num_frames, count, _ = x.shape
    output = torch.empty_like(x)
    for b in range(clips):
        reduced = [F.linear(x[b, t], module.reduce.weight, module.reduce.bias) for t in range(num_frames)]
        forward = [reduced[t + 1] - reduced[t] for t in range(num_frames - 1)]
        forward.append(forward[-1])
        backward = [reduced[0] - reduced[1]] + [reduced[t - 1] - reduced[t] for t in range(1, num_frames)]
        for t in range(num_frames):
            motion = sum(forward[t][n].abs() + backward[t][n].abs() for n in range(count)) / count
            hidden = module.temporal_mlp[1](F.layer_norm(motion, motion.shape, *module.temporal_mlp[0].parameters()))
            gate = torch.sigmoid(module.temporal_mlp[3](F.gelu(hidden)))
            scale = math.tanh(module.delta.item()) * module.expand(gate)
            for n in range(count):
                output[b, t, n] = x[b, t, n] + x[b, t, n] * scale
    return output


def slow_directional_lmi(module: DirectionalLMI, x: Tensor) -> Tensor:
    clips, num_frames, count, dim = x.shape
    reduced_dim, heads = dim // 4, 4
    width = reduced_dim // heads
    output = x.clone()
    for b in range(clips):
        reduced = [module.norm(F.linear(x[b, t], module.squeeze.weight)) for t in range(num_frames)]
        query_key = [module.query_key(frame.mean(dim=0)) for frame in reduced]
        for t in range(num_frames):
            moved = torch.zeros(count, reduced_dim, dtype=x.dtype)
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                query = query_key[t][:reduced_dim][part]
                keys = [query_key[s][reduced_dim:][part] for s in range(num_frames)]
                scores = [query @ key / width**0.5 + module.position[head, t, s] for s, key in enumerate(keys)]
                weights = torch.stack(scores).softmax(dim=0)
                for s in range(num_frames):
                    moved[:, part] += weights[s] * (reduced[s][:, part] - reduced[t][:, part])
            output[b, t] += F.gelu(moved) @ module.inject.weight.T
    return output


SLOW_SMIF = [(ClassicSMIF, slow_classic_smif), (DirectionalSMIF, slow_directional_smif)]


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
@pytest.mark.parametrize(("kind", "slow"), SLOW_SMIF)
def test_smif_equals_the_loop(kind: type[nn.Module], slow: object, frames: int) -> None:
    module, clip = randomised(kind()), video(frames)
    if kind is ClassicSMIF:
        clip = 2 * clip - 1
    torch.testing.assert_close(module(clip), slow(module, clip), rtol=0, atol=1e-12)


@pytest.mark.parametrize("frames", [2, 3, 7])
def test_classic_lmi_equals_the_loop(frames: int) -> None:
    module, x = randomised(ClassicLMI(DIM)), tokens(frames)
    torch.testing.assert_close(module(x), slow_classic_lmi(module, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_directional_lmi_equals_the_loop(frames: int) -> None:
    module, x = randomised(DirectionalLMI(DIM, num_frames=frames)), tokens(frames)
    torch.testing.assert_close(module(x), slow_directional_lmi(module, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [ClassicSMIF, DirectionalSMIF])
def test_smif_gradients(kind: type[nn.Module]) -> None:
    module = randomised(kind())
    clip = (0.6 * video(4, clips=1, size=2) - 0.3).requires_grad_()  # away from the clamp
    if kind is ClassicSMIF:
        module.alpha.data.fill_(0.3)
    names = [name for name, _ in module.named_parameters()]

    def run(clip: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (clip,))

    assert torch.autograd.gradcheck(run, (clip, *module.parameters()))


@pytest.mark.parametrize("make", [lambda: ClassicLMI(DIM), lambda: DirectionalLMI(DIM, num_frames=3)])
def test_lmi_gradients(make: object) -> None:
    module = randomised(make())
    x = tokens(3, clips=1, count=2).requires_grad_()
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 8))
def test_directional_smif_of_a_still_clip_adds_nothing(seed: int, frames: int) -> None:
    module = randomised(DirectionalSMIF(), seed)
    still = video(1, seed=seed).expand(-1, frames, -1, -1, -1).contiguous()
    assert torch.equal(module(still), still)


def test_directional_lmi_of_a_still_clip_adds_nothing() -> None:
    module = randomised(DirectionalLMI(DIM, num_frames=6))
    still = tokens(1).expand(-1, 6, -1, -1).contiguous()
    assert torch.equal(module(still), still)
    assert not torch.equal(module(tokens(6)), tokens(6))


def test_classic_variants_cannot_tell_the_direction_of_time() -> None:
    smif, lmi = randomised(ClassicSMIF()), randomised(ClassicLMI(DIM))
    clip, x = 2 * video(6) - 1, tokens(6)
    torch.testing.assert_close(smif(clip.flip(1)).flip(1), smif(clip), rtol=0, atol=1e-12)
    torch.testing.assert_close(lmi(x.flip(1)).flip(1), lmi(x), rtol=0, atol=1e-12)


def test_directional_variants_tell_the_direction_of_time() -> None:
    smif, lmi = DirectionalSMIF().double(), DirectionalLMI(DIM, num_frames=6).double()
    smif.initialise("active")
    lmi.initialise("active")
    clip, x = video(6), tokens(6)
    assert (smif(clip.flip(1)).flip(1) - smif(clip)).abs().max() > 0.02
    assert (lmi(x.flip(1)).flip(1) - lmi(x)).abs().max() > 0.05


def test_directional_starts() -> None:
    smif, lmi = DirectionalSMIF().double(), DirectionalLMI(DIM, num_frames=6).double()
    smif.initialise("identity")
    lmi.initialise("identity")
    clip, x = video(6), tokens(6)
    assert torch.equal(smif(clip), clip)
    assert torch.equal(lmi(x), x)
    smif.initialise("active")
    grey = clip.mean(dim=2)
    step = grey[:, 1:] - grey[:, :-1]
    flat = torch.stack([grey] * 3, dim=2)  # grey clips, where the colours agree
    motion = smif.motion_map(flat)
    shrunk = step * step.abs() / (step.abs() + 0.05)
    torch.testing.assert_close(motion[:, :-1, 0], shrunk / 4)
    torch.testing.assert_close(motion[:, 1:, 2], -shrunk / 4)
    assert not motion[:, :, 1].any() and not motion[:, -1, 0].any() and not motion[:, 0, 2].any()


def test_directional_lmi_starts_by_looking_both_ways() -> None:
    lmi = DirectionalLMI(DIM, num_frames=5).double()
    lmi.initialise("active")
    position = lmi.position.softmax(dim=-1)
    assert position[0, 2].argmax() == 3 and position[1, 2].argmax() == 1
    assert position[2, 1, 2:].sum() > 0.9 and position[3, 3, :3].sum() > 0.9


def test_weights_over_time() -> None:
    x = tokens(6)
    for module, shape in ((ClassicLMI(DIM), (2, 6)), (DirectionalLMI(DIM, num_frames=6), (2, 6, 6))):
        module = randomised(module)
        output, weights = module.forward_with_weights(x)
        assert torch.equal(output, module(x))
        assert weights.shape == shape and weights.min() >= 0 and weights.max() <= 1
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 6, dtype=torch.float64))


@pytest.mark.parametrize("frames", [1, 2, 3, 6])
def test_directional_smif_is_the_same_whether_the_video_is_differentiated_or_not(frames: int) -> None:
    smif = DirectionalSMIF()
    nn.init.normal_(smif.weight)
    video = torch.rand(2, frames, 3, 5, 7)
    wanted = torch.rand_like(video)
    outputs = [smif(video), smif(video.clone().requires_grad_())]
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(output, smif.weight, wanted)[0] for output in outputs]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_directional_smif_in_pieces_has_the_right_gradient(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "PIECE", 6 * frames)
    monkeypatch.setattr(motion, "ALIGNED", 1)
    smif, clip = randomised(DirectionalSMIF()), video(frames)  # 12 pixels in pieces of 2, two clips
    torch.testing.assert_close(smif(clip), slow_directional_smif(smif, clip), rtol=0, atol=1e-12)

    def run(weight: Tensor) -> Tensor:
        return torch.func.functional_call(smif, {"weight": weight}, (clip,))

    assert torch.autograd.gradcheck(run, (smif.weight,))
    monkeypatch.setattr(motion, "PIECE", 15 * frames)  # pieces of 5, 5 and 2
    torch.testing.assert_close(smif(clip), slow_directional_smif(smif, clip), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(run, (smif.weight,))
    monkeypatch.setattr(motion, "PIECE", 2 * clip[0].numel())  # pieces of two clips and one
    clip = torch.cat([clip, clip[:1].flip(1)])
    torch.testing.assert_close(smif(clip), slow_directional_smif(smif, clip), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(run, (smif.weight,))


def test_directional_smif_takes_a_video_whose_memory_is_not_in_one_piece() -> None:
    smif, clip = randomised(DirectionalSMIF()), video(5).flip(1).transpose(3, 4)
    assert torch.equal(smif(clip), smif(clip.contiguous()))


@pytest.mark.parametrize("kind", [ClassicSMIF, DirectionalSMIF])
def test_smif_keeps_full_precision_under_autocast(kind: type[nn.Module]) -> None:
    smif, clip = randomised(kind()).float(), video(5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = smif(clip)
    assert torch.equal(output, smif(clip))


def test_smif_keeps_full_precision_when_compiled() -> None:
    """A compiler sees plain expressions in the place of the pieces; autocast must not reach those either."""
    smif, clip = randomised(DirectionalSMIF()).float(), video(5).float()
    compiled = torch.compile(smif, backend="eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(clip), smif(clip), rtol=0, atol=1e-6)
        torch.testing.assert_close(smif.motion_map(clip), smif(clip) - clip, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["classic", "directional"])
def test_with_one_frame_every_parameter_of_lmi_has_a_gradient(kind: str) -> None:
    """Without one, processes that train together wait for it in vain."""
    lmi = randomised(ClassicLMI(32) if kind == "classic" else DirectionalLMI(32, num_frames=1)).float()
    lmi(torch.rand(2, 1, 5, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in lmi.parameters())
