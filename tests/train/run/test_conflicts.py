"""Options that do nothing say so: the sentences of the table, and all pairs of options that could cancel each other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_dataset import MadeDataset, make_dataset
from made_plan import plan_row, write_made_plan
from trained import TINY, train

from train.data.loader.batches import Step
from train.learn.lessons import draw_step
from train.learn.losses import clip_losses, soft_targets
from train.learn.processes import Processes
from train.run.beginning import setting_of
from train.run.config.conflicts import CONFLICTS, Setting, idle_options
from train.run.config.fields import flags
from train.run.config.resolve import resolve
from train.run.config.values import Value
from train.run.data import RunData, open_data
from train.run.learner import make_learner, make_lessons
from train.run.model import make_model

CPU = Processes(device=torch.device("cpu"))

# Values that an option may be changed to, the first one with an effect where nothing stands against it.
VALUES: Mapping[str, tuple[Value, ...]] = {
    "lr": (0.01, 0.0),
    "min_lr": (1e-5, 0.5),
    "warmup_epochs": (1.0, 0.0),
    "loss": ("class-balanced", "focal"),
    "class_balanced_beta": (0.9, 0.0),
    "focal_gamma": (1.0, 0.0),
    "mixup": (0.4,),
    "cutmix": (1.0,),
    "mixup_prob": (0.5, 0.0),
    "mixup_switch_prob": (0.2, 0.0, 1.0),
    "mix_synthetic": (True,),
    "scale": ((0.1, 0.2),),
    "ratio": ((2.0, 2.0),),
    "hflip": (0.0,),
    "aug_strength": (0.5, 0.0),
    "aug_class": (("walk=0.7",), ("walk=0",)),
    "drop_path": (0.6, 0.0),
    "depth": (3, 1),
    "smif": ("classic", "none"),
    "lmi": ("classic", "none"),
    "motion_init": ("identity",),
    "temporal_pool": ("attention",),
    "model_ema": (True,),
    "model_ema_decay": (0.5,),
    "smoothing": (0.3, 0.0),
    "weight_decay": (0.2, 0.0),
    "clip_grad": (0.5,),
    "layer_decay": (0.5,),
}


@pytest.fixture(scope="module")
def plan(made: MadeDataset) -> str:
    """Unequal classes and two synthetic clips."""
    rows = [plan_row("real", f"walk/clip{clip:02d}") for clip in range(4)]
    rows += [plan_row("real", "run/clip00"), plan_row("real", "run/clip02")]
    rows += [plan_row("synthetic", f"jump/clip0{clip}", "jump/clip04", lam=0.5) for clip in (0, 2)]
    return str(write_made_plan(made.manifests.parent / "plan.csv", rows))


class Maker:
    """Builds what a configuration would train with, and says what of it an option changes."""

    def __init__(self, made: MadeDataset, plan: str) -> None:
        self.base: dict[str, Value] = {
            **TINY, "epochs": 6, "val_fraction": 0.0, "plan": plan,
            "shards": str(made.shards), "manifests": str(made.manifests),
        }  # fmt: skip
        self.data: RunData | None = None

    def build(self, changes: Mapping[str, Value]) -> tuple[dict[str, Any], Setting]:
        """What a step depends on, comparable; and what the sentences are made from."""
        config, data = open_data(resolve(command_line={**self.base, **changes}, file={}))
        data.reader.close()
        model, _ = make_model(config, data)
        learner = make_learner(config, model, num_samples=len(data.samples), processes=CPU)
        lessons = make_lessons(config, data, learner)
        draws = draw_step(lessons, Step(epoch=0, index=0, chosen=np.arange(len(data.samples))))
        logits = torch.linspace(-1, 1, 3 * len(draws.labels)).view(-1, 3)
        targets = soft_targets(draws.labels, num_classes=3, smoothing=lessons.loss.smoothing)
        seen = {
            "rates": [learner.schedule.rate(step) for step in range(learner.schedule.num_steps)],
            "groups": [(group["weight_decay"], group["lr_scale"]) for group in learner.optimizer.param_groups],
            "losses": clip_losses(logits, targets, lessons.loss, lessons.class_weights).tolist(),
            "draws": [value.tolist() for value in dataclasses.asdict(draws.changes).values()],
            "mix": None if draws.mix is None else (draws.mix.own.tolist(), draws.mix.box.tolist()),
            "drop": None if draws.drop_path is None else draws.drop_path.tolist(),
            "weights": {name: value.sum().item() for name, value in model.state_dict().items()},
            "average": learner.average is not None and learner.average_decay,
            "clip": learner.clip_grad,
        }
        return seen, setting_of(config, data, learner)


def about(sentences: list[str], key: str) -> bool:
    return any(sentence.startswith(f"--{key.replace('_', '-')} does nothing here: ") for sentence in sentences)


def effect(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs and has no effect: draws of a mix that leaves every clip as it is."""
    mix = seen["mix"]
    unmixed = mix is not None and all(share == 1 for share in mix[0])
    return {**seen, "mix": None if unmixed else mix}


