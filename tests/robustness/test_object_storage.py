"""Shards on S3: a server of this machine that speaks its language (moto), real commands, and a server that goes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import run, succeed
from made_dataset import MadeDataset, make_dataset
from trained import assert_same, checkpoint, training_words

pytestmark = pytest.mark.stress
PLACES = frozenset({"shards", "shard_cache", "shard_cache_gb", "runs", "name", "config", "max_minutes"})
ADDRESS = "s3://bucket/some/shards"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    return make_dataset(tmp_path_factory.mktemp("made"))


@contextmanager
def served(port: int) -> Iterator[None]:
    """A server of S3, empty, at this port."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, where this test's processes will look for S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra `remote`)")
    pytest.importorskip("moto.server", reason="moto's server is not installed (extra `stress`)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{number}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-this-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-this-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return number


def upload(made: MadeDataset) -> None:
    """In a process of its own: s3fs keeps its connections."""
    script = (
        "import sys, s3fs; s3 = s3fs.S3FileSystem(); s3.mkdir('bucket'); "
        f"s3.put(sys.argv[1], '{ADDRESS}', recursive=True)"
    )
    subprocess.run([sys.executable, "-c", script, f"{made.shards}/"], check=True)


def words(made: MadeDataset, folder: Path, name: str, *more: str) -> list[str]:
    """The words of a run whose cache has room for one shard and a half."""
    found = [*training_words(made, folder, name), "--shuffle-shards", "1", *more]
    if name != "here":
        found[found.index(str(made.shards))] = ADDRESS
        room = 1.5 * max(file.stat().st_size for file in made.shards.iterdir()) / 1e9
        found += ["--shard-cache", str(folder / "cache"), "--shard-cache-gb", f"{room:.9f}"]
    return found


def test_a_run_from_s3_is_that_from_a_folder(made: MadeDataset, port: int, tmp_path: Path) -> None:
    succeed("lsvit-train", *words(made, tmp_path, "here"))
    with served(port):
        upload(made)
        succeed("lsvit-train", *words(made, tmp_path, "there"))
        assert_same(checkpoint(tmp_path / "here"), checkpoint(tmp_path / "there"), ignored=PLACES)
        options = ["--runs", str(tmp_path), "--manifests", str(made.manifests), "--device", "cpu"]
        cache = ["--shard-cache", str(tmp_path / "other")]
        succeed("lsvit-train", "evaluate", "there", *options, "--shards", ADDRESS, *cache)
    assert len(list(tmp_path.glob("other/*/shard-*.h5"))) >= 1


def test_s3_that_goes_away_costs_the_run_nothing_but_time(made: MadeDataset, port: int, tmp_path: Path) -> None:
    succeed("lsvit-train", *words(made, tmp_path, "here"))
    with served(port):
        upload(made)
        succeed("lsvit-train", *words(made, tmp_path, "there", "--max-minutes", "0.00001"))
    outcome = run("lsvit-train", *words(made, tmp_path, "there", "--max-minutes", "0"), "--resume")
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert f"{ADDRESS} cannot be read" in outcome.err
    with served(port):
        upload(made)
        succeed("lsvit-train", *words(made, tmp_path, "there", "--max-minutes", "0"), "--resume")
    assert_same(checkpoint(tmp_path / "here"), checkpoint(tmp_path / "there"), ignored=PLACES)


def test_what_s3_says_against_it_is_one_line(made: MadeDataset, port: int, tmp_path: Path) -> None:
    with served(port):
        outcome = run("lsvit-train", *words(made, tmp_path, "there"))
        assert outcome.code == 1 and f"there is nothing at {ADDRESS}" in outcome.err
        os.environ.pop("AWS_ACCESS_KEY_ID")
        upload_fails = run("lsvit-train", *words(made, tmp_path, "there"))
        assert upload_fails.code == 1 and "Traceback" not in upload_fails.err
        assert "NoCredentials" in upload_fails.err or "Unable to locate credentials" in upload_fails.err
