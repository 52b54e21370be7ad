"""Writes the clips of a data set as WebDataset shards, tar files that WebDataset, Ray Data and others read.

    python examples/webdataset.py data/shards data_manifests OUT [--split 1] [--part train]

One tar file for each of our shards; of each clip KEY.npy (uint8 (T·K, H, W, 3)), KEY.cls (its label) and KEY.json (its
manifest row). Read them with any of these:

    webdataset.WebDataset("OUT/shard-{00000..00104}.tar").decode().to_tuple("npy", "cls")
    ray.data.read_webdataset("OUT")
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from shared.manifests.files import read_dataset, read_manifests
from shared.shards.clips import clips_in_shards
from shared.splits.parts import split_column


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to the archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("manifests", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="1", help="1, 2, 3 or full")
    parser.add_argument("--part", default="", help="train, val or test; default: every clip")
    options = parser.parse_args()
    dataset, frame = read_dataset(options.manifests), read_manifests(options.manifests)
    rows = frame[frame[split_column(options.split)] == options.part] if options.part else frame
    options.out.mkdir(parents=True, exist_ok=True)
    named = set(frame["shard"])
    for shard, clips in rows.groupby("shard"):
        records = clips.to_dict("records")
        with tarfile.open(options.out / f"{Path(str(shard)).stem}.tar", "w") as tar:
            for clip in clips_in_shards(clips, options.shards, dataset_id=dataset.dataset_id, named=named):
                record, frames = records[clip.place], io.BytesIO()
                np.save(frames, clip.frames)
                key = record["clip_id"].replace(".", "_")  # what follows a dot is the kind of file
                add(tar, f"{key}.npy", frames.getvalue())
                add(tar, f"{key}.cls", str(record["label"]).encode())
                add(tar, f"{key}.json", json.dumps(record).encode())


if __name__ == "__main__":
    main()
