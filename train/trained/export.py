"""A trained model in a portable form, ONNX, torch.export or a folder for the hub, checked against the original."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from shared.errors import DataError, UsageError
from shared.files import whole_file
from shared.hub import HUB_PREFIX
from shared.missing_packages import check_extra
from shared.terminal.console import say
from train.model.lsvit import LSViT
from train.trained.card import read_measures
from train.trained.folders import HUB_FOLDER, find_run, run_name
from train.trained.hub_folder import check_place, check_push, push, write_folder
from train.trained.model import LoadedModel, load_model

FileFormat = Literal["onnx", "torch"]
Format = Literal[FileFormat, "hub"]

METADATA_KEY = "lsvit"
METADATA_FILE = "lsvit.json"
INPUT_NAME, OUTPUT_NAME = "video", "probabilities"
TOLERANCE = 1e-4  # of a probability
_EXTRA = ("onnx", "onnxruntime", "onnxscript")
_SUFFIXES: dict[FileFormat, str] = {"onnx": "onnx", "torch": "pt2"}
_LARGEST_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of the command."""

    runs: Path
    form: Format
    out: Path | None
    """None for ``model.onnx``, ``model.pt2`` or ``hub`` in the run's folder."""
    push: str | None = None
    """OWNER/NAME on the hub, to which a folder for it is uploaded; None for nowhere."""


class Probabilities(nn.Module):
    """The model with its softmax: video float32 (B, T, 3, S, S) in [0, 1] -> P(action | video), (B, classes)."""

    def __init__(self, model: LSViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.model(video)
        return logits.softmax(dim=1)


def export(run: str, options: ExportOptions) -> Path:
    """Write the model and check it; returns its file or folder. Raises DataError where its answers differ."""
    repo = (options.push or "").removeprefix(HUB_PREFIX)
    if options.push is not None:
        if options.form != "hub":
            raise UsageError(f"--push goes with --format hub, not with {options.form}")
        check_push(repo)
    folder = find_run(run, runs=options.runs, written="" if options.out else "the model (unless --out says where)")
    loaded = load_model(folder)
    if options.form == "hub":
        return _export_folder(loaded, folder, out=options.out or folder / HUB_FOLDER, repo=repo)
    return _export_file(loaded, folder, form=options.form, out=options.out)


def _export_folder(loaded: LoadedModel, folder: Path, *, out: Path, repo: str) -> Path:
    check_place(out, source=folder)
    measures = read_measures(loaded)
    if measures is None:
        say(f"note: the card has no results; `lsvit-train evaluate {folder}` measures them, then export again")
    write_folder(out, loaded, name=run_name(folder), measures=measures, repo=repo)
    if not repo:
        say(f"wrote {out}; it names the clips it was trained on; `--push OWNER/NAME` uploads it")
        return out
    address = push(out, repo)
    say(f"wrote {out} and uploaded it to {address}, where it names the clips it was trained on")
    return out


def _export_file(loaded: LoadedModel, folder: Path, *, form: FileFormat, out: Path | None) -> Path:
    if form == "onnx":
        check_extra("export", _EXTRA, what="--format onnx", otherwise=", or use --format torch")
    out = out or folder / f"model.{_SUFFIXES[form]}"
    metadata = json.dumps(model_metadata(loaded, run=run_name(folder)), indent=2)
    with whole_file(out) as temporary:
        if form == "onnx":
            write_onnx(temporary, loaded, metadata=metadata)
        else:
            write_program(temporary, loaded, metadata=metadata)
        difference = largest_difference(temporary, loaded, form=form)
        if not difference <= TOLERANCE:
            raise DataError(
                f"the exported model differs from the original by {difference:.2g} in a probability "
                f"(allowed: {TOLERANCE:g}); please report this with the versions that `hmdb-prep doctor` prints"
            )
    say(
        f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB); on the same input its probabilities differ from the "
        f"original's by at most {difference:.1g}"
    )
    return out


def model_metadata(loaded: LoadedModel, *, run: str) -> dict[str, object]:
    """Everything needed to feed the model and to read its answer, as plain values."""
    facts = loaded.facts
    return {
        "run": run,
        "epoch": loaded.epoch,
        "split": facts.split,
        "dataset_id": facts.dataset_id,
        "synthetic": facts.synthetic,
        "class_names": list(facts.class_names),
        "input": {
            "name": INPUT_NAME,
            "layout": "batch, frames, RGB, height, width",
            "dtype": "float32",
            "range": [0.0, 1.0],
            "num_frames": facts.shape.num_segments,
            "image_size": facts.model_config.image_size,
        },
        "output": {"name": OUTPUT_NAME, "meaning": "P(action | video), in the order of class_names"},
        "preprocessing": {
            "frames": "frame s of n >= T frames is ((2s + 1) n) // (2T); shorter videos repeat their last frame",
            **dataclasses.asdict(facts.size),
            "crop": "centre square of the shorter side, resized to image_size, bilinear with antialiasing",
        },
        "normalisation": {
            "inside_the_model": True,
            "mean": list(facts.model_config.mean),
            "std": list(facts.model_config.std),
        },
    }


def write_onnx(path: Path, loaded: LoadedModel, *, metadata: str) -> None:
    """One ONNX file with any batch size, the metadata as JSON under the key ``lsvit``."""
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision, not used here, is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
        program = torch.onnx.export(
            Probabilities(loaded.model).eval(),
            (example_video(loaded, num_clips=2),),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}},
            verbose=False,
        )
    assert program is not None  # it is None only where a file is given
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {METADATA_KEY: metadata})
    onnx.save_model(proto, str(path))


def write_program(path: Path, loaded: LoadedModel, *, metadata: str) -> None:
    """A torch.export program with any batch size, the metadata as the extra file ``lsvit.json``."""
    program = torch.export.export(
        Probabilities(loaded.model).eval(),
        (example_video(loaded, num_clips=2),),
        dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}},
    )
    with path.open("wb") as file:  # of a path torch would want the suffix .pt2
        torch.export.save(program, file, extra_files={METADATA_FILE: metadata})


def largest_difference(path: Path, loaded: LoadedModel, *, form: FileFormat) -> float:
    """Largest difference of a probability between the file and the model, on one clip and on three.

    NaN where either of them gives no numbers.
    """
    largest = 0.0
    for num_clips in (1, 3):
        video = example_video(loaded, num_clips=num_clips)
        with torch.inference_mode():
            expected = Probabilities(loaded.model).eval()(video).numpy()
            found = _run_onnx(path, video) if form == "onnx" else _run_program(path, video)
        largest = float(np.maximum(largest, np.abs(found - expected).max()))  # unlike max, it keeps NaN
    return largest


def example_video(loaded: LoadedModel, *, num_clips: int) -> Tensor:
    """Seeded noise in the shape of the model's input, float32 in [0, 1]."""
    shape = (num_clips, loaded.facts.shape.num_segments, 3, *2 * (loaded.facts.model_config.image_size,))
    return torch.rand(shape, generator=torch.Generator().manual_seed(num_clips))


def _run_onnx(path: Path, video: Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run([OUTPUT_NAME], {INPUT_NAME: video.numpy()})[0]
    return answer


def _run_program(path: Path, video: Tensor) -> np.ndarray:
    with path.open("rb") as file:
        answer: Tensor = torch.export.load(file).module()(video)
    return answer.numpy()
