"""Weights from files and from a hub: what is loaded, what is not, and every way in which it can go wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from loading import load_pretrained
from made_hub import open_hub
from safetensors.torch import save, save_file
from torch import Tensor

from shared.errors import DataError
from train.model.config import MotionInit
from train.model.lsvit import LSViT, ModelConfig, make_config
from train.model.weights.families import load_weights
from train.model.weights.pretrained import copy_weights, resized_temporal_positions

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def config(**changes: object) -> ModelConfig:
    values = {"num_classes": 5, "image_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_frames": 4}
    return ModelConfig(**(values | changes))  # type: ignore[arg-type]


def timm_vit(
    *, dim: int = 32, depth: int = 2, positions: int = 5, classes: int = 1000, patch: int = 16
) -> dict[str, Tensor]:
    """A state dict with the names and shapes of timm's VisionTransformer."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, positions, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "head.weight": (classes, dim),
        "head.bias": (classes,),
    }
    linear = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in range(depth):
        for name, shape in linear.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"blocks.{block}.{name}"] = (dim,)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def clips() -> Tensor:
    return torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_vit_base_into_classic(tmp_path: Path) -> None:
    save_file(timm_vit(dim=768, depth=12, positions=197), tmp_path / "vit.safetensors")
    model = LSViT(make_config("base", num_classes=51, image_size=224, smif="classic", lmi="classic"))
    report = load_pretrained(model, str(tmp_path / "vit.safetensors"))
    in_blocks = [key for key in report.missing if key.startswith("backbone.blocks.")]
    assert len(in_blocks) == 132 and all(".lmim." in key for key in in_blocks)
    others = set(report.missing) - set(in_blocks)
    assert others == {"smif.alpha", "smif.conv_fuse.weight", "smif.conv_fuse.bias", "head.weight", "head.bias"}
    assert report.unexpected == () and report.interpolated == ()
    assert len(report.loaded) == 150  # 12 a block, 6 outside
    assert [skipped.reason for skipped in report.skipped] == ["1000 classes in the file, 51 here"] * 2


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "model.", "backbone.", "_orig_mod.module.backbone."])
@pytest.mark.parametrize("nesting", [(), ("state_dict",), ("model",), ("model", "state_dict")])
def test_directional_equals_the_plain_vit_after_loading(tmp_path: Path, wrapper: str, nesting: tuple[str, ...]) -> None:
    tensors = timm_vit(classes=5)
    content: dict[str, object] = {wrapper + key: value for key, value in tensors.items()}
    for name in nesting:
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "vit.pth")
    plain, model = LSViT(config(smif="none", lmi="none")), LSViT(config(motion_init="identity"), seed=1)
    plain_report = load_pretrained(plain, str(tmp_path / "vit.pth"))
    assert plain_report.missing == plain_report.unexpected == ()
    report = load_pretrained(model, str(tmp_path / "vit.pth"))
    assert {key.split(".")[0] for key in report.missing} == {"smif", "backbone"}
    assert torch.equal(plain.backbone.blocks[1].mlp.fc1.weight, tensors["blocks.1.mlp.fc1.weight"])
    torch.testing.assert_close(model(clips()), plain(clips()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["classic", "directional"])
def test_own_state_dict_restores_the_model(tmp_path: Path, variant: str) -> None:
    first, second = (LSViT(config(smif=variant, lmi=variant), seed=seed) for seed in (1, 2))
    torch.save({"model": first.state_dict()}, tmp_path / "own.pt")
    report = load_pretrained(second, str(tmp_path / "own.pt"))
    assert report.missing == report.unexpected == report.skipped == ()
    assert torch.equal(first(clips()), second(clips()))


def test_classic_weights_in_a_directional_model_leave_the_plain_vit(tmp_path: Path) -> None:
    classic = LSViT(config(smif="classic", lmi="classic"), seed=1)
    torch.save(classic.state_dict(), tmp_path / "classic.pth")
    plain, model = LSViT(config(smif="none", lmi="none")), LSViT(config(motion_init="identity"))
    unexpected = load_pretrained(plain, str(tmp_path / "classic.pth")).unexpected
    assert load_pretrained(model, str(tmp_path / "classic.pth")).unexpected == unexpected
    assert len(unexpected) == 3 + 2 * 11
    assert torch.equal(model(clips()), plain(clips()))


@pytest.mark.parametrize("has_class", [True, False])
def test_positions_are_interpolated(tmp_path: Path, has_class: bool) -> None:
    tensors = timm_vit(positions=36 + has_class)
    save_file(tensors, tmp_path / "vit.safetensors")
    model = LSViT(config(image_size=64))
    report = load_pretrained(model, str(tmp_path / "vit.safetensors"))
    assert report.interpolated == ("backbone.pos_embed",)
    of_class = tensors["pos_embed"][0, 0] if has_class else torch.zeros(32)
    assert torch.equal(model.backbone.pos_embed[0, 0], of_class)
    for channel in (0, 17):
        grid = tensors["pos_embed"][0, int(has_class) :, channel].view(1, 1, 6, 6)
        expected = F.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True).flatten()
        torch.testing.assert_close(model.backbone.pos_embed[0, 1:, channel], expected)


