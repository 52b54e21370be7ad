"""lsvit-train embed: one row a clip, what the head sees, as `hmdb-prep balance --features` reads it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_dataset import MadeDataset
from made_run import make_run

from preprocess.balance.descriptors import read_features
from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader
from shared.terminal.console import exit_code_of
from train.cli import app
from train.data.views import evaluation_views


def embed_command(made: MadeDataset, runs: Path, *more: str) -> int:
    folders = ["--runs", str(runs), "--shards", str(made.shards), "--manifests", str(made.manifests)]
    return exit_code_of(partial(app, ["embed", "one", *folders, "--batch-size", "5", *more], standalone_mode=False))


def test_features_are_what_the_head_sees(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = make_run(tmp_path / "one")
    assert embed_command(made, tmp_path) == 0
    out = tmp_path / "one" / "features.npz"
    assert f"wrote 24 clips of 32 features to {out}" in capsys.readouterr().out
    frame = read_manifests(made.manifests)
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["clip_id"].tolist() == frame["clip_id"].tolist()
        assert arrays["features"].dtype == np.float32 and arrays["features"].shape == (24, 32)
        assert str(arrays["dataset_id"]) == loaded.facts.dataset_id
    features = read_features(out, frame["clip_id"].tolist())
    row = frame.iloc[17]
    with ShardReader(made.shards / row["shard"]) as shard:
        frames = torch.from_numpy(shard.frames[row["row"]][1::3].copy())  # the middle of K = 3
    with torch.no_grad():
        expected = loaded.model.forward_features(evaluation_views(frames[None], image_size=32)[:, 0])[0]
        head = loaded.model.head(torch.from_numpy(features[17]).float())
        torch.testing.assert_close(head, loaded.model(evaluation_views(frames[None], image_size=32)[:, 0])[0])
    np.testing.assert_allclose(features[17], expected.numpy(), atol=1e-5)
    assert np.std(features, axis=0).max() > 1e-2


def test_another_data_set_is_refused(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "one", dataset_id="e" * 64)
    assert embed_command(made, tmp_path, "--out", str(tmp_path / "f.npz")) == 1
    assert "was trained on data set eeee" in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()
