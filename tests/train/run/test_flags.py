"""Every flag of ``lsvit-train run`` arrives from the command line and changes what its help says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_dataset import MadeDataset, make_dataset
from made_plan import plan_row, write_made_plan
from trained import TINY, checkpoint, train
from typer.testing import CliRunner

from shared.errors import DataError, UsageError
from train.cli import app
from train.data.loader.batches import Step
from train.learn.lessons import Draws, Lessons, draw_step
from train.learn.processes import Processes, choose_device
from train.learn.step import Learner
from train.model.lsvit import LSViT
from train.run.config.fields import RunConfig, flags
from train.run.config.resolve import resolve
from train.run.config.values import Value
from train.run.data import RunData, open_data
from train.run.learner import make_learner, make_lessons
from train.run.model import init_weights, make_model, with_shape_of


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a configuration builds."""

    config: RunConfig
    data: RunData
    model: LSViT
    learner: Learner
    lessons: Lessons

    def draws(self) -> Draws:
        """The random numbers of the first step, for 18 clips."""
        step = Step(epoch=0, index=0, chosen=np.arange(len(self.lessons.samples)))
        return draw_step(self.lessons, step)


class Tools:
    """What the checks need: builds and trains with TINY and some changes."""

    def __init__(self, made: MadeDataset, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.made, self.folder, self.patch = made, folder, patch
        self.count = 0

    def build(self, **changes: Value) -> Built:
        folders: dict[str, Value] = {"shards": str(self.made.shards), "manifests": str(self.made.manifests)}
        config = resolve(command_line={**TINY, **folders, "val_fraction": 0.0, **changes}, file={})
        weights = init_weights(config, None)
        config, data = open_data(with_shape_of(config, weights))
        processes = Processes(device=torch.device("cpu"))
        model, report = make_model(config, data, weights)
        learner = make_learner(
            config,
            model,
            num_samples=len(data.samples),
            processes=processes,
            new_parameters=() if report is None else report.missing,
        )
        lessons = make_lessons(config, data, learner)
        return Built(config=config, data=data, model=model, learner=learner, lessons=lessons)

    def train(self, **changes: Value) -> Path:
        self.count += 1
        return train(self.made, self.folder, f"run{self.count}", **{"epochs": 1, **changes})

    def first_loss(self, **changes: Value) -> float:
        return float(checkpoint(self.train(**changes))["progress"]["history"][0]["train_loss"])


@pytest.fixture
def tools(made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tools]:
    yield Tools(made, tmp_path, monkeypatch)


def check_folder(key: str) -> Callable[[Tools], None]:
    def check(tools: Tools) -> None:
        with pytest.raises(DataError, match="absent"):
            tools.build(**{key: "absent"})

    return check


def check_shape(key: str, value: Value, attribute: str) -> Callable[[Tools], None]:
    def check(tools: Tools) -> None:
        built = tools.build(**{key: value})
        assert getattr(built.model.config, attribute) == value
        assert getattr(tools.build().model.config, attribute) != value

    return check


def check_runs(tools: Tools) -> None:
    assert tools.train().parent == tools.folder


def check_name(tools: Tools) -> None:
    assert (train(tools.made, tools.folder, "my-name", epochs=1) / "config.toml").is_file()
    with pytest.raises(UsageError, match="--name is"):
        train(tools.made, tools.folder, "../out", epochs=1)


def check_split(tools: Tools) -> None:
    assert [len(tools.build(split=split).data.samples) for split in ("1", "all")] == [18, 24]


def check_plan(tools: Tools) -> None:
    plan = write_made_plan(tools.folder / "plan.csv", [plan_row("real", "walk/clip00")])
    assert len(tools.build(plan=str(plan)).data.samples) == 1
    assert len(tools.build(plan="none").data.samples) == 18


def check_val_fraction(tools: Tools) -> None:
    assert [len(tools.build(val_fraction=share).data.rows.validation) > 0 for share in (0.0, 0.3)] == [False, True]


def check_sampling(tools: Tools) -> None:
    assert [tools.build(sampling=name).config.sampling for name in ("auto", "middle")] == ["tsn", "middle"]
    assert tools.first_loss(sampling="tsn") != tools.first_loss(sampling="middle")
    single = make_dataset(tools.folder / "single", frames_per_segment=1)
    one = Tools(single, tools.folder, tools.patch)
    assert any("nothing to choose" in note for note in one.build().data.notes)
    with pytest.raises(UsageError, match="--sampling is tsn"):
        one.build(sampling="tsn")


def check_preset(tools: Tools) -> None:
    shape: dict[str, Value] = {"patch_size": 0, "embed_dim": 0, "depth": 0, "num_heads": 0}
    configs = [tools.build(preset=name, **shape).model.config for name in ("auto", "tiny", "small")]
    sizes = [(config.embed_dim, config.depth, config.patch_size) for config in configs]
    assert sizes == [(96, 3, 16), (96, 3, 16), (384, 12, 16)]
    torch.save(tools.build(embed_dim=192, depth=1).model.state_dict(), tools.folder / "weights.pth")
    shape["init"] = str(tools.folder / "weights.pth")
    loaded = tools.build(**shape).model.config
    assert (loaded.embed_dim, loaded.depth, loaded.num_heads, loaded.patch_size) == (192, 1, 3, 8)
    with pytest.raises(DataError, match=r"--preset small does not fit .*: their embed_dim is 192, not 384"):
        tools.build(**shape, preset="small")


def check_img_size(tools: Tools) -> None:
    assert tools.build(img_size=8).model.config.image_size == 8
    assert tools.build(img_size=0).model.config.image_size == 24  # 24x32 frames, patches of 8
    assert tools.build(img_size=0, patch_size=16).model.config.image_size == 16


def check_motion_init(tools: Tools) -> None:
    video = torch.rand(1, 4, 3, 16, 16)
    for start, same in (("identity", True), ("active", False), ("auto", False)):
        smif = tools.build(motion_init=start).model.smif
        assert smif is not None
        assert torch.equal(smif(video), video) == same
    plain = tools.build(smif="none", lmi="none", normalisation="half").model
    torch.save(plain.state_dict(), tools.folder / "plain.pth")
    for start, same in (("identity", True), ("active", False), ("auto", True)):
        model = tools.build(motion_init=start, init=str(tools.folder / "plain.pth")).model
        clip = torch.rand(1, 4, 3, 16, 16)
        assert torch.equal(model(clip), plain(clip)) == same


def check_normalisation(tools: Tools) -> None:
    means = {name: tools.build(normalisation=name).model.config.mean for name in ("dataset", "imagenet", "half")}
    assert means == {"dataset": (0.3, 0.3, 0.3), "imagenet": (0.485, 0.456, 0.406), "half": (0.5, 0.5, 0.5)}
    assert tools.build().model.config.mean == means["dataset"]
    torch.save(tools.build().model.state_dict(), tools.folder / "bare.pth")  # names no mean: 0.5 is what ViTs expect
    init = str(tools.folder / "bare.pth")
    assert tools.build(init=init).model.config.mean == means["half"]
    assert tools.build(init=init, normalisation="dataset").model.mean.flatten().tolist() == pytest.approx([0.3] * 3)


def check_init(tools: Tools) -> None:
    source = tools.build(seed=5)
    torch.save(source.model.state_dict(), tools.folder / "weights.pth")
    loaded = tools.build(init=str(tools.folder / "weights.pth")).model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in source.model.state_dict().items())


