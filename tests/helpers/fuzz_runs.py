"""Fuzzing of what lsvit-train reads and writes: checkpoints, weights, configurations, tables beside them."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loading import load_pretrained
from made_dataset import DATASET_ID
from made_run import make_run, small_config
from mutations import HOSTILE_VALUES, Case, mutate_bytes, mutate_csv, mutate_json, mutate_toml

from preprocess.balance.descriptors import read_features
from train.ablate.command import _read_result
from train.ablate.grid import read_grid
from train.model.lsvit import LSViT
from train.model.weights.families import load_weights
from train.run.config.fields import RunConfig
from train.run.config.files import read_config, write_config
from train.run.config.resolve import resolve
from train.run.progress import Timing, append_timing, read_timing
from train.trained.export import ExportOptions, export
from train.trained.folders import find_run
from train.trained.model import load_model


def checkpoints(folder: Path) -> Case:
    """A checkpoint, loaded as `predict` does, and asked for an answer."""
    make_run(folder / "run", config=small_config())
    (folder / "run" / "checkpoints" / "last.pt").unlink()
    path = folder / "run" / "checkpoints" / "best.pt"
    whole, content = path.read_bytes(), torch.load(path, weights_only=True)

    def case(draw: random.Random) -> None:
        kind = draw.randrange(4)
        if kind == 0:
            path.write_bytes(mutate_bytes(whole, whole, draw=draw))
        elif kind == 1:
            path.write_bytes(_rezipped(whole, draw))
        else:
            torch.save(_edited(content, draw), path)
        loaded = load_model(folder / "run")
        side = loaded.facts.model_config.image_size
        video = torch.zeros(1, loaded.facts.shape.num_segments, 3, side, side)
        with torch.inference_mode():
            assert loaded.model(video).shape == (1, len(loaded.facts.class_names))

    return case


def _rezipped(whole: bytes, draw: random.Random) -> bytes:
    """The same zip file with one member damaged, and checksums that fit."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(output, "w") as new:
        names = old.namelist()
        chosen = next(name for name in names if name.endswith("data.pkl"))
        if draw.random() < 0.3:
            chosen = draw.choice(names)
        compression = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        for name in names:
            data = old.read(name)
            if name == chosen and draw.random() < 0.95:
                data = mutate_bytes(data, whole, draw=draw)
            if name != chosen or draw.random() < 0.95:
                new.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
        if draw.random() < 0.1:
            new.writestr("../../../outside/escaped", b"x")
    return output.getvalue()


def _edited(content: dict[str, Any], draw: random.Random) -> Any:
    """The content with a value somewhere replaced: facts, model config, progress, tensors."""
    copied = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    facts = copied["facts"] = {**copied["facts"], "model_config": dict(copied["facts"]["model_config"])}
    places = (copied, facts, facts["model_config"], facts["model_config"], copied["progress"], copied["model"])
    place: dict[Any, Any] = draw.choice(places)
    key = draw.choice(sorted(place, key=str))
    tensors = (
        torch.zeros(1), torch.zeros(1).expand(10**6, 10**6), torch.zeros(3, dtype=torch.complex64), torch.empty(0),
        torch.zeros(2, 2).to_sparse(), torch.empty(3, device="meta"), torch.zeros(4, dtype=torch.int64),
        torch.nan * torch.ones(2),
    )  # fmt: skip
    values = tensors if place is copied["model"] and draw.random() < 0.8 else HOSTILE_VALUES
    if draw.random() < 0.15:
        del place[key]
    else:
        place[key] = draw.choice(values)
    return copied


def configs(folder: Path) -> Case:
    """A run's configuration, and a grid of an ablation."""
    config, grid = folder / "config.toml", folder / "grid.toml"
    write_config(config, RunConfig())
    text = config.read_text()
    rows = '[base]\nepochs = 2\n[[row]]\nname = "plain"\nsmif = "none"\n[[row]]\nname = "more"\nlike = "plain"\n'

    def case(draw: random.Random) -> None:
        if draw.random() < 0.75:
            config.write_bytes(mutate_toml(text, draw=draw))
            resolve(command_line={}, file=read_config(config))
        else:
            grid.write_bytes(mutate_toml(rows, draw=draw))
            read_grid(grid, base={})

    return case