def test_positions_of_a_smooth_field_stay_where_they_are(tmp_path: Path) -> None:
    tensors = timm_vit(positions=14 * 14 + 1)
    across = (torch.arange(14) + 0.5) / 14  # horizontal position of each patch, in the picture's width
    tensors["pos_embed"][0, 1:, 3] = across.repeat(14)
    save_file(tensors, tmp_path / "vit.safetensors")
    model = LSViT(config(image_size=16 * 7))
    load_pretrained(model, str(tmp_path / "vit.safetensors"))
    found = model.backbone.pos_embed[0, 1:, 3].view(7, 7)
    torch.testing.assert_close(found[3, 1:-1], ((torch.arange(7) + 0.5) / 7)[1:-1], rtol=0, atol=0.01)


def test_positions_that_form_no_square_are_refused(tmp_path: Path) -> None:
    save_file(timm_vit(positions=198), tmp_path / "vit.safetensors")
    with pytest.raises(DataError, match=r"pos_embed is \(1, 198, 32\): no square of patches after 1 other tokens"):
        load_pretrained(LSViT(config()), str(tmp_path / "vit.safetensors"))


@pytest.mark.parametrize("num_frames", [2, 3, 7, 16])
def test_temporal_positions_keep_their_offsets(tmp_path: Path, num_frames: int) -> None:
    first, second = LSViT(config(num_frames=4)), LSViT(config(num_frames=num_frames))
    expected = second.backbone.blocks[0].lmim.position.clone()
    assert second.backbone.blocks[0].lmim.position[0, 0, 1] == 0  # the head that looks at the next frame
    torch.save(first.state_dict(), tmp_path / "own.pt")
    with torch.no_grad():
        second.backbone.blocks[0].lmim.position.fill_(9)
    report = load_pretrained(second, str(tmp_path / "own.pt"))
    assert report.interpolated == tuple(f"backbone.blocks.{index}.lmim.position" for index in range(2))
    assert torch.equal(second.backbone.blocks[0].lmim.position, expected)


def test_temporal_positions_are_linear_along_time() -> None:
    frames = torch.arange(4.0)
    ahead = (frames[None] - frames[:, None])[None]
    by_time = frames[:, None].expand(4, 4)[None]  # [t, s] = t, whatever s is
    long = torch.arange(7.0)
    distance = long[None] - long[:, None]
    assert torch.equal(resized_temporal_positions(ahead, num_frames=7)[0], distance.clamp(-3, 3))
    resized = resized_temporal_positions(by_time, num_frames=7)[0]
    torch.testing.assert_close(resized.diagonal(), torch.linspace(0, 3, 7))
    torch.testing.assert_close(resized.diagonal(1), torch.linspace(0, 2, 6))
    torch.testing.assert_close(resized_temporal_positions(by_time, num_frames=4), by_time)


def test_what_is_no_backbone_is_reported(tmp_path: Path) -> None:
    tensors = timm_vit() | {"smif.alpha": torch.tensor(0.5)}
    save_file(tensors, tmp_path / "vit.safetensors")
    report = load_pretrained(LSViT(config()), str(tmp_path / "vit.safetensors"))
    assert report.unexpected == ("smif.alpha",)
    text = "\n".join(report.lines())
    assert "in the file, not used: 1 (smif.alpha)" in text
    assert "skipped head.weight: 1000 classes in the file, 5 here" in text


@pytest.mark.parametrize("start", ["identity", "active"])
def test_modules_without_weights_start_as_the_model_does(tmp_path: Path, start: MotionInit) -> None:
    save_file(timm_vit(), tmp_path / "vit.safetensors")
    weights = load_weights(str(tmp_path / "vit.safetensors"), num_heads=2)
    fresh, model = (LSViT(config(motion_init=start), seed=7) for _ in range(2))
    torch.rand(3)  # torch's generator has no part in it
    report = copy_weights(model, weights)
    of_motion = [key for key in report.missing if "smif" in key or "lmim" in key]
    assert of_motion
    assert all(torch.equal(model.state_dict()[key], fresh.state_dict()[key]) for key in of_motion)
    assert bool(model.backbone.blocks[1].lmim.inject.weight.any()) == (start == "active")


