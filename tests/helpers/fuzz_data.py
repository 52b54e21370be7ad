"""Fuzzing of what hmdb-prep writes: shards, manifests, plans, extractions."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

from made_dataset import DATASET_ID, MadeDataset, make_dataset
from made_plan import plan_row, write_made_plan
from made_rows import clip_row
from made_shards import clip_frames, record, write_shard
from mutations import HOSTILE_VALUES, Case, mutate_bytes, mutate_csv, mutate_hdf5, mutate_json

from preprocess.extract.extraction_plan import make_parameters, make_plan
from preprocess.extract.finish.merge import merge
from preprocess.extract.finish.verify import verify
from preprocess.extract.state import (
    ShardOutcome,
    read_extraction_plan,
    read_outcome,
    write_extraction_plan,
    write_outcome,
)
from shared.files import sha256_of
from shared.manifests.balancing_plans import read_plan as read_balancing_plan
from shared.manifests.files import (
    read_dataset,
    read_manifests,
    read_quarantine,
    row_from_json,
    row_to_json,
    write_quarantine,
)
from shared.shards.format import ClipRecord
from shared.shards.reader import ShardReader
from shared.shards.writer import PendingShard
from shared.splits.own_files import PARTS, mismatches, read_split_table
from shared.video.listing import Video
from shared.video.sampling import candidate_frames
from train.data.balancing import read_training_plan
from train.run.config.resolve import resolve
from train.run.data import open_data


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


def splits(folder: Path) -> Case:
    """Splits of one's own: a CSV file, lists of UCF101 and of HMDB51."""
    videos = [Video(path=f"walk/clip{index}.avi", class_name="walk", num_bytes=1) for index in range(4)]
    table = "clip_id,split1\n" + "".join(f"walk/clip{index},{PARTS[index]}\n" for index in range(4))
    lists = {
        "own/splits.csv": table,
        "ucf101/trainlist01.txt": "walk/clip0.avi 1\nwalk/clip1.avi 1\n",
        "ucf101/testlist01.txt": "walk/clip2.avi\n",
        "hmdb51/walk_test_split1.txt": "clip0.avi 1 \nclip1.avi 2 \nclip2.avi 0 \n",
    }
    places = {"own/splits.csv": folder / "own" / "splits.csv"}

    def case(draw: random.Random) -> None:
        chosen = draw.choice(sorted(lists))
        for name, text in lists.items():
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            is_csv = name.endswith(".csv") and draw.random() < 0.7
            damaged = mutate_csv(text, draw=draw) if is_csv else mutate_bytes(text.encode(), table.encode(), draw=draw)
            file.write_bytes(damaged if name == chosen else text.encode())
        found = read_split_table(places.get(chosen, folder / Path(chosen).parent))
        mismatches(found, videos, place="here")
        for video in videos:
            assert found.of(video, full="train").split1 in PARTS

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
                fields["frame_index"] = candidate_frames(stored.num_frames, num_segments=2, frames_per_segment=3)
                records.append(dataclasses.replace(record(row), **fields))  # type: ignore[arg-type]
            shard.complete(records)
            outcome = ShardOutcome(sha256=sha256_of(shard.temporary), num_bytes=1, quarantined=())
            write_outcome(shards, planned, outcome)
            shard.publish()
