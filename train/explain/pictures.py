"""Explanations as pictures: heat over frames, a contact sheet, a video, strips over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.image import imsave
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageDraw, ImageFont

from shared.errors import DataError
from shared.files import whole_file
from shared.pages.figures import drawn_in
from shared.pages.fonts import OWN_FAMILY, find_letters
from shared.video.luma import luma_of_array
from train.explain.maps import Explanation, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pictures = npt.NDArray[np.uint8]

FRAMES_PER_SECOND = 4.0
_HEAT_COLORS = "inferno"
_STRIP_COLORS = "viridis"
_OPACITY = 0.6
_MOST_COLUMNS = 16
_BRIGHTEST = 0.995  # quantile of a map that is drawn as the brightest colour
_VIDEO_SIDE = 224  # of one panel, at least
_NUMBER_SIZE = 13  # pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatLayer:
    """One kind of map, ready to be shown."""

    title: str
    text: str
    heat: Floats
    """Float32 (T, S, S) in [0, 1], at the size of the frames."""


def heat_layers(explanation: Explanation, *, class_name: str, side: int) -> list[HeatLayer]:
    """The maps of an explanation at ``side`` pixels, each scaled over the whole clip so that frames can be compared."""
    layers = [
        HeatLayer(
            title="attention rollout",
            text="Where the frame's answer comes from by attention alone, whatever the class.",
            heat=_scaled(explanation.rollout, side),
        ),
        HeatLayer(
            title=f"attention for {class_name}",
            text=f"Attention that raises the score of {class_name}: weighted by its gradient, positive part.",
            heat=_scaled(explanation.gradient, side),
        ),
    ]
    if explanation.motion is not None:
        layers.append(
            HeatLayer(
                title="motion (SMIF)",
                text="Size of the motion that SMIF finds between neighbouring frames and injects.",
                heat=_scaled(explanation.motion, side),
            )
        )
    return layers


def _scaled(heat: Floats, side: int) -> Floats:
    """Not negative (T, h, w) -> in [0, 1], (T, side, side), bilinear. The smallest value becomes 0; all 0 stays 0."""
    low, high = float(heat.min()), float(np.quantile(heat, _BRIGHTEST))
    if high <= low:  # the brightest spots are fewer than the quantile leaves out
        high = float(heat.max())
    span = high - low
    unit = np.clip((heat - low) / span, 0.0, 1.0) if span > 0 else np.zeros_like(heat)
    tensor = torch.from_numpy(unit.astype(np.float32))[:, None]
    larger = F.interpolate(tensor, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    result: Floats = larger[:, 0].clamp(0, 1).numpy()
    return result


def overlay(frames: Pictures, heat: Floats) -> Pictures:
    """Lay heat (T, S, S) in [0, 1] over the grey picture of frames (T, S, S, 3): the hotter, the less it shows."""
    grey = luma_of_array(frames)
    base = np.repeat(grey[..., None], 3, axis=-1)
    colors = colormaps[_HEAT_COLORS](heat)[..., :3].astype(np.float32) * 255.0
    weight = _OPACITY * heat[..., None] ** 0.5
    return np.clip(base * (1 - weight) + colors * weight + 0.5, 0, 255).astype(np.uint8)


def write_sheet(
    path: Path,
    *,
    frames: Pictures,
    frame_index: Sequence[int],
    layers: Sequence[HeatLayer],
    received: Floats | None,
    blocks: Sequence[int],
    title: str,
) -> None:
    """A PNG of the frames side by side, a row for each layer, and below them LMI's weights over time.

    received: float32 (LMIs, T), see `Explanation`, None without LMI; blocks: the blocks that they are in, from 1.
    """
    letters = find_letters([title, *(layer.title for layer in layers)])
    with drawn_in(letters.families), whole_file(path) as temporary:
        figure = _draw_sheet(
            frames=frames, frame_index=frame_index, layers=layers, received=received, blocks=blocks, title=title
        )
        figure.savefig(temporary)


def _draw_sheet(
    *,
    frames: Pictures,
    frame_index: Sequence[int],
    layers: Sequence[HeatLayer],
    received: Floats | None,
    blocks: Sequence[int],
    title: str,
) -> Figure:
    columns = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_COLUMNS)).round().astype(int))
    rows = [("frame", frames), *((layer.title, overlay(frames, layer.heat)) for layer in layers)]
    num_rows = len(rows) + (received is not None)
    size = (1.15 * len(columns) + 1.6, 1.15 * num_rows + 0.9)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=size, dpi=110, layout=layout)
    grid = figure.add_gridspec(num_rows, len(columns))
    for row, (name, pictures) in enumerate(rows):
        for column, frame in enumerate(columns):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pictures[frame])
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"frame {frame_index[frame]}", fontsize=8)
            if column == 0:
                axes.set_ylabel(name.replace(" ", "\n", 1), fontsize=8, parse_math=False)
    if received is not None:
        shown = [frame_index[frame] for frame in columns]
        _draw_strip(figure.add_subplot(grid[-1, :]), received[:, columns], blocks=blocks, frame_index=shown)
    figure.suptitle(title, fontsize=11, parse_math=False)  # a file name may hold dollar signs
    return figure


def _draw_strip(axes: Axes, received: Floats, *, blocks: Sequence[int], frame_index: Sequence[int]) -> None:
    axes.imshow(received, aspect="auto", cmap=_STRIP_COLORS, interpolation="nearest")
    axes.set_yticks(range(len(received)), [str(block) for block in blocks], fontsize=7)
    axes.set_ylabel("LMI\nblock", fontsize=8)
    axes.set_xticks(*_frame_ticks(frame_index), fontsize=7)
    weights = f"weight from {received.min():.3f} (dark) to {received.max():.3f}"
    axes.set_xlabel(f"frame of the video; {weights}", fontsize=8)


def _frame_ticks(frame_index: Sequence[int]) -> tuple[list[int], list[str]]:
    """Where the axis of a clip's frames is labelled, at most 16 times, and with which frame of the video."""
    places = list(range(0, len(frame_index), -(-len(frame_index) // _MOST_COLUMNS)))
    return places, [str(frame_index[place]) for place in places]


def strip_picture(received: Floats, *, blocks: Sequence[int], frame_index: Sequence[int]) -> bytes:
    """LMI's weights as a PNG: blocks, which are numbered from 1, by frames."""
    figure = Figure(figsize=(6.2, 0.8 + 0.28 * len(received)), dpi=150, layout="constrained")  # legible on phones too
    _draw_strip(figure.subplots(), received, blocks=blocks, frame_index=frame_index)
    return _png(figure)


def looks_picture(looks: Floats, frame_index: Sequence[int]) -> bytes:
    """Where each frame looks over time as a PNG: frames by frames, rows summing to 1."""
    figure = Figure(figsize=(4.2, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(looks, cmap=_STRIP_COLORS, vmin=0.0, interpolation="nearest")
    places, names = _frame_ticks(frame_index)
    axes.set_xticks(places, names, fontsize=7, rotation=90)
    axes.set_yticks(places, names, fontsize=7)
    axes.set_xlabel("looks at frame")
    axes.set_ylabel("frame of the video")
    figure.colorbar(image, ax=axes)
    return _png(figure)


def write_video(path: Path, *, frames: Pictures, frame_index: Sequence[int], layers: Sequence[HeatLayer]) -> None:
    """An MP4 of the frames, with their numbers, and their layers side by side, 4 frames a second.

    Raises DataError where FFmpeg cannot write it.
    """
    from torchcodec.encoders import VideoEncoder

    panels = np.concatenate([frames, *(overlay(frames, layer.heat) for layer in layers)], axis=2)
    factor = max(1, -(-_VIDEO_SIDE // frames.shape[1]))
    panels = panels.repeat(factor, axis=1).repeat(factor, axis=2)
    panels = panels[:, : panels.shape[1] // 2 * 2, : panels.shape[2] // 2 * 2]  # H.264 wants even sides
    panels = np.stack([_numbered(panel, frame) for panel, frame in zip(panels, frame_index, strict=True)])
    pictures = torch.from_numpy(np.ascontiguousarray(panels.transpose(0, 3, 1, 2)))
    try:
        with whole_file(path.absolute()) as temporary:  # FFmpeg would take `a:b.mp4` for a protocol
            VideoEncoder(pictures, frame_rate=FRAMES_PER_SECOND).to_file(temporary, pixel_format="yuv420p")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"cannot write {path}: {reason}; `hmdb-prep doctor` shows which FFmpeg is found") from error


def _numbered(picture: Pictures, frame: int) -> Pictures:
    """A picture (H, W, 3) with the number of its frame in the upper left corner."""
    canvas = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.truetype(findfont(OWN_FAMILY), _NUMBER_SIZE)
    text = f"frame {frame}"
    draw.rectangle(draw.textbbox((4, 2), text, font=font), fill="black")
    draw.text((4, 2), text, font=font, fill="white")
    return np.asarray(canvas)


def jpeg(picture: Pictures) -> bytes:
    """One picture (H, W, 3) as JPEG."""
    buffer = io.BytesIO()
    imsave(buffer, picture, format="jpeg", pil_kwargs={"quality": 85})
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