@pytest.mark.slow
def test_every_option_without_effect_beside_another_says_so(made: MadeDataset, plan: str) -> None:
    """An option that is changed after another, and changes nothing of what training sees, must be named; no other."""
    maker = Maker(made, plan)
    alone = {(key, value): maker.build({key: value})[0] for key, values in VALUES.items() for value in values}
    silent, loud, wrong = [], [], []
    for first, second in itertools.permutations(VALUES, 2):
        for value in VALUES[first]:
            changed, setting = maker.build({first: value, second: VALUES[second][0]})
            idle = effect(changed) == effect(alone[first, value])
            said = about(idle_options(setting), second)
            pair = f"--{second} {VALUES[second][0]} beside --{first} {value}"
            silent += [pair] if idle and not said else []
            wrong += [pair] if said and not idle else []
            loud += [pair] if idle and said else []
    assert not silent, silent
    assert not wrong, wrong
    assert len(loud) > 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patience": 2, "val_fraction": 0.0}, "--patience does nothing here: there are no validation clips"),
        ({"patience": 2, "epochs": 2}, "--patience does nothing here: the run has no more --epochs"),
        ({"loss": "class-balanced"}, "--loss does nothing here: an epoch has as many clips of each class"),
        ({"warmup_epochs": 50.0}, "a third of the run; --warmup-epochs 50 would be 150"),
        ({"amp": "fp16"}, "--amp fp16 on a CPU saves no time"),
        ({"grad_accum_steps": 8}, "--grad-accum-steps cuts a batch of 4 into 8 parts"),
        ({"log_every": 100}, "--log-every does nothing here"),
        ({"train": "head", "drop_path": 0.3}, "--drop-path does nothing here: the ViT does not train"),
        ({"train": "head", "layer_decay": 0.5}, "--layer-decay does nothing here: no block trains"),
        ({"train": "motion", "layer_decay": 0.5}, "--layer-decay does nothing here: nothing of the ViT trains"),
        ({"train": "head", "checkpoint_blocks": True}, "--checkpoint-blocks does nothing here: no block trains"),
        ({"mixup": 0.4, "batch_size": 1}, "--mixup does nothing here: --batch-size 1 has no pairs"),
        ({"cutmix": 1.0, "batch_size": 1}, "--cutmix does nothing here: --batch-size 1 has no pairs"),
        ({"shuffle_shards": 9}, "--shuffle-shards does nothing here: there are no more shards than that"),
        ({"shard_cache": "elsewhere"}, "--shard-cache does nothing here: --shards is a folder"),
        ({"activation": "quick_gelu"}, "--activation does nothing here: it is for the weights of --init"),
    ],
)
def test_a_run_says_what_does_nothing(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Value], said: str
) -> None:
    train(made, tmp_path, "a", **{"epochs": 3, "warmup_epochs": 0.0, **options})
    assert said in capsys.readouterr().out


def test_a_run_with_nothing_idle_says_nothing(
    made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(made, tmp_path, "a", epochs=3, warmup_epochs=1.0, patience=2, mixup=0.4, drop_path=0.2)
    assert "does nothing" not in (out := capsys.readouterr().out) and "warm-up:" not in out


def test_every_entry_of_the_table_is_an_option() -> None:
    assert {conflict.key for conflict in CONFLICTS} <= set(flags())


def test_clips_of_one_frame_do_not_move(tmp_path: Path) -> None:
    still = make_dataset(tmp_path / "still", num_segments=1)
    changes: dict[str, Value] = {"plan": "none", "smif": "classic", "temporal_pool": "attention"}
    _, setting = Maker(still, "none").build(changes)
    assert [about(idle_options(setting), key) for key in ("smif", "temporal_pool", "lmi")] == [True, True, False]
