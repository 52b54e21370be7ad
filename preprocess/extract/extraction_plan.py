"""What is settled before anything is decoded: the parameters, which clip goes to which shard, labels and splits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.extract.facts import ClipFacts, FactRules, facts_of
from shared.errors import UsageError
from shared.manifests.files import QuarantineRow
from shared.shards.format import MAX_FRAME_BYTES, SHARD_VERSION, ShardLayout, shard_name
from shared.video.listing import Video, is_video_name
from shared.video.resizing import FrameSize, parse_size
from shared.video.sampling import check_frames_per_segment
from shared.video.shape import FASTEST_FPS, ClipShape

# What decoding processes import before their first job. Names, because this process need not import it all.
DECODING_MODULES = ("preprocess.extract.clips", "preprocess.extract.pixel_sums", "torchcodec.decoders")


@dataclass(frozen=True, kw_only=True)
class ExtractionParameters:
    """What decides the content of the shards. size is ``HxW`` or ``native``."""

    size: str = "224x304"
    fit: str = "crop"
    num_segments: int = 16
    frames_per_segment: int = 1
    clips_per_shard: int = 64
    seed: int = 0
    shard_version: int = SHARD_VERSION
    folder_fps: float = 0.0
    """Frames a second of the frame folders, which pictures do not say; 0 where it is not known."""

    @property
    def frame_size(self) -> FrameSize | None:
        """The stored size; None for native."""
        return parse_size(self.size, fit=self.fit)

    @property
    def clip_shape(self) -> ClipShape:
        """The shape of every clip; its size is None for native."""
        return ClipShape(
            num_segments=self.num_segments, frames_per_segment=self.frames_per_segment, size=self.frame_size
        )


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """The videos of one shard, in the order of its rows, and the height and width that its clips will have."""

    index: int
    height: int
    width: int
    videos: tuple[Video, ...]

    @property
    def name(self) -> str:
        """The name of its file."""
        return shard_name(self.index)


@dataclass(frozen=True, kw_only=True)
class ExtractionPlan:
    """Which videos there are and where their clips go."""

    dataset_id: str
    parameters: ExtractionParameters
    videos: tuple[Video, ...]
    """All of them, sorted by path."""
    shards: tuple[PlannedShard, ...]
    rejected: tuple[QuarantineRow, ...]
    """Videos that cannot be planned: their name is taken, or they have no header and the size is native."""
    synthetic: bool = False
    """The videos were rendered by `hmdb-prep synth`. Kept here so that no later merge loses that label."""
    source_pattern: str = ""
    """By which the sources of clips are found, as in ``FactRules``. Kept here so that merge knows it; it may change."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of all videos, sorted, also those of which no video decodes."""
        return tuple(sorted({video.class_name for video in self.videos}))

    @property
    def planned_videos(self) -> tuple[Video, ...]:
        """Those that have a place in a shard, in the order of shards and rows."""
        return tuple(video for shard in self.shards for video in shard.videos)

    def layout(self, shard: PlannedShard) -> ShardLayout:
        """The layout of a planned shard."""
        return ShardLayout(
            num_segments=self.parameters.num_segments,
            frames_per_segment=self.parameters.frames_per_segment,
            height=shard.height,
            width=shard.width,
            dataset_id=self.dataset_id,
        )


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan, and with what it is carried out: by a process on this machine, or by one task of Ray."""

    plan: ExtractionPlan
    facts: ClipFacts
    videos_folder: Path
    shards_folder: Path
    device: str
    """``cpu`` or ``cuda``; ``auto`` until it is measured which is faster."""
    num_workers: int
    """Decoding processes."""
    timeout_seconds: float
    """How long one video may take."""


def make_parameters(
    *,
    size: str,
    fit: str,
    num_segments: int,
    frames_per_segment: int,
    clips_per_shard: int,
    folder_fps: float = 0.0,
) -> ExtractionParameters:
    """Check and normalise what the user asked for (``224`` becomes ``224x224``). Raises UsageError."""
    check_frames_per_segment(frames_per_segment)
    if not 1 <= num_segments <= 4096:
        raise UsageError(f"--num-frames is {num_segments}; it must lie between 1 and 4096")
    if clips_per_shard < 1:
        raise UsageError(f"--clips-per-shard is {clips_per_shard}; it must be at least 1")
    if not 0 <= folder_fps <= FASTEST_FPS:  # so that nan is refused as well
        raise UsageError(f"--fps is {folder_fps}; it must lie between 0 (not known) and {FASTEST_FPS:g}")
    frame_size = parse_size(size, fit=fit)
    return ExtractionParameters(
        size="native" if frame_size is None else f"{frame_size.height}x{frame_size.width}",
        fit=fit,
        num_segments=num_segments,
        frames_per_segment=frames_per_segment,
        clips_per_shard=clips_per_shard,
        folder_fps=folder_fps,
    )


def dataset_id_of(parameters: ExtractionParameters, videos: Sequence[Video]) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of all parameters and the sorted list of paths and sizes in bytes.

    folder_fps counts where it is not 0, so that data sets have the ids that they had before there was one.
    """
    named = dataclasses.asdict(parameters)
    if not parameters.folder_fps:
        del named["folder_fps"]
    content = {
        "parameters": named,
        "videos": sorted([video.path, video.num_bytes] for video in videos),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def reject_taken_names(videos: Sequence[Video]) -> tuple[list[Video], list[QuarantineRow]]:
    """Keep the first video of each clip_id (``a.avi`` before ``a.mp4``); the others are quarantined."""
    owners: dict[str, str] = {}
    kept, rejected = [], []
    for video in sorted(videos, key=lambda video: video.path):
        owner = owners.setdefault(video.clip_id, video.path)
        if owner == video.path:
            kept.append(video)
        else:
            which = owner if is_video_name(owner) else f"the frame folder {owner}"
            error = f"its clip_id {video.clip_id} is taken by {which}; rename one of them"
            rejected.append(QuarantineRow(path=video.path, stage="name", error=error))
    return kept, rejected


def clip_facts(plan: ExtractionPlan, rules: FactRules | None = None) -> ClipFacts:
    """The facts of all planned videos, the quarantined ones too, so that they never depend on decoding."""
    return facts_of(plan.planned_videos, rules or FactRules(), class_names=plan.class_names)


def make_plan(
    videos: Sequence[Video],
    parameters: ExtractionParameters,
    *,
    native_sizes: Mapping[str, tuple[int, int]] | None = None,
    unreadable: Sequence[QuarantineRow] = (),
) -> ExtractionPlan:
    """Divide a seeded permutation of the sorted videos among shards.

    native_sizes: (height, width) by path, needed for size ``native`` only, where clips of another size go to another
    shard; videos that are not in it must be in ``unreadable``.
    """
    kept, rejected = reject_taken_names(videos)
    order = np.random.default_rng(parameters.seed).permutation(len(kept))
    by_size: dict[tuple[int, int], list[Video]] = {}
    fixed = parameters.frame_size
    for index in order.tolist():
        size = (native_sizes or {}).get(kept[index].path) if fixed is None else (fixed.height, fixed.width)
        if size is not None:
            by_size.setdefault(size, []).append(kept[index])
    plan = ExtractionPlan(
        dataset_id=dataset_id_of(parameters, videos),
        parameters=parameters,
        videos=tuple(sorted(videos, key=lambda video: video.path)),
        shards=(),
        rejected=(*rejected, *unreadable),
    )
    return dataclasses.replace(plan, shards=tuple(_divide(plan, by_size)))


def _divide(plan: ExtractionPlan, by_size: Mapping[tuple[int, int], Sequence[Video]]) -> list[PlannedShard]:
    shards: list[PlannedShard] = []
    for height, width in sorted(by_size):
        videos = by_size[height, width]
        empty = PlannedShard(index=0, height=height, width=width, videos=())
        fitting = max(1, MAX_FRAME_BYTES // plan.layout(empty).clip_bytes)
        length = min(plan.parameters.clips_per_shard, fitting)
        for start in range(0, len(videos), length):
            members = tuple(videos[start : start + length])
            shards.append(dataclasses.replace(empty, index=len(shards), videos=members))
    return shards