def check_activation(tools: Tools) -> None:
    tensors = tools.build().model.backbone.state_dict() | {
        "norm_pre.weight": torch.ones(32),
        "norm_pre.bias": torch.zeros(32),
    }
    torch.save(tensors, tools.folder / "clip.pth")
    given: dict[str, Value] = {"init": str(tools.folder / "clip.pth")}
    with pytest.raises(DataError, match="--activation quick_gelu"):
        tools.build(**given)
    assert tools.build(**given, activation="quick_gelu").model.config.activation == "quick_gelu"


def check_epochs(tools: Tools) -> None:
    assert checkpoint(tools.train(epochs=2))["progress"]["epoch"] == 2


def check_batch_size(tools: Tools) -> None:
    steps = [checkpoint(tools.train(batch_size=size, val_fraction=0.0))["progress"]["step"] for size in (3, 9)]
    assert steps == [6, 2]


def check_grad_accum_steps(tools: Tools) -> None:
    sizes = []
    forward = LSViT.forward

    def recording(self: LSViT, video: torch.Tensor, drop_path: torch.Tensor | None = None) -> torch.Tensor:
        sizes.append(len(video))
        return forward(self, video, drop_path)

    tools.patch.setattr(LSViT, "forward", recording)
    tools.train(batch_size=8, grad_accum_steps=4, val_fraction=0.0)
    assert sizes[:4] == [2, 2, 2, 2]


