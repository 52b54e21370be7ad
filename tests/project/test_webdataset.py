"""The way out to WebDataset: examples/webdataset.py writes tar files that hold every clip, its label and its row."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made_dataset import MadeDataset, make_dataset

from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader

EXAMPLE = Path(__file__).parents[2] / "examples" / "webdataset.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    return make_dataset(tmp_path_factory.mktemp("made"), height=8, width=8)


@pytest.fixture(scope="module")
def out(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(made, tmp_path_factory.mktemp("out"))


def export(made: MadeDataset, folder: Path, *words: str) -> Path:
    subprocess.run([sys.executable, EXAMPLE, made.shards, made.manifests, folder, *words], check=True)
    return folder


def members(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(file) as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                assert content is not None
                found[entry.name] = content.read()
    return found


def test_every_clip_is_there_with_its_label_and_row(made: MadeDataset, out: Path) -> None:
    found, frame = members(out), read_manifests(made.manifests)
    assert len(found) == 3 * len(frame)
    for row in frame.to_dict("records"):
        with ShardReader(made.shards / row["shard"]) as shard:
            expected = np.array(shard.frames[row["row"]])
        assert np.array_equal(np.load(io.BytesIO(found[f"{row['clip_id']}.npy"])), expected)
        assert int(found[f"{row['clip_id']}.cls"]) == row["label"]
        assert json.loads(found[f"{row['clip_id']}.json"]) == row


def test_a_part_of_a_split_alone(made: MadeDataset, tmp_path: Path) -> None:
    names = {name.rpartition(".")[0] for name in members(export(made, tmp_path, "--split", "2", "--part", "test"))}
    frame = read_manifests(made.manifests)
    assert names == set(frame.loc[frame["split2"] == "test", "clip_id"])


def test_webdataset_reads_it(made: MadeDataset, out: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    files = [str(file) for file in sorted(out.glob("*.tar"))]
    found = list(webdataset.WebDataset(files, shardshuffle=False).decode().to_tuple("npy", "cls", "json"))
    assert len(found) == 24
    frames, label, row = found[0]
    assert frames.shape == (12, 8, 8, 3) and frames.dtype == np.uint8 and label == row["label"]
