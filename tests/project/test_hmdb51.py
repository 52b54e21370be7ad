"""`make hmdb51`: what it chooses, says and calls, and the whole of it on a small archive, killed in the middle."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import Outcome
from extraction import wait_until
from made_archives import make_zip
from made_hmdb51 import official_clips, rar_of_rars, small_vit

from scripts.hmdb51 import __main__ as command
from scripts.hmdb51 import estimate
from scripts.hmdb51.estimate import Source, evaluation_gflops, needs, training_gflops
from scripts.hmdb51.journal import Journal, Stage, locked, read_journal, run_stages, write_journal
from scripts.hmdb51.options import Options, check_training, choose, parse, with_source, with_usable_splits
from scripts.hmdb51.report import SplitFigures, make_report, markdown, read_figures, why_not_comparable
from scripts.hmdb51.roads import ROADS, memory_options, suiting_road
from scripts.hmdb51.stages import data_stages, fetch_stages, model_stages, settles_training, weights_stage
from shared.errors import DataError, UsageError
from shared.manifests.files import Dataset
from shared.splits.parts import official_splits

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README.split("## From HMDB51 to a good model", 1)[1].split("\n## ", 1)[0]


def named(options: Options, road: str) -> Options:
    return dataclasses.replace(options, name=str(ROADS[road].settings()["name"]), source="hmdb51_org.rar")


def commands_of(road: str, **changes: str) -> list[tuple[str, ...]]:
    options = dataclasses.replace(named(Options(), road), **changes)
    models = model_stages(options, ROADS[road], manner=())
    stages = [weights_stage(options, ROADS[road]), *fetch_stages(options), *data_stages(options), *models]
    return [stage.words for stage in stages]


@pytest.mark.parametrize(
    ("gigabytes", "road", "options"),
    [
        (0, "probe", ()),
        (6.2, "probe", ()),
        (8.2, "motion", ()),
        (11.5, "motion", ()),
        (15.8, "whole", ("--grad-accum-steps", "4")),
        (25.3, "whole", ()),
        (84.9, "whole", ()),
    ],
)
def test_the_road_follows_the_gpus_memory(gigabytes: float, road: str, options: tuple[str, ...]) -> None:
    assert suiting_road(gigabytes).name == road
    assert memory_options(suiting_road(gigabytes), gigabytes) == options
    assert choose(Options(runs="nowhere"), gpu=gigabytes)[1].name == road


def test_a_road_that_is_asked_for_fits_into_less_memory() -> None:
    assert memory_options(ROADS["whole"], 8.2) == ("--checkpoint-blocks",)
    assert memory_options(ROADS["motion"], 0) == ("--checkpoint-blocks",)
    assert memory_options(ROADS["small"], 8.2) == ()
    assert choose(Options(road="small", runs="nowhere"), gpu=99)[1].name == "small"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("SPLIT=1", "no variable 'SPLIT'; there are SOURCE, NAME"),
        ("ROAD=short", "one of auto, probe, small, motion, whole"),
        ("SPLITS=1,4", "official splits"),
        ("SPLITS=1,1", "each once"),
        ("SPLITS=full", "official splits"),
        ("EPOCHS=two", "whole number"),
        ("SIZE=native", "write HxW"),
        ("SIZE=big", "--size"),
        ("NAME=a/b", "without slashes"),
        ("NAME=-x", "neither - nor ."),
        ("NAME=..", "neither - nor ."),
        ("EPOCHS=0", "from 1 to"),
        ("WORKERS=0", "from 1 to"),
        ("SEED=99999999999999999999999", "from 0 to 4294967295"),
    ],
)
def test_a_wrong_variable_is_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse([word])


def test_variables_of_make_itself_and_empty_ones_are_nothing() -> None:
    assert parse(["VENV=.venv-other", "NAME=", "SIZE=224x304"]) == Options()
    assert parse(["SOURCE=a=b.rar", "SPLITS=3,1"]) == Options(source="a=b.rar", splits="3,1")


def test_known_variables_come_from_the_environment_too() -> None:
    environment = {"SOURCE": "x.rar", "ROAD": "motion", "SPLIT": "1", "SEED": "7", "NAME": "host"}
    assert parse(["ROAD=small", "SEED="], environment) == Options(source="x.rar", road="small")
    shown = subprocess.run(
        ["make", "-n", "hmdb51"], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert "SPLIT=" not in shown.stdout


@pytest.mark.parametrize(("road", "init", "size"), [("probe", "", "13x200"), ("whole", "", "15"), ("whole", "w", "7")])
def test_pictures_smaller_than_a_patch_are_refused(road: str, init: str, size: str, tmp_path: Path) -> None:
    options = Options(road=road, init=init, runs=str(tmp_path), size=size)
    with pytest.raises(UsageError, match="smaller than a patch"):
        choose(options, gpu=0)
    larger = "x".join(str(int(side) + 1) for side in size.split("x"))
    assert choose(dataclasses.replace(options, size=larger), gpu=0)[1].name == road


def test_make_hands_over_every_variable_as_it_is() -> None:
    words = ["SOURCE=https://x.org/it's a&b.rar?c=$(d)", "SPLIT=1"]
    shown = subprocess.run(
        ["make", "-n", "hmdb51", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in shown.splitlines() if "-m scripts.hmdb51" in line)
    printed = line.replace(line.split("-m scripts.hmdb51")[0] + "-m scripts.hmdb51", "printf '%s\\n'", 1)
    assert sorted(subprocess.check_output(["bash", "-c", printed], text=True).splitlines()) == sorted(words)


@pytest.mark.parametrize("road", ROADS)
def test_no_test_clip_is_evaluated_before_all_training_has_ended(road: str) -> None:
    names = [words[1] for words in commands_of(road)]
    assert names == ["describe", "fetch", "extract", "verify", "eda", ROADS[road].command, *["evaluate"] * 3]
    training, evaluations = commands_of(road)[5], commands_of(road)[6:]
    assert ROADS[road].recipe_file in training and "--resume" in training
    splits = training[training.index("--split") + 1] if "--split" in training else ROADS[road].settings()["split"]
    assert splits == "1,2,3" and [words[words.index("--splits") + 1] for words in evaluations] == ["1", "2", "3"]


def test_the_readmes_chain_is_what_it_calls() -> None:
    chain = SECTION.split("```sh\n")[2].split("```")[0]
    readme = [line.split("#")[0].split() for line in chain.splitlines()]
    called = [without_places(words) for words in commands_of("probe") if words[1] != "describe"]
    assert readme[:-1] == called[: len(readme) - 1]
    assert all(words[:3] == readme[-1] for words in called[len(readme) - 1 :])


def without_places(words: tuple[str, ...]) -> list[str]:
    """A command without the folders that are its defaults."""
    defaults = [("--videos", "data/videos"), ("--shards", "data/shards"), ("--manifests", "data_manifests")]
    text = " ".join(words)
    for flag, folder in (*defaults, ("--runs", "runs"), ("fetch hmdb51_org.rar", "data/videos")):
        text = text.replace(f"{flag} {folder}", flag if "fetch" in flag else "")
    return text.split()


def test_the_readme_names_every_variable() -> None:
    for field in dataclasses.fields(Options):
        assert f"`{field.name.upper()}" in SECTION, field.name


def test_weights_of_ones_own_bring_their_shape() -> None:
    (whole,) = (words for words in commands_of("whole", init="w.pth") if words[1] == "run")
    assert "--init w.pth --preset auto" in " ".join(whole)
    (motion,) = (words for words in commands_of("motion", init="w.pth") if words[1] == "run")
    assert "--init w.pth --activation auto" in " ".join(motion)
    assert "--activation" not in commands_of("motion", init="w.pth")[0]
    assert "--activation quick_gelu" in " ".join(commands_of("motion")[0])


def test_a_folder_of_videos_in_its_place_needs_no_fetching(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    options = with_source(Options(videos=str(tmp_path / "videos")), None)
    assert options.source == options.videos
    assert fetch_stages(options) == ()
    assert with_source(Options(), Journal(road="probe", source="hf:a/b")).source == "hf:a/b"
    with pytest.raises(UsageError, match="SOURCE is missing"):
        with_source(Options(videos=str(tmp_path / "none")), None)
    with pytest.raises(DataError, match="nothing at SOURCE"):
        with_source(Options(source=str(tmp_path / "none.rar")), None)


def hours_of(road: str, *, splits: str = "1,2,3", has_gpu: bool) -> tuple[float, float]:
    """Hours of training, and of evaluating one split."""
    options = named(Options(splits=splits), road)
    source = Source(num_bytes=2.1e9, copies=3, num_clips=6766)
    found = needs(options, ROADS[road], source, has_gpu=has_gpu)
    seconds = {need.stage: need.seconds or 0 for need in found}
    return seconds["train"] / 3600, seconds["evaluate"] / 3600 / len(splits.split(","))


def test_the_readme_and_the_estimate_say_the_same_hours() -> None:
    rows = {row[0]: re.findall(r"[\d.]+", row[3]) for row in table_of(SECTION, "| road |")}
    probe, motion, small, whole = rows.values()
    assert [round(hours_of("probe", has_gpu=False)[0]), round(hours_of("probe", splits="1", has_gpu=False)[0])] == [
        int(hours) for hours in probe[:2]
    ]
    assert round(hours_of("probe", has_gpu=False)[1]) == int(probe[2])
    assert round(hours_of("motion", has_gpu=True)[0]) == int(motion[0])
    assert round(hours_of("small", splits="1", has_gpu=True)[0], 1) == float(small[0])
    assert round(hours_of("whole", has_gpu=True)[0]) == int(whole[0])


def table_of(page: str, head: str) -> list[list[str]]:
    lines = page[page.index(head) :].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2 : lines.index("")]]


def test_features_of_several_splits_are_counted_once() -> None:
    one, three = named(Options(splits="1"), "probe"), named(Options(), "probe")
    assert training_gflops(one, ROADS["probe"]) == 3570 * 3 * 204
    assert training_gflops(three, ROADS["probe"]) < 6766 * 3 * 204 < 3 * training_gflops(one, ROADS["probe"])
    assert evaluation_gflops(three, ROADS["probe"]) == 3 * 1530 * 204


def test_a_disk_that_is_too_small_is_refused_after_the_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate, "gpu_gigabytes", lambda: 0.0)
    monkeypatch.setattr(estimate, "free_bytes", lambda path: 50e9)
    places = [f"{name.upper()}={tmp_path / name}" for name in ("videos", "shards", "manifests", "runs")]
    with pytest.raises(DataError, match=r"7\d\.\d GB more are needed .* 50.0 GB are free; .*SIZE="):
        command.main(["SOURCE=https://x.org/hmdb51_org.rar", *places])
    with pytest.raises(DataError) as error:  # the shards are there: smaller pictures would not help
        need = estimate.Need("train", 1.0, 60e9, tmp_path / "runs", "")
        estimate.check_disks([need], Options(shards=str(tmp_path / "shards"), runs=str(tmp_path / "runs")))
    assert "SIZE" not in str(error.value)
    assert "estimated for 6766 clips" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_the_archive_tells_how_many_clips_to_expect(tmp_path: Path) -> None:
    def count(source: str) -> int:
        return estimate.look_at_source(Options(source=source, videos=str(tmp_path / "none"))).num_clips

    assert count("https://x.org/a.rar") == 6766
    assert count(str(make_zip(tmp_path / "a.zip", {"run/a.avi": b"1", "run/b.avi": b"2", "readme.txt": b""}))) == 2
    with (tmp_path / "half.rar").open("wb") as file:
        file.truncate(1_050_000_000)  # half the official archive's size, and empty
    assert count(str(tmp_path / "half.rar")) == 3383


def made_stages(folder: Path) -> list[Stage]:
    """Three commands that say their name; the second one fails while the file ``broken`` is there."""

    def stage(name: str, code: str) -> Stage:
        return Stage(name=name, command=("python", "-c", f"{code}; print({name!r})"), leaves=(folder,))

    broken = f"import sys, pathlib; pathlib.Path({str(folder / 'broken')!r}).exists() and sys.exit(7)"
    return [stage("one", "pass"), stage("two", broken), stage("three", "pass")]


def go_on(folder: Path, stages: list[Stage], capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    """Run them: the exit code, what ran, and what was said of a failure."""
    journal, code = read_journal(folder) or Journal(road="probe", source=""), 0
    try:
        with locked(folder) as lock:
            run_stages(stages, journal, folder=folder, lock=lock)
    except SystemExit as stopped:
        code = int(str(stopped.code))
    out, err = capfd.readouterr()
    return code, [line for line in out.splitlines() if line in ("one", "two", "three")], err


def test_stages_go_on_where_one_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stages = made_stages(tmp_path)
    (tmp_path / "broken").touch()
    code, ran, err = go_on(tmp_path, stages, capfd)
    assert (code, ran) == (7, ["one"])
    assert err == "make hmdb51: two ended with code 7; mend that, then the same call goes on\n"
    (tmp_path / "broken").unlink()
    assert go_on(tmp_path, stages, capfd) == (0, ["two", "three"], "")
    assert go_on(tmp_path, stages, capfd) == (0, [], "")
    changed = [stages[0], dataclasses.replace(stages[1], command=("python", "-c", "print('two')")), stages[2]]
    assert go_on(tmp_path, changed, capfd) == (0, ["two", "three"], "")  # what follows a changed stage is done again
    hastened = [*changed[:2], dataclasses.replace(changed[2], manner=("--workers", "2"))]
    assert go_on(tmp_path, hastened, capfd) == (0, [], "")
    gone = [dataclasses.replace(changed[0], leaves=(tmp_path / "gone",)), *changed[1:]]
    assert go_on(tmp_path, gone, capfd) == (0, ["one", "two", "three"], "")


def test_a_stage_is_due_again_where_what_it_read_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    videos, archive = tmp_path / "videos", tmp_path / "a.zip"
    videos.mkdir()
    (videos / "a.avi").write_bytes(b"1")
    archive.write_bytes(b"1")
    one, two, three = made_stages(tmp_path)
    stages = [dataclasses.replace(one, reads=(archive,)), dataclasses.replace(two, reads=(videos,)), three]
    assert go_on(tmp_path, stages, capfd)[1] == ["one", "two", "three"]
    (videos / "b.avi").write_bytes(b"2")
    assert go_on(tmp_path, stages, capfd)[1] == ["two", "three"]
    archive.write_bytes(b"22")
    assert go_on(tmp_path, stages, capfd)[1] == ["one", "two", "three"]
    archive.unlink()  # what is gone is needed no more
    assert go_on(tmp_path, stages, capfd)[1] == []


def test_a_signal_needs_no_mending(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = Stage(name="one", command=("python", "-c", "import os; os.kill(os.getpid(), 9)"))
    code, _, err = go_on(tmp_path, [ended], capfd)
    assert (code, err) == (137, "make hmdb51: one ended with code 137; the same call goes on from here\n")


def test_a_training_that_was_begun_keeps_its_settings(tmp_path: Path) -> None:
    weights = tmp_path / "vit.pth"
    weights.write_bytes(b"1")
    options = Options(name="mine", init=str(weights), splits="1", runs=str(tmp_path / "runs"))
    begun = Journal(road="probe", source="", trained_with=settles_training(options, ROADS["probe"]))

    def check(changed: Options) -> None:
        check_training(changed, begun, settles_training(changed, ROADS["probe"]))

    check(options)
    check_training(dataclasses.replace(options, epochs="3"), Journal(road="probe", source=""), {"EPOCHS": "3"})
    for name, value in (("splits", "1,2"), ("init", "hf:a/b"), ("seed", "1"), ("epochs", "3"), ("size", "64")):
        with pytest.raises(UsageError, match=rf"begun with {name.upper()}=.* choose another NAME="):
            check(dataclasses.replace(options, **{name: value}))
    weights.write_bytes(b"2")
    with pytest.raises(UsageError, match="other content of the weights of INIT"):
        check(options)
    weights.unlink()  # a run keeps what it needs of them
    check(options)
    edited = {**settles_training(options, ROADS["probe"]), "the recipe": "0" * 64}
    with pytest.raises(UsageError, match="other content of the recipe"):
        check_training(options, begun, edited)


def test_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(DataError, match="is at work"), locked(tmp_path):
        pass


def test_a_road_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    options = Options(runs=str(tmp_path))
    write_journal(tmp_path / "hmdb51-motion", Journal(road="motion", source="a.rar"))
    chosen, road, reason = choose(options, gpu=0)
    assert (chosen.name, road.name, reason) == ("hmdb51-motion", "motion", "as it was begun")
    assert choose(dataclasses.replace(options, road="probe"), gpu=0)[1].name == "probe"
    write_journal(tmp_path / "mine", Journal(road="small", source=""))
    with pytest.raises(UsageError, match="begun with ROAD=small, not whole"):
        choose(dataclasses.replace(options, name="mine", road="whole"), gpu=0)
    (tmp_path / "mine" / "hmdb51.json").write_text("{}")
    with pytest.raises(DataError, match="delete it"):
        read_journal(tmp_path / "mine")


DATASET = Dataset(
    dataset_id="d" * 64, size="224x304", fit="crop", num_segments=16, frames_per_segment=3, clips_per_shard=64, seed=0,
    synthetic=False, class_names=("run",), num_videos=6766, num_clips=6766, num_quarantined=0, clips_per_class={},
    clips_per_split={}, rgb={}, shards=(),
)  # fmt: skip
COMPLETE = frozenset(official_splits())


def test_a_complete_data_set_is_comparable_and_others_say_why_not() -> None:
    assert why_not_comparable(Options(), DATASET, COMPLETE) == []
    partly = {clip_id for clip_id in COMPLETE if clip_id[0] in "rsw"}
    num_classes = len({clip_id.partition("/")[0] for clip_id in partly})
    reasons = " ".join(why_not_comparable(Options(splits="1", epochs="2"), DATASET, partly))
    for words in (
        f"{len(partly)} of HMDB51's 6766 clips",
        f"{num_classes} of 51 classes",
        f"{6766 - len(partly)} clips are not",
        "mean of 1 split alone (1)",
        "EPOCHS=2",
    ):
        assert words in reasons
    synthetic = dataclasses.replace(DATASET, synthetic=True)
    assert "say nothing about HMDB51" in why_not_comparable(Options(), synthetic, COMPLETE)[0]


def test_a_split_that_few_classes_test_is_left_out_and_said() -> None:
    clips = pd.DataFrame(
        {
            "class_name": ["run", "run", "sit", "sit", "walk", "walk"],
            "split1": ["train", "train", "train", "test", "train", "train"],
            "split2": ["train", "test", "train", "test", "train", "unused"],
            "split3": ["train", "test", "train", "test", "train", "test"],
        }
    )
    options, left_out = with_usable_splits(Options(), clips)
    assert options.splits == "2,3"
    assert left_out == ["Split 1 is left out: of 3 classes 3 have clips to train on and 1 to test on."]
    with pytest.raises(DataError, match="no split can be measured"):
        with_usable_splits(Options(splits="1"), clips)


def test_the_report_gives_the_mean_beside_the_literature() -> None:
    results = [
        SplitFigures(split=split, num_clips=1530, top1=top1, top5=0.9, mean_class_accuracy=top1)
        for split, top1 in (("1", 0.7), ("2", 0.71), ("3", 0.74))
    ]
    options = named(Options(), "probe")
    journal = Journal(road="probe", source="")
    report = make_report(options, ROADS["probe"], results=results, dataset=DATASET, remarks=[], journal=journal)
    text = markdown(report)
    assert "top-1 71.7 ± 2.1 %, mean ± standard deviation of splits 1, 2, 3" in text
    assert "| mean ± std | 4590 | 71.7 ± 2.1 | 90.0 ± 0.0 | 71.7 ± 2.1 |" in text
    assert "Not comparable" not in text and "not comparable" not in text
    assert "| archive | unknown: the videos came from  |" in text
    with_archive = dataclasses.replace(journal, archive_sha256="0" * 64)
    for source, words in (("a.rar", "not the official one, SHA-256 000"), (options.videos, "unknown: the videos")):
        told = dataclasses.replace(options, source=source)
        made = make_report(
            told, ROADS["probe"], results=results, dataset=DATASET, remarks=["Not all."], journal=with_archive
        )
        assert f"| archive | {words}" in markdown(made) and "Not all." in markdown(made)
    for row in table_of(SECTION, "| method |"):
        assert f"| {' | '.join(row)} |" in text
    for figure in ("49.2", "56.9", "59.7", "62.6", "73.3", "75.6"):
        assert figure in text


# The whole of it -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return official_clips(tmp_path_factory.mktemp("drawn") / "videos")


def words_of(folder: Path, source: Path, *, splits: str = "1,2") -> list[str]:
    weights = folder / "vit.pth"
    if not weights.is_file():
        small_vit(weights)
    places = [f"{name.upper()}={folder / name}" for name in ("videos", "shards", "manifests", "runs")]
    chosen = [f"SOURCE={source}", f"INIT={weights}", f"SPLITS={splits}", "ROAD=probe", "NAME=small"]
    return [*chosen, "SIZE=32x48", "EPOCHS=2", "WORKERS=2", *places]


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.hmdb51", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(words: list[str]) -> Outcome:
    process = start(words)
    out, err = process.communicate(timeout=600)
    return Outcome(code=process.returncode, out=out, err=err)


def kill_when(condition: Callable[[], bool], words: list[str]) -> None:
    """SIGKILL it and all that it began at a moment."""
    process = start(words)
    try:
        wait_until(lambda: condition() or process.poll() is not None, seconds=300)
        assert process.poll() is None, process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def outputs(folder: Path) -> dict[str, bytes]:
    """What must not depend on kills: shards, manifests, heads and what was measured."""
    patterns = (
        "shards/*.h5",
        "manifests/clips/*",
        "runs/small/split*/metrics.csv",
        "runs/small/split*/evaluation/predictions.csv",
    )
    found = [file for pattern in patterns for file in folder.glob(pattern)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_from_an_archive_to_the_report_with_a_kill_in_the_middle(clips: dict[str, bytes], tmp_path: Path) -> None:
    words = words_of(tmp_path, make_zip(tmp_path / "hmdb51.zip", clips))
    shards, run = tmp_path / "shards", tmp_path / "runs" / "small"
    kill_when(lambda: shards.is_dir() and any(shards.iterdir()), words)
    assert not list(tmp_path.rglob("evaluation")) and not (run / "split1").exists()
    done = end(words)
    assert done.code == 0, done.out + done.err
    began = [line.split()[2] for line in done.out.splitlines() if line.startswith("== ")]
    assert began == ["extract", "verify", "eda", "probe", "evaluate", "evaluate"]
    assert (
        done.out.index("estimated for 24 clips") < done.out.index("-- fetch: finished before") < done.out.index("== ")
    )
    text = (run / "hmdb51.md").read_text()
    figures = [read_figures(dataclasses.replace(parse(words)), split) for split in ("1", "2")]
    assert [each.num_clips for each in figures] == [6, 6]
    assert re.search(r"\| mean ± std \| 12 \| \d+\.\d ± \d+\.\d \|", text)
    assert "Not comparable: 24 of HMDB51's 6766 clips were there, in 3 of 51 classes." in text
    assert "not the official one, SHA-256" in text and "| quarantined videos | 0 |" in text
    assert "DualPath" in text and "EPOCHS=2, SIZE=32x48" in text
    page = (run / "hmdb51.html").read_text()
    assert "DualPath" in page and "data:image/png" in page and "http" not in page.replace("http-equiv", "")
    again = end(words)
    assert again.code == 0 and "== " not in again.out and again.out.count("finished before") == 8
    assert f"{run / 'hmdb51.html'}" in again.out.splitlines()[-1]
    for change, message in (
        ("SPLITS=1", "SPLITS=1,2"),
        ("EPOCHS=3", "EPOCHS=2"),
        ("SIZE=64", "hold pictures of 32x48"),
    ):
        refused = end([*words, change])
        assert refused.code == 2 and message in refused.err and "== " not in refused.out, refused.err
    other = end([*words, "SIZE=64", "NAME=other"])
    assert other.code == 2 and "SHARDS= and MANIFESTS=" in other.err and "== " not in other.out


def test_what_a_stage_says_is_said_once_and_its_code_passed_on(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"no archive")
    (tmp_path / "vit.pth").write_bytes(b"no weights")
    done = end(words_of(tmp_path, tmp_path / "a.rar"))
    assert done.code == 1
    assert done.err.count("error: ") == 1 and "vit.pth" in done.err and "Traceback" not in done.err
    assert done.err.splitlines()[-1] == "make hmdb51: weights ended with code 1; mend that, then the same call goes on"
    assert not (tmp_path / "videos").exists()


@pytest.mark.slow
def test_kills_and_the_form_of_the_archive_change_nothing(clips: dict[str, bytes], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    straight = end(words_of(whole, rar_of_rars(tmp_path / "hmdb51_org.rar", clips), splits="1,2,3"))
    assert straight.code == 0, straight.out + straight.err
    words = words_of(killed, make_zip(tmp_path / "hmdb51.zip", clips), splits="1,2,3")
    run = killed / "runs" / "small"
    moments: list[Callable[[], bool]] = [
        lambda: (killed / "shards").is_dir() and any((killed / "shards").iterdir()),
        lambda: (run / "frame_features.h5").is_file(),
        lambda: (run / "split1" / "checkpoints" / "last.pt").is_file(),
        lambda: (run / "split1" / "evaluation" / "metrics.json").is_file(),
    ]
    for index, moment in enumerate(moments):
        kill_when(moment, words)
        evaluated = {file.parent.name for file in run.glob("split*/evaluation")}
        trained = {file.parents[1].name for file in run.glob("split*/checkpoints/last.pt")}
        assert not evaluated or (index == len(moments) - 1 and trained == {"split1", "split2", "split3"})
    done = end(words)
    assert done.code == 0, done.out + done.err
    assert "mean ± standard deviation of splits 1, 2, 3" in done.out
    assert outputs(killed) == outputs(whole) and len(outputs(whole)) == 1 + 3 + 3 + 3