def check_max_minutes(tools: Tools) -> None:
    assert checkpoint(tools.train(max_minutes=1e-7))["progress"]["step"] == 1


def check_patience(tools: Tools) -> None:
    assert checkpoint(tools.train(patience=1, epochs=30, lr=0.0))["progress"]["epoch"] == 2


def check_seed(tools: Tools) -> None:
    first, second = tools.build(seed=0), tools.build(seed=1)
    assert not torch.equal(first.model.head.weight, second.model.head.weight)
    assert not np.array_equal(first.draws().changes.box, second.draws().changes.box)


def check_lr(tools: Tools) -> None:
    assert tools.build(lr=0.02).learner.schedule.peak == 0.02


def check_min_lr(tools: Tools) -> None:
    schedule = tools.build(min_lr=1e-5).learner.schedule
    assert schedule.rate(schedule.num_steps) == pytest.approx(1e-5)


def check_warmup_epochs(tools: Tools) -> None:
    assert [tools.build(warmup_epochs=n, epochs=20).learner.schedule.warmup_steps for n in (0.0, 2.0)] == [0, 10]
    assert tools.build(warmup_epochs=50.0, epochs=6).learner.schedule.warmup_steps == 10  # a third of 30 steps


def check_weight_decay(tools: Tools) -> None:
    groups = tools.build(weight_decay=0.3).learner.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3}


def check_layer_decay(tools: Tools) -> None:
    groups = tools.build(layer_decay=0.5).learner.optimizer.param_groups
    assert {group["lr_scale"] for group in groups} == {0.125, 0.25, 0.5, 1.0}


def check_clip_grad(tools: Tools) -> None:
    limits = []
    clip = torch.nn.utils.clip_grad_norm_

    def recording(parameters: Iterator[torch.nn.Parameter], limit: float) -> torch.Tensor:
        limits.append(limit)
        return clip(parameters, limit)

    tools.patch.setattr("train.learn.step.nn.utils.clip_grad_norm_", recording)
    tools.train(clip_grad=0.01)
    tools.train(clip_grad=0.0)
    assert set(limits) == {0.01, float("inf")}


def check_model_ema(tools: Tools) -> None:
    averages = [checkpoint(tools.train(model_ema=on))["average"] for on in (False, True)]
    assert averages[0] is None and averages[1] is not None


def check_model_ema_decay(tools: Tools) -> None:
    weights = [checkpoint(tools.train(model_ema=True, model_ema_decay=decay)) for decay in (0.0, 0.9)]
    assert torch.equal(weights[0]["average"]["head.weight"], weights[0]["model"]["head.weight"])
    assert not torch.equal(weights[1]["average"]["head.weight"], weights[1]["model"]["head.weight"])


