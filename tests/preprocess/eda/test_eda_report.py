"""The HTML report in a real browser: nothing leaves it, nothing in the data runs, tables sort and filter."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eda_data import HEIGHT, NUM_SEGMENTS, WIDTH, picture_of, write_data_set
from visits import Visit

from preprocess.eda.command import run_eda
from shared.errors import DataError
from shared.manifests.files import QuarantineRow
from shared.manifests.notes import NoteRow, write_notes
from shared.splits.parts import ClipSplits, official_splits

ATTACK = "<script>window.hacked=1</script>"
QUARANTINED = (
    QuarantineRow(path=f"walk/{ATTACK}.avi", stage="decode", error=f"</script>{ATTACK}<img src=x onerror=1>"),
)


def some_clips() -> list[str]:
    wanted = ("walk", "run", "wave", "sit", "stand", "turn")
    by_class = {name: [clip for clip in official_splits() if clip.startswith(f"{name}/")] for name in wanted}
    return [clip for index, name in enumerate(wanted) for clip in by_class[name][: 40 - 6 * index]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on 150 clips of six classes, two of one picture, and hostile names."""
    folder = tmp_path_factory.mktemp("report")
    clips, splits = some_clips(), dict(official_splits())
    hostile = [f"<img src=x onerror=hacked>/{ATTACK}_{index}" for index in range(6)] + ["$x^2$/[red]$\\frac{1}{0}$_0"]
    splits.update(
        {name: ClipSplits(split1="train", split2="test", split3="test", split_full="train") for name in hostile}
    )
    clips += hostile
    copy = {clips[-1]: picture_of("one"), clips[0]: picture_of("one")}
    manifests, shards = write_data_set(
        folder, clips, splits=splits, pictures=copy, quarantined=QUARANTINED, synthetic=True
    )
    write_notes(manifests, [NoteRow(path=f"walk/{ATTACK}.mp4", note="its pixels are wide")])
    return run_eda(manifests=manifests, shards=shards, out=folder / "deep" / "eda.html")


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()


def test_no_request_leaves_the_file_and_nothing_complains(visit: Visit, report: Path) -> None:
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert visit.complaints == []
    images = visit.page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(images) > 60
    assert min(images) > 0


def test_hostile_names_are_text(visit: Visit) -> None:
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("img[src=x]").count() == 0
    assert visit.page.locator("script").count() == 2
    assert ATTACK in visit.page.locator("#quarantine").inner_text()
    assert visit.column("notes", 0) == [f"walk/{ATTACK}.mp4"]
    assert visit.column("decode_errors", 1) == ["2", "2", "2"]
    assert "<img src=x onerror=hacked>" in visit.column("classes", 0)
    visit.page.fill("#table-clips input", "window.hacked")
    assert visit.column("clips", 0) == [f"<img src=x onerror=hacked>/{ATTACK}_{index}" for index in range(6)]
    assert visit.complaints == []


def test_tables_sort_both_ways_by_number_and_by_name(visit: Visit) -> None:
    clips = visit.page.locator("#table-classes th button", has_text="clips")
    clips.click()
    down = [int(value) for value in visit.column("classes", 1)]
    assert down == sorted(down, reverse=True)
    assert down[0] == 40
    assert visit.page.locator("#table-classes th[aria-sort=descending]").count() == 1
    clips.click()
    assert [int(value) for value in visit.column("classes", 1)] == down[::-1]
    visit.page.locator("#table-classes th button", has_text="class").first.click()
    names = visit.column("classes", 0)
    assert names.index("run") < names.index("sit") < names.index("walk")


def test_all_clips_filter_sort_and_turn_pages(visit: Visit) -> None:
    status = visit.page.locator("#table-clips .status")
    assert status.inner_text() == "157 of 157"
    first_page = visit.column("clips", 0)
    visit.page.locator("#table-clips .next").click()
    assert len(first_page) == 50
    assert not set(first_page) & set(visit.column("clips", 0))
    visit.page.fill("#table-clips input", "run/ train")
    shown = visit.column("clips", 0)
    assert shown
    assert all("run/" in clip for clip in shown)
    assert status.inner_text() == f"{len(shown)} of 157"
    visit.page.locator("#table-clips th button", has_text="brightness").click()
    index = visit.page.locator("#table-clips th").all_inner_texts().index("brightness")
    values = [float(value) for value in visit.column("clips", index)]
    assert values == sorted(values, reverse=True)
    visit.page.fill("#table-clips input", "nothing at all is called so")
    assert visit.column("clips", 0) == []


