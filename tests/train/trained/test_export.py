"""lsvit-train export: files that answer as the model does, for any number of clips, with all that is needed inside."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_dataset import CLASSES
from made_run import make_run, small_config

from shared.errors import DataError
from shared.terminal.console import exit_code_of
from train.cli import app
from train.trained import export as export_module
from train.trained.export import ExportOptions, example_video, export, largest_difference
from train.trained.model import LoadedModel


def probabilities(loaded: LoadedModel, video: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return loaded.model(video).softmax(1).numpy()


def export_command(runs: Path, form: str) -> int:
    return exit_code_of(partial(app, ["export", "one", "--format", form, "--runs", str(runs)], standalone_mode=False))


def check_metadata(text: str, loaded: LoadedModel) -> None:
    content = json.loads(text)
    assert content["class_names"] == list(CLASSES)
    assert content["input"]["num_frames"] == 4 and content["input"]["image_size"] == 32
    assert content["normalisation"]["mean"] == list(loaded.facts.model_config.mean)
    assert (content["preprocessing"]["height"], content["preprocessing"]["width"]) == (24, 32)
    assert content["dataset_id"] == loaded.facts.dataset_id and content["synthetic"] is True


@pytest.mark.parametrize("variant", ["directional", "classic", "none"])
def test_torch_program(variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = make_run(tmp_path / "one", config=small_config(smif=variant))
    assert export_command(tmp_path, "torch") == 0
    path = tmp_path / "one" / "model.pt2"
    assert f"wrote {path}" in capsys.readouterr().out
    extra = {"lsvit.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    check_metadata(extra["lsvit.json"], loaded)
    video = example_video(loaded, num_clips=5)
    with torch.no_grad():
        np.testing.assert_allclose(program(video).numpy(), probabilities(loaded, video), atol=1e-5)


@pytest.mark.parametrize("variant", ["directional", "classic", "none"])
def test_onnx_model(variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    loaded = make_run(tmp_path / "one", config=small_config(smif=variant))
    assert export_command(tmp_path, "onnx") == 0
    path = tmp_path / "one" / "model.onnx"
    assert capsys.readouterr().out.startswith(f"wrote {path}")
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["model.onnx"]  # all in one file
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    check_metadata(session.get_modelmeta().custom_metadata_map["lsvit"], loaded)
    video = example_video(loaded, num_clips=5)
    (found,) = session.run(["probabilities"], {"video": video.numpy()})
    np.testing.assert_allclose(found, probabilities(loaded, video), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_the_check_sees_other_weights_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "one")
    path = export("one", ExportOptions(runs=tmp_path, form="torch", out=tmp_path / "m.bin"))
    other = make_run(tmp_path / "two", seed=5)
    assert largest_difference(path, other, form="torch") > 0.01
    torch.nn.init.constant_(other.model.head.bias, float("nan"))
    assert np.isnan(largest_difference(path, other, form="torch"))
    monkeypatch.setattr(export_module, "largest_difference", lambda *arguments, **options: float("nan"))
    with pytest.raises(DataError, match="differs from the original"):
        export("one", ExportOptions(runs=tmp_path, form="torch", out=tmp_path / "n.pt2"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "one", "two"]


def test_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "one")
    monkeypatch.setattr("shared.missing_packages.find_spec", lambda name: None)
    assert export_command(tmp_path, "onnx") == 2
    assert "hmdb51-lsvit[export]" in capsys.readouterr().err