def check_amp(tools: Tools) -> None:
    assert [tools.build(amp=name).learner.amp_dtype for name in ("auto", "none", "fp16", "bf16")] == [
        None,
        None,
        torch.float16,
        torch.bfloat16,
    ]
    assert tools.build(amp="fp16").learner.scaler.is_enabled()


def check_train(tools: Tools) -> None:
    groups = [tools.build(train=part).learner.optimizer.param_groups for part in ("all", "motion", "head")]
    sizes = [sum(parameter.numel() for group in each for parameter in group["params"]) for each in groups]
    assert sizes[0] > sizes[1] > sizes[2] == 3 * 32 + 3


def check_checkpoint_blocks(tools: Tools) -> None:
    assert [tools.build(checkpoint_blocks=on).model.backbone.checkpoint_blocks for on in (False, True)] == [False, True]


def check_compile(tools: Tools) -> None:
    compiled = []

    def recording(model: torch.nn.Module) -> torch.nn.Module:
        compiled.append(model)
        return model

    tools.patch.setattr(torch, "compile", recording)
    tools.build()
    built = tools.build(compile=True)
    assert compiled == [built.model]


def check_drop_path(tools: Tools) -> None:
    assert tools.build(drop_path=0.4).model.config.drop_path == 0.4
    assert tools.first_loss(drop_path=0.0) != tools.first_loss(drop_path=0.6)


def check_smoothing(tools: Tools) -> None:
    assert tools.build(smoothing=0.2).lessons.loss.smoothing == 0.2
    assert tools.first_loss(smoothing=0.0, lr=0.0) != tools.first_loss(smoothing=0.5, lr=0.0)


def check_loss(tools: Tools) -> None:
    losses = {tools.first_loss(loss=name, split="1") for name in ("cross-entropy", "focal")}
    assert len(losses) == 2
    assert tools.build(loss="class-balanced").lessons.class_weights is not None


def check_class_balanced_beta(tools: Tools) -> None:
    rows = [plan_row("real", name) for name in ("walk/clip00", "run/clip00", "run/clip01")]
    plan = write_made_plan(tools.folder / "plan.csv", rows)
    options: dict[str, Value] = {"loss": "class-balanced", "plan": str(plan)}
    weights = [tools.build(class_balanced_beta=beta, **options).lessons.class_weights for beta in (0.0, 0.9)]
    assert weights[0] is not None and weights[1] is not None
    assert weights[0].tolist() == [0.0, 1.0, 1.0] and weights[1][2] > weights[1][1]


def check_focal_gamma(tools: Tools) -> None:
    assert tools.first_loss(loss="focal", focal_gamma=0.0) > tools.first_loss(loss="focal", focal_gamma=4.0)


def check_mixup(tools: Tools) -> None:
    mix = tools.build(mixup=0.8).draws().mix
    assert tools.build().draws().mix is None
    assert mix is not None and (mix.own < 1).all() and not mix.box.any()


def check_cutmix(tools: Tools) -> None:
    mix = tools.build(cutmix=1.0).draws().mix
    assert mix is not None and mix.box.any()


def check_mixup_prob(tools: Tools) -> None:
    mix = tools.build(mixup=0.8, mixup_prob=0.3).draws().mix
    assert mix is not None and 0 < (mix.own < 1).sum() < 18


def check_mixup_switch_prob(tools: Tools) -> None:
    both: dict[str, Value] = {"mixup": 0.8, "cutmix": 1.0}
    boxes = [tools.build(mixup_switch_prob=share, **both).draws().mix for share in (0.0, 1.0)]
    assert boxes[0] is not None and not boxes[0].box.any()
    assert boxes[1] is not None and boxes[1].box.any()


