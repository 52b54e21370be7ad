"""Files that mean harm: what fuzzing found, and names and links that lead out of the folders."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_dataset import MadeDataset, make_dataset
from made_rows import clip_row
from made_run import make_run

from preprocess.extract.finish.verify import verify
from preprocess.extract.state import read_extraction_plan
from shared.checks import check_clip_names
from shared.errors import DataError
from shared.manifests.balancing_plans import read_plan_info
from shared.manifests.files import read_dataset, read_manifests, row_from_json, row_to_json
from train.ablate.grid import read_grid
from train.model.weights.files import read_weights
from train.run.config.files import read_config
from train.trained.model import load_model

DEEP = "[" * 200_000
OUT = ["../../outside", "/etc/passwd", "..", "", "a/../b", "a\nb", "x" * 300]


@pytest.fixture
def made(tmp_path: Path) -> MadeDataset:
    return make_dataset(tmp_path / "made", clips_per_class=2)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (column, name)
        for column in ("class_name", "clip_id", "path", "shard")
        for name in OUT
        if name or column in ("class_name", "clip_id")  # an empty path or shard is the folder itself
    ],
)
def test_manifest_rows_name_nothing_outside(made: MadeDataset, column: str, name: str) -> None:
    with pytest.raises(DataError, match="damaged"):
        row_from_json(json.dumps({**json.loads(row_to_json(clip_row())), column: name}))
    file = made.manifests / "clips" / "walk.csv"
    frame = read_manifests(made.manifests)
    frame = frame[frame["class_name"] == "walk"].assign(**{column: name})
    frame.head(1).to_csv(file, index=False)
    with pytest.raises(DataError, match=r"walk.csv"):
        read_manifests(made.manifests)


def test_names_of_extractions_pass() -> None:
    for stem in ("(HQ)_[1]_;~@+&!#_walk_f_cm_np1_le_med_2", "-x", "_x", "wäve", "a..b", "<b>&amp;", "=1+1"):
        check_clip_names(class_name="walk", clip_id=f"walk/{stem}", path=f"walk/{stem}.avi", shard="shard-00000.h5")
    with pytest.raises(ValueError, match="no clip of class"):
        check_clip_names(class_name="walk", clip_id="run/a", path="run/a.avi", shard="shard-00000.h5")


@pytest.mark.parametrize(("key", "value"), [("shards", "file"), ("class_names", "")])
def test_dataset_json_names_nothing_outside(made: MadeDataset, key: str, value: str) -> None:
    file = made.manifests / "dataset.json"
    content = json.loads(file.read_text())
    if value:
        content[key][0][value] = "../../outside/secret.h5"
    else:
        content[key][0] = "../../outside"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"dataset\.json is damaged"):
        verify(made.shards, made.manifests, advance=lambda count: None)


def test_a_plan_of_an_extraction_names_nothing_outside(tmp_path: Path) -> None:
    content = {"videos": [["../x", 1]], "blocks": [], "rejected": [], "parameters": {}, "dataset_id": ""}
    (tmp_path / "extraction.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="leads out of its folder"):
        read_extraction_plan(tmp_path)


def test_deep_nesting_and_long_numbers_are_one_line(made: MadeDataset, tmp_path: Path) -> None:
    def refuses(read: Callable[[Path], object], name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        assert len(str(caught.value)) < 400

    refuses(lambda path: read_dataset(path.parent), "dataset.json", DEEP)
    refuses(lambda path: read_extraction_plan(path.parent), "extraction.json", DEEP)
    refuses(lambda path: read_plan_info(path.with_suffix(".csv")), "1.json", DEEP)
    refuses(lambda path: row_from_json(path.read_text()), "row.json", DEEP)
    for text in (f"a = {DEEP}", f"epochs = {'9' * 5000}"):
        refuses(read_config, "config.toml", text)
        refuses(lambda path: read_grid(path, base={}), "grid.toml", text)


def test_halves_of_characters_are_refused() -> None:
    values = json.loads(row_to_json(clip_row())) | {"source": "\ud800"}
    with pytest.raises(DataError, match=r"source is .*ud800"):
        row_from_json(json.dumps(values))


def edited(path: Path, edit: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content["model"].update({"head.bias": torch.zeros(1).expand(10**6, 10**6)}), "no plain"),
        (lambda content: content["model"].update({"head.bias": torch.zeros(2, 2).to_sparse()}), "no plain"),
        (lambda content: content["model"].update({"head.bias": torch.empty(3, device="meta")}), "no plain"),
        (lambda content: content["model"].update({"head.bias": "text"}), "no plain"),
        (lambda content: content["facts"]["model_config"].update(depth=10**8), "100000000 blocks"),
        (lambda content: content["facts"]["model_config"].update(mlp_ratio=float("nan")), "mlp_ratio"),
        (lambda content: content["facts"]["model_config"].update(embed_dim=2**40), "do not fit"),
        (lambda content: content["facts"].update(height="24"), r"got `str` - at `\$\..*height`"),
        (lambda content: content["facts"].update(num_segments=5), "5 frames"),
        (lambda content: content["facts"].update(frames_per_segment=2), "odd"),
        (lambda content: content["facts"].update(class_names=[1, 2, 3]), "class_names"),
        (lambda content: content["progress"].update(best_key=[[]]), "best_key"),
        (lambda content: content["progress"].update(epoch=None), r"got `null` - at `\$\.epoch`"),
    ],
)
def test_checkpoints_that_lie_are_refused(
    tmp_path: Path,
    edit: Callable[[dict], None],  # type: ignore[type-arg]
    message: str,
) -> None:
    make_run(tmp_path)
    edited(tmp_path / "checkpoints" / "best.pt", edit)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path)


def test_a_checkpoint_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "checkpoints" / "best.pt"
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    with pytest.raises(DataError, match="it is compressed"):
        load_model(tmp_path)


def test_weights_without_content_are_refused(tmp_path: Path) -> None:
    torch.save({"pos_embed": torch.zeros(1).expand(1, 10**9, 10**9)}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="pos_embed is no plain tensor"):
        read_weights(tmp_path / "x.pth")