def weights(folder: Path) -> Case:
    """A file of weights for --init: .pth, .safetensors and the config.json beside it."""
    from safetensors.torch import save_file

    model = LSViT(small_config())
    state = {key.removeprefix("backbone."): value for key, value in model.state_dict().items()}
    torch.save(state, folder / "good.pth")
    save_file(state, folder / "good.safetensors")
    config = json.dumps({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}})

    def case(draw: random.Random) -> None:
        suffix = draw.choice((".pth", ".safetensors"))
        whole = (folder / f"good{suffix}").read_bytes()
        path = folder / f"work{suffix}"
        if draw.random() < 0.3:
            path.write_bytes(whole)
            (folder / "config.json").write_bytes(mutate_json(config, draw=draw))
        elif suffix == ".pth" and draw.random() < 0.7:
            path.write_bytes(_rezipped(whole, draw))
        else:
            path.write_bytes(mutate_bytes(whole, whole, draw=draw, header=4096))
        load_pretrained(model, str(path)).lines()

    return case


def exports(folder: Path) -> Case:
    """A model exported for the hub, loaded as `predict` and as `run --init` do, and asked for an answer."""
    make_run(folder / "run", config=small_config())
    out = export("run", ExportOptions(runs=folder, form="hub", out=folder / "out"))
    files = {name: (out / name).read_bytes() for name in ("model.safetensors", "config.json")}

    def case(draw: random.Random) -> None:
        for name, content in files.items():
            (out / name).write_bytes(content)
        kind = draw.randrange(3)
        if kind == 0:
            whole = files["model.safetensors"]
            (out / "model.safetensors").write_bytes(mutate_bytes(whole, whole, draw=draw, header=4096))
        elif kind == 1:
            (out / "config.json").write_bytes(mutate_json(files["config.json"].decode(), draw=draw))
        else:
            copied = json.loads(files["config.json"])
            place = draw.choice([copied, copied["facts"], copied["facts"]["model_config"], copied["origin"]])
            place[draw.choice(sorted(place))] = draw.choice(HOSTILE_VALUES)
            (out / "config.json").write_text(json.dumps(copied, default=str))
        load_weights(str(out))
        loaded = load_model(find_run(str(out), runs=folder))
        side = loaded.facts.model_config.image_size
        with torch.inference_mode():
            loaded.model(torch.zeros(1, loaded.facts.shape.num_segments, 3, side, side))

    return case


def side_files(folder: Path) -> Case:
    """timing.csv, result.json of an ablation and the .npz of `embed`."""
    timing = Timing(epoch=1, steps=2, seconds=0.5, clips_per_second=4.0, data_wait_share=0.1, processes=1)
    append_timing(folder, timing)
    text = (folder / "timing.csv").read_text()
    ids = [f"walk/{index}" for index in range(4)]
    np.savez(folder / "good.npz", clip_id=np.array(ids), features=np.ones((4, 3), np.float32))
    whole = (folder / "good.npz").read_bytes()
    result = json.dumps(
        {"row": "a", "seed": 0, "split": "1", "num_clips": 3, "top1": 0.5, "mean_class_accuracy": 0.5,
         "milliseconds_per_step": 1.0, "num_parameters": 5, "dataset_id": DATASET_ID}
    )  # fmt: skip

    def case(draw: random.Random) -> None:
        kind = draw.randrange(3)
        if kind == 0:
            (folder / "timing.csv").write_bytes(mutate_csv(text, draw=draw))
            read_timing(folder)
        elif kind == 1:
            (folder / "work.npz").write_bytes(mutate_bytes(whole, whole, draw=draw))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_features(folder / "work.npz", ids)
        else:
            (folder / "result.json").write_bytes(mutate_json(result, draw=draw))
            _read_result(folder / "result.json")

    return case