def check_mix_synthetic(tools: Tools) -> None:
    row = plan_row("synthetic", "walk/clip00", "walk/clip02", lam=0.5)
    plan = write_made_plan(tools.folder / "plan.csv", [row, row])
    options: dict[str, Value] = {"plan": str(plan), "mixup": 0.8}
    mixes = [tools.build(mix_synthetic=on, **options).draws().mix for on in (False, True)]
    assert mixes[0] is not None and (mixes[0].own == 1).all()
    assert mixes[1] is not None and (mixes[1].own < 1).all()


def check_scale(tools: Tools) -> None:
    areas = [tools.build(scale=scale).draws().changes.box[:, 2:].prod(axis=1) for scale in ((0.1, 0.2), (0.9, 1.0))]
    assert areas[0].max() < areas[1].min()


def check_ratio(tools: Tools) -> None:
    box = tools.build(ratio=(2.0, 2.0), scale=(0.5, 0.5)).draws().changes.box
    assert np.allclose(box[:, 3] / box[:, 2], 2.0, atol=0.1)


def check_hflip(tools: Tools) -> None:
    assert [tools.build(hflip=share).draws().changes.flip.sum() for share in (0.0, 1.0)] == [0, 18]


def check_aug_strength(tools: Tools) -> None:
    changes = tools.build(aug_strength=0.0).draws().changes
    assert not changes.flip.any() and not changes.shift.any() and (changes.box[:, 2:] == 24).all()
    assert tools.build(aug_strength=1.0).draws().changes.shift.any()


def check_aug_class(tools: Tools) -> None:
    built = tools.build(aug_class=("walk=0",))
    moved = built.draws().changes.shift != 0
    assert moved.tolist() == [built.data.table.class_name[clip] != "walk" for clip in built.data.samples.clip]
    with pytest.raises(UsageError, match="no class here"):
        tools.build(aug_class=("fly=1",))


def check_device(tools: Tools) -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="finds no GPU"):
            tools.train(device="cuda")


def recorded(tools: Tools, target: str, option: str, **changes: Value) -> list[Any]:
    """Train and return the values that ``option`` had in the calls of ``target``."""
    module, _, name = target.rpartition(".")
    original = getattr(sys.modules[module], name)
    values = []

    def recording(*arguments: Any, **options: Any) -> Any:
        values.append(options[option])
        return original(*arguments, **options)

    with tools.patch.context() as patch:
        patch.setattr(target, recording)
        tools.train(**changes)
    return values


def check_workers(tools: Tools) -> None:
    assert recorded(tools, "train.run.command.BatchReader", "num_threads", workers=3) == [3]


def check_prefetch(tools: Tools) -> None:
    assert recorded(tools, "train.run.loop.Prefetcher", "ahead", prefetch=5) == [5]


def check_checkpoint_every(tools: Tools) -> None:
    options: dict[str, Value] = {"batch_size": 3, "val_fraction": 0.0}  # 6 steps
    counts = [
        len(recorded(tools, "train.run.session.write_checkpoint", "is_best", checkpoint_every=n, **options))
        for n in (0, 2)
    ]
    assert counts == [1, 3]


def check_log_every(tools: Tools) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    counts = []
    for every in (1, 3):
        events = EventAccumulator(str(tools.train(batch_size=3, val_fraction=0.0, log_every=every) / "tensorboard"))
        events.Reload()
        counts.append(len(events.Scalars("step/loss")))
    assert counts == [6, 2]


def check_shuffle_shards(tools: Tools) -> None:
    assert recorded(tools, "train.run.loop.epoch_steps", "turns") == [None]
    (turns,) = recorded(tools, "train.run.loop.epoch_steps", "turns", shuffle_shards=2)
    assert turns.at_once == 2 and set(turns.shard.tolist()) == {0, 1, 2}  # the last shard holds test clips alone


def check_shard_cache(tools: Tools) -> None:
    cache = tools.folder / "cache"
    built = tools.build(shards=f"file://{tools.made.shards}", shard_cache=str(cache))
    assert [file.name for file in cache.glob("*/shard-*.h5")] == ["shard-00000.h5"]
    assert any(f"to {cache} when they are needed" in note for note in built.data.notes)


