"""Checkpoints: whole or absent, data only, and refusals that say what is wrong."""

from __future__ import annotations

import dataclasses
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import DataError
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.run.checkpoint import Checkpoint, RunFacts, checkpoint_path, read_checkpoint, write_checkpoint
from train.run.progress import EpochRow, Progress, write_metrics
from train.trained.model import load_model

SHAPE = ModelConfig(num_classes=2, image_size=16, embed_dim=32, depth=1, num_heads=2, num_frames=4, patch_size=8)
FACTS = RunFacts(
    model_config=SHAPE,
    class_names=("run", "walk"),
    shape=ClipShape(num_segments=4, frames_per_segment=3, size=FrameSize(height=24, width=32)),
    dataset_id="d" * 64,
    synthetic=True,
    split="1",
    plan_sha256="",
)
ROW = EpochRow(
    epoch=1,
    step=4,
    learning_rate=1e-3,
    train_loss=1.0,
    train_top1=0.5,
    val_clips=2,
    val_loss=0.7,
    val_top1=0.5,
    val_top5=1.0,
    val_mean_class_accuracy=0.5,
    val_calibration_error=0.1,
    best=1,
)


def make_checkpoint(*, seed: int = 0, average: bool = False) -> Checkpoint:
    model = LSViT(SHAPE, seed=seed)
    return Checkpoint(
        facts=FACTS,
        progress=Progress(epoch=1, step=1, history=(ROW,), best_epoch=1, best_confusion=((1, 0), (1, 0))),
        config={"epochs": 3, "scale": [0.4, 1.0]},
        model=model.state_dict(),
        average=LSViT(SHAPE, seed=seed + 1).state_dict() if average else None,
        optimizer=torch.optim.AdamW(model.parameters()).state_dict(),
        scheduler={"peak": 1.0},
        scaler={},
        rng={"cpu": torch.get_rng_state()},
    )


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    written = make_checkpoint(average=True)
    write_checkpoint(tmp_path, written, is_best=True)
    for which in ("last", "best"):
        read = read_checkpoint(tmp_path / "checkpoints" / f"{which}.pt")
        assert read.facts == written.facts and read.progress == written.progress and read.config == written.config
        assert all(torch.equal(read.model[name], value) for name, value in written.model.items())
    content = torch.load(checkpoint_path(tmp_path, "last"), weights_only=True)
    assert {"image_size", "mean", "std", "class_names", "num_segments", "dataset_id"} <= set(content["facts"])


def test_best_stays_when_last_goes_on(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make_checkpoint(seed=1), is_best=True)
    write_checkpoint(tmp_path, make_checkpoint(seed=2), is_best=False)
    assert torch.equal(load_model(tmp_path).model.head.weight, LSViT(SHAPE, seed=1).head.weight)
    assert torch.equal(load_model(tmp_path, which="last").model.head.weight, LSViT(SHAPE, seed=2).head.weight)


def test_the_averaged_weights_are_loaded_and_in_evaluation_mode(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make_checkpoint(seed=1, average=True), is_best=True)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded.model.head.weight, LSViT(SHAPE, seed=2).head.weight)
    assert not loaded.model.training and loaded.epoch == 1
    assert (
        loaded.facts.model_config.image_size,
        loaded.facts.size.height,
        loaded.facts.size.width,
        loaded.facts.size.fit,
    ) == (16, 24, 32, "crop")


