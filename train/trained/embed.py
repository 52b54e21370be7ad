"""A trained model's features of every clip of a data set, for `hmdb-prep balance --features` and one's own studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.files import whole_file
from shared.manifests.files import read_dataset, read_manifests
from shared.shards.places import ShardsPlace
from shared.terminal.console import counted, say
from train.data.columns import CLIP_COLUMNS
from train.learn.processes import choose_device
from train.trained.clips import check_dataset, stored_features
from train.trained.folders import find_run
from train.trained.model import load_model

FEATURES_FILE = "features.npz"


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """The options of the command."""

    runs: Path
    shards: ShardsPlace
    manifests: Path
    out: Path | None
    """None for ``features.npz`` in the run's folder."""
    device: str
    batch_size: int


def embed(run: str, options: EmbedOptions) -> Path:
    """Write ``clip_id`` (N,), ``features`` float32 (N, D) and ``dataset_id``, clips sorted; returns the file's path."""
    folder = find_run(
        run, runs=options.runs, written="" if options.out else "the file of features (unless --out says where)"
    )
    loaded = load_model(folder, device=choose_device(options.device))
    check_dataset(loaded, read_dataset(options.manifests))
    frame = read_manifests(options.manifests, columns=CLIP_COLUMNS)
    features = stored_features(loaded, frame, shards=options.shards, batch_size=options.batch_size)
    out = options.out or folder / FEATURES_FILE
    with whole_file(out) as temporary, temporary.open("wb") as file:
        clip_ids = np.array(frame["clip_id"].tolist(), dtype=np.str_)
        np.savez(file, clip_id=clip_ids, features=features, dataset_id=np.array(loaded.facts.dataset_id))
    say(f"wrote {counted(features.shape[0], 'clip')} of {counted(features.shape[1], 'feature')} to {out}")
    return out
