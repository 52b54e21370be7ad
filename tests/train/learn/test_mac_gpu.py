"""A Mac's GPU that is not there: made tensors show that nothing on it is float64 or meets another device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from made_dataset import MadeDataset
from torch.utils._python_dispatch import TorchDispatchMode
from trained import TINY

from shared.errors import DataError, UsageError
from train.data.loader.batches import Step, training_batches
from train.data.loader.reader import BatchReader
from train.data.loader.transfer import Sender
from train.data.views import evaluation_views
from train.learn.inference import probabilities_of
from train.learn.lessons import make_lesson
from train.learn.precision import half_precision, in_words, widened, widest_float
from train.learn.processes import Processes, choose_device, joined_processes, memory_errors
from train.learn.step import train_step
from train.model.config import ModelConfig, Variant
from train.model.lsvit import LSViT
from train.run.config.resolve import resolve
from train.run.config.values import Value
from train.run.data import open_data
from train.run.learner import make_learner, make_lessons
from train.run.model import make_model

MPS, META = torch.device("mps", 0), torch.device("meta")


class NoFloat64(TorchDispatchMode):
    """Raises TypeError where an operation on such a device gives float64, as a Mac's does."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.device.type != "cpu" and value.dtype == torch.float64:
                raise TypeError(f"{function} gives float64")
        return result


@pytest.fixture
def like_a_mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch's meta device does as a Mac's GPU would: no float64, and no tensor of another device beside its own."""
    for module in ("precision", "step", "inference"):
        monkeypatch.setattr(f"train.learn.{module}.widest_float", lambda device: torch.float32)
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # which meta has not
    with NoFloat64():
        yield


def test_the_made_mac_refuses_what_a_mac_refuses(like_a_mac: None) -> None:
    tensor = torch.ones(2, device=META)
    with pytest.raises(TypeError, match="float64"):
        tensor.double()
    with pytest.raises(RuntimeError, match="device"):
        tensor + torch.ones(2)


@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_an_answer_is_float32_and_stays_on_its_device(like_a_mac: None, variant: Variant) -> None:
    config = ModelConfig(
        num_classes=5, image_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, smif=variant, lmi=variant
    )
    (frames,) = Sender(META).send([torch.zeros((2, 16, 24, 32, 3), dtype=torch.uint8)]).received()
    with torch.inference_mode():
        crops = evaluation_views(frames, image_size=16, num_crops=3)
        answer = probabilities_of(LSViT(config).to(META))(crops)
    assert answer.device == META and answer.dtype == torch.float32 and answer.shape == (2, 5)


@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_a_step_is_float32_and_stays_on_its_device(made: MadeDataset, like_a_mac: None, variant: str) -> None:
    folders: dict[str, Value] = {"shards": str(made.shards), "manifests": str(made.manifests)}
    changes: dict[str, Value] = {"smif": variant, "lmi": variant, "mixup": 0.4, "cutmix": 1.0, "drop_path": 0.3}
    changes |= {"model_ema": True, "loss": "class-balanced", "val_fraction": 0.0}
    config, data = open_data(resolve(command_line={**TINY, **folders, **changes}, file={}))
    model, _ = make_model(config, data, None)
    learner = make_learner(
        config, model, num_samples=len(data.samples), processes=Processes(device=META), new_parameters=()
    )
    lessons = make_lessons(config, data, learner)
    reader = BatchReader(data.reader, num_threads=1, pinned=False)
    step = Step(epoch=0, index=0, chosen=np.arange(4))
    (batch,) = training_batches(reader, data.samples, [step], seed=0, tsn=False, num_parts=1, own_parts=range(1))
    with (
        NoFloat64(),
        pytest.raises((NotImplementedError, RuntimeError), match=r"[Mm]eta"),
    ):  # the host asks for the loss
        train_step(learner, lessons, make_lesson(batch, lessons, Sender(META)), step=0)
    assert all(parameter.grad is not None and parameter.device == META for parameter in model.parameters())


def test_half_precision_there_is_only_for_who_asks() -> None:
    assert widest_float(MPS) == torch.float32 and widened(torch.ones(1)).dtype == torch.float64
    assert half_precision("auto", MPS) == "none" and half_precision("bf16", MPS) == "bf16"
    assert in_words("none", MPS) == "mps:0 in float32"


def test_a_missing_one_is_an_error_of_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match="--device is mps, but torch finds no GPU of a Mac") as raised:
        choose_device("mps")
    assert len(str(raised.value).splitlines()) <= 2


def test_one_that_is_there_is_taken_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("mps").type == "mps" and choose_device("auto").type == "cpu"


def test_several_processes_on_it_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"), joined_processes("mps"):
        pass


def test_its_memory_that_is_too_small_is_said_in_two_lines() -> None:
    with pytest.raises(DataError, match=r"too small: MPS backend out of memory.*\nsmaller"), memory_errors("smaller"):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)")