def test_the_loaded_model_answers_as_the_written_one(tmp_path: Path) -> None:
    """Its mean and std, which are in no state, included."""
    shape = dataclasses.replace(SHAPE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    facts, model = dataclasses.replace(FACTS, model_config=shape), LSViT(shape, seed=3).eval()
    written = dataclasses.replace(make_checkpoint(), facts=facts, model=model.state_dict())
    write_checkpoint(tmp_path, written, is_best=True)
    loaded = load_model(tmp_path).model
    video = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(video), model(video)) and loaded.config == shape
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, make_checkpoint(), is_best=True)
    before = checkpoint_path(tmp_path, "last").read_bytes()

    def fail(content: object, file: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(DataError, match=r"cannot write .*best\.pt: no space left on device; make room"):
        write_checkpoint(tmp_path, make_checkpoint(seed=3), is_best=True)
    assert checkpoint_path(tmp_path, "last").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.pt", "last.pt"]


@pytest.mark.parametrize("room", [1000, 60_000])
def test_a_full_disk_is_one_line_with_the_reason(tmp_path: Path, room: int) -> None:
    """torch hides the system's error behind its own; a limit on the size of files acts like a full disk."""
    write_checkpoint(tmp_path, make_checkpoint(), is_best=True)
    before = checkpoint_path(tmp_path, "last").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(DataError, match=r"^cannot write .*last\.pt: File too large; make room .* --resume$"):
            write_checkpoint(tmp_path, make_checkpoint(seed=3), is_best=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint_path(tmp_path, "last").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.pt", "last.pt"]


@pytest.mark.parametrize("links", [True, False])
def test_best_shares_its_bytes_with_last_where_the_file_system_has_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for seed in (1, 2):
        write_checkpoint(tmp_path, make_checkpoint(seed=seed), is_best=True)
    best, last = checkpoint_path(tmp_path, "best"), checkpoint_path(tmp_path, "last")
    assert best.samefile(last) == links and best.read_bytes() == last.read_bytes()
    assert torch.equal(load_model(tmp_path).model.head.weight, LSViT(SHAPE, seed=2).head.weight)
    assert sorted(path.name for path in best.parent.iterdir()) == ["best.pt", "last.pt"]


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_is_never_a_way_to_run_code(tmp_path: Path) -> None:
    proof, path = tmp_path / "ran", checkpoint_path(tmp_path, "last")
    path.parent.mkdir()
    torch.save({"format": "lsvit-checkpoint", "version": 1, "facts": Malicious(proof)}, path)
    with pytest.raises(DataError, match="no checkpoint of lsvit-train, or damaged: it holds more than") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value)
    path.write_bytes(pickle.dumps(Malicious(proof)))
    with pytest.raises(DataError):
        load_model(tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = checkpoint_path(tmp_path, "last")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"last\.pt"):
        load_model(tmp_path)


def test_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make_checkpoint(), is_best=False)
    path = checkpoint_path(tmp_path, "last")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(DataError, match="--init"):
        read_checkpoint(path)
    with pytest.raises(DataError, match="no checkpoint in"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("name", ["config", "model", "optimizer", "scheduler", "scaler", "rng"])
@pytest.mark.parametrize("value", ["text", None, [1]])
def test_a_state_of_another_type_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_checkpoint(tmp_path, make_checkpoint(), is_best=False)
    path = checkpoint_path(tmp_path, "last")
    torch.save(torch.load(path, weights_only=True) | {name: value}, path)
    with pytest.raises(DataError, match=rf"last\.pt is damaged.*{name} is {type(value).__name__}"):
        load_model(tmp_path)


def test_flipped_bytes_are_seen(tmp_path: Path) -> None:
    """torch.load does not look at the checksums: a weight would silently be another."""
    write_checkpoint(tmp_path, make_checkpoint(), is_best=True)
    path = checkpoint_path(tmp_path, "best")
    content = bytearray(path.read_bytes())
    weight = LSViT(SHAPE, seed=0).head.weight.detach().numpy().tobytes()
    place = bytes(content).index(weight)
    content[place] ^= 1
    content[place + 5] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["format"] == "lsvit-checkpoint"
    with pytest.raises(DataError, match=r"best\.pt is damaged: the checksum of .* does not fit"):
        load_model(tmp_path)


def test_any_damage_is_an_error_or_harmless(tmp_path: Path) -> None:
    written = make_checkpoint()
    write_checkpoint(tmp_path, written, is_best=False)
    path = checkpoint_path(tmp_path, "last")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    # Half of the places in the last part: the zip file's own directory is there.
    for place in (*rng.integers(len(whole), size=20), *rng.integers(len(whole) - 4000, len(whole), size=60)):
        content = bytearray(whole)
        content[place] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            read = read_checkpoint(path)
        except DataError:
            continue
        assert all(torch.equal(read.model[name], value) for name, value in written.model.items())


def test_contradictions_and_weights_without_numbers_are_refused(tmp_path: Path) -> None:
    whole = make_checkpoint(average=True)
    facts = dataclasses.replace(FACTS, class_names=("run",))
    write_checkpoint(tmp_path / "names", dataclasses.replace(whole, facts=facts), is_best=True)
    with pytest.raises(DataError, match="names 1 class for a model of 2"):
        load_model(tmp_path / "names")
    assert whole.average is not None
    no_numbers = {**whole.average, "head.bias": torch.full((2,), torch.nan)}
    infinite = {**whole.model, "head.bias": torch.full((2,), -torch.inf)}
    for broken in (dataclasses.replace(whole, average=no_numbers), dataclasses.replace(whole, model=infinite)):
        write_checkpoint(tmp_path / "weights", broken, is_best=True)
        with pytest.raises(DataError, match=r"no numbers \(NaN or infinite\): training has diverged"):
            load_model(tmp_path / "weights")


def test_a_run_of_several_splits_names_them(tmp_path: Path) -> None:
    for name in ("split1", "split2"):
        write_checkpoint(tmp_path / name, make_checkpoint(), is_best=True)
    with pytest.raises(DataError, match="split1, split2"):
        load_model(tmp_path)
    assert load_model(tmp_path / "split2").facts.split == "1"


def test_differences_are_listed() -> None:
    other = dataclasses.replace(FACTS, dataset_id="e" * 64, split="2")
    assert [line.split(":")[0] for line in FACTS.differences(other)] == ["dataset_id", "split"]


def test_metrics_are_written_with_empty_cells_where_nothing_was_validated(tmp_path: Path) -> None:
    write_metrics(tmp_path, (ROW, dataclasses.replace(ROW, epoch=2, val_clips=0, val_loss=None, val_top1=None)))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss,train_top1,val_clips,val_loss")
    assert lines[2].split(",")[6:8] == ["", ""]
