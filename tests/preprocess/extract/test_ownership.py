"""Manifests are never replaced by those of another data set, and no healthy shard has to be deleted to go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import fail, succeed
from extraction import content
from media import HMDB_LIKE, make_video

from preprocess.cli import app
from shared.manifests.files import peek_dataset_id, read_dataset
from shared.terminal.console import exit_code_of

Refusal = Callable[..., str]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Three clips of two classes in two shards, extracted."""
    folder = tmp_path_factory.mktemp("owner")
    for index in range(3):
        make_video(folder / "videos" / ("run", "walk")[index % 2] / f"s{index}.avi", *HMDB_LIKE, num_frames=17)
    succeed("hmdb-prep", *extract(folder))
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path, dirs_exist_ok=True))


def extract(folder: Path, *options: str, shards: str = "shards", size: str = "16") -> tuple[str | Path, ...]:
    fixed = ("--size", size, "--clips-per-shard", "2", "--workers", "1")
    return "extract", "--videos", folder / "videos", *places(folder, shards), *fixed, *options


def places(folder: Path, shards: str = "shards") -> tuple[str | Path, ...]:
    return "--shards", folder / shards, "--manifests", folder / "manifests"


def call(*arguments: str | Path) -> int:
    """Call a command in this process, which has loaded everything: its exit code."""
    return exit_code_of(lambda: app(list(map(str, arguments)), standalone_mode=False))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Calls a command that must end with 1: what it says on standard error."""

    def refuse(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert call(*arguments) == 1
        return capsys.readouterr().err

    return refuse


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_another_data_set_does_not_replace_the_manifests(folder: Path, options: tuple[str, ...]) -> None:
    before = content(folder)
    error = fail(1, "hmdb-prep", *extract(folder, *options, shards="others", size="24"))
    known = peek_dataset_id(folder / "manifests")[:12]
    assert f"the manifests of another data set, {known} (3 clips of 2 classes, 16x16, K=1)" in error
    assert f"whose shards are in {folder / 'shards'}; this one is " in error
    assert "--manifests" in error
    assert "delete" not in error
    assert content(folder) == before
    succeed("hmdb-prep", *extract(folder, *options, "--manifests", str(folder / "of others"), shards="others"))


def test_merge_does_not_replace_them_either(folder: Path, refusal: Refusal) -> None:
    other = ("--shards", folder / "others", "--manifests", folder / "of others")
    assert call(*extract(folder, size="24"), *other) == 0
    before = content(folder)
    assert "--manifests" in refusal("merge", *places(folder, "others"))
    assert content(folder) == before
    shutil.rmtree(folder / "shards")
    error = refusal("merge", *places(folder, "others"))
    file = folder / "manifests" / "dataset.json"
    assert f"or delete {file} if the other one is no longer wanted" in error
    file.unlink()
    assert call("merge", *places(folder, "others")) == 0
    assert read_dataset(folder / "manifests").size == "24x24"


def test_a_folder_of_shards_that_is_overwritten_replaces_its_own_manifests(folder: Path) -> None:
    assert call(*extract(folder, "--overwrite", size="24")) == 0
    assert read_dataset(folder / "manifests").size == "24x24"


def test_overwriting_that_comes_to_nothing_leaves_no_manifests_that_stand_in_the_way(
    folder: Path, refusal: Refusal
) -> None:
    too_large = extract(folder, "--overwrite", "--num-frames", "4096", size="8192")
    assert "GB are needed" in refusal(*too_large)
    assert "run `hmdb-prep extract`" in refusal("verify", *places(folder))
    assert call(*extract(folder, size="24")) == 0
    assert read_dataset(folder / "manifests").size == "24x24"


def test_the_same_data_set_in_another_folder_keeps_its_manifests(folder: Path) -> None:
    before = content(folder / "manifests")
    assert call(*extract(folder, shards="again")) == 0
    assert content(folder / "manifests") == before


def test_what_names_no_data_set_is_in_nobodys_way(folder: Path) -> None:
    shutil.rmtree(folder / "manifests")
    (folder / "manifests").mkdir()
    (folder / "manifests" / "hmdb51_splits.csv").write_text("clip_id,split1\n")
    (folder / "manifests" / "dataset.json").write_text('{"format": "hm')
    assert call(*extract(folder, shards="others", size="24")) == 0
    assert (folder / "manifests" / "hmdb51_splits.csv").read_text() == "clip_id,split1\n"


def test_manifests_of_a_later_version_are_another_data_sets(folder: Path, refusal: Refusal) -> None:
    (folder / "manifests" / "dataset.json").write_text(
        '{"format": "hmdb-clip-dataset", "version": 9, "dataset_id": "a1b2c3d4e5f6a7"}'
    )
    assert "another data set, a1b2c3d4e5f6;" in refusal(*extract(folder, shards="others", size="24"))


def test_a_damaged_note_on_a_shard_costs_no_shard(folder: Path, refusal: Refusal) -> None:
    before = content(folder)
    note = folder / "shards" / "block-00000.json"
    note.write_text("{")
    assert "delete this file, not the shard" in refusal(*extract(folder))
    note.unlink()
    assert call(*extract(folder)) == 0
    assert content(folder) == before


def test_a_shard_under_another_name_is_to_be_moved(folder: Path, refusal: Refusal) -> None:
    first, second = (folder / "shards" / f"shard-0000{index}.h5" for index in range(2))
    second.unlink()
    shutil.copy(first, second)
    expected = "move it to another folder and run `hmdb-prep extract`"
    assert expected in refusal("merge", *places(folder))
    error = refusal("verify", *places(folder))
    assert "move the shards that do not belong there to another folder" in error
    second.rename(folder / "elsewhere.h5")
    assert call(*extract(folder)) == 0
    assert call("verify", *places(folder)) == 0


def test_a_damaged_shard_is_to_be_deleted(folder: Path, refusal: Refusal) -> None:
    before = content(folder)
    file = folder / "shards" / "shard-00001.h5"
    file.write_bytes(file.read_bytes()[:-3000])
    assert "delete it and run `hmdb-prep extract` again" in refusal("merge", *places(folder))
    file.unlink()
    assert call(*extract(folder)) == 0
    assert content(folder) == before


def test_a_shard_of_another_data_set_is_called_so(folder: Path, refusal: Refusal) -> None:
    assert call(*extract(folder, "--manifests", str(folder / "of others"), shards="others", size="24")) == 0
    theirs, own = read_dataset(folder / "of others").dataset_id[:12], read_dataset(folder / "manifests").dataset_id[:12]
    first, second = (folder / "shards" / f"shard-0000{index}.h5" for index in range(2))
    shutil.copy(first, folder / "shards" / "shard-00007.h5")
    assert "shard-00007.h5 is none that this data set has: it may be one of its shards, renamed" in refusal(
        *extract(folder)
    )
    (folder / "shards" / "shard-00007.h5").unlink()
    shutil.copy(folder / "others" / second.name, second)
    assert f"{second} is of another data set ({theirs}; this one is {own}); move it" in refusal(*extract(folder))
    assert f"{second} is of another data set ({theirs}); move it" in refusal("merge", *places(folder))
