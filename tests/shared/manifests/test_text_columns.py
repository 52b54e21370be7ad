"""Texts stay texts in every CSV file, whatever they look like: for our readers, the documents' and spreadsheets."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
from commands import fail, succeed
from extraction import places
from hypothesis import given
from hypothesis import strategies as st
from made_plan import write_made_plan
from made_rows import clip_row
from media import HMDB_LIKE, make_video

from shared.errors import DataError
from shared.files import write_csv
from shared.manifests.balancing_plans import PlanRow
from shared.manifests.columns import read_texts
from shared.manifests.files import ClipRow, read_manifests, write_clip_manifests
from shared.splits.parts import official_splits
from shared.video.listing import list_videos

ROOT = Path(__file__).parents[3]
ODD = ("NA", "00", "1e5", "null", "true", "2024-01-01", "nan", "inf", "-", "1_000", "é ü", "None")


def reader_of(page: str) -> str:
    """The example in a document that reads all manifests."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    [block] = [block for block in blocks if "read_csv" in block]
    return str(block[: re.search(r"^clips = .*\n", block, re.MULTILINE).end()])  # type: ignore[union-attr]


def test_the_documents_agree() -> None:
    assert reader_of("README.md") == reader_of("docs/format.md")


@pytest.mark.parametrize("tagged", [True, False])
def test_odd_classes_and_sources_are_read_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tagged: bool
) -> None:
    rows = [
        dataclasses.replace(clip_row(stem, class_name=name, tagged=tagged), source=stem) for name in ODD for stem in ODD
    ]
    write_clip_manifests(tmp_path / "data_manifests", rows)
    ours = read_manifests(tmp_path / "data_manifests")
    assert [ClipRow(**values) for values in ours.to_dict("records")] == sorted(rows, key=lambda row: row.clip_id)  # type: ignore[misc]
    monkeypatch.chdir(tmp_path)
    names: dict[str, pd.DataFrame] = {}
    exec(reader_of("README.md"), names)
    pd.testing.assert_frame_equal(names["clips"].sort_values("clip_id", ignore_index=True), ours)


def test_a_plan_is_read_as_the_document_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [PlanRow(kind="real", class_name=name, label=7, clip_id=f"{name}/a") for name in ODD]
    rows.append(PlanRow(kind="synthetic", class_name="NA", label=7, clip_id="NA/a", neighbor_id="NA/b", lam=0.25))
    write_made_plan(tmp_path / "data_manifests" / "balance" / "1.csv", rows)
    [line] = re.findall(r"`(pandas\.read_csv\([^`]*balance[^`]*\))`", (ROOT / "docs" / "balancing.md").read_text())
    monkeypatch.chdir(tmp_path)
    frame = eval(compile(ast.parse(line, mode="eval"), "docs", "eval"), {"pandas": pd})
    found = [tuple(row) for row in frame.sort_values(["class_name", "lam"]).itertuples(index=False)]
    assert found == sorted(map(dataclasses.astuple, rows), key=lambda row: (row[1], row[5]))
    assert frame["label"].dtype.kind == "i" and frame["lam"].dtype.kind == "f"


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 3), max_size=5))
def test_any_text_survives_a_csv_file(rows: list[tuple[str, str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.csv")
        write_csv(file, ("a", "b", "c"), rows)
        assert [tuple(row) for row in read_texts(file, ("a", "b", "c")).itertuples(index=False)] == rows


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx", "\r=1"])
def test_classes_that_are_formulas_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.avi").write_bytes(b"1")
    with pytest.raises(DataError, match=r"formula.*begins with a letter|control characters"):
        list_videos(tmp_path)


def test_videos_may_have_names_like_those_of_hmdb51_and_youtube(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    official = [clip_id.partition("/")[2] for clip_id in official_splits()]
    odd = [name for name in official if not name[0].isalnum()]
    assert {name[0] for name in odd} == set("-_#(")
    names = [f"{name}.avi" for name in [*odd, "-abc_12345_000010_000020", "@someone_1", "+49_1"]]
    for name in names:
        (tmp_path / "walk" / name).write_bytes(b"1")
    assert {video.path for video in list_videos(tmp_path).videos} == {f"walk/{name}" for name in names}
    (tmp_path / "walk" / "=1+1.avi").write_bytes(b"1")
    with pytest.raises(DataError, match=r"the video of 'walk/=1\+1\.avi' has a name .* formula"):
        list_videos(tmp_path)


def test_the_commands_with_odd_classes(tmp_path: Path, ffmpeg: str) -> None:
    names = ("NA", "00", "1e5", "true")
    for name in names:
        for stem in ("01", "NA"):
            make_video(tmp_path / "videos" / name / f"{stem}.avi", *HMDB_LIKE, num_frames=2, size="32x32")
    options = ("--size", "32", "--workers", "1", *places(tmp_path))
    succeed("hmdb-prep", "extract", "--videos", tmp_path / "videos", *options)
    frame = read_manifests(tmp_path / "manifests")
    assert sorted(frame["clip_id"]) == sorted(f"{name}/{stem}" for name in names for stem in ("01", "NA"))
    assert set(frame["class_name"]) == set(names)
    (tmp_path / "videos" / "=1+1").mkdir()
    (tmp_path / "videos" / "=1+1" / "a.avi").write_bytes(b"1")
    said = fail(1, "hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path / "other"))
    assert "'=1+1/a.avi' has a name that a spreadsheet would run as a formula" in said
