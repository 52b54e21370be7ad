"""`hmdb-prep balance` from manifests and shards to the files of a plan."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from imblearn.over_sampling import SMOTE

from preprocess.balance.command import BalanceSettings, run_balance
from preprocess.balance.descriptors import feature_space
from preprocess.balance.rows import target_count
from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import Plan, read_plan
from shared.manifests.files import (
    SPLIT_COLUMNS,
    ClipRow,
    ColourStatistics,
    Dataset,
    row_to_json,
    write_clip_manifests,
    write_dataset,
)
from shared.shards.format import ClipRecord, ShardLayout, crc32_of
from shared.shards.writer import PendingShard
from shared.splits.parts import official_splits, validation_part
from shared.splits.sources import parse_name

SIZES = {"draw": 4, "jump": 9, "run": 14, "sit": 1, "walk": 30}  # training clips; each class has two for test besides
LAYOUT = ShardLayout(num_segments=4, frames_per_segment=3, height=24, width=32, dataset_id="a" * 64)


def _clip(class_name: str, label: int, number: int, *, part: str, source: str) -> ClipRow:
    values: dict[str, object] = {
        field.name: {"str": "", "int": 0, "float": 0.0}[str(field.type)] for field in dataclasses.fields(ClipRow)
    }
    values |= dict.fromkeys(SPLIT_COLUMNS, part)
    values |= {"clip_id": f"{class_name}/{number:03d}", "class_name": class_name, "label": label, "source": source}
    return ClipRow(**values)  # type: ignore[arg-type]


def _rows(sizes: dict[str, int], *, clips_per_source: int = 2) -> list[ClipRow]:
    rows = []
    for label, (name, size) in enumerate(sorted(sizes.items())):
        for number in range(size + 2):
            part = "train" if number < size else "test"
            source = f"{name}-{part}-{number // clips_per_source}"
            rows.append(_clip(name, label, number, part=part, source=source))
    return rows


def _write_manifests(folder: Path, rows: list[ClipRow]) -> None:
    colour = ColourStatistics(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    write_clip_manifests(folder, rows)
    dataset = Dataset(
        dataset_id=LAYOUT.dataset_id,
        size="24x32",
        fit="crop",
        num_segments=4,
        frames_per_segment=3,
        clips_per_shard=64,
        seed=0,
        synthetic=False,
        class_names=tuple(sorted({row.class_name for row in rows})),
        num_videos=len(rows),
        num_clips=len(rows),
        num_quarantined=0,
        clips_per_class={},
        clips_per_split={},
        rgb=dict.fromkeys(SPLIT_COLUMNS, colour),
        shards=(),
    )
    write_dataset(folder, dataset)


def _make(folder: Path, sizes: dict[str, int], *, clips_per_source: int = 2) -> BalanceSettings:
    """Shards of noise on a brightness of its own for each clip, and their manifests."""
    rows = _rows(sizes, clips_per_source=clips_per_source)
    rows = [dataclasses.replace(row, shard="shard-00000.h5", row=place) for place, row in enumerate(rows)]
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (len(rows), 12, 24, 32, 3), dtype=np.uint8)
    frames += rng.integers(0, 190, (len(rows), 1, 1, 1, 3), dtype=np.uint8)
    folder.joinpath("shards").mkdir()
    with PendingShard(folder / "shards" / "shard-00000.h5", LAYOUT, capacity=len(rows)) as shard:
        records = []
        for place, row in enumerate(rows):
            shard.write_clip(place, frames[place])
            records.append(_record(row, frames[place]))
        shard.complete(records)
        shard.publish()
    _write_manifests(folder / "manifests", rows)
    return BalanceSettings(manifests=folder / "manifests", shards=folder / "shards", val_fraction=0.0)


def _record(row: ClipRow, frames: npt.NDArray[np.uint8]) -> ClipRecord:
    return ClipRecord(
        clip_id=row.clip_id,
        label=row.label,
        frame_index=np.arange(12, dtype=np.int32),
        crc32=crc32_of(frames),
        manifest=row_to_json(row),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BalanceSettings:
    return _make(tmp_path_factory.mktemp("balance"), SIZES)


def _trained(plan: Plan) -> Counter[str]:
    return Counter(row.class_name for row in plan.rows if row.kind != "dropped")


@pytest.mark.parametrize(
    ("target", "expected"), [("median", 9), ("mean", 11), ("max", 30), ("12", 12), ("1", 1), ("40", 40)]
)
def test_smote_brings_every_class_to_the_target(made: BalanceSettings, target: str, expected: int) -> None:
    plan = run_balance(dataclasses.replace(made, target=target))
    assert plan.info.target_count == expected
    assert _trained(plan) == dict.fromkeys(SIZES, expected) == plan.info.counts_after
    assert plan.info.counts_before == SIZES
    assert (plan.info.imbalance_ratio_before, plan.info.imbalance_ratio_after) == (30.0, 1.0)


def test_rows_name_training_clips_of_one_class_and_two_sources(made: BalanceSettings) -> None:
    plan = run_balance(dataclasses.replace(made, target="max"))
    training = {row.clip_id: row for row in _rows(SIZES) if row.split1 == "train"}
    synthetic = [row for row in plan.rows if row.kind == "synthetic"]
    assert Counter(row.class_name for row in synthetic) == {"draw": 26, "jump": 21, "run": 16}
    for row in synthetic:
        anchor, neighbor = training[row.clip_id], training[row.neighbor_id]
        assert anchor.class_name == neighbor.class_name == row.class_name
        assert anchor.label == row.label
        assert anchor.source != neighbor.source
        assert 0 <= row.lam < 1
    assert {row.clip_id for row in plan.rows} == set(training)


def test_every_training_clip_stands_as_real_or_dropped(made: BalanceSettings) -> None:
    plan = run_balance(dataclasses.replace(made, target="median"))
    kinds = Counter((row.clip_id, row.kind) for row in plan.rows if row.kind != "synthetic")
    assert {clip_id for clip_id, _ in kinds} == {row.clip_id for row in _rows(SIZES) if row.split1 == "train"}
    assert Counter(row.class_name for row in plan.rows if row.kind == "dropped") == {"walk": 21, "run": 5}
    assert {name: count for (name, _), count in kinds.items() if count > 1} == {"sit/000": 9}
    assert not {name for name, kind in kinds if kind == "real"} & {name for name, kind in kinds if kind == "dropped"}


def test_what_is_special_is_said(made: BalanceSettings, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run_balance(made)
    output = capsys.readouterr().out
    assert plan.info.notes == ("k shrinks from 5 to 2 in draw", "one clip only, which is repeated: sit")
    assert all(note in output for note in plan.info.notes)
    assert "imbalance ratio 30.00 before, 1.00 after" in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("plan of 40 real, 5 synthetic and 26 dropped clips written to ")
    assert str(made.manifests / "balance" / "1.csv") in last
    walk = next(line.split() for line in output.splitlines() if line.split()[:1] == ["walk"])
    assert walk == ["walk", "30", "9", "9", "0", "0", "21"]
    sit = next(line.split() for line in output.splitlines() if line.split()[:1] == ["sit"])
    assert sit == ["sit", "1", "9", "1", "8", "0", "0"]


def test_a_class_of_one_source_takes_its_own(tmp_path: Path) -> None:
    plan = run_balance(_make(tmp_path, {"jump": 4, "walk": 8}, clips_per_source=8))
    assert plan.info.notes == (
        "k shrinks from 5 to 3 in jump",
        "one source only, neighbours are of that source: jump",
    )
    assert _trained(plan) == {"jump": 6, "walk": 6}
    assert all(row.clip_id != row.neighbor_id for row in plan.rows if row.kind == "synthetic")


@pytest.mark.parametrize("strategy", ["smote", "oversample", "undersample", "none"])
def test_the_same_seed_gives_the_same_bytes(made: BalanceSettings, tmp_path: Path, strategy: str) -> None:
    def written(seed: int) -> list[bytes]:
        run_balance(dataclasses.replace(made, seed=seed, strategy=strategy, split="full"))
        return [(made.manifests / "balance" / f"full.{suffix}").read_bytes() for suffix in ("csv", "json", "png")]

    first = written(3)
    assert written(3) == first
    assert (written(4)[0] != first[0]) == (strategy != "none")


def test_oversample_repeats_and_drops_nothing(made: BalanceSettings) -> None:
    plan = run_balance(dataclasses.replace(made, strategy="oversample"))
    assert {row.kind for row in plan.rows} == {"real"}
    assert _trained(plan) == {"draw": 9, "jump": 9, "run": 14, "sit": 9, "walk": 30}
    assert len({row.clip_id for row in plan.rows}) == sum(SIZES.values())
    balanced = run_balance(dataclasses.replace(made, strategy="oversample", target="max"))
    assert _trained(balanced) == dict.fromkeys(SIZES, 30)


def test_undersample_drops_and_repeats_nothing(made: BalanceSettings) -> None:
    plan = run_balance(dataclasses.replace(made, strategy="undersample"))
    assert {row.kind for row in plan.rows} == {"real", "dropped"}
    assert _trained(plan) == {"draw": 4, "jump": 9, "run": 9, "sit": 1, "walk": 9}
    assert len({row.clip_id for row in plan.rows}) == len(plan.rows) == sum(SIZES.values())


def test_classes_of_equal_size_are_cut_differently(tmp_path: Path) -> None:
    plan = run_balance(dataclasses.replace(_make(tmp_path, {"a": 30, "b": 30, "c": 5}), target="5"))
    kept = {
        name: {row.clip_id[2:] for row in plan.rows if row.kind == "real" and row.class_name == name} for name in "ab"
    }
    assert kept["a"] != kept["b"]


def test_none_is_all_real(made: BalanceSettings, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run_balance(dataclasses.replace(made, strategy="none"))
    assert [row.clip_id for row in plan.rows] == [row.clip_id for row in _rows(SIZES) if row.split1 == "train"]
    assert {row.kind for row in plan.rows} == {"real"}
    assert "strategy none: every training clip stands once" in capsys.readouterr().out


def test_official_split_1_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 6766 clips by their official splits; no shards are there, so none can have been read."""
    classes = sorted({clip_id.partition("/")[0] for clip_id in official_splits()})
    rows = []
    for clip_id, splits in official_splits().items():
        name = clip_id.partition("/")[0]
        source = parse_name(clip_id.partition("/")[2], class_name=name).source
        row = _clip(name, classes.index(name), 0, part="train", source=source)
        rows.append(dataclasses.replace(row, clip_id=clip_id, **dataclasses.asdict(splits)))
    _write_manifests(tmp_path / "manifests", rows)
    settings = BalanceSettings(manifests=tmp_path / "manifests", shards=tmp_path / "nowhere", val_fraction=0.0)
    plan = run_balance(settings)
    assert sorted(row.clip_id for row in plan.rows) == sorted(row.clip_id for row in rows if row.split1 == "train")
    assert {row.kind for row in plan.rows} == {"real"}
    assert len(plan.rows) == 3570
    assert "ratio 1.00, nothing to do" in capsys.readouterr().out
    plan = run_balance(dataclasses.replace(settings, strategy="undersample", target="20", val_fraction=0.1))
    assert set(plan.info.counts_after.values()) == {20}
    assert "split 1 as a whole is balanced (ratio 1.00), what remains of it is not" in capsys.readouterr().out


