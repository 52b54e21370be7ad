"""lsvit-train explain on clip ids: the stored frames, their numbers, folders by action, the evaluation's command."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from commands import command_line, fail, succeed
from made_run import make_run
from media import HMDB_LIKE, ffmpeg_frames, make_video

from preprocess.extract.command import run_extraction
from preprocess.extract.extraction_plan import ExtractionParameters
from preprocess.extract.settings import ExtractionSettings
from shared.errors import DataError
from train.explain.clips import DataFolders, find_clip
from train.explain.command import folder_name
from train.explain.pictures import write_sheet, write_video
from train.trained.model import LoadedModel

ODD = "it's (a) & b! ;$x"
SAYING = ("--shards", "s", "--manifests", "m")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two classes, in ``v``, extracted with T=4 and K=3 into ``s`` and ``m``; a run called ``one``."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg command is not installed")
    folder = tmp_path_factory.mktemp("explained")
    for index, name in enumerate(("jump/a", f"jump/{ODD}", "run/c", "run/short")):
        count = 2 if name == "run/short" else 20 + 11 * index
        make_video(folder / "v" / f"{name}.avi", *HMDB_LIKE, num_frames=count, size="64x48")
    settings = ExtractionSettings(
        videos=folder / "v",
        shards=folder / "s",
        manifests=folder / "m",
        parameters=ExtractionParameters(size="24x32", num_segments=4, frames_per_segment=3),
        num_workers=1,
    )
    dataset = run_extraction(settings)
    assert dataset is not None
    make_run(folder / "runs" / "one", class_names=("jump", "run"), dataset_id=dataset.dataset_id)
    return folder


@pytest.fixture
def scene(extracted: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(extracted, tmp_path / "scene"))


def loaded_of(folder: Path) -> LoadedModel:
    from train.trained.model import load_model

    return load_model(folder / "runs" / "one")


def folders_of(folder: Path) -> DataFolders:
    return DataFolders(videos=folder / "v", shards=folder / "s", manifests=folder / "m")


@pytest.mark.parametrize("name", ["jump/a", f"jump/{ODD}", "run/c", "run/short"])
def test_stored_frames_are_those_of_the_video(scene: Path, name: str) -> None:
    loaded = loaded_of(scene)
    stored = find_clip(name, loaded, folders_of(scene))
    decoded = find_clip(str(scene / "v" / f"{name}.avi"), loaded, folders_of(scene))
    assert np.array_equal(stored.frames, decoded.frames)
    assert stored.frame_index == decoded.frame_index and len(stored.frame_index) == 4
    assert stored.notes == decoded.notes
    assert stored.name == name and stored.folder == Path(name) and decoded.folder == Path(name.split("/")[1])


def test_a_clip_without_its_shard_is_decoded_again(scene: Path) -> None:
    stored = find_clip("run/c", loaded_of(scene), folders_of(scene))
    for shard in (scene / "s").glob("*.h5"):
        shard.unlink()
    again = find_clip("run/c", loaded_of(scene), folders_of(scene))
    assert np.array_equal(again.frames, stored.frames) and again.frame_index == stored.frame_index
    assert again.folder == stored.folder and "decoded from" in again.notes[-1]
    shutil.rmtree(scene / "v")
    with pytest.raises(DataError, match="no shard that the manifests name"):
        find_clip("run/c", loaded_of(scene), folders_of(scene))


def test_what_is_neither_video_nor_clip_is_said(scene: Path) -> None:
    with pytest.raises(
        DataError, match=r"no video at run/d, and no clip of this id among the 4 clips .*nearest is run/"
    ):
        find_clip("run/d", loaded_of(scene), folders_of(scene))
    shutil.rmtree(scene / "m")
    with pytest.raises(DataError, match=r"no video at run/c; if it is the id of a clip: .*--manifests"):
        find_clip("run/c", loaded_of(scene), folders_of(scene))


def test_manifests_of_another_data_set_are_refused(scene: Path) -> None:
    make_run(scene / "runs" / "one", class_names=("jump", "run"), dataset_id="f" * 64)
    with pytest.raises(DataError, match="trained on data set ffffffffffff"):
        find_clip("run/c", loaded_of(scene), folders_of(scene))


def test_each_action_has_its_folder(scene: Path) -> None:
    actions = ("--action", "run", "--action", "jump", "--action", "run")
    words = ("explain", "one", "run/c", *SAYING, *actions, "--out", "o")
    out = succeed("lsvit-train", *words, cwd=scene, installed=True)
    assert sorted(str(path.relative_to(scene / "o")) for path in (scene / "o").rglob("index.html")) == [
        "run/c/jump/index.html",
        "run/c/run/index.html",
    ]
    assert out.count("wrote o/run/c/") == 2
    for action in ("run", "jump"):
        page = (scene / "o" / "run" / "c" / action / "index.html").read_text()
        assert f"attention for {action}" in page
        assert re.findall(r'data-frame="(\d+)"', page)[:4] == ["5", "15", "26", "36"]  # middles of the quarters of 42
        assert "frame 5 of the video, 1 of 4 shown" in page and "counted from 0" in page


def test_a_sheet_with_letters_that_no_font_has_warns_of_nothing(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_sheet(
            tmp_path / "s.png",
            frames=frames,
            frame_index=(0, 1),
            layers=[],
            received=None,
            blocks=(),
            title="\U00013000",
        )
    assert (tmp_path / "s.png").is_file()


def test_the_video_bears_the_numbers_of_its_frames(tmp_path: Path) -> None:
    frames = np.full((2, 24, 24, 3), 128, dtype=np.uint8)
    for name, index in (("a", (3, 7)), ("b", (3, 3))):
        write_video(tmp_path / f"{name}.mp4", frames=frames, frame_index=index, layers=[])
    one, other = (ffmpeg_frames(tmp_path / f"{name}.mp4", height=240, width=240).astype(int) for name in "ab")
    assert np.abs(one[0] - one[1])[:20, :80].max() > 100 and np.abs(other[0] - other[1]).max() < 60
    assert np.abs(one[0] - one[1])[40:].max() < 20


def test_folder_names_of_classes() -> None:
    assert [folder_name(each) for each in ("walk", "a/b", "..", ODD)] == ["walk", "a_b", "_..", ODD]


def test_unknown_actions_and_clips_are_refused(scene: Path) -> None:
    assert "this run knows jump, run" in fail(2, "lsvit-train", "explain", "one", "run/c", "--action", "fly", cwd=scene)
    assert "no clip of this id" in fail(1, "lsvit-train", "explain", "one", "run/e", *SAYING, cwd=scene)


def test_the_evaluation_s_command_works_as_it_is_pasted(scene: Path) -> None:
    """Of every clip of the page, with a name full of the shell's own characters among them."""
    from train.confusions.films import explain_command

    before, after = explain_command(scene / "runs" / "one", shards=Path("s"), manifests=Path("m"))
    line = before + shlex.quote(f"jump/{ODD}") + after + " --out 'o ut'"
    program = "lsvit-train"
    assert line.startswith(program)
    pasted = " ".join([shlex.join(command_line(program, [])), line.removeprefix("lsvit-train ")])
    done = subprocess.run(["bash", "-c", pasted], capture_output=True, text=True, cwd=scene, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((scene / "o ut" / "jump" / ODD).glob("*/index.html"))) == 1
