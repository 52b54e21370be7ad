"""lsvit-train explain: the maps against loops, that they follow the model, and what is written."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_run import make_run, small_config, spread_weights
from media import HMDB_LIKE, ffmpeg_frames, make_video

from benchmarks.heat_on_figure import boxes_in_view, heat_share, maps_of
from preprocess.synth.scene import render_clip
from preprocess.synth.specs import SetParameters, clip_specs
from preprocess.synth.stage import figure_boxes
from shared.errors import DataError
from shared.terminal.console import exit_code_of
from shared.video.resizing import FrameSize, resize_frames
from shared.video.sampling import candidate_frames
from train.cli import app
from train.explain.maps import attention_rollout, explain_clip, explain_video, gradient_rollout
from train.explain.page import PageFacts, write_page
from train.explain.pictures import heat_layers, overlay, write_sheet
from train.model.config import ModelConfig
from train.model.lsvit import LSViT
from train.trained.model import LoadedModel

T, N, HEADS = 3, 5, 2


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return make_run(tmp_path / "runs" / "one", config=small_config(num_frames=4))


def random_clip(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (4, 24, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def attentions(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(T, HEADS, N, N, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(count)]


# The maps


def test_rollout_equals_a_product_of_matrices_frame_by_frame() -> None:
    given = attentions(3)
    result = attention_rollout(given)
    for frame in range(T):
        expected = np.eye(N)
        for block in given:
            mean = block[frame].numpy().mean(axis=0)
            expected = (0.5 * mean + 0.5 * np.eye(N)) @ expected
        np.testing.assert_allclose(result[frame].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(result.sum(-1).numpy(), 1.0, atol=1e-12)


def test_gradient_rollout_equals_the_paper_s_update() -> None:
    given = [attention * 3 for attention in attentions(3)]
    result = gradient_rollout(given)
    for frame in range(T):
        relevance = np.eye(N)
        for block in given:
            relevance = relevance + block[frame].numpy().mean(axis=0) @ relevance
        np.testing.assert_allclose(result[frame].numpy(), relevance - np.eye(N), atol=1e-10)


def test_gradient_map_of_one_block_equals_finite_differences() -> None:
    """Of one block the map is the mean over heads of max(0, A · ∂score/∂A) in the row of CLS."""
    config = ModelConfig(
        num_classes=3, image_size=16, embed_dim=16, depth=1, num_heads=2, num_frames=2, patch_size=8, smif="none",
        lmi="none",
    )  # fmt: skip
    model = LSViT(config).double().eval()
    spread_weights(model, seed=3)
    video = torch.rand(1, 2, 3, 16, 16, dtype=torch.float64)
    found = explain_video(model, video, label=1).gradient
    attention = model.backbone.blocks[0].attn
    weights = model.trace(video).attentions[0][0].detach()  # (T, heads, N, N)

    def score(changed: torch.Tensor) -> float:
        def forward_with_weights(x: torch.Tensor, *, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
            value = attention._split_heads(x)[2]
            return attention._merge_heads(changed @ value), changed[None]

        attention.forward_with_weights = forward_with_weights  # type: ignore[method-assign]
        with torch.no_grad():
            return float(model.trace(video).logits[0, 1])

    expected = np.zeros((2, 4))
    for frame in range(2):
        for patch in range(4):
            for head in range(2):
                up, down = weights.clone(), weights.clone()
                up[frame, head, 0, 1 + patch] += 1e-4
                down[frame, head, 0, 1 + patch] -= 1e-4
                slope = (score(up) - score(down)) / 2e-4
                expected[frame, patch] += max(0.0, float(weights[frame, head, 0, 1 + patch]) * slope) / 2
    np.testing.assert_allclose(found.reshape(2, 4), expected, atol=1e-6)
    assert expected.max() > 1e-3


def test_explanation_has_the_answer_and_maps_in_range(loaded: LoadedModel) -> None:
    clip = random_clip()
    result = explain_clip(loaded, clip)
    assert result.label == int(result.probabilities.argmax())
    assert result.probabilities.sum() == pytest.approx(1.0)
    assert result.rollout.shape == result.gradient.shape == (4, 4, 4)
    assert result.rollout.min() >= 0 and result.rollout.sum(axis=(1, 2)).max() <= 1
    assert result.gradient.min() >= 0 and result.gradient.max() > 0
    assert result.motion is not None and result.motion.shape == (4, 32, 32) and result.motion.min() >= 0
    assert result.received is not None and result.received.shape == (2, 4)
    assert result.looks is not None
    np.testing.assert_allclose(result.looks.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("variant", ["classic", "none"])
def test_other_variants_are_explained_too(variant: str, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / variant, config=small_config(smif=variant))
    result = explain_clip(loaded, random_clip())
    assert (result.motion is None, result.received is None) == ((variant == "none"),) * 2
    assert result.looks is None
    layers = heat_layers(result, class_name="run", side=24)
    assert len(layers) == (2 if variant == "none" else 3)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_maps_follow_the_weights(loaded: LoadedModel) -> None:
    """Sanity check of Adebayo et al. 2018: a model with other weights must give other maps."""
    clip = random_clip()
    before = maps_of(explain_clip(loaded, clip, label=0))
    same = maps_of(explain_clip(loaded, clip, label=0))
    spread_weights(loaded.model, seed=99)
    after = maps_of(explain_clip(loaded, clip, label=0))
    for name in ("rollout", "gradient"):
        assert correlation(before[name], same[name]) > 0.999
        assert correlation(before[name], after[name]) < 0.7, name
    assert not np.allclose(before["motion"], after["motion"], atol=1e-3)


def test_a_model_that_has_diverged_is_not_explained(loaded: LoadedModel) -> None:
    torch.nn.init.constant_(loaded.model.head.weight, 3e38)  # finite, its answers are not
    with pytest.raises(DataError, match="NaN"):
        explain_clip(loaded, random_clip())


def test_gradient_depends_on_the_class_and_rollout_does_not(loaded: LoadedModel) -> None:
    first, second = (explain_clip(loaded, random_clip(), label=label) for label in (0, 1))
    np.testing.assert_array_equal(first.rollout, second.rollout)
    assert correlation(first.gradient, second.gradient) < 0.99


def test_heat_share_counts_cells_by_their_part() -> None:
    heat = np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=np.float32)
    shares = heat_share(heat, np.array([[0.5, 0.0, 1.0, 0.75], [0.0, 0.0, 1.0, 1.0]]))
    assert shares[0] == pytest.approx((2.0 + 0.5 * 4.0) / 10)
    assert np.isnan(shares[1])


def test_motion_map_lies_on_the_moving_figure(tmp_path: Path) -> None:
    """On a rendered clip most of SMIF's heat lies in the box of the figure, far above its share of the area."""
    config = ModelConfig(num_classes=3, image_size=96, embed_dim=32, depth=1, num_heads=2, num_frames=16, patch_size=16)
    size = FrameSize(height=96, width=128)
    loaded = make_run(tmp_path / "run", config=config, height=size.height, width=size.width)
    loaded.model.smif.initialise("active")  # type: ignore[union-attr]
    specs = [spec for spec in clip_specs(SetParameters(num_clips=40, num_classes=4)) if spec.num_frames >= 16]
    walking = next(spec for spec in specs if spec.class_name == "walk")
    index = candidate_frames(walking.num_frames, num_segments=16, frames_per_segment=1)
    frames = resize_frames(torch.from_numpy(render_clip(walking))[index], size)
    view = boxes_in_view(figure_boxes(walking)[index], height=240, width=320, size=size)
    motion = explain_clip(loaded, frames).motion
    assert motion is not None
    area = ((view[:, 2] - view[:, 0]) * (view[:, 3] - view[:, 1])).mean()
    share = np.nanmean(heat_share(motion, view))
    assert share > 0.6 and share > 3 * area