def test_a_copied_picture_is_reported(visit: Visit) -> None:
    pairs = set(zip(visit.column("pairs", 0), visit.column("pairs", 1), strict=True))
    assert {some_clips()[0], "$x^2$/[red]$\\frac{1}{0}$_0"} in [set(pair) for pair in pairs]


def test_synthetic_data_is_labelled(visit: Visit) -> None:
    assert "Synthetic" in visit.page.title()
    assert visit.page.locator("h1").inner_text() == "Synthetic data set"
    assert "No claim about HMDB51" in visit.page.locator("header .notice").inner_text()


def test_screenshot(visit: Visit, tmp_path: Path) -> None:
    """Writes a picture of the whole page, to $EDA_SCREENSHOT where that is set, for a person to look at."""
    target = Path(os.environ.get("EDA_SCREENSHOT", tmp_path / "eda.png"))
    visit.page.screenshot(path=target, full_page=True)
    assert target.stat().st_size > 100_000
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_policy_allows_the_one_script_only(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_without_shards_the_report_has_no_pictures_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests, shards = write_data_set(tmp_path, some_clips()[:30], with_shards=False)
    out = run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")
    text = out.read_text(encoding="utf-8")
    assert "no pictures and no near duplicates" in text
    assert 'id="outliers"' not in text
    assert "Synthetic data set" not in text
    assert "no pictures and no near duplicates" in capsys.readouterr().out


def test_shards_of_another_data_set_are_refused(tmp_path: Path) -> None:
    manifests, shards = write_data_set(tmp_path, some_clips()[:5])
    text = (manifests / "dataset.json").read_text()
    (manifests / "dataset.json").write_text(text.replace("0123456789abcdef", "fedcba9876543210"))
    with pytest.raises(DataError, match="of another data set"):
        run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")
    assert not (tmp_path / "eda.html").exists()


def test_rows_that_moved_are_refused(tmp_path: Path) -> None:
    manifests, shards = write_data_set(tmp_path, some_clips()[:2])
    file = next((manifests / "clips").glob("*.csv"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[2].replace("shard-00000.h5,1,", "shard-00000.h5,0,"), lines[1]]) + "\n")
    with pytest.raises(DataError, match=r"does not hold .* in row 0"):
        run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")


def test_the_same_data_give_the_same_file(tmp_path: Path) -> None:
    manifests, shards = write_data_set(tmp_path, some_clips()[:8])
    first = run_eda(manifests=manifests, shards=shards, out=tmp_path / "a.html").read_bytes()
    assert run_eda(manifests=manifests, shards=shards, out=tmp_path / "b.html").read_bytes() == first


@pytest.mark.slow
def test_all_of_hmdb51_is_small_and_opens_fast(browser: Any, tmp_path: Path) -> None:
    """6766 rows with pictures: under 10 MB, open in under 3 seconds."""
    assert (NUM_SEGMENTS, HEIGHT, WIDTH) == (4, 48, 64)  # 250 MB of shards
    manifests, shards = write_data_set(tmp_path, list(official_splits()))
    out = run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")
    assert out.stat().st_size < 10e6
    visit = Visit(browser, out)
    assert visit.seconds < 3
    assert visit.page.locator("#table-clips .status").inner_text() == "6766 of 6766"
    assert visit.complaints == []


def test_a_page_of_many_clips_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits made small: the page lists some of the clips and the first rows, and says how many there are."""
    monkeypatch.setattr("preprocess.eda.report.MAX_CLIPS_LISTED", 20)
    monkeypatch.setattr("preprocess.eda.report.MAX_PAGE_ROWS", 3)
    monkeypatch.setattr("preprocess.eda.near_duplicates.MAX_COUNTED", 0)
    clips = some_clips()
    same = {clip: picture_of("one") for clip in clips[:5]}
    rows = tuple(QuarantineRow(path=f"walk/{index}.avi", stage="open", error="none") for index in range(8))
    manifests, shards = write_data_set(tmp_path, clips, pictures=same, quarantined=rows)
    page = run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html").read_text()
    data = json.loads(page.split('id="clip-data">')[1].split("</script>")[0])
    expected = [sorted(clips)[place * len(clips) // 20] for place in range(20)]
    assert [row[0] for row in data["rows"]] == expected
    assert f"20 of {len(clips)}, evenly spread" in page
    assert "walk/2.avi" in page
    assert "walk/3.avi" not in page
    assert "and 5 more." in page
    assert "the search for near duplicates ended at" in page
