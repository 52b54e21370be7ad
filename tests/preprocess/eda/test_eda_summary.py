"""The report's tables against counts made by hand, and HMDB51's own numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from eda_data import summary_of, write_data_set

from preprocess.eda.findings.conclusions import conclude
from preprocess.eda.summary import (
    OUTLIERS,
    class_counts,
    crop_loss_counts,
    decode_errors_of,
    extreme_clips,
    leaks_of,
    shortfalls_of,
    split_balance,
    summarize,
    tag_counts,
)
from preprocess.eda.tables import bar, cell_text, print_summary
from shared.manifests.notes import NoteRow, write_notes
from shared.splits.parts import official_splits
from shared.splits.sources import parse_name


@pytest.fixture(scope="module")
def official() -> pd.DataFrame:
    """clip_id, class_name, source, tags and splits of all 6766 clips."""
    rows = []
    for clip_id, splits in official_splits().items():
        class_name, stem = clip_id.split("/", 1)
        tags = dataclasses.asdict(parse_name(stem, class_name=class_name))
        rows.append({"clip_id": clip_id, "class_name": class_name, **tags, **dataclasses.asdict(splits)})
    return pd.DataFrame(rows)


def test_hmdb51_leaks_across_classes(official: pd.DataFrame) -> None:
    leaks = leaks_of(official).set_index("split")
    assert leaks["sources on both sides"].to_dict() == {"split1": 133, "split2": 149, "split3": 144, "split_full": 0}
    assert list(leaks.loc["split1"]) == [133, 1530, 457, 0, 457]


def test_a_leak_counts_once_on_each_side_of_the_class() -> None:
    rows = [
        ("run", "film", "train"),
        ("run", "film", "test"),  # shares its source with a clip of its own class only
        ("walk", "film", "test"),  # with one of another class
        ("walk", "other", "train"),
        ("walk", "alone", "test"),
        ("run", "other", "test"),
        ("walk", "both", "train"),
        ("run", "both", "train"),
        ("run", "both", "test"),  # with its own and another class
    ]
    clips = pd.DataFrame(rows, columns=["class_name", "source", "split1"])
    clips = clips.assign(split2="unused", split3="unused", split_full="train")
    leaks = leaks_of(clips).set_index("split")
    assert list(leaks.loc["split1"]) == [3, 5, 4, 2, 3]
    assert list(leaks.loc["split2"]) == [0, 0, 0, 0, 0]


def test_hmdb51_classes_and_splits(official: pd.DataFrame) -> None:
    counts = class_counts(official)
    assert counts.index[:3].tolist() == ["walk", "turn", "run"]
    assert counts["clips"].iloc[:3].tolist() == [548, 240, 232]
    assert int(counts["clips"].sum()) == 6766
    splits = split_balance(official).set_index(["split", "part"])
    assert list(splits.loc[("split1", "train"), ["clips", "smallest class", "largest class", "ratio"]]) == [
        3570, 70, 70, 1.0,
    ]  # fmt: skip
    assert splits.loc[("split2", "test"), "clips"] == 1530
    assert ("split_full", "unused") not in splits.index and "val" not in splits.index.get_level_values("part")


def test_val_clips_are_a_part_of_their_own() -> None:
    clips = pd.DataFrame(
        {"class_name": list("aaab"), "source": list("wxyz"), "split1": ["train", "val", "val", "test"]}
    )
    clips = clips.assign(split2="unused", split3="unused", split_full="train")
    splits = split_balance(clips).set_index(["split", "part"])
    assert list(splits.loc["split1"].index) == ["train", "val", "test"]
    assert list(splits.loc[("split1", "val"), ["clips", "classes", "largest class", "sources"]]) == [2, 1, 2, 2]


def test_tags_sum_to_all_clips_and_empty_ones_are_named(official: pd.DataFrame) -> None:
    clips = official.assign(codec="mpeg4", decoder="cpu")
    clips.loc[0, "body"] = ""
    tags = tag_counts(clips)
    assert set(tags.groupby("tag")["clips"].sum()) == {6766}
    assert tags.loc[(tags["tag"] == "body") & (tags["value"] == "(none)"), "clips"].tolist() == [1]
    people = tags.loc[tags["tag"] == "num_people", "value"].tolist()
    assert people == sorted(people, key=int)


def test_crop_loss_of_the_widths_of_hmdb51(tmp_path: Path) -> None:
    clips = list(official_splits())[:9]
    manifests, _ = write_data_set(tmp_path, clips, with_shards=False)
    summary = summary_of(manifests)
    losses = summary.clips.groupby("width")["crop_loss"].first()
    assert losses[424] == pytest.approx(0.23, abs=0.005)
    assert losses[560] == pytest.approx(0.42, abs=0.005)
    assert losses[320] == pytest.approx(1 - 224 / 228)
    assert summary.crop_losses["clips"].tolist() == [0, 3, 0, 3, 0, 3]
    squashed = dataclasses.replace(summary.dataset, fit="squash")
    again = summarize(
        summary.clips, squashed, quarantine=summary.quarantine, notes=summary.notes, left_out=summary.left_out
    )
    assert set(again.clips["crop_loss"]) == {0.0}


def test_crop_losses_fall_into_the_bin_that_starts_with_them() -> None:
    counts = crop_loss_counts(pd.DataFrame({"crop_loss": [0.0, 0.1, 0.0999, 0.2, 0.4, 1.0]}))
    assert counts["clips"].tolist() == [1, 1, 1, 1, 0, 2]


def test_shortfalls_leave_out_the_frames_that_headers_count_too_many() -> None:
    clips = pd.DataFrame(
        {
            "clip_id": ["a", "b", "c", "d"],
            "num_frames_header": [100, 9, 100, 50],
            "num_frames": [99, 7, 60, 10],
        }
    )
    assert shortfalls_of(clips)["clip_id"].tolist() == ["d", "c"]


def test_damaged_videos_come_with_the_worst_first() -> None:
    clips = pd.DataFrame({"clip_id": list("dcba"), "decode_errors": [1, 0, 7, 1]})
    clips = clips.assign(num_frames=5, num_frames_header=9)
    assert decode_errors_of(clips)["clip_id"].tolist() == ["b", "a", "d"]


def test_extremes_are_ordered_and_ties_are_settled_by_name() -> None:
    clips = pd.DataFrame({"clip_id": list("dcba"), "brightness": [5.0, 1.0, 1.0, 9.0]})
    darkest, brightest = OUTLIERS[0], OUTLIERS[1]
    assert extreme_clips(clips, darkest, count=3)["clip_id"].tolist() == ["b", "c", "d"]
    assert extreme_clips(clips, brightest, count=1)["clip_id"].tolist() == ["a"]


def test_bars_are_proportional_and_never_empty_for_a_count() -> None:
    assert bar(10, 10, width=4) == "████"
    assert bar(5, 10, width=4) == "██"
    assert bar(1, 32, width=4) == "▏"
    assert bar(1, 10_000, width=4) == "▏"
    assert bar(0, 10, width=4) == ""


def test_cells_are_readable() -> None:
    assert cell_text(0.123, "share") == "12.3%"
    assert cell_text(1.0, "ratio") == "1.00"
    assert cell_text(float("nan"), "ratio") == "-"
    assert cell_text("[red]", "path") == "[red]"


def test_terminal_tables_say_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [clip_id for clip_id in official_splits() if clip_id.split("/")[0] in ("walk", "run", "wave")][:400]
    manifests, _ = write_data_set(tmp_path, clips, with_shards=False, synthetic=True)
    write_notes(manifests, [NoteRow(path="walk/a.avi", note="its pixels are 2.000 times as wide as high")])
    summary = summary_of(manifests)
    print_summary(summary, None, conclude(summary, None, places=""))
    text = capsys.readouterr().out
    for word in ("SYNTHETIC", "imbalance ratio", "Findings", "higher is sharper",
                 "standard deviation", "padded", "centre crop", "split_full",
                 "both sides", "camera_motion", "Quarantined videos: 0", "num_frames_header", "█",
                 "packets that did not decode: 8", "Notes on videos: 1", "2.000 times as wide"):  # fmt: skip
        assert word in text
