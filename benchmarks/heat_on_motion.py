"""Do heatmaps follow who moves, on real clips? Share of each map's heat in the moving part of the picture.

    python -m benchmarks.heat_on_motion RUN... --runs R --videos ../shared/real_jhmdb [--clips 40]

The test clips of each run. Nobody drew boxes: in frames whose camera stands still, the pixels that change between the
frame before and the frame after make a rough box of what moves. Beside its share of the heat stand the box's share of
the area, and the share of the heat in the boxes of the other clips: those say where people are on the whole, mostly in
the middle. What moves need not be what matters, and the box is rough; the motion map is a difference of frames itself.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.heat_on_figure import heat_share, maps_of
from shared.manifests.files import read_manifests
from shared.terminal.tables import markdown_table
from shared.video.decoding import decode_clip
from train.data.views import evaluation_views
from train.evaluate.intervals import mean_interval
from train.evaluate.output import PREDICTIONS_CSV
from train.evaluate.texts import interval_text
from train.explain.maps import Floats, explain_clip
from train.trained.folders import EVALUATION_FOLDER, find_run
from train.trained.model import LoadedModel, load_model

Boxes = npt.NDArray[np.float64]

LEAST_CHANGE = 0.06  # grey levels, of 1, by which a pixel changes that moves
MOST_MOVING = 0.25  # share of the picture; where more changes, the camera moves
LEAST_MOVING = 0.004
MARGIN = 5  # percent of the moving pixels that the box leaves out on each side


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipHeat:
    """A clip's maps, and the boxes of what moves in it."""

    boxes: Boxes
    """(T, 4): x0, y0, x1, y1 in [0, 1], NaN where the camera or nothing moves."""
    maps: dict[str, Floats]
    """Of each map float32 (T, h, w)."""
    is_right: bool
    source: str


def motion_boxes(grey: Floats) -> Boxes:
    """Boxes of what changes, grey float32 (T, S, S) in [0, 1] -> float64 (T, 4), x0, y0, x1, y1 in [0, 1].

    NaN for a frame in which too much or too little changes.
    """
    num_frames, side, _ = grey.shape
    boxes = np.full((num_frames, 4), np.nan)
    for frame in range(num_frames):
        change = np.abs(grey[min(frame + 1, num_frames - 1)] - grey[max(frame - 1, 0)])
        rows, columns = np.nonzero(change > LEAST_CHANGE)
        if LEAST_MOVING <= len(rows) / change.size <= MOST_MOVING:
            (x0, x1), (y0, y1) = (np.percentile(places, (MARGIN, 100 - MARGIN)) for places in (columns, rows))
            boxes[frame] = np.array([x0, y0, x1 + 1, y1 + 1]) / side
    return boxes


def clip_heat(loaded: LoadedModel, video: Path, *, is_right: bool, source: str) -> ClipHeat:
    """Explain the model's own answer for one video."""
    clip = decode_clip(video, dataclasses.replace(loaded.facts.shape, frames_per_segment=1))
    view = evaluation_views(clip.frames[None], image_size=loaded.model.config.image_size)[0, 0]  # (T, 3, S, S)
    maps = maps_of(explain_clip(loaded, clip.frames))
    return ClipHeat(boxes=motion_boxes(view.mean(dim=1).numpy()), maps=maps, is_right=is_right, source=source)


def mean_share(heat: Floats, boxes: Boxes) -> float:
    """The mean over the frames that have a box and heat; NaN where none has."""
    found = np.isfinite(boxes).all(axis=1)
    shares = heat_share(heat[found], boxes[found])
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")


def area(boxes: Boxes) -> float:
    """The mean area of the boxes of a clip, NaN where there is none."""
    sides = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return float(np.nanmean(sides)) if np.isfinite(sides).any() else float("nan")


def elsewhere(clips: list[ClipHeat], name: str, *, seed: int = 0) -> Boxes:
    """Share of each clip's heat in the boxes of another clip, of another source, drawn at random: float64 (N,)."""
    generator = np.random.default_rng(seed)
    shares = []
    for clip in clips:
        others = [other for other in clips if other.source != clip.source]
        drawn = generator.choice(len(others), size=min(8, len(others)), replace=False)
        shares.append(np.nanmean([mean_share(clip.maps[name], others[number].boxes) for number in drawn]))
    return np.array(shares)


def read_answers(run: Path) -> pd.DataFrame:
    """The clips that the run's evaluation tested: clip_id, true, predicted."""
    return pd.read_csv(run / EVALUATION_FOLDER / PREDICTIONS_CSV, usecols=["clip_id", "true", "predicted"], dtype=str)


def measure_run(run: Path, videos: Path, sources: dict[str, tuple[str, str]], *, clips: int) -> list[ClipHeat]:
    """Some of the run's test clips, evenly drawn. sources: path and source of each clip."""
    loaded, answers = load_model(run), read_answers(run)
    chosen = answers.iloc[:: max(1, len(answers) // clips)].head(clips)
    return [
        clip_heat(
            loaded, videos / sources[row.clip_id][0], is_right=row.true == row.predicted, source=sources[row.clip_id][1]
        )
        for row in chosen.itertuples()
    ]


def print_table(clips: list[ClipHeat]) -> None:
    """A row for each map, as Markdown; all shares in percent."""
    sources, areas = [clip.source for clip in clips], np.array([area(clip.boxes) for clip in clips])
    rows = []
    for name in clips[0].maps:
        inside = np.array([mean_share(clip.maps[name], clip.boxes) for clip in clips])
        others, of_right = elsewhere(clips, name).mean(), inside[[clip.is_right for clip in clips]].mean()
        interval, times = interval_text(mean_interval(inside, sources)), inside.mean() / areas.mean()
        shares = [f"{100 * share:.1f}" for share in (inside.mean(), others, of_right)]
        rows.append((name, shares[0], interval, f"{times:.2f}", *shares[1:]))
    print(f"{len(clips)} clips of {len(set(sources))} sources; the box takes {100 * areas.mean():.1f} % of the picture")
    columns = (
        "map",
        "heat in the box",
        "95 %, by source",
        "times its area",
        "in other clips' boxes",
        "of right answers",
    )
    print("\n".join(markdown_table(columns, rows)))


def main() -> None:
    """Explain clips of every run and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--manifests", type=Path, default=Path("data_manifests"))
    parser.add_argument("--videos", type=Path, default=Path("data/videos"))
    parser.add_argument("--clips", type=int, default=40, help="of each run")
    arguments = parser.parse_args()
    rows = read_manifests(arguments.manifests)
    sources = {row.clip_id: (row.path, row.source) for row in rows.itertuples()}
    measured = [
        clip
        for name in arguments.run
        for clip in measure_run(find_run(name, runs=arguments.runs), arguments.videos, sources, clips=arguments.clips)
    ]
    print_table([clip for clip in measured if np.isfinite(area(clip.boxes))])


if __name__ == "__main__":
    main()
