"""Manifests: what pandas reads from them without arguments, round trips, and damaged files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import clip_row

from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.manifests.files import (
    MANIFEST_COLUMNS,
    ClipRow,
    ColourStatistics,
    Dataset,
    QuarantineRow,
    ShardEntry,
    read_dataset,
    read_manifests,
    read_quarantine,
    row_from_json,
    row_to_json,
    write_clip_manifests,
    write_dataset,
    write_quarantine,
)
from shared.manifests.notes import NoteRow, read_notes, write_notes

DESIGN_COLUMNS = """
clip_id class_name label path source split1 split2 split3 split_full body camera_motion num_people viewpoint
quality codec fps width height num_frames num_frames_header duration_seconds num_padded decode_errors decoder shard row
crc32
brightness brightness_std contrast blur colorfulness red_mean green_mean blue_mean red_std green_std blue_std
saturation_mean hue_hist_0 hue_hist_1 hue_hist_2 hue_hist_3 hue_hist_4 hue_hist_5 hue_hist_6 hue_hist_7 motion
""".split()


def test_columns_are_those_of_the_contract() -> None:
    assert list(MANIFEST_COLUMNS) == DESIGN_COLUMNS


def test_pandas_reads_the_right_types_without_arguments(tmp_path: Path) -> None:
    write_clip_manifests(tmp_path, [clip_row("b"), clip_row("a")])
    frame = pd.read_csv(tmp_path / "clips" / "walk.csv")
    assert list(frame.columns) == DESIGN_COLUMNS
    assert frame["clip_id"].tolist() == ["walk/a", "walk/b"]
    for field in dataclasses.fields(ClipRow):
        kind = frame[field.name].dtype.kind
        expected = {"str": "OU", "int": "i", "float": "f"}[str(field.type)]
        assert kind in (expected if field.name != "num_people" else "i"), field.name
    assert frame["crc32"].tolist() == [4_294_967_295] * 2


def test_reading_back_gives_exactly_what_was_written(tmp_path: Path) -> None:
    rows = [clip_row("1,\"quoted\" 'n'"), clip_row("NA", class_name="NA", tagged=False), clip_row("001")]
    write_clip_manifests(tmp_path, rows)
    frame = read_manifests(tmp_path)
    found = [ClipRow(**values) for values in frame.to_dict("records")]  # type: ignore[misc]
    assert found == sorted(rows, key=lambda row: row.clip_id)


@pytest.mark.parametrize("columns", [["motion", "clip_id", "motion"], ["shard", "label"], {"path"}, MANIFEST_COLUMNS])
def test_some_columns_are_what_pandas_reads_there(tmp_path: Path, columns: Collection[str]) -> None:
    write_clip_manifests(tmp_path, [clip_row(f"{name} ,é'") for name in "ba"] + [clip_row(class_name="run")])
    found = read_manifests(tmp_path, columns=columns)
    assert list(found.columns) == [name for name in DESIGN_COLUMNS if name in columns]
    texts = {field.name: str for field in dataclasses.fields(ClipRow) if str(field.type) == "str"}
    files = [tmp_path / "clips" / f"{name}.csv" for name in ("run", "walk")]
    oracle = pd.concat([pd.read_csv(file, dtype=texts, keep_default_na=False) for file in files], ignore_index=True)
    pd.testing.assert_frame_equal(found, oracle.sort_values("clip_id", ignore_index=True)[list(found.columns)])


@pytest.mark.parametrize(("columns", "message"), [(["label", "lable"], "'lable'"), ("label", r"columns=\['label'\]")])
def test_columns_that_manifests_have_not_are_refused(tmp_path: Path, columns: Collection[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_manifests(tmp_path, columns=columns)


@given(text=st.text(max_size=30), number=st.floats(allow_nan=False), integer=st.integers(-(2**63), 2**63 - 1))
def test_rows_survive_json(text: str, number: float, integer: int) -> None:
    row = dataclasses.replace(clip_row(), source=text, blur=number, num_frames=integer)
    assert row_from_json(row_to_json(row)) == row


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"clip_id": 1}', "null"])
def test_damaged_rows_are_refused(damage: str) -> None:
    with pytest.raises(DataError, match="damaged"):
        row_from_json(damage)
    values = json.loads(row_to_json(clip_row())) | {"label": "seven"}
    with pytest.raises(DataError, match="label"):
        row_from_json(json.dumps(values))


def test_manifests_written_before_errors_were_counted(tmp_path: Path) -> None:
    values = json.loads(row_to_json(clip_row()))
    del values["decode_errors"]
    assert row_from_json(json.dumps(values)) == dataclasses.replace(clip_row(), decode_errors=0)
    write_clip_manifests(tmp_path, [clip_row("a"), clip_row("b")])
    file = tmp_path / "clips" / "walk.csv"
    pd.read_csv(file).drop(columns="decode_errors").to_csv(file, index=False)
    frame = read_manifests(tmp_path)
    assert list(frame.columns) == DESIGN_COLUMNS
    assert frame["decode_errors"].tolist() == [0, 0]


def test_notes(tmp_path: Path) -> None:
    assert read_notes(tmp_path).empty
    notes = [NoteRow(path="b/x.avi", note='wide, "really"'), NoteRow(path="a/x.avi", note="1")]
    write_notes(tmp_path, notes)
    assert read_notes(tmp_path).to_dict("records") == [dataclasses.asdict(note) for note in notes[::-1]]
    write_notes(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_classes_that_are_no_more_lose_their_manifest(tmp_path: Path) -> None:
    write_clip_manifests(tmp_path, [clip_row(), clip_row(class_name="run")])
    write_clip_manifests(tmp_path, [clip_row()])
    assert [file.name for file in (tmp_path / "clips").iterdir()] == ["walk.csv"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("clip_id,", "id,", 1), "lacks the column clip_id"),
        (lambda text: text.replace(",7,", ",seven,", 1), "column label: .*seven"),
        (lambda text: text + text.splitlines()[1] + "\n", "twice"),
        (lambda text: "", "cannot be read"),
        (lambda text: text.replace(",7,", f",{2**70},", 1), "column label"),
        (lambda text: text.replace(",7,", ",-1,", 1), "column label: -1 is negative"),
        (lambda text: text.rstrip() + ",1\n", f"line 2 has {len(DESIGN_COLUMNS) + 1} cells"),
        (lambda text: text.rpartition(",")[0] + "\n", f"line 2 has {len(DESIGN_COLUMNS) - 1} cells"),
        (lambda text: text.replace(",7,", ',"7,', 1), "cannot be read"),
    ],
)
def test_edited_manifests_are_refused(tmp_path: Path, edit, message: str) -> None:  # type: ignore[no-untyped-def]
    write_clip_manifests(tmp_path, [clip_row()])
    file = tmp_path / "clips" / "walk.csv"
    file.write_text(edit(file.read_text()))
    with pytest.raises(DataError, match=message):
        read_manifests(tmp_path)
    with pytest.raises(DataError, match=message):
        read_manifests(tmp_path, columns=["label"])


def test_a_spreadsheets_line_ends_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    write_clip_manifests(tmp_path, [clip_row()])
    before = read_manifests(tmp_path)
    file = tmp_path / "clips" / "walk.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_manifests(tmp_path), before)


def test_quarantine(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path).empty
    write_quarantine(tmp_path, [QuarantineRow(path="b/x.avi", stage="open", error='no, "really"')])
    assert read_quarantine(tmp_path).to_dict("records") == [
        {"path": "b/x.avi", "stage": "open", "error": 'no, "really"'}
    ]


@pytest.mark.parametrize("content", [b"", b"path,error\n", b"\xff\xfe\x00"])
def test_a_damaged_quarantine_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "quarantine.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"quarantine\.csv cannot be read"):
        read_quarantine(tmp_path)


def test_processes_of_one_id_do_not_share_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda old, new: names.append(old.name) or rename(old, new))
    for _ in range(2):
        write_text(tmp_path / "a.json", "{}")
    assert len(set(names)) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def dataset() -> Dataset:
    colours = ColourStatistics(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    return Dataset(
        dataset_id="a" * 64, size="224x304", fit="crop", num_segments=16, frames_per_segment=3, clips_per_shard=64,
        seed=0, synthetic=True, class_names=("run", "walk"), num_videos=3, num_clips=2, num_quarantined=1,
        clips_per_class={"run": 1, "walk": 1}, clips_per_split={"split1": {"train": 2}}, rgb={"split1": colours},
        shards=(ShardEntry(file="shard-00000.h5", num_clips=2, num_bytes=9, sha256="b" * 64),),
    )  # fmt: skip


def test_dataset_round_trip_and_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hmdb-prep extract"):
        read_dataset(tmp_path)
    write_dataset(tmp_path, dataset())
    assert read_dataset(tmp_path) == dataset()
    file = tmp_path / "dataset.json"
    text = file.read_text()
    edits = {
        text[:-30]: "damaged",
        text.replace('"version": 1', '"version": 2'): "version 2",
        text.replace('"num_clips"', '"clips"'): "damaged",
        text.replace('"num_segments": 16', '"num_segments": null'): r"`null` - at `\$\.num_segments`",
        text.replace('"shard-00000.h5"', "5"): r"`int` - at `\$\.shards\[0\]\.file`",
        text.replace('"hmdb-clip-dataset"', '"other"'): "no hmdb-clip-dataset",
        "[]": "no hmdb-clip-dataset",
    }
    for edited, message in edits.items():
        file.write_text(edited)
        with pytest.raises(DataError, match=message):
            read_dataset(tmp_path)
