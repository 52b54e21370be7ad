"""What each command says of shards and manifests that do not belong together: a sentence a state, with its remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer
from made_dataset import DATASET_ID, MadeDataset, make_dataset
from made_run import make_run

from preprocess.cli import app as prepare
from shared.errors import DataError
from shared.manifests.files import read_manifests
from shared.shards.clips import clips_in_shards
from shared.shards.data_sets import look_at, what_is_wrong
from shared.terminal.console import exit_code_of
from train.cli import app as learn
from train.data.views import Views
from train.trained.clips import stored_probabilities
from train.trained.model import load_model

OTHER_ID = "e" * 64
MIDDLE = "shard-00002.h5"  # holds clips to train on and to test


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set A in ``a``, data set B of the same clips in ``b``, and a run of A."""
    folder = tmp_path_factory.mktemp("data sets")
    make_dataset(folder / "a")
    make_dataset(folder / "b", dataset_id=OTHER_ID, frames_per_segment=1)
    make_run(folder / "trained")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path, dirs_exist_ok=True))


def shards_of_another(folder: Path) -> None:
    shutil.rmtree(folder / "a" / "shards")
    shutil.copytree(folder / "b" / "shards", folder / "a" / "shards")


def no_shards(folder: Path) -> None:
    shutil.rmtree(folder / "a" / "shards")


def one_of_another(folder: Path) -> None:
    shutil.copy(folder / "b" / "shards" / MIDDLE, folder / "a" / "shards" / MIDDLE)


def unfinished(folder: Path) -> None:
    (folder / "a" / "shards" / MIDDLE).unlink()


def damaged(folder: Path) -> None:
    file = folder / "a" / "shards" / MIDDLE
    file.write_bytes(file.read_bytes()[:9000])


def edited(folder: Path) -> None:
    for file in (folder / "a" / "manifests" / "clips").glob("*.csv"):
        pd.read_csv(file).assign(row=77).to_csv(file, index=False)


@dataclass(frozen=True, kw_only=True)
class State:
    """A state of the folders, and what is said of it."""

    spoil: Callable[[Path], None]
    sentence: str
    remedy: str
    is_drawn: bool = False
    """`eda` makes its report of the manifests alone."""
    verify: str = ""
    """What `verify` says, where it lists its findings line by line."""


STATES = {
    "manifests of A, shards of B": State(
        spoil=shards_of_another,
        sentence=f"a/shards are of another data set ({OTHER_ID[:12]}; the manifests are of {DATASET_ID[:12]})",
        remedy="name their own manifests with --manifests (`hmdb-prep merge` writes them), or other shards with",
    ),
    "no shards": State(
        spoil=no_shards,
        sentence="no shard that the manifests name is in ",
        remedy="name their folder with --shards, or make them with `hmdb-prep extract`",
        is_drawn=True,
    ),
    "a shard of B among those of A": State(
        spoil=one_of_another,
        sentence=f"{MIDDLE} is of another data set ({OTHER_ID[:12]}; the manifests are of {DATASET_ID[:12]})",
        remedy="move it to another folder, then `hmdb-prep extract` makes what is missing",
        verify=f"{MIDDLE}: of another data set ({OTHER_ID[:12]})",
    ),
    "an extraction that is not finished": State(
        spoil=unfinished,
        sentence=" shards is missing in ",
        remedy="run `hmdb-prep extract`, which makes what is missing, or name another folder with --shards",
        is_drawn=True,
        verify=f"{MIDDLE}: missing",
    ),
    "a damaged shard": State(
        spoil=damaged, sentence=f"{MIDDLE} is ", remedy="delete it and run `hmdb-prep extract`", verify="delete it"
    ),
    "edited manifests": State(
        spoil=edited,
        sentence="does not hold ",
        remedy="run `hmdb-prep merge` to make them again",
        verify="row is 77, the shard says ",
    ),
}
VERIFY_REMEDIES = {
    "a shard of B among those of A": "move the shards that do not belong there to another folder, then run `hmdb-prep",
    "an extraction that is not finished": "run `hmdb-prep extract`, which makes the shards that are missing",
    "a damaged shard": "each line says what to do",
    "edited manifests": "run `hmdb-prep merge`, which makes the manifests again",
}


def call(app: typer.Typer, folder: Path, *arguments: str) -> int:
    """Call a command on data set A, in this process."""
    places = ["--shards", str(folder / "a" / "shards"), "--manifests", str(folder / "a" / "manifests")]
    return exit_code_of(lambda: app([*arguments, *places], standalone_mode=False))


