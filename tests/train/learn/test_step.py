"""A step: fp16 that never fits, a GPU that is too small, and what the host waits for."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from made_dataset import MadeDataset
from trained import checkpoint, train

from shared.errors import DataError
from train.learn import precision
from train.learn.precision import answering_precision, half_precision, in_words
from train.learn.processes import Processes, choose_backend, choose_device, memory_errors, shares_gpu
from train.learn.step import LEAST_LOSS_SCALE
from train.model.lsvit import LSViT

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class Overflowing(torch.autograd.Function):
    """Nothing on the way forward; backward the gradient is infinite."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.full_like(gradient, torch.inf)


def test_fp16_without_any_finite_gradient_is_an_error(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = LSViT.forward
    monkeypatch.setattr(LSViT, "forward", lambda *arguments: Overflowing.apply(forward(*arguments)))
    with pytest.raises(
        DataError, match=r"fp16 gives no finite gradient in epoch 9, step 3, .*nothing is learnt"
    ) as said:
        train(made, tmp_path, "a", amp="fp16", epochs=40, val_fraction=0.3, checkpoint_every=0)
    assert len(str(said.value).splitlines()) == 1
    state = checkpoint(tmp_path / "a")
    assert state["scaler"]["scale"] >= LEAST_LOSS_SCALE  # 27 halvings of 2^16 end below it: step 27 of 4 an epoch
    assert all(
        torch.equal(state["model"][name], value) for name, value in checkpoint(tmp_path / "a", "best")["model"].items()
    )


def test_fp16_steps_that_overflow_now_and_then_are_passed_over(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = LSViT.forward, []

    def now_and_then(model: LSViT, *arguments: torch.Tensor) -> torch.Tensor:
        logits = forward(model, *arguments)
        calls.append(torch.is_grad_enabled())
        return Overflowing.apply(logits) if sum(calls) % 3 == 1 else logits

    monkeypatch.setattr(LSViT, "forward", now_and_then)
    progress = checkpoint(train(made, tmp_path, "a", amp="fp16", epochs=4))["progress"]
    assert progress["finished"]


def test_auto_takes_bf16_where_the_chip_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_it, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has_it=has_it: has_it)
        assert half_precision("auto", CUDA) == answering_precision("auto", CUDA) == expected
    assert half_precision("auto", CPU) == "none" and half_precision("fp16", CUDA) == "fp16"
    assert answering_precision("fp16", CPU) == "none" and answering_precision("none", CUDA) == "none"
    assert in_words("bf16", CUDA) == "cuda:0 in bf16" and "TF32" in in_words("none", CUDA)
    assert in_words("none", CPU) == "cpu in float32"


def test_a_trained_model_answers_under_autocast_on_a_gpu(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is left out of it: the CPU stands for it."""
    from shared.manifests.files import read_manifests
    from train.data.views import Views
    from train.trained.clips import stored_probabilities
    from train.trained.model import load_model

    folder = train(made, tmp_path, "a")
    frame = read_manifests(made.manifests)
    found = []
    for name in ("none", "bf16"):
        monkeypatch.setattr("train.trained.model.answering_precision", lambda amp, device, name=name: name)
        found.append(stored_probabilities(load_model(folder), frame, shards=made.shards, views=Views(), batch_size=4))
    assert abs(found[0] - found[1]).max() < 0.02 and (found[0] != found[1]).any()


def test_a_gpu_that_is_too_small_is_two_lines_with_the_remedy(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object, **options: object) -> object:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words.")

    monkeypatch.setattr("train.run.loop.train_step", too_large)
    with pytest.raises(DataError) as said:
        train(made, tmp_path, "a", grad_accum_steps=2)
    first, second = str(said.value).splitlines()
    assert first == "the GPU's memory is too small: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert "--grad-accum-steps (2 now, 4 need about half)" in second and "--preset" in second and "--resume" in second


def test_a_gpu_that_is_too_small_to_answer(made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.manifests.files import read_manifests
    from train.data.views import Views
    from train.trained.clips import stored_probabilities
    from train.trained.model import load_model

    def too_large(*arguments: object) -> object:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    loaded = load_model(train(made, tmp_path, "a", epochs=1))
    monkeypatch.setattr(LSViT, "forward", too_large)
    with pytest.raises(DataError, match=r"too small: CUDA out of memory\.\nuse a smaller --batch-size"):
        stored_probabilities(loaded, read_manifests(made.manifests), shards=made.shards, views=Views(), batch_size=4)


def test_memory_of_the_host_and_other_errors() -> None:
    with pytest.raises(DataError, match=r"the memory is too small: .*DefaultCPUAllocator"), memory_errors("less"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), memory_errors("less"):
        raise RuntimeError("something else")


def test_processes_share_gpus_where_there_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device("cuda", local_rank=rank).index for rank in range(4)] == [0, 1, 0, 1]
    assert [shares_gpu(CUDA, local_count=count) for count in (1, 2, 3)] == [False, False, True]
    assert [choose_backend(CUDA, local_count=count) for count in (2, 4)] == ["nccl", "gloo"]
    assert choose_backend(CPU, local_count=4) == "gloo" and not shares_gpu(CPU, local_count=4)


def test_fast_products_are_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    precision.use_fast_products(CPU)
    assert not chosen
    precision.use_fast_products(CUDA)
    assert chosen == ["high"]


def test_one_process_sums_without_waiting() -> None:
    tensor = torch.ones(2)
    assert Processes(device=CPU).total(tensor) is tensor


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_the_host_waits_for_the_gpu_once_a_step(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.learn.step import train_step

    waits: list[int] = []

    def watched(*arguments: object, **options: object) -> object:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = train_step(*arguments, **options)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(warning.message) for warning in caught))
        return result

    monkeypatch.setattr("train.run.loop.train_step", watched)
    for amp in ("bf16", "fp16"):
        train(made, tmp_path, amp, device="cuda", amp=amp, mixup=0.4, cutmix=1.0, drop_path=0.2, epochs=4)
    assert set(waits[1:]) == {1}
