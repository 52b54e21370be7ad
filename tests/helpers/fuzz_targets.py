"""What is fuzzed: a target writes good files once and returns a case, which damages a copy and reads it as users do."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_dataset import DATASET_ID, MadeDataset, make_dataset
from made_plan import plan_row, write_made_plan
from made_rows import clip_row
from made_run import make_run, small_config
from made_shards import clip_frames, record, write_shard
from mutations import HOSTILE_VALUES, mutate_bytes, mutate_csv, mutate_hdf5, mutate_json, mutate_toml

from preprocess.balance.descriptors import read_features
from preprocess.extract.extraction_plan import make_parameters, make_plan
from preprocess.extract.merge import merge
from preprocess.extract.state import (
    ShardOutcome,
    read_extraction_plan,
    read_outcome,
    write_extraction_plan,
    write_outcome,
)
from preprocess.extract.verify import verify
from shared.balancing_plans import read_plan as read_balancing_plan
from shared.classes import Video
from shared.files import sha256_of
from shared.manifests import read_dataset, read_manifests, read_quarantine, row_from_json, row_to_json, write_quarantine
from shared.shards.format import ClipRecord
from shared.shards.reader import ShardReader
from shared.shards.writer import PendingShard
from train.ablate.command import _read_result
from train.ablate.grid import read_grid
from train.data.balancing import read_training_plan
from train.model.lsvit import LSViT
from train.model.pretrained import load_pretrained
from train.run.config import RunConfig, read_config, resolve, write_config
from train.run.data import open_data
from train.run.progress import Timing, append_timing, read_timing
from train.trained.model import load_model

Case = Callable[[random.Random], None]


def _outside(folder: Path) -> Path:
    """A good shard outside the folder of shards, whose content must never be seen."""
    path = folder / "outside" / "secret.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_shard(path, _records("secret"))
    return path


def _records(class_name: str) -> list[ClipRecord | None]:
    """Three clips whose rows read back."""
    rows = [clip_row(str(index), class_name=class_name) for index in range(3)]
    return [
        dataclasses.replace(record(index), clip_id=row.clip_id, manifest=row_to_json(row))
        for index, row in enumerate(rows)
    ]


def _damage_hdf5(path: Path, whole: bytes, *, outside: Path, draw: random.Random) -> None:
    if draw.random() < 0.5:
        path.write_bytes(mutate_bytes(whole, outside.read_bytes(), draw=draw, header=4096))
    else:
        path.write_bytes(whole)
        mutate_hdf5(path, outside=outside, draw=draw)


def shards(folder: Path) -> Case:
    """A shard, read whole: layout, records, frames, checksums."""
    outside, path = _outside(folder), folder / "shard-00000.h5"
    whole = write_shard(path, _records("walk")).read_bytes()

    def case(draw: random.Random) -> None:
        _damage_hdf5(path, whole, outside=outside, draw=draw)
        with ShardReader(path) as reader:
            assert not any("secret" in clip_id for clip_id in reader.clip_id), "a file outside was read"
            reader.damaged_clips()
            assert reader.frames.nbytes <= path.stat().st_size
            for text in reader.manifest:
                row_from_json(text)

    return case


def manifests(folder: Path) -> Case:
    """A data set with one file damaged, read by `verify` and by training."""
    good = make_dataset(folder / "good")
    write_quarantine(good.manifests, [])
    files = [*sorted((good.manifests / "clips").glob("*.csv")), good.manifests / "dataset.json"]
    texts = {file.relative_to(good.manifests): file.read_text() for file in [*files, good.manifests / "quarantine.csv"]}
    work = MadeDataset(shards=good.shards, manifests=folder / "work")

    def case(draw: random.Random) -> None:
        shutil.rmtree(work.manifests, ignore_errors=True)
        chosen = draw.choice(sorted(texts))
        for name, text in texts.items():
            target = work.manifests / name
            target.parent.mkdir(parents=True, exist_ok=True)
            mutate = mutate_json if name.suffix == ".json" else mutate_csv
            target.write_bytes(mutate(text, draw=draw) if name == chosen else text.encode())
        read_quarantine(work.manifests)
        read_dataset(work.manifests)
        for name in read_manifests(work.manifests)["shard"]:
            assert "/" not in name, "a shard outside the folder is named"
        verify(work.shards, work.manifests, advance=lambda count: None)
        config = resolve(command_line={"shards": str(work.shards), "manifests": str(work.manifests)}, file={})
        _, data = open_data(dataclasses.replace(config, img_size=16, patch_size=8))
        data.reader.close()

    return case


def plans(folder: Path) -> Case:
    """A balancing plan's CSV or JSON, read as training does."""
    path = folder / "1.csv"
    rows = [plan_row("real", f"run/clip{index:02d}") for index in range(6)]
    rows += [plan_row("synthetic", "walk/clip00", "walk/clip01", lam=0.25), plan_row("dropped", "jump/clip00")]
    write_made_plan(path, rows)
    texts = {file: file.read_text() for file in (path, path.with_suffix(".json"))}
    training = {
        f"{name}/clip{index:02d}": (name, label)
        for label, name in enumerate(("jump", "run", "walk"))
        for index in range(8)
    }

    def case(draw: random.Random) -> None:
        chosen = draw.choice(sorted(texts))
        for file, text in texts.items():
            mutate = mutate_json if file.suffix == ".json" else mutate_csv
            file.write_bytes(mutate(text, draw=draw) if file == chosen else text.encode())
        read_balancing_plan(path)
        read_training_plan(path, dataset_id=DATASET_ID, split="1", training=training, held_out=frozenset())

    return case


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


