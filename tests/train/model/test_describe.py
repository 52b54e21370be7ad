"""The description against the model itself and against hand-counted figures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from train.model.describe import COLUMNS, describe, steps, to_json, to_table
from train.model.describe_figure import draw_svg, render_svg
from train.model.lsvit import LSViT, ModelConfig, make_config

FIGURE = Path(__file__).parents[3] / "docs" / "lsvit.svg"


def base(variant: str = "directional") -> ModelConfig:
    values = {"num_classes": 51, "image_size": 224, "embed_dim": 768, "depth": 12, "num_heads": 12}
    return ModelConfig(**(values | {"smif": variant, "lmi": variant}))  # type: ignore[arg-type]


def tiny(variant: str, **changes: object) -> ModelConfig:
    values = {"num_classes": 7, "image_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_frames": 3}
    return ModelConfig(**(values | {"smif": variant, "lmi": variant} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["none", "classic", "directional"])
@pytest.mark.parametrize("pools", [{}, {"spatial_pool": "heatmap", "temporal_pool": "attention"}])
def test_steps_are_what_the_model_does(variant: str, pools: dict[str, object]) -> None:
    model = LSViT(tiny(variant, **pools)).eval()
    video = x = torch.rand(2, 3, 3, 32, 32)
    for step in steps(model):
        x = step.run(x)
    assert torch.equal(x, model(video).softmax(dim=-1))


@pytest.mark.parametrize("variant", ["none", "classic", "directional"])
def test_stages_follow_each_other_and_add_up(variant: str) -> None:
    description = describe(tiny(variant, spatial_pool="heatmap", temporal_pool="attention"))
    stages = description.stages
    assert stages[0].input == (1, 3, 3, 32, 32) and stages[-1].output == (1, 7)
    assert all(before.output == after.input for before, after in pairwise(stages))
    assert len({stage.name for stage in stages}) == len(stages)
    assert description.parameters == sum(stage.parameters for stage in stages)
    assert description.parameters == sum(parameter.numel() for parameter in LSViT(description.config).parameters())
    assert description.flops == sum(stage.flops for stage in stages)
    assert all(stage.explanation for stage in stages)


def test_base_by_hand() -> None:
    description = describe(base("classic"))
    assert description.parameters == 90_282_325
    stages = {stage.name: stage for stage in description.stages}
    shapes = [(stage.name, stage.output) for stage in description.stages if "blocks" not in stage.name]
    assert shapes == [
        ("smif", (1, 16, 3, 224, 224)),
        ("normalise", (1, 16, 3, 224, 224)),
        ("fold frames", (16, 3, 224, 224)),
        ("patch_embed", (16, 196, 768)),
        ("cls_token", (16, 197, 768)),
        ("pos_embed", (16, 197, 768)),
        ("norm", (16, 197, 768)),
        ("pool tokens", (16, 768)),
        ("unfold frames", (1, 16, 768)),
        ("pool frames", (1, 768)),
        ("head", (1, 51)),
        ("softmax", (1, 51)),
    ]
    tokens = 16 * 197
    assert stages["patch_embed"].flops == 2 * 16 * 196 * 768 * 768
    assert stages["blocks.3.attn"].flops == 2 * tokens * 4 * 768 * 768 + 2 * 2 * tokens * 197 * 768
    assert stages["blocks.3.mlp"].flops == 2 * 2 * tokens * 768 * 3072
    lmi_frames = 2 * 16 * (192 * 192 * 2 + 192 * 768)  # the gate is one a frame
    assert stages["blocks.3.lmim"].flops == 2 * tokens * 768 * 192 + lmi_frames
    assert stages["smif"].flops == 2 * 16 * 224 * 224 * 6 * 3
    assert stages["head"].flops == 2 * 768 * 51


def test_json() -> None:
    description = describe(tiny("directional"))
    content = json.loads(to_json(description))
    assert set(content) == {"parameters", "flops", "stages"}
    assert content["parameters"] == description.parameters and content["flops"] == description.flops
    assert content["stages"][0]["name"] == "smif"
    assert content["stages"][0]["input"] == [1, 3, 3, 32, 32]
    assert all({"name", "input", "output"} <= set(stage) for stage in content["stages"])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_table_shows_one_block_and_sums_up_the_rest(depth: int) -> None:
    description = describe(tiny("directional", depth=depth))
    rows = to_table(description)
    assert all(len(row) == len(COLUMNS) for row in rows)
    names = [row[0] for row in rows]
    assert "blocks.0.lmim" in names
    assert {1: None, 2: "blocks.1", 3: "blocks.1 to blocks.2"}[depth] in [*names, None]
    counts = [int(row[3].replace(",", "")) for row in rows if row[3]]
    assert counts[-1] == sum(counts[:-1]) == description.parameters


def test_table_shows_a_block_with_lmi_where_few_have_one() -> None:
    rows = to_table(describe(tiny("directional", depth=6, lmi_every=3)))
    names = [row[0] for row in rows]
    assert "blocks.0" in names and "blocks.1.lmim" in names and "blocks.2 to blocks.5" in names
    said = {row[0]: row[-1] for row in rows}
    assert said["blocks.0"] == "the same once more, without LMI"
    assert said["blocks.2 to blocks.5"] == "the same 4 times more, with LMI in 1"
    counts = [int(row[3].replace(",", "")) for row in rows if row[3]]
    assert counts[-1] == sum(counts[:-1])


def test_figure_is_well_formed_and_shows_every_stage(tmp_path: Path) -> None:
    description = describe(tiny("directional", depth=3))
    draw_svg(description, tmp_path / "new" / "figure.svg")
    root = ET.parse(tmp_path / "new" / "figure.svg").getroot()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for row in to_table(description)[:-1]:
        assert row[0] in texts and row[2] in texts
    height = float(root.attrib["height"])
    assert all(float(element.attrib["y"]) < height for element in root.iter("{http://www.w3.org/2000/svg}text"))


def test_figure_of_the_docs_is_up_to_date() -> None:
    description = describe(make_config("base", num_classes=51, image_size=224))
    assert FIGURE.read_text(encoding="utf-8") == render_svg(description)
