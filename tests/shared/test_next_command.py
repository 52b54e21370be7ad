"""The commands that commands name as next: the right words, and a road that can be walked from end to end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from commands import Outcome, run

from shared.next_command import Places, next_command
from shared.shards.places import DEFAULT_CACHE, DEFAULT_CACHE_GB, shards_place

SMALL = "--img-size 16 --patch-size 8 --embed-dim 32 --depth 1 --num-heads 2 --epochs 1 --batch-size 4 --device cpu"


def test_folders_that_are_usual_are_left_out_and_others_quoted() -> None:
    assert next_command("synth", places=Places()) == "hmdb-prep extract"
    odd = Places(videos=Path("a b"), shards=Path("s"), manifests=Path("$m"), runs=Path("r"))
    assert next_command("synth", places=odd) == "hmdb-prep extract --videos 'a b' --shards s --manifests '$m'"
    assert next_command("evaluate", ["x", "walk/;rm"], places=odd).startswith(
        "lsvit-train explain x 'walk/;rm' --runs r"
    )


def test_an_address_of_shards_is_named_where_it_is_read() -> None:
    usual = shards_place("s3://bucket/shards", cache=Path(DEFAULT_CACHE), cache_gb=DEFAULT_CACHE_GB)
    assert (
        next_command("run", ["x"], places=Places(shards=usual)) == "lsvit-train evaluate x --shards s3://bucket/shards"
    )
    other = shards_place("s3://bucket/shards", cache=Path("c"), cache_gb=1.5)
    assert next_command("run", ["x"], places=Places(shards=other)).endswith("--shard-cache c --shard-cache-gb 1.5")
    assert next_command("embed", ["--features", "f"], places=Places(shards=usual)) == "hmdb-prep balance --features f"


def next_of(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    assert "next: " not in outcome.out
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("next: ")]
    return shlex.split(line.removeprefix("next: "))


@pytest.mark.slow
def test_the_road_leads_from_synth_to_explain(tmp_path: Path) -> None:
    here = tmp_path / "a b"
    here.mkdir()
    walked = []
    more = {
        "extract": ["--size", "32", "--num-frames", "4", "--shards", "my shards", "--manifests", "m"],
        "balance": ["--split", "2"],
        "run": [*SMALL.split(), "--runs", "my runs"],
        "evaluate": ["--device", "cpu"],
    }
    words = ["hmdb-prep", "synth", "my videos", "--clips", "60", "--classes", "3"]
    while words[1] != "explain":
        walked.append(words[1])
        words = next_of(run(words[0], *words[1:], *more.get(words[1], []), cwd=here))
    assert walked == ["synth", "extract", "eda", "balance", "run", "evaluate"]
    done = run(words[0], *words[1:], "--device", "cpu", cwd=here)
    assert done.code == 0, done.err
    assert list((here / "my runs").rglob("explanations/**/sheet.png"))