def test_what_remains_beside_the_validation_part_is_balanced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(_make(tmp_path, SIZES), val_fraction=0.3)
    plan = run_balance(settings)
    rows = [row for row in _rows(SIZES) if row.split1 == "train"]
    held_out = validation_part([row.class_name for row in rows], [row.source for row in rows], fraction=0.3)
    remaining = {row.clip_id for row, out in zip(rows, held_out, strict=True) if not out}
    assert 0 < len(remaining) < len(rows)
    assert {row.clip_id for row in plan.rows} == remaining
    assert {row.neighbor_id for row in plan.rows if row.neighbor_id} <= remaining
    assert plan.info.val_fraction == 0.3 and plan.info.imbalance_ratio_after == 1
    assert sum(plan.info.counts_before.values()) == len(remaining)
    said = f"{len(rows) - len(remaining)} of {len(rows)} training clips are left to validation (--val-fraction 0.3"
    assert said in capsys.readouterr().out


def test_features_are_fitted_without_the_validation_part(
    made: BalanceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []

    def spy(descriptors: npt.NDArray[np.float32], statistics: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        fitted.append((len(descriptors), len(statistics)))
        return feature_space(descriptors, statistics)

    monkeypatch.setattr("preprocess.balance.descriptors.feature_space", spy)
    plan = run_balance(dataclasses.replace(made, val_fraction=0.3))
    num_remaining = sum(plan.info.counts_before.values())
    assert fitted == [(num_remaining, num_remaining)] and num_remaining < sum(SIZES.values())


def test_the_plan_reproduces_imbalanced_learn_on_given_features(tmp_path: Path) -> None:
    """From the files alone: the CSV and the features give the library's synthetic samples."""
    sizes = {"jump": 9, "run": 14, "sit": 7, "walk": 30}
    settings = _make(tmp_path, sizes, clips_per_source=1)
    rows = [row for row in _rows(sizes, clips_per_source=1) if row.split1 == "train"]
    features = np.random.default_rng(5).normal(size=(len(rows), 16))
    shuffled = np.random.default_rng(1).permutation(len(rows))
    names = np.array([row.clip_id for row in rows])
    np.savez(tmp_path / "F.npz", clip_id=names[shuffled], features=features[shuffled])
    run_balance(dataclasses.replace(settings, features=tmp_path / "F.npz", target="max", seed=11))

    plan = read_plan(settings.manifests / "balance" / "1.csv")
    synthetic = [row for row in plan.rows if row.kind == "synthetic"]
    place = {name: index for index, name in enumerate(names)}
    anchor = features[[place[row.clip_id] for row in synthetic]]
    neighbor = features[[place[row.neighbor_id] for row in synthetic]]
    lam = np.array([row.lam for row in synthetic])[:, None]
    ours = (1 - lam) * anchor + lam * neighbor
    labels = np.array([row.label for row in rows])
    oracle = SMOTE(k_neighbors=5, random_state=np.random.RandomState(11))
    expected = oracle.fit_resample(features, labels)[0][len(rows) :]
    by_value = [array[np.lexsort(np.round(array, 9).T)] for array in (ours, expected)]
    np.testing.assert_allclose(by_value[0], by_value[1], rtol=0, atol=1e-12)


def _save(file: Path, rows: list[ClipRow], features: npt.NDArray) -> None:
    np.savez(file, clip_id=np.array([row.clip_id for row in rows]), features=features)


def test_bad_features_are_refused(made: BalanceSettings, tmp_path: Path) -> None:
    rows, file = _rows(SIZES), tmp_path / "F.npz"
    settings = dataclasses.replace(made, features=file)
    good = np.random.default_rng(0).normal(size=(len(rows), 3))
    _save(file, rows, good)
    assert run_balance(settings).info.features == "F.npz"
    cases = [
        (rows[1:], good[1:], "lacks 1 training clips, draw/000 first"),
        ([*rows, rows[0]], np.vstack([good, good[:1]]), "names a clip twice"),
        (rows, good[:-1], r"expected texts \(N,\) and numbers"),
        (rows, good[:, 0], r"expected texts \(N,\) and numbers"),
        (rows, np.where(np.arange(3) == 1, np.nan, good), "features of draw/000 hold a value that is no number"),
        (rows, good.astype(str), "expected numbers"),
    ]
    for names, features, message in cases:
        _save(file, names, features)
        with pytest.raises(DataError, match=message):
            run_balance(settings)
    np.savez(file, features=good)
    with pytest.raises(DataError, match=r"is no \.npz file with clip_id and features"):
        run_balance(settings)
    np.savez_compressed(file, clip_id=np.array([row.clip_id for row in rows]), features=good)
    content = file.read_bytes()
    for damaged in (b"text", b"", content[:300], content[:70] + bytes(20) + content[90:]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"is no \.npz file with clip_id and features"):
            run_balance(settings)
    file.unlink()
    with pytest.raises(DataError, match="no features at"):
        run_balance(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "adasyn"}, "--strategy is adasyn"),
        ({"target": "min"}, "--target is min"),
        ({"target": "0"}, "--target is 0"),
        ({"target": "-3"}, "--target is -3"),
        ({"target": "9" * 5000}, "--target is 9"),
        ({"split": "all"}, "--split is all"),
        ({"k": 0}, "--k is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"val_fraction": -0.1}, "--val-fraction is -0.1; it must be from 0 to 0.5"),
        ({"val_fraction": 0.6}, "--val-fraction is 0.6"),
        ({"val_fraction": float("nan")}, "--val-fraction is nan"),
        ({"seed": 2**32}, "--seed is 4294967296"),
    ],
)
def test_wrong_usage_is_named(made: BalanceSettings, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_balance(dataclasses.replace(made, **change))  # type: ignore[arg-type]


def test_a_split_without_training_clips_is_named(tmp_path: Path) -> None:
    _write_manifests(tmp_path, [dataclasses.replace(row, split2="unused") for row in _rows({"a": 3})])
    with pytest.raises(DataError, match="split 2 has no training clips"):
        run_balance(BalanceSettings(manifests=tmp_path, shards=tmp_path, split="2"))


def test_shards_of_another_data_set_are_refused(tmp_path: Path) -> None:
    settings = _make(tmp_path, {"a": 3, "b": 6})
    file = settings.manifests / "dataset.json"
    file.write_text(file.read_text().replace(LAYOUT.dataset_id, "b" * 64))
    with pytest.raises(DataError, match="of another data set"):
        run_balance(settings)


def test_a_manifest_that_points_at_another_clip_is_refused(tmp_path: Path) -> None:
    settings = _make(tmp_path, {"a": 3, "b": 6})
    rows = [dataclasses.replace(row, shard="shard-00000.h5", row=1) for row in _rows({"a": 3, "b": 6})]
    _write_manifests(settings.manifests, rows)
    with pytest.raises(DataError, match="does not hold a/000 in row 1"):
        run_balance(settings)


def test_targets_are_rounded_down() -> None:
    assert [target_count(target, [1, 2, 3, 5]) for target in ("median", "mean", "max", "7")] == [2, 2, 5, 7]
