"""The study on real video: folds, intervals, the table, and which runs it goes on with. No figure is asserted here."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_dataset import MadeDataset, make_dataset

from benchmarks import real_video
from benchmarks.real_video import Study, keep_study, make_entries, run_study
from benchmarks.real_video_folds import fold_by_clip, fold_of_clips, write_folds
from benchmarks.real_video_rows import ROWS, Entry
from benchmarks.real_video_tables import interval, spread, write_groups, write_table
from shared.errors import DataError, UsageError
from shared.manifests.files import read_manifests
from train.evaluate.intervals import share_intervals

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    """24 clips of three classes and twelve sources."""
    return make_dataset(tmp_path_factory.mktemp("made"), height=36, width=40)


def test_folds_keep_sources_whole_and_test_every_clip_once() -> None:
    rng = np.random.default_rng(0)
    sources = [f"s{number}" for number in rng.integers(0, 40, 200)]
    classes = [f"c{number}" for number in rng.integers(0, 4, 200)]
    fold = fold_of_clips(classes, sources, num_folds=5)
    assert set(fold.tolist()) == set(range(5))
    assert len({*zip(sources, fold.tolist(), strict=True)}) == len(set(sources))


def test_folds_of_which_one_would_be_empty_are_refused() -> None:
    classes, sources = [*"aaaaaabbcd"], ["s0"] * 3 + ["s1"] * 3 + ["s2"] * 2 + ["s3", "s4"]
    with pytest.raises(UsageError, match="--folds is 5, and these sources leave one without a clip"):
        fold_of_clips(classes, sources, num_folds=5)


def test_more_folds_than_sources_or_clips_are_refused(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(fold_of_clips(["run"] * 3, list("xyz"), num_folds=3)) == [0, 1, 2]
    with pytest.raises(UsageError, match=r"--folds is 4; .* 3 and 5: name at most 3$"):
        fold_of_clips(["run"] * 5, list("xyzzz"), num_folds=4)
    with pytest.raises(UsageError, match=r"--folds is 2; .* 1 and 2: more videos are needed$"):
        fold_of_clips(["run"] * 2, ["x", "x"], num_folds=2)
    words = ["--shards", made.shards, "--manifests", made.manifests, "--runs", tmp_path / "runs", "--rows", "plain"]
    monkeypatch.setattr(sys, "argv", ["real_video", *map(str, words), "--folds", "9"])
    with pytest.raises(SystemExit, match=r"^error: --folds is 9; [^\n]* 12 and 8: name at most 8$"):
        real_video.main()
    assert not (tmp_path / "runs").exists()


def test_the_manifests_of_a_fold_differ_in_the_split_alone(made: MadeDataset, tmp_path: Path) -> None:
    before = read_manifests(made.manifests)
    tested = []
    for place in write_folds(made.manifests, tmp_path, fold_by_clip(made.manifests, num_folds=3)):
        after = read_manifests(place)
        tested += list(after.loc[after["split1"] == "test", "clip_id"])
        pd.testing.assert_frame_equal(after.drop(columns="split1"), before.drop(columns="split1"))
    assert sorted(tested) == sorted(before["clip_id"])


def test_intervals_are_those_of_evaluate() -> None:
    rng = np.random.default_rng(1)
    right, sources = rng.random(60) < 0.4, [f"s{number}" for number in rng.integers(0, 12, 60)]
    (expected,) = share_intervals(right[:, None], np.ones((60, 1), np.bool_), sources)
    assert expected is not None
    assert interval(right.astype(np.float64), sources) == f"{100 * expected.low:.1f} to {100 * expected.high:.1f}"


def test_the_table_counts_clips_seeds_and_classes(tmp_path: Path) -> None:
    clips = pd.DataFrame({"clip_id": list("abcd"), "source": list("wxyz"), "class_name": ["run", "run", "run", "sit"]})
    entries = [Entry(row=ROWS[0], start="scratch", label="scratch"), Entry(row=ROWS[1], start="f", label="weights-1")]
    measured = [np.array([[1, 0, 0, 1], [1, 0, 0, 0]], float), np.array([[1, 1, 0, 1], [1, 1, 0, 1]], float)]
    lines = write_table(entries, measured, clips, tmp_path).splitlines()
    first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert first[:3] == ["plain", "scratch", "37.5 ± 17.7"]
    assert first[4:] == ["41.7", "+0.0", "0.0 to 0.0"]
    assert second[:3] == ["plain-k1", "weights-1", "75.0 ± 0.0"]
    assert second[4:6] == ["83.3", "+37.5"]
    assert (tmp_path / "table.md").read_text().splitlines() == lines
    kept = pd.read_csv(tmp_path / "clips.csv", index_col="clip_id")
    assert list(kept["plain scratch"]) == [1.0, 0.0, 0.0, 0.5]


def test_groups_compare_rows_where_they_differ(tmp_path: Path) -> None:
    clips = pd.DataFrame({
        "clip_id": list("abcdefgh"), "source": list("stuvwxyz"), "class_name": ["run"] * 6 + ["sit"] * 2,
        "motion": [1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0],
    })  # fmt: skip
    entries = [Entry(row=row, start="scratch", label="scratch") for row in ROWS[:2]]
    first, second = np.array([[1, 0, 1, 0, 1, 0, 1, 1]], float), np.array([[1, 1, 1, 1, 1, 0, 0, 1]], float)
    write_groups(entries, [first, second], clips, tmp_path)
    rows = pd.read_csv(tmp_path / "groups.csv").set_index(["row", "group"])
    assert set(rows.loc["plain", "to_first_percent"]) == {0.0}
    of_second = rows.loc["plain-k1"]
    assert list(of_second.index) == ["motion 1", "motion 2", "motion 3", "motion 4", "run", "sit"]
    assert list(of_second["num_clips"]) == [2, 2, 2, 2, 6, 2]
    assert list(of_second["top1_percent"]) == [100.0, 50.0, 50.0, 100.0, 83.33, 50.0]
    assert list(of_second["to_first_percent"]) == [0.0, -50.0, 0.0, 100.0, 33.33, -50.0]
    told = of_second.dropna()
    assert list(told.index) == ["motion 2", "motion 4", "run", "sit"]  # of the others every draw says the same
    assert (told["low_percent"] <= told["to_first_percent"]).all()


def test_one_seed_has_no_deviation() -> None:
    assert spread(np.array([40.0])) == "40.0"


def made_study(made: MadeDataset, runs: Path) -> Study:
    """One whose runs have 64 pixels and 8 epochs."""
    return Study(
        shards=made.shards,
        runs=runs,
        shape=("--preset", "tiny"),
        shared=("--img-size", "64"),
        training=(),
        epochs=8,
        val_fraction="0",
    )


def test_runs_of_another_study_are_not_taken_for_its_own(made: MadeDataset, tmp_path: Path) -> None:
    study = made_study(made, tmp_path)
    keep_study(study, made.manifests, folds=4)
    keep_study(study, made.manifests, folds=5)  # nothing has run yet
    (tmp_path / "plain-scratch-1of5-seed0").mkdir()
    keep_study(study, made.manifests, folds=5)
    changes = ({"epochs": 9}, {"shared": ("--img-size", "32")}, {"val_fraction": "0.1"})
    for changed in (dataclasses.replace(study, **change) for change in changes):
        with pytest.raises(DataError, match=r"another study \((epochs|shared) was .*, is .*\); name another --runs"):
            keep_study(changed, made.manifests, folds=5)
    with pytest.raises(DataError, match="folds was 5, is 3"):
        keep_study(study, made.manifests, folds=3)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match=r"study\.json is damaged"):
        keep_study(study, made.manifests, folds=5)
    (tmp_path / "study.json").unlink()
    with pytest.raises(DataError, match=f"^{tmp_path} holds runs but no study.json, .*; name another --runs$"):
        keep_study(study, made.manifests, folds=5)


def made_run(study: Study, manifests: Path, *, fold: int) -> None:
    """What a run of the first row leaves that has tested a fold of three, all of its clips right."""
    place = write_folds(manifests, study.runs / "folds", fold_by_clip(manifests, num_folds=3))[fold]
    clips = read_manifests(place)
    tested = clips.loc[clips["split1"] == "test", ["clip_id", "class_name"]]
    lines = [f"{clip_id},{name},{name}" for clip_id, name in tested.itertuples(index=False)]
    folder = study.runs / f"plain-scratch-{place.name}-seed0" / "evaluation"
    folder.mkdir(parents=True)
    (folder / "predictions.csv").write_text("\n".join(["clip_id,true,predicted", *lines]))


def with_other_sources(manifests: Path, copy: Path) -> Path:
    """The manifests as `merge --source-pattern` may have changed them."""
    shutil.copytree(manifests, copy)
    for file in (copy / "clips").glob("*.csv"):
        rows = pd.read_csv(file, dtype=str, keep_default_na=False)
        rows["source"] = [f"other-{number % 5}" for number in range(len(rows))]
        rows.to_csv(file, index=False)
    return copy


def without_checksum(file: Path) -> None:
    """Make study.json one of the program as it was."""
    content = json.loads(file.read_text())
    del content["folds_sha256"]
    file.write_text(json.dumps(content))


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("is_old", [False, True])
def test_other_sources_are_refused_before_anything_is_trained_or_written(
    made: MadeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_old: bool
) -> None:
    """Studies from before the checksum was kept, too: these have the manifests of their folds."""
    trained: list[tuple[str, ...]] = []
    monkeypatch.setattr(real_video, "lsvit_train", lambda *words: trained.append(words))
    study, entry = made_study(made, tmp_path / "runs"), Entry(row=ROWS[0], start="scratch", label="scratch")
    keep_study(study, made.manifests, folds=3)
    for fold in (0, 2):
        made_run(study, made.manifests, fold=fold)
    file = study.runs / "study.json"
    if is_old:
        without_checksum(file)
    others = with_other_sources(made.manifests, tmp_path / "others")
    before = files_of(study.runs)
    with pytest.raises(DataError, match="have other folds: clips or sources have changed; name another --runs"):
        run_study([entry], study, others, folds=3, seeds=1, jobs=1)
    assert not trained and files_of(study.runs) == before
    keep_study(study, made.manifests, folds=3)
    assert "folds_sha256" in json.loads(file.read_text())
    made_run(study, made.manifests, fold=1)
    run_study([entry], study, made.manifests, folds=3, seeds=1, jobs=1)
    assert not trained and "100.0" in (study.runs / "table.md").read_text()


def test_a_folder_whose_runs_tested_other_clips_is_refused(made: MadeDataset, tmp_path: Path) -> None:
    """The program as it was refused other sources after its training, when it had written their folds."""
    study = made_study(made, tmp_path / "runs")
    others = with_other_sources(made.manifests, tmp_path / "others")
    keep_study(study, others, folds=3)
    without_checksum(study.runs / "study.json")
    made_run(study, made.manifests, fold=1)
    write_folds(others, study.runs / "folds", fold_by_clip(others, num_folds=3))
    with pytest.raises(DataError, match=r"plain-scratch-2of3-seed0 in .* tested other clips than those of its fold"):
        keep_study(study, others, folds=3)
    (study.runs / "plain-scratch-2of3-seed0" / "evaluation" / "predictions.csv").write_text("clip_id,true\na,run\n")
    with pytest.raises(DataError, match=r"predictions\.csv is damaged \('predicted'\); delete it"):
        keep_study(study, others, folds=3)
    shutil.rmtree(study.runs / "folds")
    with pytest.raises(DataError, match="folds does not say what the runs beside it tested; name another --runs"):
        keep_study(study, others, folds=3)


def test_what_is_frozen_needs_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"any")
    with pytest.raises(DataError, match="needs weights; name a file of them with --start"):
        make_entries([row for row in ROWS if row.is_frozen], ["scratch"])
    assert len(make_entries(ROWS[:1], ["scratch", "scratch"])) == 1
    entries = make_entries(ROWS, ["scratch", str(weights)])
    assert not [entry for entry in entries if entry.row.is_frozen and entry.label == "scratch"]
    assert len(entries) == 2 * len(ROWS) - sum(row.is_frozen for row in ROWS)
    with pytest.raises(DataError, match="no weights at /nowhere"):
        make_entries(ROWS, ["/nowhere"])


@contextmanager
def started(name: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A benchmark, which is killed with all its processes in the end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", f"benchmarks.{name}", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def finish(name: str, *words: str | Path) -> str:
    """What a benchmark printed that ran to its end."""
    with started(name, *words) as process:
        out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out


@pytest.mark.slow
def test_from_frames_to_the_table(made: MadeDataset, tmp_path: Path) -> None:
    out, runs = tmp_path / "weights", tmp_path / "runs"
    options = ("--image-size", "32", "--steps", "3", "--warmup-steps", "1", "--batch-size", "8", "--decoder-dim", "16")
    finish("pretrain_frames", "--shards", made.shards, "--out", out, *options)
    assert json.loads((out / "config.json").read_text())["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    words = ["--shards", made.shards, "--manifests", made.manifests, "--runs", runs, "--jobs", "2"]
    words += ["--seeds", "1", "--folds", "2", "--epochs", "1", "--image-size", "32"]
    words += ["--start", out / "model.safetensors", "--rows", "plain", "probe-mean"]
    with started("real_video", *words) as process:
        while process.poll() is None and not list(runs.glob("*/evaluation/predictions.csv")):
            time.sleep(0.1)  # killed after one run at least, and before the table
    table = finish("real_video", *words).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:4]] == ["plain", "probe-mean"]
    written = {file: file.stat().st_mtime_ns for file in runs.glob("*/evaluation/predictions.csv")}
    assert len(written) == 4
    assert finish("real_video", *words).splitlines() == table
    assert written == {file: file.stat().st_mtime_ns for file in written}