# What is written


def test_overlay_leaves_a_grey_picture_where_there_is_no_heat() -> None:
    frames = np.full((1, 2, 2, 3), [200, 100, 50], dtype=np.uint8)
    heat = np.zeros((1, 2, 2), dtype=np.float32)
    heat[0, 0, 0] = 1.0
    result = overlay(frames, heat)
    assert tuple(result[0, 1, 1]) == (124, 124, 124)  # 0.299·200 + 0.587·100 + 0.114·50
    assert result[0, 0, 0, 0] > result[0, 0, 0, 2] + 50  # the hottest colour is no grey


def test_page_is_self_contained_and_escapes(loaded: LoadedModel, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>&$x^2$"
    clip = random_clip()
    explanation = explain_clip(loaded, clip)
    frames = clip[:, :, 4:28].contiguous().numpy()
    layers = heat_layers(explanation, class_name=attack, side=24)
    facts = PageFacts(
        video=attack, origin=attack, class_names=(attack, "b", "c"), frame_index=(0, 3, 5, 9), notes=(attack,)
    )
    write_page(tmp_path / "page.html", explanation, facts, frames=frames, layers=layers)
    page = (tmp_path / "page.html").read_text()
    assert attack not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/jpeg") == 4 * 4 and "http" not in page.replace("http-equiv", "")
    write_sheet(
        tmp_path / "sheet.png",
        frames=frames,
        frame_index=facts.frame_index,
        layers=layers,
        received=explanation.received,
        blocks=explanation.blocks,
        title=attack,
    )
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_slider_works_from_disk(loaded: LoadedModel, ffmpeg: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium is installed")
    page_file = explain_command(tmp_path)
    with playwright.sync_playwright() as session:
        chromium = session.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = chromium.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(page_file.as_uri())
        page.locator("#slider").fill("2")
        assert page.locator("#place").text_content() == "frame 6 of the video, 3 of 4 shown"
        visible = page.locator(".stack img:visible")
        assert visible.count() == 4 and visible.first.get_attribute("data-frame") == "6"
        page.locator("#play").click()
        page.locator('.stack img[data-frame="8"]').first.wait_for(state="visible")  # the last frame comes by itself
        chromium.close()
    assert complaints == []


def explain_command(folder: Path, *more: str) -> Path:
    video = make_video(folder / "-v [1].avi", *HMDB_LIKE, num_frames=10, size="64x48")
    arguments = ["explain", "one", str(video), "--runs", str(folder / "runs"), *more]
    assert exit_code_of(partial(app, arguments, standalone_mode=False)) == 0
    (page,) = (folder / "runs" / "one" / "explanations" / "-v [1]").glob("*/index.html")
    return page


def test_command_writes_sheet_video_and_page(
    loaded: LoadedModel, ffmpeg: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = explain_command(tmp_path, "--action", "walk")
    out = capsys.readouterr().out
    assert "walk" in out and "wrote" in out.splitlines()[-1] and "nothing about HMDB51" in out
    assert page.parent.name == "walk"
    explain_command(tmp_path, "--action", "walk")
    assert "; replaced " in capsys.readouterr().out
    assert sorted(file.name for file in page.parent.iterdir()) == ["heat.mp4", "index.html", "sheet.png"]
    # 24x24 pixels a panel, shown at 240, four panels: frame, rollout, gradient, motion; one picture a segment.
    assert len(ffmpeg_frames(page.parent / "heat.mp4", height=240, width=960)) == 4
    for arguments, code in ((["one", "gone.avi"], 1), (["one", "gone.avi", "--action", "fly"], 2)):
        command = partial(app, ["explain", *arguments, "--runs", str(tmp_path / "runs")], standalone_mode=False)
        assert exit_code_of(command) == code
    assert "fly" in capsys.readouterr().err


def test_a_real_clip_is_explained(loaded: LoadedModel, real_videos: Path, tmp_path: Path) -> None:
    (clip,) = (real_videos / "hmdb51" / "punch").glob("*.avi")
    arguments = ["explain", "one", str(clip), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert exit_code_of(partial(app, arguments, standalone_mode=False)) == 0
    (folder,) = (tmp_path / "out" / clip.stem).iterdir()
    page = (folder / "index.html").read_text()
    assert 'data-frame="21"' in page and clip.name in page  # the middle of the first quarter of 172 frames
    assert len(ffmpeg_frames(folder / "heat.mp4", height=240, width=960)) == 4
