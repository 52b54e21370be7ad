"""lsvit-train export --format hub: a folder that answers as its run does, bit for bit, also from the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from commands import fail_here, succeed_here
from made_dataset import CLASSES, MadeDataset
from made_hub import TOKEN, MadeHub, open_hub, use_hub
from made_run import make_run
from media import make_video
from safetensors.torch import load_file, save_file
from trained import train

import hmdb51_lsvit
from train.model.weights.families import load_weights
from train.model.weights.trained_on import UNKNOWN, TrainedOn
from train.trained.calibration import Calibration, read_calibration, write_calibration
from train.trained.export import ExportOptions, export
from train.trained.folders import find_run, run_name
from train.trained.model import load_model


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    make_video(path, num_frames=12)
    return path


def answers(run: str | Path, video: Path, *options: str | Path) -> list[dict[str, object]]:
    out = succeed_here("lsvit-train", "predict", run, video, "--json", "--device", "cpu", *options)
    predictions: list[dict[str, object]] = json.loads(out)[0]["predictions"]
    return predictions


def test_the_folder_answers_as_the_run(tmp_path: Path, video: Path) -> None:
    loaded = make_run(tmp_path / "one")
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=None))
    assert out == tmp_path / "one" / "hub" and run_name(out) == "one/hub"
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert answers(out, video) == answers("one", video, "--runs", tmp_path)
    again = load_model(out)
    assert again.facts == loaded.facts and again.origin == loaded.origin and again.folder == out
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {str(label): name for label, name in enumerate(CLASSES)}
    assert config["facts"]["image_size"] == 32 and config["facts"]["num_segments"] == 4
    assert config["facts"]["model_config"]["embed_dim"] == 32 and config["facts"]["fit"] == "crop"
    (answer,) = hmdb51_lsvit.predict(hmdb51_lsvit.load_model(str(out)), str(video))  # as the card says
    assert dict(answer.probabilities) == {str(each["action"]): each["probability"] for each in answers(out, video)}
    explained = succeed_here("lsvit-train", "explain", out, video, "--out", tmp_path / "maps", "--device", "cpu")
    assert "wrote" in explained


@pytest.mark.slow  # it trains and evaluates
def test_the_card(made: MadeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(made, tmp_path, "one", epochs=1)
    card = export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "card")) / "README.md"
    assert f"`lsvit-train evaluate {folder}` measures them" in capsys.readouterr().out
    text = card.read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "apache-2.0" and header["pipeline_tag"] == "video-classification"
    assert header["library_name"] == "hmdb51-lsvit" and "model-index" not in header
    assert "Not measured on test clips" in text and "validation clips of split 1" in text
    assert all(f"`{name}`" in text for name in load_model(folder).facts.class_names)

    data = ["--shards", made.shards, "--manifests", made.manifests, "--device", "cpu"]
    succeed_here("lsvit-train", "evaluate", folder, *data)
    measured = json.loads((folder / "evaluation" / "metrics.json").read_text())["splits"][0]
    export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "card"))
    text = card.read_text()
    (result,) = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "accuracy", "name": "top-1", "value": round(measured["top1"], 6)}
    assert f"| top-1 | {100 * measured['top1']:.1f} % |" in text

    # What it was trained on goes along, and decides as it does of the run.
    config = json.loads((tmp_path / "card" / "config.json").read_text())
    seen = config["facts"]["trained_on"]["clips"]
    assert seen == dict(load_model(folder).facts.trained_on.clips) and all(seen.values())
    unseen = json.loads((folder / "evaluation" / "metrics.json").read_text())["splits"][0]["confused_pairs"]
    (dataset_id, names), clip_id = next(iter(seen.items())), unseen[0]["clip_ids"][0]
    config["facts"]["trained_on"]["clips"] = {dataset_id: f"{names}\n{clip_id}"}
    (tmp_path / "card" / "config.json").write_text(json.dumps(config))
    assert f"such as {clip_id}" in fail_here(1, "lsvit-train", "evaluate", tmp_path / "card", *data)


@pytest.mark.slow  # three trainings
def test_a_run_begins_with_the_folder_as_with_the_run(made: MadeDataset, tmp_path: Path) -> None:
    train(made, tmp_path, "one", epochs=1)
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "shared"))
    shapes = dict.fromkeys(("embed_dim", "depth", "num_heads", "patch_size"), 0)
    first = train(made, tmp_path, "a", epochs=1, init="one", preset="auto", **shapes)
    other = train(made, tmp_path, "b", epochs=1, init=str(out), preset="auto", **shapes)
    one, two = load_model(first), load_model(other)
    assert all(torch.equal(value, two.model.state_dict()[name]) for name, value in one.model.state_dict().items())
    assert two.origin.init == "shared"  # and no folder of this machine
    assert (
        str(tmp_path) not in (export("b", ExportOptions(runs=tmp_path, form="hub", out=None)) / "README.md").read_text()
    )


def test_what_it_was_trained_on_goes_along(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=None))
    assert load_model(out).facts.trained_on == load_weights(str(out)).trained_on == UNKNOWN
    trained_on = TrainedOn(clips={"0" * 64: "walk/a\nwalk/b"})
    config = json.loads((out / "config.json").read_text())
    config["facts"]["trained_on"] = asdict(trained_on)
    (out / "config.json").write_text(json.dumps(config))
    assert load_model(out).facts.trained_on == load_weights(str(out)).trained_on == trained_on
    again = export(str(out), ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "again"))  # and from hand to hand
    assert load_model(again).facts == load_model(out).facts
    assert "2 clips in all" in (again / "README.md").read_text()


def test_a_calibration_goes_along(tmp_path: Path, video: Path) -> None:
    loaded = make_run(tmp_path / "one")
    calibration = Calibration(
        checkpoint="best.pt", epoch=1, temperature=2.0, num_clips=9, loss_before=1.0, loss_after=0.9,
        calibration_error_before=0.1, calibration_error_after=0.05,
    )  # fmt: skip
    write_calibration(loaded.folder, calibration)
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "out"))
    assert read_calibration(load_model(out)) == replace(calibration, checkpoint="model.safetensors")
    assert answers(out, video, "--calibrated") == answers(tmp_path / "one", video, "--calibrated")
    (loaded.folder / "calibration.json").unlink()
    export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "out"))
    assert not (out / "calibration.json").exists()


def test_halved_weights(tmp_path: Path, video: Path) -> None:
    make_run(tmp_path / "one")
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=None))
    halved = {name: value.half() for name, value in load_file(out / "model.safetensors").items()}
    save_file(halved, out / "model.safetensors")
    half, whole = answers(out, video), answers("one", video, "--runs", tmp_path)
    assert [each["action"] for each in half] == [each["action"] for each in whole] and half != whole


def test_nothing_of_others_is_replaced(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("mine")
    arguments = ["export", "one", "--format", "hub", "--runs", tmp_path, "--out", tmp_path / "project"]
    assert "holds README.md, and no exported model" in fail_here(2, "lsvit-train", *arguments)
    assert (tmp_path / "project" / "README.md").read_text() == "mine"
    itself = ["export", tmp_path / "one", "--format", "hub", "--out", tmp_path / "project" / ".." / "one"]
    assert "the folder of the model itself" in fail_here(2, "lsvit-train", *itself)
    assert "--push goes with" in fail_here(
        2, "lsvit-train", "export", "one", "--format", "torch", "--runs", tmp_path, "--push", "me/model"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config.pop("facts"), "'facts' is missing"),
        (lambda config: config["facts"].update(class_names=["one"]), "names 1 class for a model of"),
        (lambda config: config["facts"]["model_config"].update(depth=3), "3 blocks"),
        (lambda config: config["origin"].update(val_fraction=7.0), "val_fraction is 7.0"),
        (lambda config: config["origin"].pop("epoch"), "epoch"),
        (lambda config: config.update(version=2), "has version 2"),
    ],
)
def test_a_damaged_folder(change: object, words: str, tmp_path: Path, video: Path) -> None:
    make_run(tmp_path / "one")
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "out"))
    config = json.loads((out / "config.json").read_text())
    change(config)  # type: ignore[operator]
    (out / "config.json").write_text(json.dumps(config))
    assert words in fail_here(1, "lsvit-train", "predict", out, video)


@pytest.fixture
def hub() -> Iterator[type[MadeHub]]:
    with open_hub() as made:
        yield made


def test_to_the_hub_and_back(hub: type[MadeHub], tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "one")
    use_hub(monkeypatch, hub.endpoint, tmp_path / "cache")
    push = ["export", "one", "--runs", tmp_path, "--format", "hub", "--push"]
    last = succeed_here("lsvit-train", *push, "me/model").splitlines()[-1]
    assert last.startswith(f"wrote {tmp_path}/one/hub and uploaded it to {hub.endpoint}/me/model")
    assert sorted(hub.files) == [f"me/model/{name}" for name in ("README.md", "config.json", "model.safetensors")]
    assert "lsvit-train predict hf:me/model video.mp4" in hub.files["me/model/README.md"].decode()
    assert answers("hf:me/model", video) == answers("one", video, "--runs", tmp_path)
    assert run_name(find_run("hf:me/model", runs=tmp_path)) == "hf:me/model"
    assert load_weights("hf:me/model").class_names == CLASSES
    for words, file in (
        (["explain", "hf:me/model", video], "explanation"),
        (["evaluate", "hf:me/model"], "evaluation"),
    ):
        refused = fail_here(2, "lsvit-train", *words)
        assert f"the {file}" in refused and "`hf download me/model --local-dir DIR`" in refused
    hub.files["me/vit/model.safetensors"] = hub.files["me/model/model.safetensors"]
    assert "holds no model that" in fail_here(1, "lsvit-train", "predict", "hf:me/vit", video)
    assert "no repository hf:no/where" in fail_here(1, "lsvit-train", "predict", "hf:no/where", video)


@pytest.mark.parametrize(
    ("repo", "token", "code", "words"),
    [
        ("me/model", "", 2, "needs a token with the right to write"),
        ("model", TOKEN, 2, "write OWNER/NAME"),
        ("", TOKEN, 2, "write OWNER/NAME"),
        ("me/a b", TOKEN, 2, "no repository name"),
        ("me/model", "hf_wrong", 1, "may not write to hf:me/model (HTTP 401)"),
        ("other/model", TOKEN, 1, "may not write to hf:other/model (HTTP 403)"),
    ],
)
def test_a_push_that_is_refused(
    hub: type[MadeHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: str, token: str, code: int, words: str
) -> None:
    make_run(tmp_path / "one")
    use_hub(monkeypatch, hub.endpoint, tmp_path / "cache", token=token)
    push = ["export", "one", "--runs", tmp_path, "--format", "hub", "--push", repo]
    assert words in fail_here(code, "lsvit-train", *push)
    assert (tmp_path / "one" / "hub").exists() == (code == 1)
    assert not hub.files


def test_a_push_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "one")
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    push = ["export", "one", "--runs", tmp_path, "--format", "hub", "--push", "me/model"]
    assert "the hub is out of reach" in fail_here(1, "lsvit-train", *push)


def test_others_may_read_the_weights(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    out = export("one", ExportOptions(runs=tmp_path, form="hub", out=None))
    modes = {file.name: file.stat().st_mode & 0o777 for file in out.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_an_export_that_is_interrupted_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "one")
    options = ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "out")
    before = files_of(export("one", options))
    with monkeypatch.context() as patched:
        patched.setattr("train.trained.hub_folder._copy_calibration", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export("one", options)
    assert files_of(tmp_path / "out") == before


def interrupt(*_: object) -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["_copy_calibration", "_move_in"])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_export_that_is_killed_is_made_again(
    step: str, earlier: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "one")
    options = ExportOptions(runs=tmp_path, form="hub", out=tmp_path / "out")
    before = files_of(export("one", options)) if earlier else {}
    with monkeypatch.context() as patched:
        patched.setattr("train.trained.hub_folder.shutil.rmtree", lambda *_, **__: None)  # a kill cleans nothing up
        patched.setattr(f"train.trained.hub_folder.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export("one", options)
    assert (tmp_path / "out" / ".tmp-export" / "model.safetensors").exists()
    (tmp_path / "out" / ".tmp-export" / "calibration.json").write_text("of the killed one")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before
    if step == "_move_in":  # in its midst
        (tmp_path / "out" / "config.json").unlink(missing_ok=True)
        (tmp_path / "out" / ".tmp-export" / "model.safetensors").replace(tmp_path / "out" / "model.safetensors")
    after = files_of(export("one", options))
    assert sorted(after) == ["README.md", "config.json", "model.safetensors"]
    assert not earlier or after == before