def extractions(folder: Path) -> Case:
    """extraction.json, the note on a shard or a shard damaged; `merge` must refuse or write inside its folder."""
    good, work = folder / "good", folder / "work"
    outside = _outside(folder)
    good.mkdir()
    _make_extraction(good)

    def case(draw: random.Random) -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(good, work)
        chosen = draw.choice(sorted(good.iterdir()))
        target = work / chosen.name
        if chosen.suffix == ".json":
            target.write_bytes(mutate_json(chosen.read_text(), draw=draw))
        elif draw.random() < 0.5:
            _damage_hdf5(target, chosen.read_bytes(), outside=outside, draw=draw)
        else:
            _edit_stored_row(target, draw)
        plan = read_extraction_plan(work)
        assert plan is not None
        for shard in plan.shards:
            read_outcome(work, shard)
        merge(work, folder / "manifests", synthetic=False, rehash=draw.random() < 0.5)
        read_manifests(folder / "manifests")

    return case


def _edit_stored_row(path: Path, draw: random.Random) -> None:
    """Replace one value of a manifest row kept in a shard."""
    import h5py

    with h5py.File(path, "r+") as file:
        row = json.loads(file["manifest"].asstr()[0])
        key = draw.choice(("class_name", "clip_id", "path", "shard", *sorted(row)))
        row[key] = draw.choice(HOSTILE_VALUES)
        text = json.dumps(row)
        file["manifest"][0] = text if draw.random() < 0.9 else text[: len(text) // 2]


def _make_extraction(shards: Path) -> None:
    """What `hmdb-prep extract` leaves of four videos, without decoding any."""
    videos = [
        Video(path=f"{name}/{stem}.avi", class_name=name, num_bytes=9) for name in ("run", "walk") for stem in "ab"
    ]
    parameters = make_parameters(size="4x5", fit="crop", num_segments=2, frames_per_segment=3, clips_per_shard=2)
    plan = make_plan(videos, parameters)
    write_extraction_plan(shards, plan)
    for planned in plan.shards:
        name = planned.name
        with PendingShard(shards / name, plan.layout(planned), capacity=len(planned.videos)) as shard:
            records: list[ClipRecord | None] = []
            for row, video in enumerate(planned.videos):
                shard.write_clip(row, clip_frames(row))
                label = int(video.class_name == "walk")
                values = {"clip_id": video.clip_id, "path": video.path, "label": label, "shard": name, "row": row}
                values["crc32"] = record(row).crc32
                stored = dataclasses.replace(clip_row(class_name=video.class_name), **values)  # type: ignore[arg-type]
                fields = {"clip_id": video.clip_id, "label": label, "manifest": row_to_json(stored)}
                records.append(dataclasses.replace(record(row), **fields))  # type: ignore[arg-type]
            shard.complete(records)
            outcome = ShardOutcome(sha256=sha256_of(shard.temporary), num_bytes=1, quarantined=())
            write_outcome(shards, planned, outcome)
            shard.publish()


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


TARGETS: dict[str, Callable[[Path], Case]] = {
    "shards": shards,
    "manifests": manifests,
    "plans": plans,
    "checkpoints": checkpoints,
    "configs": configs,
    "extractions": extractions,
    "weights": weights,
    "side_files": side_files,
}
