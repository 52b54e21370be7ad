"""Splits of one's own: three forms read into one table, kept beside the shards, refused where they are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import REAL_VIDEOS

from shared.errors import DataError, UsageError
from shared.manifests.files import SPLIT_COLUMNS, SPLITS_FILE
from shared.splits.own_files import (
    PARTS,
    SplitTable,
    mismatches,
    read_kept_table,
    read_split_table,
    write_split_table,
)
from shared.splits.parts import ClipSplits, official_splits

TABLE = Path(__file__).parents[3] / "data_manifests" / "hmdb51_splits.csv"


@dataclass(frozen=True)
class Clip:
    clip_id: str
    path: str


WALK, RUN = Clip("walk/a.b", "walk/a.b.avi"), Clip("run/c", "run/c.mp4")


def write(folder: Path, texts: Mapping[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def read_csv(folder: Path, text: str | bytes) -> SplitTable:
    return read_split_table(write(folder, {"own.csv": text}) / "own.csv")


def test_a_csv_of_clip_ids_fills_the_columns_it_has_and_leaves_the_others_unused(tmp_path: Path) -> None:
    table = read_csv(tmp_path, "clip_id,part\nwalk/a.b,val\nrun/c,test\n")
    assert table.columns == ("split1",) and table.key == "clip_id"
    assert table.of(WALK, full="train") == ClipSplits(
        split1="val", split2="unused", split3="unused", split_full="train"
    )
    assert table.of(RUN, full="test") == ClipSplits(split1="test", split2="unused", split3="unused", split_full="test")


def test_a_csv_of_paths_and_columns_by_their_names(tmp_path: Path) -> None:
    table = read_csv(tmp_path, "split_full,path,split2\ntrain,walk/a.b.avi,test\n")
    assert table.columns == ("split2", "split_full")
    assert table.of(WALK, full="test") == ClipSplits(
        split1="unused", split2="test", split3="unused", split_full="train"
    )
    # Not listed: unused wherever the table has a say.
    assert table.of(RUN, full="test") == ClipSplits(
        split1="unused", split2="unused", split3="unused", split_full="unused"
    )


def test_three_columns_of_any_names_are_the_three_splits_in_their_order(tmp_path: Path) -> None:
    table = read_csv(tmp_path, b"\xef\xbb\xbfclip_id,fold a,fold b,fold c\r\nrun/c,train,val,test\r\n")
    assert table.of(RUN, full="train") == ClipSplits(split1="train", split2="val", split3="test", split_full="train")


def test_the_committed_table_is_such_a_file() -> None:
    table, official = read_split_table(TABLE), official_splits()
    assert table.columns == SPLIT_COLUMNS and table.parts.keys() == official.keys()
    assert all(table.of(Clip(name, ""), full="unused") == splits for name, splits in official.items())


def test_hmdb51s_own_files_give_the_official_splits() -> None:
    folder = REAL_VIDEOS.parent / "hmdb51_official"
    if not folder.is_dir():
        pytest.skip(f"the official split files are not at {folder}")
    with pytest.raises(DataError, match=r"testTrainMulti_7030_splits does: name that one"):
        read_split_table(folder)
    table, official = read_split_table(folder / "testTrainMulti_7030_splits"), official_splits()
    assert table.columns == SPLIT_COLUMNS[:3] and table.parts.keys() == official.keys()
    assert all(table.of(Clip(name, ""), full=row.split_full) == row for name, row in official.items())


UCF101 = {
    "classInd.txt": "1 Archery\n",
    "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\nArchery/v_Archery_g08_c02.avi 1\r\n",
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\nBiking/v_Biking_g01_c01.avi\n\n",
    "trainlist03.txt": "Archery/v_Archery_g01_c01.avi 1\n",
    "testlist03.txt": "Archery/v_Archery_g08_c01.avi\n",
    "vallist03.txt": "Archery/v_Archery_g08_c02.avi 1\n",
}


def test_ucf101s_lists(tmp_path: Path) -> None:
    table = read_split_table(write(tmp_path / "ucfTrainTestlist", UCF101))
    assert table.columns == ("split1", "split3") and table.key == "clip_id"
    assert table.parts == {
        "Archery/v_Archery_g08_c01": ("train", "test"),
        "Archery/v_Archery_g08_c02": ("train", "val"),
        "Archery/v_Archery_g01_c01": ("test", "train"),
        "Biking/v_Biking_g01_c01": ("test", "unused"),
    }


def test_the_frame_folders_of_a_list_keep_their_whole_names(tmp_path: Path) -> None:
    lists = {"trainlist01.txt": "A/clip1.5 1\nA/clip2.5.avi 1\n", "testlist01.txt": "A/clip3\n"}
    assert read_split_table(write(tmp_path / "lists", lists)).parts.keys() == {"A/clip1.5", "A/clip2.5", "A/clip3"}


def test_lists_of_hmdb51_know_altered_names(tmp_path: Path) -> None:
    name = "#20_Rhythm_clap_u_nm_np1_fr_goo_0"
    lists = {"clap_test_split1.txt": f"{name}.avi 1 \nother.avi 2 \n"}
    table = read_split_table(write(tmp_path / "lists", lists))
    clips = [Clip("clap/_20_Rhythm_clap_u_nm_np1_fr_goo_0", ""), Clip("clap/other", ""), Clip(f"clap/{name}", "")]
    assert [table.of(clip, full="").split1 for clip in clips] == ["train", "test", "train"]
    assert mismatches(table, clips[:2], place="lists") == []


def test_a_kept_table_is_replaced_where_it_is_damaged_and_else_left_alone(tmp_path: Path) -> None:
    table = read_csv(tmp_path, "clip_id,part\nwalk/a.b,train\n")
    file = tmp_path / SPLITS_FILE
    file.write_bytes(b"\xff\xfe damaged")
    write_split_table(tmp_path, table)
    assert read_kept_table(tmp_path) == table
    inode = file.stat().st_ino
    write_split_table(tmp_path, table)
    assert file.stat().st_ino == inode


def test_hmdb51_like_lists_of_other_classes(tmp_path: Path) -> None:
    lists = {"my_class_test_split1.txt": "a b.avi 1 \nc.avi 2 \nd.avi 0 \n", "run_test_split1.txt": "e.avi 2\n"}
    assert read_split_table(write(tmp_path / "lists", lists)).parts == {
        "my_class/a b": ("train",), "my_class/c": ("test",), "my_class/d": ("unused",), "run/e": ("test",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id;split1\nwalk/a;train\n", "separated by semicolons; save it with commas"),
        ("clip_id\tsplit1\nwalk/a\ttrain\n", "separated by tabs; save it with commas"),
        ("clip_id,split1\nwalk/a,Train\n", "'split1' of 'walk/a' is 'Train'; write one of train, val, test, unused"),
        ("clip_id,split1\nwalk/a,\n", "'split1' of 'walk/a' is ''; write one of"),
        ("clip_id,class_name\nwalk/a,walk\n", "'class_name' of 'walk/a' is 'walk'; write one of"),
        ("clip_id,split1,fps\nwalk/a,train,30\n", "a column 'fps' beside those of splits"),
        ("clip_id,a,b,c,d\nwalk/a,train,train,train,train\n", "4 columns beside clip_id .* at most 3"),
        ("clip_id,path,split1\nwalk/a,walk/a.avi,train\n", "has the columns 'clip_id, path, split1'; they must be"),
        ("name,split1\nwalk/a,train\n", "has the columns 'name, split1'; they must be clip_id or path"),
        ("clip_id,split1,split1\nwalk/a,train,test\n", "has the columns 'clip_id, split1, split1'; they must be"),
        ("clip_id\nwalk/a\n", "has the columns 'clip_id'; they must be"),
        ("clip_id,split1\n", "lists no clips; write one row for each"),
        ("", "has the columns ''; they must be"),
        ("clip_id,split1\nwalk/a,train\nwalk/a,test\n", "names 'walk/a' twice"),
        ("clip_id,split1\nwalk/a\n", "'walk/a' has 1 cells, the header 2"),
        ('clip_id,split1\n"walk/a,train\n', "cannot be read as CSV"),
        ("clip_id,split1\nwalk/a,train\n".encode("utf-16"), "no UTF-8 text .*; save it as CSV UTF-8"),
    ],
)
def test_csv_files_that_are_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_csv(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"testlist01.txt": None}, "lists of split1 in .* name no clips of part test; is a file missing"),
        ({"testlist01.txt": "Archery/v_Archery_g08_c01.avi\n"}, "split1 in .* name 'Archery/v_Archery_g08_c01' twice"),
        ({"testlist01.txt": "v_Archery_g01_c01.avi\n"}, "'v_Archery_g01_c01.avi' is not <class>/<file>"),
        ({"trainlist04.txt": "A/a.avi 1\n"}, "trainlist04.txt is of split 4; there are splits 1 to 3"),
        ({"trainlist1.txt": "A/a.avi 1\n"}, "trainlist01.txt and trainlist1.txt are the same list; move one away"),
        ({"walk_test_split1.txt": "a.avi 1\n"}, "lists of two data sets, testlist01.txt and walk_test_split1.txt"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, changes: Mapping[str, str | None], said: str) -> None:
    texts = {name: text for name, text in (UCF101 | changes).items() if text is not None}
    with pytest.raises(DataError, match=said):
        read_split_table(write(tmp_path / "lists", texts))


def test_an_hmdb51_list_with_another_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'b.avi 3' does not end in 0 \(unused\), 1 \(train\) or 2 \(test\)"):
        read_split_table(write(tmp_path / "lists", {"walk_test_split1.txt": "a.avi 1\nb.avi 3\n"}))


def test_nothing_there_is_wrong_usage_and_a_folder_without_lists_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no splits at .*/nothing; name with --splits a CSV file"):
        read_split_table(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no lists of splits; name a CSV file"):
        read_split_table(tmp_path)


def test_what_does_not_match_is_counted_with_an_example(tmp_path: Path) -> None:
    table = read_csv(tmp_path, "path,part\nwalk/a.b.avi,train\nwalk/gone.avi,test\n")
    assert mismatches(table, [WALK, RUN], place="own.csv") == [
        "unused, as own.csv does not list them: 1 of 2 clips, such as 'run/c.mp4'",
        "listed in own.csv and not here: 1 of 2 clips, such as 'walk/gone.avi'",
    ]
    assert mismatches(read_csv(tmp_path, "path,part\nwalk/a.b.avi,train\n"), [WALK], place="own.csv") == []
    with pytest.raises(
        DataError, match=r"none of the 2 clips in own.csv is here: it lists 'walk/a.b.avi', .*'run/c.mp4'"
    ):
        mismatches(table, [RUN], place="own.csv")


names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> SplitTable:
    columns = tuple(draw(st.lists(st.sampled_from(SPLIT_COLUMNS), unique=True, min_size=1)))
    row = st.tuples(*[st.sampled_from(PARTS)] * len(columns))
    return SplitTable(
        key=draw(st.sampled_from(("clip_id", "path"))),
        columns=tuple(sorted(columns, key=SPLIT_COLUMNS.index)),
        parts=draw(st.dictionaries(names, row, min_size=1, max_size=6)),
    )


@given(tables())
def test_a_table_comes_back_as_it_was_kept(tmp_path_factory: pytest.TempPathFactory, table: SplitTable) -> None:
    folder = tmp_path_factory.mktemp("shards")
    assert read_kept_table(folder) is None
    write_split_table(folder, table)
    kept = read_kept_table(folder)
    assert kept == table and kept.sha256 == table.sha256
    texts = pd.read_csv(folder / SPLITS_FILE, dtype=str, keep_default_na=False)  # another reader says the same
    assert (
        dict(zip(texts[table.key], texts[list(table.columns)].itertuples(index=False, name=None), strict=True))
        == table.parts
    )


@given(tables(), st.randoms())
def test_the_checksum_knows_the_parts_and_not_the_order(table: SplitTable, random: object) -> None:
    shuffled = list(table.parts.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same = SplitTable(key=table.key, columns=table.columns, parts=dict(shuffled))
    assert same.sha256 == table.sha256
    name, cells = shuffled[0]
    others = tuple(PARTS[(PARTS.index(cell) + 1) % len(PARTS)] for cell in cells)
    other = SplitTable(key=table.key, columns=table.columns, parts={**table.parts, name: others})
    assert other.sha256 != table.sha256
