"""Do the heatmaps follow the figure? Share of each map's heat within the moving figure's box, against the box's area.

    python -m benchmarks.heat_on_figure RUN [--videos data/videos] [--clips 40]

Works on the embedded data set alone, whose generator knows where the figure is in every frame. Numbers on it say
nothing about HMDB51.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.synth.command import find_spec
from preprocess.synth.stage import figure_boxes
from shared.video.decoding import decode_clip
from shared.video.listing import list_videos
from shared.video.resizing import FrameSize, scaled_size
from train.data.views import square_boxes
from train.explain.maps import Explanation, Floats, explain_clip
from train.trained.folders import find_run
from train.trained.model import LoadedModel, load_model

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipHeat:
    """Of one clip, by frame: share of the area in the box, and of the heat of each map; float64 (T,)."""

    area: Boxes
    heat: dict[str, Boxes]


def boxes_in_view(boxes: Boxes, *, height: int, width: int, size: FrameSize) -> Boxes:
    """Boxes (n, 4) in pixels of a height x width video -> x0, y0, x1, y1 in [0, 1] of evaluation's centre crop."""
    scaled_height, scaled_width = scaled_size(height, width, size)
    scale = np.array([scaled_width / width, scaled_height / height] * 2)
    cut = np.array([(scaled_width - size.width) // 2, (scaled_height - size.height) // 2] * 2)
    ((top, left, side, _),) = square_boxes(size.height, size.width, num_crops=1)
    moved: Boxes = (boxes * scale - cut - np.array([left, top, left, top])) / side
    return moved.clip(0.0, 1.0)


def heat_share(heat: Floats, boxes: Boxes) -> Boxes:
    """Share of a map's heat within a box of each frame: heat (T, h, w), boxes (T, 4) -> float64 (T,).

    boxes: x0, y0, x1, y1 in units of the picture's sides, each in [0, 1]; a cell counts by the part of it that lies in
    the box. NaN for a frame without any heat.
    """
    num_frames, height, width = heat.shape
    shares = np.full(num_frames, np.nan)
    for frame, (x0, y0, x1, y1) in enumerate(boxes):
        rows, columns = _covered(y0, y1, height), _covered(x0, x1, width)
        total = float(heat[frame].sum(dtype=np.float64))
        if total > 0:
            shares[frame] = float(rows @ heat[frame].astype(np.float64) @ columns) / total
    return shares


def _covered(low: float, high: float, count: int) -> Boxes:
    """For each of ``count`` equal cells of [0, 1] the part of it that lies in [low, high]."""
    edges = np.arange(count + 1) / count
    overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    covered: Boxes = np.clip(overlap * count, 0.0, 1.0)
    return covered


def maps_of(explanation: Explanation) -> dict[str, Floats]:
    """The maps that an explanation has."""
    maps = {"rollout": explanation.rollout, "gradient": explanation.gradient}
    return maps if explanation.motion is None else maps | {"motion": explanation.motion}


def clip_heat(loaded: LoadedModel, videos: Path, path: str) -> ClipHeat:
    """Explain one synthetic video and measure where its heat lies."""
    size = loaded.facts.size
    clip = decode_clip(videos / path, dataclasses.replace(loaded.facts.shape, frames_per_segment=1))
    boxes = figure_boxes(find_spec(videos, str(Path(path).with_suffix(""))))[clip.frame_index]
    view = boxes_in_view(boxes, height=clip.header.height, width=clip.header.width, size=size)
    area = (view[:, 2] - view[:, 0]) * (view[:, 3] - view[:, 1])
    explanation = explain_clip(loaded, clip.frames)
    return ClipHeat(area=area, heat={name: heat_share(heat, view) for name, heat in maps_of(explanation).items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--videos", type=Path, default=Path("data/videos"))
    parser.add_argument("--clips", type=int, default=40)
    arguments = parser.parse_args()
    loaded = load_model(find_run(arguments.run, runs=arguments.runs))
    found = list_videos(arguments.videos).videos
    chosen = found[:: max(1, len(found) // arguments.clips)][: arguments.clips]
    measured = [clip_heat(loaded, arguments.videos, video.path) for video in chosen]
    area = np.concatenate([each.area for each in measured])
    print(f"{len(measured)} synthetic clips; the figure's box takes {100 * area.mean():.1f} % of the picture")
    for name in measured[0].heat:
        heat = np.concatenate([each.heat[name] for each in measured])
        there = np.isfinite(heat)
        inside, expected = heat[there].mean(), area[there].mean()
        print(f"{name:8} {100 * inside:5.1f} % of the heat lies in the box, {inside / expected:.2f} times its area")


if __name__ == "__main__":
    main()