def check_shard_cache_gb(tools: Tools) -> None:
    options: dict[str, Value] = {"shards": f"file://{tools.made.shards}", "shard_cache": str(tools.folder / "cache")}
    assert any("--shard-cache-gb" in note for note in tools.build(shard_cache_gb=3e-4, **options).data.notes)
    assert not any("--shard-cache-gb" in note for note in tools.build(shard_cache_gb=1.0, **options).data.notes)
    with pytest.raises(DataError, match="may hold 1e-09 GB"):
        tools.build(shard_cache_gb=1e-9, **{**options, "shard_cache": str(tools.folder / "other")})


def check_tracker(tools: Tools) -> None:
    assert (tools.train(tracker="tensorboard") / "tensorboard").is_dir()
    assert not (tools.train(tracker="none") / "tensorboard").exists()


CHECKS: Mapping[str, Callable[[Tools], None]] = {
    "shards": check_folder("shards"),
    "manifests": check_folder("manifests"),
    "patch_size": check_shape("patch_size", 4, "patch_size"),
    "embed_dim": check_shape("embed_dim", 64, "embed_dim"),
    "depth": check_shape("depth", 1, "depth"),
    "num_heads": check_shape("num_heads", 4, "num_heads"),
    "smif": check_shape("smif", "classic", "smif"),
    "lmi": check_shape("lmi", "none", "lmi"),
    "lmi_every": check_shape("lmi_every", 2, "lmi_every"),
    "spatial_pool": check_shape("spatial_pool", "mean", "spatial_pool"),
    "temporal_pool": check_shape("temporal_pool", "attention", "temporal_pool"),
    **{
        name.removeprefix("check_"): check
        for name, check in globals().items()
        if name.removeprefix("check_") in flags()
    },
}


@pytest.mark.parametrize("key", list(flags()))
def test_a_flag_changes_what_it_says(key: str, tools: Tools) -> None:
    CHECKS[key](tools)


def other_value(key: str) -> tuple[list[str], Value]:
    """Words for the command line, and the value that is to arrive: not the default."""
    kind, flag = flags()[key]
    name, default = f"--{key.replace('_', '-')}", getattr(RunConfig(), key)
    if kind is bool:
        return [f"--no-{name[2:]}" if default else name], not default
    if flag.choices:
        value = next(choice for choice in flag.choices if choice != default)
        return [name, value], value
    if kind is str:
        return [name, "full"], "full"
    if kind == tuple[float, float]:
        return [name, "0.5", "0.7"], (0.5, 0.7)
    if kind == tuple[str, ...]:
        return [name, "walk=1", name, "run=2"], ("walk=1", "run=2")
    value = 7 if kind is int else 0.25
    return [name, str(value)], value


@pytest.mark.parametrize("key", list(flags()))
def test_a_flag_arrives_from_the_command_line(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mapping[str, Value]] = []

    def record(*, command_line: Mapping[str, Value], config_file: Path | None, resume: bool) -> None:
        given.append(command_line)

    monkeypatch.setattr("train.run.command.run", record)
    words, value = other_value(key)
    result = CliRunner().invoke(app, ["run", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert list(given[0]) == [key]
    assert dataclasses.asdict(resolve(command_line=given[0], file={}))[key] == value


def test_help_lists_every_flag_fast_and_without_torch() -> None:
    check = "assert not {'torch', 'pandas'} & set(sys.modules)"
    script = f"import sys; from train.cli import main\ntry: main()\nfinally: {check}"
    done = subprocess.run([sys.executable, "-c", script, "run", "--help"], capture_output=True, text=True, check=True)
    for key in flags():
        assert f"--{key.replace('_', '-')}" in done.stdout
    assert "--config" in done.stdout and "--resume" in done.stdout
