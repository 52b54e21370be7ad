"""The benchmarks run, and what they are made of is right. No figure is asserted here."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import HMDB_LIKE, make_video

from benchmarks.clips_on_disk import link_videos, videos_below
from benchmarks.decoding_peers import PEERS, clip_with, is_installed
from benchmarks.extract import judge
from benchmarks.made_tables import DATASET_ID, make_tables
from benchmarks.scaling import add_growth, copy_sparsely, measure_command
from benchmarks.straightforward_classic import StraightforwardClassic
from benchmarks.timing import Results, Times, start, take_turns
from preprocess.eda.images import read_looks
from preprocess.eda.near_duplicates import find_near_duplicates
from shared.manifests.files import read_dataset, read_manifests
from shared.video.decoding import decode_clip
from shared.video.shape import ClipShape
from train.model.config import make_config
from train.model.lsvit import LSViT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Two small videos in HMDB51's layout and codec."""
    folder = tmp_path_factory.mktemp("videos")
    for name, num_frames in (("run", 40), ("walk", 20)):
        make_video(folder / name / f"film_{name}_f_cm_np1_le_goo_0.avi", *HMDB_LIKE, num_frames=num_frames)
    return folder


def run_quickly(name: str, videos: Path | None, folder: Path, *words: str) -> dict[str, Any]:
    """What a benchmark's smoke run wrote."""
    written = folder / "results.json"
    real = [] if videos is None else ["--real", str(videos)]
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", *real, "--json", str(written)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(written.read_text())
    assert content["benchmark"] == name
    assert content["machine"]["cores"] >= 1
    assert str(folder) not in written.read_text()
    for rows in content["tables"].values():
        assert 1.0 in [row["ratio"] for row in rows.values()]
        assert all(row["slowest"] <= row["rate"] <= row["fastest"] for row in rows.values())
    for target in content["targets"].values():
        reached = target["value"] >= target["limit"] if target["is_least"] else target["value"] <= target["limit"]
        assert target["is_met"] == reached
    return content


@pytest.mark.slow
def test_extract(videos: Path, tmp_path: Path) -> None:
    content = run_quickly("extract", videos, tmp_path)
    rows = content["tables"]["whole job, genuine videos, 1 workers"]
    assert {"this project", "this project, no statistics"} <= set(rows)
    peers = {name for name, peer in PEERS.items() if is_installed(peer)}
    assert peers <= set(rows)
    (judged,) = content["figures"].values()
    assert judged["this project"] == {"n right": "2 of 2", "right frames, %": 100, "the same to the bit, %": 100}


@pytest.mark.slow
def test_profile_of_extraction(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed; pip install -e '.[bench]'")
    content = run_quickly("extract_profile", videos, tmp_path)
    rows = content["figures"]["profile, 2 genuine videos at 32"]
    assert rows["all"]["CPU ms a clip"] == pytest.approx(
        sum(row["CPU ms a clip"] for name, row in rows.items() if name != "all")
    )


@pytest.mark.slow
def test_loader(videos: Path, tmp_path: Path) -> None:
    content = run_quickly("loader", videos, tmp_path)
    door = "warm, in a DataLoader"
    assert set(content["tables"]) == {"warm", door, f"{door} with workers", "warm, against decoding", "cold"}
    assert set(content["tables"]["cold"]) == {
        "this project, K=1", "this project, K=3, TSN", "limit: memory map copied", "h5py", "JPEG folders, Pillow",
        "videos, torchcodec",
    }  # fmt: skip
    assert set(content["targets"]) == {
        "warm: of the copied memory map", "warm: K=3 against K=1", "warm, against decoding: times JPEG folders",
        "warm, against decoding: times decoding videos", "cold: of the copied memory map",
        f"{door}: time of this project's own",
    }  # fmt: skip


@pytest.mark.slow
def test_training_step(videos: Path, tmp_path: Path) -> None:
    content = run_quickly("training_step", videos, tmp_path, "--device", "cpu", "--threads", "1")
    for precision in ("fp32", "bf16"):
        rows = content["tables"][f"tiny, {precision}, 1 clips of 32 px"]
        assert set(rows) == {"none", "directional", "classic", "straightforward classic"}
        kept = content["figures"][f"memory of a step, tiny, {precision}, 1 clips of 32 px"]
        assert 0 < kept["none"]["MiB"] < kept["classic"]["MiB"]
    assert 0 <= content["targets"]["data wait, share of an epoch"]["value"] <= 1


@pytest.mark.slow
def test_scaling(videos: Path, tmp_path: Path) -> None:
    content = run_quickly("scaling", videos, tmp_path)
    for title in ("extract at 32", "loader, sparse shards", "eda, tables and plots", "balance"):
        rows = content["figures"][title]
        assert len(rows) == 2
        assert all(row["seconds"] > 0 and row["largest process, MiB"] > 0 for row in rows.values())
        assert f"{title}: exponent" in content["targets"]


@pytest.mark.slow
def test_many_rows(tmp_path: Path) -> None:
    content = run_quickly("many_rows", None, tmp_path)
    for title in ("splits", "manifests", "eda"):
        rows = content["figures"][title]
        assert len(rows) == 2
        assert all(row["CPU s"] > 0 and row["largest process, MiB"] > 0 for row in rows.values())
    assert all(0 < row["MB"] < 20 for row in content["figures"]["page of eda"].values())


@pytest.mark.slow
def test_many_shards(tmp_path: Path) -> None:
    rows = run_quickly("many_shards", None, tmp_path)["figures"]["a training process"]
    assert [row["mapped shards"] for row in rows.values()] == [2, 3]
    assert all(row["own memory then, MiB"] > 0 and row["clips/s, random"] > 0 for row in rows.values())


@pytest.mark.slow
def test_the_parent(tmp_path: Path) -> None:
    figures = run_quickly("parent", None, tmp_path)["figures"]
    assert set(figures) == {"planning, CPU seconds by number of videos", "fed at 224x304", "fed at 32x32"}
    for title in ("fed at 224x304", "fed at 32x32"):
        (row,) = figures[title].values()
        assert row["parent, CPU ms a clip"] > 0


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    times = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(taken.wall) for name, taken in times.items()} == {"a": 2, "b": 2}