def test_a_directional_module_is_copied_whole_or_not_at_all(tmp_path: Path) -> None:
    tensors = {key: value + 1 for key, value in LSViT(config(), seed=1).state_dict().items()}
    del tensors["backbone.blocks.1.lmim.position"]
    save_file(tensors, tmp_path / "own.safetensors")
    model = LSViT(config(), seed=2)
    before = {key: value.clone() for key, value in model.backbone.blocks[1].lmim.state_dict().items()}
    report = load_pretrained(model, str(tmp_path / "own.safetensors"))
    (skipped,) = report.skipped
    assert (skipped.key, skipped.reason) == ("backbone.blocks.1.lmim", "only 6 of its 7 tensors are there")
    assert {key for key in report.missing if ".1.lmim." in key} == {f"backbone.blocks.1.lmim.{key}" for key in before}
    after = model.backbone.blocks[1].lmim.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert torch.equal(model.backbone.blocks[0].lmim.position, tensors["backbone.blocks.0.lmim.position"])


def own_checkpoint(path: Path, *, average: bool) -> LSViT:
    """A checkpoint of lsvit-train of three classes, its average, where it has one, seeded otherwise than its model."""
    own = config(num_classes=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    best, last = LSViT(own, seed=1), LSViT(own, seed=2)
    facts = {"model_config": dataclasses.asdict(own), "class_names": ["run", "sit", "walk"]}
    average_state = best.state_dict() if average else None
    content = {"format": "lsvit-checkpoint", "facts": facts, "model": last.state_dict(), "average": average_state}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return best if average else last


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("source", ["runs/mine/checkpoints/last.pt", "runs/mine", "mine"])
def test_own_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: bool, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    expected = own_checkpoint(tmp_path / "runs/mine/checkpoints/last.pt", average=average)
    weights = load_weights(source, runs=Path("runs"))
    assert (weights.mean, weights.std, weights.class_names) == (
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        ("run", "sit", "walk"),
    )
    assert weights.notes == () and weights.shape.num_heads == 2 and weights.pool == "cls"
    model = LSViT(config(num_classes=3))
    report = copy_weights(model, weights, class_names=("run", "sit", "walk"))
    assert report.missing == report.unexpected == report.skipped == ()
    model.adopt_normalisation(mean=weights.mean, std=weights.std)
    assert torch.equal(model(clips()), expected(clips()))


def test_a_head_of_other_classes_is_left_out(tmp_path: Path) -> None:
    own_checkpoint(tmp_path / "x/checkpoints/best.pt", average=False)
    report = copy_weights(
        LSViT(config(num_classes=3)), load_weights(str(tmp_path / "x")), class_names=("jump", "sit", "walk")
    )
    assert report.missing == ("head.weight", "head.bias")
    assert {skipped.reason for skipped in report.skipped} == {"the classes in the file are others"}


@pytest.mark.parametrize("facts", [[1], {"model_config": {}}, {"model_config": {"embed_dim": "wide"}}, "facts"])
def test_facts_that_lie_are_refused(tmp_path: Path, facts: object) -> None:
    own_checkpoint(tmp_path / "x.pt", average=False)
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    torch.save(content | {"facts": facts}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="is damaged or of another version"):
        load_weights(str(tmp_path / "x.pt"))


def test_a_run_over_several_splits_is_asked_for_one(tmp_path: Path) -> None:
    own_checkpoint(tmp_path / "x/split1/checkpoints/last.pt", average=False)
    with pytest.raises(DataError, match=r"several splits; name one of them: .*x/split1"):
        load_weights("x", runs=tmp_path)


class NoWeights:
    """Something that a pickle of plain weights may not hold."""


def test_bad_files_are_data_errors(tmp_path: Path) -> None:
    model = LSViT(config())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    save_file(timm_vit(dim=48), tmp_path / "wide.safetensors")
    broken = timm_vit()
    broken["blocks.1.mlp.fc1.bias"][3] = torch.nan
    save_file(broken, tmp_path / "nan.safetensors")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    torch.save({"model": NoWeights()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    quantised = timm_vit()
    quantised["blocks.1.mlp.fc1.weight"] = torch.ones_like(quantised["blocks.1.mlp.fc1.weight"], dtype=torch.int8)
    torch.save(quantised, tmp_path / "int8.pth")
    save_file({}, tmp_path / "none.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
    (tmp_path / "config.toml").write_text('shards = "data/shards"\n')
    (tmp_path / "dataset.json").write_text('{\n  "dataset_id": "d"\n}')
    (tmp_path / "empty.pth").write_bytes(b"")
    expected = {
        "absent.pth": "no weights at .*absent.pth",
        "wide.safetensors": "width 48, this model's is 32",
        "resnet.pth": "it holds conv1.weight.*blocks.0.attn.qkv.weight",
        "nan.safetensors": r"no numbers \(NaN or infinite\): blocks.1.mlp.fc1.bias",
        "code.pth": "is no file of plain weights.*safetensors",
        "list.pth": "holds no state dict",
        "broken.pth": "is no file of plain weights|cannot read weights",
        "broken.safetensors": "cannot read weights",
        "int8.pth": r"blocks.1.mlp.fc1.weight is int8, not of floating point",
        "none.safetensors": "a file of weights that holds none",
        "empty.safetensors": r"empty \(0 bytes\)",
        "empty.pth": r"empty \(0 bytes\)",
        "config.toml": "is no file of plain weights|cannot read weights",
        "dataset.json": "is no file of plain weights|cannot read weights",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as caught:
            load_pretrained(model, str(tmp_path / name))
        assert not any(word in str(caught.value) for word in ("weights_only", "pop from", "Weights only"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_normalisation_beside_a_local_file(tmp_path: Path) -> None:
    save_file(timm_vit(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.48500004, *MEAN[1:]], "std": STD}}))
    report = load_pretrained(LSViT(config()), str(tmp_path / "model.safetensors"))
    assert report.mean == (0.48500004, *MEAN[1:]) and report.std == tuple(STD)
    assert report.lines()[-1] == "the weights expect mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225)"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*config.json"):
        load_pretrained(LSViT(config()), str(tmp_path / "model.safetensors"))


def hub_files() -> dict[str, bytes]:
    settings = json.dumps({"architecture": "vit", "pretrained_cfg": {"mean": MEAN, "std": STD}}).encode()
    return {
        "good/vit/model.safetensors": save(timm_vit()),
        "good/vit/config.json": settings,
        "bare/vit/README.md": b"-",
    }


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with open_hub() as made:
        made.files.update(hub_files())
        yield made.endpoint


LOAD_FROM_HUB = """
import json, sys
from shared.errors import DataError
from loading import load_pretrained
from made_hub import open_hub
from train.model.lsvit import LSViT, ModelConfig
sources, cache = sys.argv[2:], sys.argv[1]
config = ModelConfig(num_classes=5, image_size=32, embed_dim=32, depth=2, num_heads=2, num_frames=4)
for source in sources:
    try:
        report = load_pretrained(LSViT(config), source, cache_dir=cache)
        print(json.dumps([len(report.loaded), report.mean, report.std]))
    except DataError as error:
        print(json.dumps(str(error)))
"""


def load_from_hub(*sources: str, endpoint: str, cache: Path, offline: bool = False) -> list[object]:
    """Load in a process of its own, since the hub's client reads its environment when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline)), "HF_HOME": str(cache)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    root = Path(__file__).parents[3]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "tests" / "helpers")])
    command = [sys.executable, "-c", LOAD_FROM_HUB, str(cache), *sources]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_hub(hub: str, tmp_path: Path) -> None:
    sources = ["hf:good/vit", "hf:bare/vit", "hf:no/where", "hf:not a name"]
    good, bare, nowhere, misnamed = load_from_hub(*sources, endpoint=hub, cache=tmp_path)
    assert good == [30, MEAN, STD]
    assert bare == "hf:bare/vit holds neither model.safetensors nor pytorch_model.bin; choose another repository"
    assert "no repository hf:no/where" in str(nowhere)
    assert "hf:OWNER/NAME" in str(misnamed)
    cached, absent = load_from_hub("hf:good/vit", "hf:bare/vit", endpoint=hub, cache=tmp_path, offline=True)
    assert cached == good
    assert "out of reach" in str(absent) and "give its path instead" in str(absent)


@pytest.mark.slow  # the hub's client tries five times more before it gives up
def test_hub_out_of_reach(tmp_path: Path) -> None:
    (refused,) = load_from_hub("hf:other/vit", endpoint="http://127.0.0.1:9", cache=tmp_path)
    assert "out of reach" in str(refused)
