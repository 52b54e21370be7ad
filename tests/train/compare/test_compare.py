"""lsvit-train compare: measures and McNemar's test against independent ones, refusals, the command and its page."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest
from commands import fail, succeed
from made_dataset import MadeDataset
from made_results import answers, made_result
from made_run import make_run
from visits import Visit, open_browser

from shared.errors import DataError, UsageError
from train.compare.command import CompareOptions, compare
from train.compare.comparison import compare_runs, mcnemar, over_splits
from train.compare.page import comparison_page
from train.compare.plots import draw_curves
from train.compare.reading import EvaluatedRun, SplitEvaluation, read_run
from train.compare.texts import comparison_json, pair_rows, run_rows, verdict
from train.evaluate.clip_results import clip_results
from train.evaluate.command import EvaluateOptions, evaluate
from train.evaluate.intervals import drawn_weights
from train.run.config.fields import RunConfig
from train.run.config.files import write_config
from train.run.progress import EpochRow

NAMES = tuple("abcdefgh")
ATTACK = "<script>window.hacked=1</script>"


def history(*losses: float) -> tuple[EpochRow, ...]:
    return tuple(
        EpochRow(
            epoch=epoch, step=epoch, learning_rate=0.1, train_loss=loss, train_top1=0.5, val_clips=4, val_loss=loss,
            val_top1=0.5, val_top5=1.0, val_mean_class_accuracy=0.5, val_calibration_error=0.1, best=1,
        )
        for epoch, loss in enumerate(losses, start=1)
    )  # fmt: skip


def evaluated(
    name: str, *, seeds: dict[str, int], num_clips: int = 100, dataset_id: str = "d" * 64, epochs: str = "5"
) -> EvaluatedRun:
    """A run whose splits answer the same clips, better or worse by seed."""
    splits = {}
    for split, seed in seeds.items():
        truth = made_result(num_clips=num_clips, class_names=NAMES, split=split, seed=0)
        shares, _ = answers(seed, num_clips=num_clips, num_classes=8)
        rng = np.random.default_rng(seed)
        lost = np.flatnonzero(rng.random(num_clips) < 0.3)
        mixed = 0.5 * truth.probabilities
        mixed[lost] = 0.5 * shares[lost]
        result = dataclasses.replace(truth, probabilities=mixed + 0.5 / 8)
        splits[split] = SplitEvaluation(
            split=split,
            dataset_id=dataset_id,
            num_classes=8,
            clips={clip.clip_id: clip for clip in clip_results(result)},
            parameters=1234,
            epochs=7,
            minutes=2.5,
            history=history(2.0, 1.0 + seed / 10),
            remarks=(),
            is_old=False,
        )
    return EvaluatedRun(name=name, splits=splits, options={"epochs": epochs, "lr": "0.1"})


# Figures


def test_mcnemar_equals_a_sum_over_all_outcomes() -> None:
    for one, other in product(range(8), repeat=2):
        changed = one + other
        chance = [comb(changed, k) / 2**changed for k in range(changed + 1)]
        expected = sum(each for each in chance if each <= chance[one] * (1 + 1e-7)) if changed else 1.0
        assert mcnemar(one, other) == pytest.approx(min(1.0, expected))


def test_measures_and_pairs_equal_a_loop_over_clips() -> None:
    runs = [evaluated("one", seeds={"1": 1}), evaluated("two", seeds={"1": 2}), evaluated("three", seeds={"1": 3})]
    comparison = compare_runs(runs)
    for run, measures in zip(runs, comparison.measures, strict=True):
        clips = run.splits["1"].clips.values()
        assert measures.top1 == pytest.approx(np.mean([clip.true == clip.predicted for clip in clips]))
        assert measures.top5 == pytest.approx(np.mean([clip.rank <= 5 for clip in clips]))
        recalls = [
            np.mean([clip.rank == 1 for clip in clips if clip.true == name]) for name in {clip.true for clip in clips}
        ]
        assert measures.mean_class_accuracy == pytest.approx(np.mean(recalls))
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("one", "two"), ("one", "three")]
    pair, first, second = comparison.pairs[0], runs[0].splits["1"].clips, runs[1].splits["1"].clips
    gained = {clip for clip in first if first[clip].rank > 1 and second[clip].rank == 1}
    lost = {clip for clip in first if first[clip].rank == 1 and second[clip].rank > 1}
    assert {clip.clip_id for clip in pair.gained} == gained and {clip.clip_id for clip in pair.lost} == lost
    assert (pair.second_only, pair.first_only) == (len(gained), len(lost)) and gained and lost
    assert pair.both_right + pair.first_only + pair.second_only + pair.neither == 100
    assert pair.difference == pytest.approx((len(gained) - len(lost)) / 100)
    assert pair.p_value == mcnemar(len(lost), len(gained))
    clip = pair.lost[0]
    assert (clip.first, clip.second) == (first[clip.clip_id].predicted, second[clip.clip_id].predicted)


def test_interval_of_a_difference_draws_both_runs_together() -> None:
    runs = [evaluated("one", seeds={"1": 1}), evaluated("two", seeds={"1": 2})]
    (pair,) = compare_runs(runs).pairs
    clip_ids = sorted(runs[0].splits["1"].clips)
    values = []
    for weights in np.concatenate(list(drawn_weights([runs[0].splits["1"].clips[name].source for name in clip_ids]))):
        total = sum(
            weight * ((runs[1].splits["1"].clips[name].rank == 1) - (runs[0].splits["1"].clips[name].rank == 1))
            for weight, name in zip(weights, clip_ids, strict=True)
        )
        values.append(total / weights.sum())
    assert pair.interval is not None
    assert (pair.interval.low, pair.interval.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_a_run_against_its_like_has_nothing_to_say() -> None:
    comparison = compare_runs([evaluated("one", seeds={"1": 1}), evaluated("copy", seeds={"1": 1})])
    (pair,) = comparison.pairs
    assert (pair.p_value, pair.interval, pair.difference, pair.gained, pair.lost) == (1.0, None, 0.0, (), ())
    assert verdict(pair) == "split 1: copy against one: the same clips are right"
    assert comparison.options == {}


def test_verdicts_follow_the_test() -> None:
    comparison = compare_runs([evaluated("one", seeds={"1": 1}), evaluated("two", seeds={"1": 2})])
    pair = comparison.pairs[0]
    better = dataclasses.replace(pair, second_only=20, first_only=2, difference=0.18, p_value=mcnemar(2, 20))
    assert verdict(better) == "split 1: two against one: better (20 gained, 2 lost, p < 0.001)"
    even = dataclasses.replace(pair, second_only=6, first_only=4, difference=0.02, p_value=mcnemar(4, 6))
    assert verdict(even) == "split 1: two against one: no clear difference (6 gained, 4 lost, p 0.754)"


def test_several_splits_give_mean_and_deviation() -> None:
    runs = [evaluated("one", seeds={"1": 1, "2": 2, "3": 3}), evaluated("two", seeds={"1": 4, "3": 5})]
    comparison = compare_runs(runs)
    assert comparison.splits == ("1", "3")
    assert "split 2 of one is left out: not every run has it" in comparison.notes
    values = [row.top1 for row in comparison.measures if row.run == "two"]
    mean, deviation = over_splits(comparison, "two")["top1"]
    assert (mean, deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    rows = run_rows(comparison)
    assert [row[:2] for row in rows] == [
        ("one", "1"), ("one", "3"), ("one", "mean ± std"), ("two", "1"), ("two", "3"), ("two", "mean ± std"),
    ]  # fmt: skip
    assert len(pair_rows(comparison)) == 2
    content = json.loads(comparison_json(comparison))
    assert content["over_splits"]["two"]["top1"]["standard_deviation"] == pytest.approx(deviation)


# What differs


def test_runs_are_compared_on_the_clips_that_all_have() -> None:
    one, two = evaluated("one", seeds={"1": 1}), evaluated("two", seeds={"1": 2}, dataset_id="e" * 64, epochs="9")
    part = two.splits["1"]
    fewer = dict(list(part.clips.items())[:60])
    two = dataclasses.replace(two, splits={"1": dataclasses.replace(part, clips=fewer, num_classes=9, is_old=True)})
    comparison = compare_runs([one, two])
    assert [row.num_clips for row in comparison.measures] == [60, 60]
    notes = " ".join(comparison.notes)
    for expected in ("60 of up to 100 clips", "the data sets differ (one dddd", "numbers of classes (one 8, two 9)"):
        assert expected in notes
    assert "two was trained on since it was evaluated" in notes
    assert comparison.options == {"epochs": ("5", "9")}


def test_nothing_in_common_is_refused() -> None:
    one = evaluated("one", seeds={"1": 1})
    with pytest.raises(DataError, match="no split in common: one has 1; two has 2"):
        compare_runs([one, evaluated("two", seeds={"2": 1})])
    part = one.splits["1"]
    other = {f"x{name}": clip for name, clip in part.clips.items()}
    stranger = dataclasses.replace(one, splits={"1": dataclasses.replace(part, clips=other)})
    with pytest.raises(DataError, match="no clip was tested by all"):
        compare_runs([one, stranger])
    renamed = {name: dataclasses.replace(clip, true="z") for name, clip in part.clips.items()}
    with pytest.raises(DataError, match="another class in another run"):
        compare_runs([one, dataclasses.replace(one, splits={"1": dataclasses.replace(part, clips=renamed)})])


# The command


@pytest.fixture(scope="module")
def runs(made: MadeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluated runs of split 1, and one that was not evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("one", "two", "new")):
        make_run(folder / name, seed=seed)
    for name in ("one", "two"):
        options = EvaluateOptions(
            runs=folder, shards=made.shards, manifests=made.manifests, splits="", views="1x1", calibrated=False,
            json=True, device="cpu", batch_size=4,
        )  # fmt: skip
        evaluate(name, options)
    return folder


def test_what_evaluate_wrote_is_read_back(runs: Path) -> None:
    run = read_run("one", runs=runs)
    content = json.loads((runs / "one/evaluation/metrics.json").read_text())["splits"][0]
    assert list(run.splits) == ["1"]
    (measures, _) = compare_runs([run, read_run("two", runs=runs)]).measures
    assert measures.top1 == content["top1"] and measures.top5 == content["top5"]
    assert measures.mean_class_accuracy == pytest.approx(content["mean_class_accuracy"])
    interval = measures.intervals["top1"]
    assert (None if interval is None else [interval.low, interval.high]) == content["intervals"]["top1"]
    assert measures.parameters == content["model"]["parameters"] > 1000
    assert not run.splits["1"].is_old
    later = (runs / "two/evaluation/metrics.json").stat().st_mtime + 5
    os.utime(runs / "two/checkpoints/best.pt", (later, later))
    assert read_run("two", runs=runs).splits["1"].is_old


def test_options_are_read_where_they_were_settled(runs: Path, tmp_path: Path) -> None:
    """The folder of a run over several splits notes what was asked for, those of its splits what was chosen."""
    asked = RunConfig(split="1,2", lr=0.5)
    chosen = dataclasses.replace(asked, name="split1", split="1", sampling="tsn", img_size=32)
    shutil.copytree(runs / "one", tmp_path / "many" / "split1")
    shutil.copytree(runs / "one", tmp_path / "single")
    write_config(tmp_path / "many" / "config.toml", asked)
    write_config(tmp_path / "many" / "split1" / "config.toml", chosen)
    write_config(tmp_path / "single" / "config.toml", dataclasses.replace(chosen, name="single", lr=0.25))
    comparison = compare_runs([read_run(name, runs=tmp_path) for name in ("many", "single")])
    assert comparison.options == {"lr": ("0.5", "0.25")}


def test_the_command_prints_tables_json_and_a_page(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "compare.html"
    out = succeed("lsvit-train", "compare", "one", "two", "--runs", runs, "--out", page, installed=True)
    assert out.splitlines()[-1] == f"wrote {page}"
    for expected in ("Against one", "p (McNemar)", "split 1: two against one: ", "nothing about HMDB51", "best epoch"):
        assert expected in out
    content = json.loads(succeed("lsvit-train", "compare", "one", "two", "--runs", runs, "--json"))
    assert content["runs"] == ["one", "two"]
    (pair,) = content["pairs"]
    assert pair["both_right"] + pair["first_only"] + pair["second_only"] + pair["neither"] == 6
    assert len(pair["gained"]) == pair["second_only"]


def test_runs_that_cannot_be_compared_are_refused_with_the_remedy(runs: Path, tmp_path: Path) -> None:
    err = fail(1, "lsvit-train", "compare", "one", "new", "--runs", runs)
    assert "new was not evaluated" in err and "`lsvit-train evaluate new`" in err
    assert "name two or more" in fail(2, "lsvit-train", "compare", "one", "--runs", runs)
    with pytest.raises(UsageError, match="one is named twice"):
        compare(["one", "two", "one"], CompareOptions(runs=runs, json=True, out=None))
    damaged = tmp_path / "damaged"
    make_run(damaged)
    folder = damaged / "evaluation"
    folder.mkdir()
    (folder / "clips.csv").write_text("clip_id,source\na,b\n")
    (folder / "metrics.json").write_text((runs / "one/evaluation/metrics.json").read_text())
    with pytest.raises(DataError, match=r"clips.csv is damaged .*make it again"):
        read_run(str(damaged), runs=runs)
    (folder / "metrics.json").write_text('{"splits": []}')
    with pytest.raises(DataError, match=r"metrics.json is damaged .*make it again"):
        read_run(str(damaged), runs=runs)


# The page


def test_the_page_opens_from_disk_and_runs_nothing_of_the_data(tmp_path: Path) -> None:
    runs = [
        evaluated(name, seeds={"1": seed, "2": seed + 5}, epochs=str(seed))
        for seed, name in enumerate(("one", f"{ATTACK}", "three"), start=1)
    ]
    comparison = compare_runs(runs)
    path = tmp_path / "compare.html"
    path.write_text(comparison_page(comparison, draw_curves(runs, comparison.splits)), encoding="utf-8")
    with open_browser() as browser:
        visit = Visit(browser, path, width=700)
        assert visit.foreign_requests(path) == [] and visit.complaints == []
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 700
        assert visit.page.evaluate("[...document.images].every((image) => image.alt && image.naturalWidth)")
        assert visit.page.locator("#curves img").count() == 3
        assert visit.column("runs", 0) == [run.name for run in runs for _ in range(3)]
        assert visit.column("pairs", 3) == [str(pair.second_only) for pair in comparison.pairs]
        changed = visit.column("changed-0", 2)
        assert set(changed) == {clip.clip_id for clip in (*comparison.pairs[0].gained, *comparison.pairs[0].lost)}
        visit.page.locator("#table-classes-1 th button", has_text="recall % of one").click()
        recalls = [float(text) for text in visit.column("classes-1", 2)]
        assert recalls == sorted(recalls, reverse=True)
        assert visit.complaints == []