COMMANDS: dict[str, tuple[typer.Typer, tuple[str, ...]]] = {
    "eda": (prepare, ("eda",)),
    "balance": (prepare, ("balance", "--target", "9")),
    "run": (learn, ("run", "--runs", "{folder}", "--name", "new", "--device", "cpu")),
    "probe": (learn, ("probe", "--runs", "{folder}", "--name", "new", "--init", "{folder}/trained", "--device", "cpu")),
    "evaluate": (learn, ("evaluate", "{folder}/trained", "--device", "cpu")),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", STATES)
def test_one_wording_for_a_state(folder: Path, capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    state = STATES[name]
    state.spoil(folder)
    before = sorted((folder / "a" / "shards").glob("*"))
    app, words = COMMANDS[command]
    code = call(app, folder, *(word.format(folder=folder) for word in words))
    text = " ".join("".join(capsys.readouterr()).split())
    assert code == (0 if command == "eda" and state.is_drawn else 1), text
    assert state.sentence in text
    assert state.remedy in text
    assert sorted((folder / "a" / "shards").glob("*")) == before


@pytest.mark.parametrize("name", STATES)
def test_verify_says_the_same(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    state = STATES[name]
    state.spoil(folder)
    assert call(prepare, folder, "verify") == 1
    printed = capsys.readouterr()
    if state.verify:
        assert state.verify in printed.out
        assert VERIFY_REMEDIES[name] in printed.err
    else:
        assert printed.out == ""
        assert state.sentence in printed.err
        assert state.remedy in printed.err


def test_nothing_is_wrong_with_what_is_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("verify",), ("eda",), ("balance", "--target", "9")):
        assert call(prepare, folder, *words) == 0
    assert "24 clips verified" in capsys.readouterr().out
    assert call(learn, folder, "evaluate", str(folder / "trained"), "--device", "cpu") == 0


def test_shards_of_several_data_sets_are_counted(folder: Path) -> None:
    made = MadeDataset(shards=folder / "a" / "shards", manifests=folder / "a" / "manifests")
    names = sorted(file.name for file in made.shards.glob("*.h5"))
    assert look_at(made.shards, names, dataset_id=DATASET_ID).own == tuple(names)
    assert what_is_wrong(made.shards, names, dataset_id=DATASET_ID) == ""
    for name in names[:2]:
        shutil.copy(folder / "b" / "shards" / name, made.shards / f"{name[:-3]}9.h5")
    text = what_is_wrong(made.shards, names, dataset_id=DATASET_ID)
    assert text.startswith(f"2 of the shards in {made.shards} are, shard-000009.h5 first, of another data set")
    assert text.endswith("; move them to another folder")  # nothing is missing: nothing to make again


def test_verify_makes_nothing_again_where_nothing_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "b" / "shards" / MIDDLE, folder / "a" / "shards" / "shard-00077.h5")
    assert call(prepare, folder, "verify") == 1
    printed = capsys.readouterr()
    assert f"shard-00077.h5: of another data set ({OTHER_ID[:12]})" in printed.out
    assert "move the shards that do not belong there to another folder" in printed.err
    assert "extract" not in printed.err


def test_evaluate_says_how_many_of_all_shards_are_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = read_manifests(folder / "a" / "manifests")
    names = sorted(set(frame["shard"]))
    (folder / "a" / "shards" / MIDDLE).unlink()
    clips = frame[frame["shard"] == MIDDLE]
    loaded = load_model(folder / "trained", device=torch.device("cpu"))
    with pytest.raises(DataError, match=f"^1 of the {len(names)} shards is missing in .*, {MIDDLE}; run"):
        stored_probabilities(
            loaded, clips, shards=folder / "a" / "shards", views=Views(), batch_size=2, named=set(frame["shard"])
        )
    with pytest.raises(DataError, match=f"^1 of the {len(names)} shards is missing"):
        next(clips_in_shards(clips, folder / "a" / "shards", dataset_id=DATASET_ID, named=names))


def test_a_plan_that_needs_no_picture_says_whose_shards_lie_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards_of_another(folder)
    assert call(prepare, folder, "balance", "--strategy", "none") == 0
    assert f"are of another data set ({OTHER_ID[:12]}; the manifests are of {DATASET_ID[:12]})" in (
        capsys.readouterr().out
    )