def test_rates_are_medians_and_ratios_are_to_the_reference(tmp_path: Path) -> None:
    results = Results(benchmark="b", options={})
    times = {"a": Times(wall=(1.0, 2.0, 9.0), cpu=(1.0, 1.0, 1.0)), "b": Times(wall=(4.0,) * 3, cpu=(0.0,) * 3)}
    results.add_rates("t", times, units=8, unit="clips", reference="a")
    results.add_target("fast", results.ratio("t", "a", to="b"), least=2.0)
    results.add_target("slow", 3.0, most=2.0)
    results.save(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["tables"]["t"]["a"]["rate"] == 4.0
    assert content["tables"]["t"]["a"]["slowest"] == pytest.approx(8 / 9)
    assert content["tables"]["t"]["b"]["ratio"] == 0.5
    assert content["tables"]["t"]["b"]["cpu_rate"] == 0.0
    assert [target["is_met"] for target in content["targets"].values()] == [True, False]


def test_results_name_no_path() -> None:
    options = argparse.Namespace(quick=True, rounds=5, json=Path("/x"), workplace=None, real=Path("/y"), clips=3)
    assert start("b", options).options == {"quick": True, "rounds": 1, "clips": 3}


def test_links_go_round_the_originals(videos: Path, tmp_path: Path) -> None:
    folder = link_videos(videos_below(videos), tmp_path / "links", count=5)
    assert sorted(len(list(place.iterdir())) for place in folder.iterdir()) == [2, 3]
    assert len(videos_below(folder)) == 5


@pytest.mark.parametrize("name", sorted(PEERS))
def test_every_peer_does_the_job(name: str, videos: Path) -> None:
    if not is_installed(PEERS[name]):
        pytest.skip(f"{PEERS[name].module} is not installed; pip install -e '.[bench]'")
    (path,) = (videos / "run").iterdir()
    ours = decode_clip(path, ClipShape(num_segments=16, frames_per_segment=1, size=None))
    clip = clip_with(name, path, side=224)
    assert clip.shape == (16, 224, 224, 3)
    assert clip.dtype == np.uint8
    middle = ours.frames.numpy().mean(axis=(1, 2))
    assert np.abs(clip.mean(axis=(1, 2)) - middle).max() < 40  # the same pictures, but for the sides that are cut


def test_the_judge_knows_wrong_frames() -> None:
    every = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3) * 20
    right = np.array([2, 5])
    assert judge(every, right, 10, [every[2], every[5]]).tolist() == [1, 2, 2, 2]
    assert judge(every, right, 11, [every[3], every[5] + 1]).tolist() == [0, 2, 1, 0]


def test_sparse_copies_are_equal_and_take_no_room(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.write_bytes(b"head" + bytes(5 * 2**20) + b"tail" + bytes(3 * 2**20))
    copy_sparsely(original, copy)
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_blocks * 512 < 3 * 2**20


def test_made_tables_hold_together(tmp_path: Path) -> None:
    made = make_tables(tmp_path, num_rows=300)
    clips, dataset = read_manifests(made.manifests), read_dataset(made.manifests)
    assert len(clips) == 300
    assert sum(dataset.clips_per_class.values()) == 300
    counts = sorted(dataset.clips_per_class.values())
    assert counts[-1] > 3 * counts[0]
    assert set(clips["split_full"]) == {"train", "test"}
    assert make_tables(tmp_path / "more", num_rows=200, num_classes=80).manifests.is_dir()
    more = read_manifests(tmp_path / "more" / "manifests")
    assert more["class_name"].nunique() > 60
    found = find_near_duplicates(more, read_looks(more, tmp_path / "more" / "shards", dataset_id=DATASET_ID))
    assert found.num_pairs == 2


def test_commands_are_measured() -> None:
    cost = measure_command("hmdb-prep", ["--help"])
    assert cost.seconds > 0.05
    assert cost.memory_mib > 5


def test_the_exponent_of_quadratic_growth_misses_its_target() -> None:
    from benchmarks.scaling import Cost

    results = Results(benchmark="b", options={})
    add_growth(results, "t", {n: Cost(seconds=n * n / 100, memory_mib=9.0) for n in (10, 20)}, unit="rows")
    assert results.targets["t: exponent"].value == pytest.approx(2.0)
    assert not results.targets["t: exponent"].is_met


def test_the_straightforward_model_is_the_classic_one() -> None:
    config = make_config("tiny", num_classes=5, image_size=32, num_frames=4, smif="classic", lmi="classic")
    ours, other = LSViT(config, seed=3), StraightforwardClassic(config)
    other.load_state_dict(ours.state_dict())
    video = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(video), other(video), rtol=1e-4, atol=1e-5)
