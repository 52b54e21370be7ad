"""Small moving pictures of clips for pages: some frames of each, side by side in one WebP picture."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.manifests.files import Dataset
from shared.next_command import Places, folder_options
from shared.pages.page import data_address
from shared.shards.clips import clips_in_shards
from shared.shards.places import ShardsPlace
from shared.terminal.console import progress

if TYPE_CHECKING:
    import pandas as pd

NUM_FRAMES = 8
MOST_FILMS = 600  # in one page
MOST_CHARACTERS = 12_000_000  # of all films of a page together
_HEIGHT = 84
_WIDEST = 2.5  # times the height; what is wider is squeezed
_QUALITY = 50


@dataclass(frozen=True, kw_only=True)
class ClipPictures:
    """What a page shows of the clips of one split."""

    films: Mapping[str, str]
    """Data addresses by clip_id, of the most telling clips."""
    num_frames: int
    """Pictures in each of them."""
    explain: tuple[str, str]
    """What stands before and after the clip id in the command that explains a clip."""


def clip_pictures(
    clip_ids: Sequence[str],
    frame: pd.DataFrame,
    *,
    run: Path,
    shards: ShardsPlace,
    manifests: Path,
    dataset: Dataset,
    share: float,
) -> ClipPictures:
    """The films of clips, the most telling first as far as there is room, and how each clip is explained.

    frame: all manifest rows; clips that it lacks have no film. run: the folder of the split. share: the part of a
    page's room that the split may take.
    Raises DataError as ``clips_in_shards`` does.
    """
    by_id = frame.set_index("clip_id", drop=False)
    rows = by_id.loc[[clip_id for clip_id in clip_ids[: int(MOST_FILMS * share)] if clip_id in by_id.index]]
    return ClipPictures(
        films=read_films(rows, shards, dataset_id=dataset.dataset_id, most_characters=int(MOST_CHARACTERS * share)),
        num_frames=min(NUM_FRAMES, dataset.num_segments),
        explain=explain_command(run, shards=shards, manifests=manifests),
    )


def explain_command(run: Path, *, shards: ShardsPlace, manifests: Path) -> tuple[str, str]:
    """What to type before and after a clip id. Folders that bear their usual names need not be named."""
    words = folder_options(Places(shards=shards, manifests=manifests))
    return f"lsvit-train explain {shlex.quote(str(run))} ", "".join(f" {shlex.quote(word)}" for word in words)


def film(frames: npt.NDArray[np.uint8]) -> str:
    """Frames, uint8 (n, H, W, 3), side by side as one WebP picture in a data address, 84 pixels high."""
    height, width = frames.shape[1:3]
    size = (max(1, round(min(width / height, _WIDEST) * _HEIGHT)), _HEIGHT)
    strip = Image.new("RGB", (size[0] * len(frames), _HEIGHT))
    for place, frame in enumerate(frames):
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        strip.paste(picture, (place * size[0], 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="WEBP", quality=_QUALITY, method=2)
    return data_address(buffer.getvalue(), "webp")


def read_films(clips: pd.DataFrame, shards: ShardsPlace, *, dataset_id: str, most_characters: int) -> dict[str, str]:
    """The films of manifest rows by clip_id, the first rows first, as far as ``most_characters`` go.

    Raises DataError as ``clips_in_shards`` does.
    """
    clip_ids = clips["clip_id"].tolist()
    films: dict[int, str] = {}
    with progress("drawing clips for the report", len(clips)) as advance:
        for clip in clips_in_shards(clips, shards, dataset_id=dataset_id):
            films[clip.place] = film(clip.frames[spread(clip.evaluation)])
            advance(1)
    kept: dict[str, str] = {}
    for place in sorted(films):
        most_characters -= len(films[place])
        if most_characters < 0:
            break
        kept[clip_ids[place]] = films[place]
    return kept


def spread(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """NUM_FRAMES of the rows, evenly spread; all where there are fewer."""
    count = min(NUM_FRAMES, len(rows))
    return rows[[(2 * place + 1) * len(rows) // (2 * count) for place in range(count)]]
