"""Shards at an address give what those of a folder give, bit for bit, also where the cache holds one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import run, run_here, succeed_here
from made_dataset import MadeDataset
from trained import assert_same, checkpoint, go_on, train, training_words

from train.run.config.values import Value

PLACES = frozenset({"shards", "shard_cache", "shard_cache_gb", "runs", "name", "config"})


@pytest.fixture(scope="module")
def runs(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run on a folder, one on the same shards at an address, with room for a single one of them."""
    folder = tmp_path_factory.mktemp("runs")
    train(made, folder, "here", shuffle_shards=1)
    train(made, folder, "there", shuffle_shards=1, **there(made, folder))
    return folder


def there(made: MadeDataset, folder: Path) -> dict[str, Value]:
    room = 1.5 * max(file.stat().st_size for file in made.shards.iterdir()) / 1e9
    return {"shards": f"file://{made.shards}", "shard_cache": str(folder / "cache"), "shard_cache_gb": room}


def options(made: MadeDataset, runs: Path, *, address: bool) -> list[str]:
    places: dict[str, Value] = there(made, runs) if address else {"shards": str(made.shards)}
    words = [word for key, value in places.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return ["--runs", str(runs), "--manifests", str(made.manifests), "--device", "cpu", *words]


def test_training_is_the_same(runs: Path) -> None:
    assert_same(checkpoint(runs / "here"), checkpoint(runs / "there"), ignored=PLACES)
    assert len(list(runs.glob("cache/*/shard-*.h5"))) == 1


def test_a_run_may_be_continued_from_another_place(made: MadeDataset, runs: Path, tmp_path: Path) -> None:
    train(made, tmp_path, "one", shuffle_shards=1, epochs=2, max_minutes=1e-9, **there(made, tmp_path))
    go_on(made, tmp_path, "one", max_minutes=0.0)
    assert_same(checkpoint(runs / "here"), checkpoint(tmp_path / "one"), ignored=PLACES | {"max_minutes"})


def test_evaluation_features_and_explanations_are_the_same(made: MadeDataset, runs: Path) -> None:
    found = {}
    for address in (False, True):
        words = options(made, runs, address=address)
        succeed_here("lsvit-train", "evaluate", "here", "--json", *words)
        found[address] = next((runs / "here" / "evaluation").rglob("predictions.csv")).read_text().splitlines()
        succeed_here("lsvit-train", "embed", "here", "--out", str(runs / f"{address}.npz"), *words)
        succeed_here("lsvit-train", "explain", "here", "walk/clip00", "--out", str(runs / f"{address}"), *words)
    assert [line.split(",")[:3] for line in found[False]] == [line.split(",")[:3] for line in found[True]]
    features = [np.load(runs / f"{address}.npz")["features"] for address in (False, True)]
    np.testing.assert_allclose(features[0], features[1], atol=1e-5)
    sheets = [next((runs / f"{address}").rglob("sheet.png")).read_bytes() for address in (False, True)]
    assert sheets[0] == sheets[1]


def test_the_command_says_where_copies_go_and_what_is_wrong(made: MadeDataset, tmp_path: Path) -> None:
    words = [*training_words(made, tmp_path, "one", epochs=1), "--shard-cache", str(tmp_path / "cache")]
    words[words.index(str(made.shards))] = f"file://{made.shards}"
    outcome = run("lsvit-train", *words)
    assert outcome.code == 0, outcome.err
    assert f"shards are copied from file://{made.shards} to {tmp_path / 'cache'}" in outcome.out
    assert f"--shards file://{made.shards} " in outcome.err and f"--shard-cache {tmp_path / 'cache'}" in outcome.err
    words[words.index(f"file://{made.shards}")] = "file:///nowhere/at/all"
    outcome = run_here("lsvit-train", *words, "--name", "two")
    assert outcome.code == 1 and "there is nothing at file:///nowhere/at/all" in outcome.err
