"""The report of an evaluation in a real browser: nothing leaves it, cells show their clips, and its size is bounded."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_dataset import MadeDataset, make_dataset
from made_results import MODEL, clip_facts, made_evaluation, made_pictures, made_result
from made_run import make_run
from PIL import Image
from visits import Visit

from shared.files import write_text
from shared.manifests.files import read_dataset, read_manifests
from train.confusions.answers import telling_answers, telling_order
from train.confusions.films import NUM_FRAMES, ClipPictures, clip_pictures, film, read_films, spread
from train.confusions.page_data import alike_together, page_data
from train.evaluate.clip_results import read_clip_results
from train.evaluate.command import EvaluateOptions, evaluate
from train.evaluate.findings import findings
from train.evaluate.intervals import Interval
from train.evaluate.page import evaluation_page
from train.evaluate.results import split_result
from train.trained.calibration import Calibration

ATTACK = "<script>window.hacked=1</script>"
NAMES = ("walk", "run", "sit", "stand", f"<img src=x onerror=hacked>{ATTACK}", "it's $x^2$")
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of six classes, two of them with hostile names; a hundred clips of each have pictures."""
    results = [
        made_result(num_clips=150, class_names=NAMES, split=split, seed=int(split), remarks=(f"a remark {ATTACK}",))
        for split in "123"
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    pictures = [made_pictures(result, count=100) for result in results]
    write_text(path, evaluation_page(made_evaluation(path.parent, *results), pictures))
    return path


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()


def shown(visit: Visit, selector: str) -> Any:
    """What matches in the split that is shown."""
    return visit.page.locator(f".split:not([hidden]) {selector}")


def open_cell(visit: Visit, title: str) -> list[str]:
    """Click the cell of this title; returns the verdicts of the clips that appear."""
    shown(visit, f'.matrix td button[title^="{title}:"]').click()
    return list(visit.page.locator("dialog .verdict").all_inner_texts())


def test_no_request_leaves_the_page_and_nothing_complains(visit: Visit, report: Path) -> None:
    assert visit.foreign_requests(report) == []
    shown(visit, ".matrix td button").nth(1).click()
    visit.page.wait_for_timeout(100)
    assert visit.complaints == [] and visit.foreign_requests(report) == []
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("img[src=x]").count() == 0
    assert visit.page.evaluate("[...document.images].every(image => image.alt)")
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_a_cell_shows_its_clips_as_moving_pictures_with_probabilities(visit: Visit) -> None:
    result = made_result(num_clips=150, class_names=NAMES, split="1", seed=1)
    pair = next(each for each in result.confused if (each.true_class, each.predicted_class) == ("walk", "run"))
    assert open_cell(visit, "walk taken for run") == ["walk, taken for run"] * len(pair.clip_ids)
    assert visit.page.locator("dialog h2").inner_text() == f"walk taken for run: {len(pair.clip_ids)} clips"
    clip_ids = visit.page.locator("dialog .clip").all_inner_texts()
    assert set(clip_ids) == set(pair.clip_ids)
    place = result.clip_ids.index(clip_ids[0])
    first = visit.page.locator("dialog .card").first
    best = first.locator("li").first.inner_text().split("\n")
    assert best == ["run", f"{100 * result.probabilities[place].max():.1f} %"]
    assert first.locator(".right .name").inner_text().endswith("walk")
    assert first.locator("code").inner_text() == f"lsvit-train explain runs/made {clip_ids[0]}"
    film_style = "getComputedStyle(document.querySelector('dialog .film img'))"
    assert visit.page.locator("dialog .film img").count() > 0
    assert visit.page.evaluate(f"{film_style}.animationName") == "film"
    assert visit.page.evaluate(f"{film_style}.animationTimingFunction") == f"steps({NUM_FRAMES})"
    assert visit.page.evaluate("document.querySelector('dialog .film img').naturalWidth") == NUM_FRAMES * 112
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("dialog").is_visible()


def test_names_of_classes_and_pairs_open_clips_too(visit: Visit) -> None:
    result = made_result(num_clips=150, class_names=NAMES, split="1", seed=1)
    of_class = int((result.labels == 0).sum())
    shown(visit, '.matrix th[scope=row] button[title="walk"]').click()
    assert f": {of_class} clips" in visit.page.locator("dialog h2").inner_text()
    visit.page.locator("dialog .close").click()
    shown(visit, "section [data-true]").first.click()
    pair = result.confused[0]
    expected = f"{pair.true_class} taken for {pair.predicted_class}: {len(pair.clip_ids)} clips"
    assert visit.page.locator("dialog h2").inner_text() == expected
    assert visit.complaints == []


def test_commands_of_odd_names_can_be_pasted_into_a_shell(visit: Visit) -> None:
    shown(visit, '.matrix th[scope=row] button[title="it\'s $x^2$"]').click()
    command = visit.page.locator("dialog code").first.inner_text()
    clip_id = visit.page.locator("dialog .clip").first.inner_text()
    assert clip_id.startswith("it's $x^2$/clip")
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == ["lsvit-train", "explain", "runs/made", clip_id]


def test_the_matrix_sorts_and_filters_and_counts_every_clip(visit: Visit) -> None:
    result = made_result(num_clips=150, class_names=NAMES, split="1", seed=1)
    rows = shown(visit, ".matrix tbody th button")
    assert rows.all_inner_texts() == list(NAMES)
    shown(visit, ".order").select_option("worst")
    mistakes = result.metrics.confusion.sum(axis=1) - np.diag(result.metrics.confusion)
    assert rows.first.inner_text() == NAMES[int(mistakes.argmax())]
    shown(visit, ".words").fill("sit stand")
    assert set(rows.all_inner_texts()) == {"sit", "stand"}
    cells = [int(text) for text in shown(visit, ".matrix td button").all_inner_texts()]
    inside = np.isin(result.labels, (2, 3)) | np.isin(result.predicted, (2, 3))
    assert sum(cells) == int(inside.sum())  # what lies outside is in the row and the column of other classes
    shown(visit, ".words").fill("nothing is called so")
    assert rows.count() == 0
    assert visit.complaints == []


def test_the_worst_mistakes_come_first(visit: Visit) -> None:
    result = made_result(num_clips=150, class_names=NAMES, split="1", seed=1)
    wrong = np.flatnonzero(result.predicted != result.labels)
    surest = max(wrong, key=lambda place: result.probabilities[place].max())
    cards = shown(visit, ".mistakes .clip").all_inner_texts()
    assert len(cards) == 24
    assert cards[0] == result.clip_ids[surest]
    assert shown(visit, ".mistakes .status").inner_text() == f"{len(wrong)} clips"
    shown(visit, ".mistakes .next").click()
    assert not set(cards) & set(shown(visit, ".mistakes .clip").all_inner_texts())


def test_a_split_is_chosen(visit: Visit) -> None:
    assert visit.column("summary", 0) == ["1", "2", "3", "mean ± std"]
    assert "±" in visit.column("summary", 2)[-1]
    visit.page.locator("[data-choose='2']").click()
    assert visit.page.locator(".split:not([hidden])").count() == 1
    result = made_result(num_clips=150, class_names=NAMES, split="2", seed=2)
    assert shown(visit, ".figures b").first.inner_text() == f"{100 * result.metrics.top1:.1f} %"
    low = result.intervals["top1"]
    assert low is not None
    assert shown(visit, ".figures .interval").first.inner_text() == f"{100 * low.low:.1f} to {100 * low.high:.1f}"
    assert "A remark" in shown(visit, ".notice").inner_text()
    assert open_cell(visit, "sit taken for stand")
    assert visit.complaints == []


OVERLAPPING_NAMES = """() => {
    const names = [...document.querySelectorAll('.matrix thead th:not(.recall)')];
    const boxes = names.map((cell) => cell.getBoundingClientRect());
    return boxes.filter((box, place) => place && box.left < boxes[place - 1].right - 1).length;
}"""
RECALL_IN_SIGHT = """() => {
    const edge = document.querySelector('.confusion .scroll').getBoundingClientRect().right + 1;
    const cells = [...document.querySelectorAll('.matrix .recall')];
    return cells.every((cell) => cell.getBoundingClientRect().right <= edge);
}"""


@pytest.mark.parametrize("num_classes", [1, 2, 10, 51, 400])
def test_any_number_of_classes_fits_any_width(browser: Any, tmp_path: Path, num_classes: int) -> None:
    """Writes pictures of the pages to $EVALUATION_SCREENSHOTS where that is set, for a person to look at."""
    names = tuple(f"class number {number}" for number in range(num_classes))
    result = made_result(num_clips=4 * num_classes, class_names=names)
    path = tmp_path / "report.html"
    write_text(path, evaluation_page(made_evaluation(tmp_path, result), [made_pictures(result, count=3)]))
    visit = Visit(browser, path)
    assert visit.complaints == []
    assert visit.page.locator(".matrix tbody th button").count() == min(60, num_classes)
    for width in (1400, 700, 400):
        visit.page.set_viewport_size({"width": width, "height": 900})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate(OVERLAPPING_NAMES) == 0
        assert visit.page.evaluate(RECALL_IN_SIGHT)
        if folder := os.environ.get("EVALUATION_SCREENSHOTS"):
            visit.page.screenshot(path=f"{folder}/{num_classes}-{width}.png", full_page=True)
    visit.page.close()


# What the page is made of


def test_cells_and_clips_of_the_page_are_those_of_the_result() -> None:
    result = made_result(num_clips=200, class_names=NAMES)
    answers = telling_answers(result.clip_ids, result.labels, result.probabilities)
    pictures = ClipPictures(films={result.clip_ids[7]: "f"}, num_frames=8, explain=("a ", " b"))
    data: dict[str, Any] = page_data(result.metrics.confusion, NAMES, answers, pictures)
    matrix = np.zeros((6, 6), dtype=np.int64)
    for row, column, count in data["cells"]:
        matrix[row, column] = count
    np.testing.assert_array_equal(matrix, result.metrics.confusion)
    assert [clip[0] for clip in data["clips"]] == [
        result.clip_ids[place] for place in telling_order(result.probabilities, result.labels)
    ]
    for clip_id, label, predicted, rank, film_place, shares in data["clips"]:
        place = result.clip_ids.index(clip_id)
        assert (label, predicted) == (result.labels[place], result.predicted[place])
        assert label in [other for other, _ in shares]
        assert shares[0] == (predicted, pytest.approx(result.probabilities[place].max(), abs=1e-4))
        assert rank == 1 + int((result.probabilities[place] > result.probabilities[place, label]).sum())
        assert film_place == (0 if place == 7 else -1)
    assert json.loads(json.dumps(data)) is not None
    for order in data["orders"].values():
        assert sorted(order) == list(range(6))


def test_classes_that_are_confused_stand_together() -> None:
    confusion = np.diag([10] * 6)
    confusion[0, 5] = confusion[5, 0] = confusion[1, 3] = 6
    order = alike_together(confusion)
    assert abs(order.index(0) - order.index(5)) == 1 and abs(order.index(1) - order.index(3)) == 1


def test_films_are_frames_of_the_shards_and_keep_to_their_room(tmp_path: Path) -> None:
    made = make_dataset(tmp_path)
    dataset, clips = read_dataset(made.manifests), read_manifests(made.manifests).iloc[[3, 20, 1]]
    films = read_films(clips, made.shards, dataset_id=dataset.dataset_id, most_characters=10**6)
    assert list(films) == list(clips["clip_id"])
    assert len(set(films.values())) == 3
    room = len(films[clips["clip_id"].iloc[0]]) + len(films[clips["clip_id"].iloc[1]])
    fewer = read_films(clips, made.shards, dataset_id=dataset.dataset_id, most_characters=room)
    assert list(fewer) == list(clips["clip_id"])[:2]


def test_a_film_is_its_frames_side_by_side(tmp_path: Path) -> None:
    import base64

    frames = np.zeros((3, 60, 90, 3), dtype=np.uint8)
    for place in range(3):
        frames[place, :, :, place] = 200
    (tmp_path / "film.webp").write_bytes(base64.b64decode(film(frames).split(",")[1]))
    picture = np.asarray(Image.open(tmp_path / "film.webp").convert("RGB")).astype(int)
    assert picture.shape == (84, 3 * 126, 3)
    for place in range(3):
        middle = picture[42, 126 * place + 63]
        assert middle.argmax() == place and middle[place] > 150
    assert spread(np.arange(16)).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert spread(np.arange(3)).tolist() == [0, 1, 2]


def test_findings_name_what_stands_out() -> None:
    result = made_result(num_clips=300, class_names=NAMES)
    text = " ".join(findings(result))
    worst = min(result.classes, key=lambda each: each.recall)
    assert f"Recognised least often: {worst.class_name} (" in text
    assert "too modest. The option --calibrated" in text
    calibration = Calibration(
        checkpoint="best.pt", epoch=7, temperature=0.9, num_clips=9, loss_before=1.0, loss_after=0.9,
        calibration_error_before=0.2, calibration_error_after=0.1,
    )  # fmt: skip
    assert "--calibrated" not in " ".join(findings(dataclasses.replace(result, calibration=calibration)))
    assert "No clear difference" in text
    perfect = made_result(num_clips=1, class_names=("only",))
    assert "No clip was taken for another class." in findings(perfect)


def test_findings_know_quarters_that_are_all_right_or_all_wrong() -> None:
    result = made_result(num_clips=300, class_names=NAMES)

    def said(top1: float, interval: Interval | None) -> str:
        """What is said where the highest quarter of every feature is like that, and the lowest all right."""
        ends = {1: (1.0, None), 4: (top1, interval)}
        quarters = [
            dataclasses.replace(each, top1=ends[each.quarter][0], interval=ends[each.quarter][1])
            for each in result.quarters
            if each.quarter in ends
        ]
        return " ".join(findings(dataclasses.replace(result, quarters=tuple(quarters))))

    for top1, interval in ((0.0, None), (0.7, Interval(low=0.6, high=0.8))):
        text = said(top1, interval)
        assert f"Of the darkest quarter of the clips 100.0 % are right, of the brightest {100 * top1:.1f} %" in text
        assert "No clear difference" not in text
    for top1, interval in ((1.0, None), (0.9, Interval(low=0.8, high=1.0))):
        assert "No clear difference" in said(top1, interval) and "darkest" not in said(top1, interval)
    assert "difference" not in said(0.5, None) and "darkest" not in said(0.5, None)  # clips of one source


@pytest.mark.parametrize(
    ("answers", "labels", "one_answer", "no_better"),
    [
        ([0] * 18 + [1] * 2, [0] * 10 + [1] * 10, True, False),  # 12 of 20 are right, the largest class has 10
        ([0] * 20, [0] * 10 + [1] * 10, True, True),
        ([1] * 10 + [0] * 10, [0] * 10 + [1] * 10, False, True),
        ([0] * 19 + [1], [0] * 19 + [1], False, False),  # nearly all are of that class
        ([0] * 20, [0] * 20, False, False),
        ([0] * 6, [0, 1] * 3, False, False),  # too few to say anything
    ],
)
def test_findings_name_answers_that_say_little(
    answers: list[int], labels: list[int], one_answer: bool, no_better: bool
) -> None:
    names = ("walk", "run")
    result = split_result(
        split="1", model=MODEL, class_names=names, clips=clip_facts(np.array(labels), names),
        probabilities=np.eye(2)[answers], remarks=(),
    )  # fmt: skip
    text = " ".join(findings(result))
    of_all = f"{answers.count(0)} of 20 clips are taken for walk: the model nearly always names that one class."
    assert (of_all in text) == one_answer
    assert ("for every clip would be right for 50.0 %" in text) == no_better == ("no better than that" in text)


def test_findings_of_one_clip_are_in_the_singular() -> None:
    names = ("walk", "run")
    result = split_result(
        split="1", model=MODEL, class_names=names, clips=clip_facts(np.array([0]), names),
        probabilities=np.array([[0.25, 0.75]]), remarks=(),
    )  # fmt: skip
    assert "1 of 1 clip of walk was taken for run." in findings(result)


# The command


def options_of(made: MadeDataset, runs: Path) -> EvaluateOptions:
    return EvaluateOptions(
        runs=runs, shards=made.shards, manifests=made.manifests, splits="", views="1x1", calibrated=False, json=True,
        device="cpu", batch_size=4,
    )  # fmt: skip


def test_evaluate_writes_the_page_and_a_row_a_clip(browser: Any, tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "data")
    for split in ("1", "2"):
        make_run(tmp_path / "many" / f"split{split}", split=split, seed=int(split))
    evaluation = evaluate("many", options_of(made, tmp_path))
    page = tmp_path / "many/evaluation/report.html"
    visit = Visit(browser, page)
    assert visit.foreign_requests(page) == [] and visit.complaints == []
    assert visit.page.locator(".split").count() == 2
    assert "nothing about HMDB51" in shown(visit, ".notice").inner_text()
    shown(visit, ".matrix td button").first.click()
    assert visit.page.locator("dialog .film img").count() > 0
    command = visit.page.locator("dialog code").first.inner_text()
    assert command.startswith(f"lsvit-train explain {tmp_path}/many/split1 ") and "--shards" in command
    visit.page.close()
    result = evaluation.results[0]
    rows = read_clip_results(tmp_path / "many/split1/evaluation/clips.csv")
    assert [row.clip_id for row in rows] == list(result.clip_ids)
    assert np.mean([row.rank == 1 for row in rows]) == pytest.approx(result.metrics.top1)
    assert np.mean([row.rank <= 5 for row in rows]) == pytest.approx(result.metrics.top5)
    sources = read_manifests(made.manifests).set_index("clip_id")["source"]
    assert all(sources[row.clip_id] == row.source for row in rows)
    predictions = pd.read_csv(tmp_path / "many/split1/evaluation/predictions.csv").set_index("clip_id")
    assert all(predictions.loc[row.clip_id, row.true] == row.probability_true for row in rows)
    content = json.loads((tmp_path / "many/split1/evaluation/metrics.json").read_text())["splits"][0]
    interval = result.intervals["top1"]
    assert interval is not None and content["intervals"]["top1"] == [interval.low, interval.high]
    assert content["num_sources"] == len(set(result.sources))
    assert (tmp_path / "many/split2/evaluation/report.html").is_file()


def test_pictures_go_to_the_mistakes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_dataset(tmp_path / "data", clips_per_class=16)
    make_run(tmp_path / "one", split="all")
    (result,) = evaluate("one", options_of(made, tmp_path)).results
    monkeypatch.setattr("train.confusions.films.MOST_FILMS", 10)
    order = [result.clip_ids[place] for place in telling_order(result.probabilities, result.labels)]
    pictures = clip_pictures(
        order,
        read_manifests(made.manifests),
        run=tmp_path / "one",
        shards=made.shards,
        manifests=made.manifests,
        dataset=read_dataset(made.manifests),
        share=0.5,
    )
    assert list(pictures.films) == order[:5]


@pytest.mark.slow
@pytest.mark.parametrize(("num_classes", "num_clips"), [(400, 8000), (1000, 3000)])
def test_many_classes_are_written_with_little_memory(tmp_path: Path, num_classes: int, num_clips: int) -> None:
    """2 GB of address space for all of it; torch alone takes 0.8 of them."""
    script = REPOSITORY / "tests" / "helpers" / "large_evaluation.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(num_classes), str(num_clips)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "evaluation"
    assert max(Image.open(folder / "confusion.png").size) <= 2040
    assert (folder / "report.html").stat().st_size < 6e6
    assert len(read_clip_results(folder / "clips.csv")) == num_clips
    assert len((folder / "confusion.csv").read_text().splitlines()) == num_classes + 1
