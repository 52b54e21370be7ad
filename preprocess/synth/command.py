"""The embedded data set: synthetic videos of stick figures in HMDB51's layout, for trying and testing everything.

A folder of them bears ``synthetic.json``, written before the first video, with the parameters that every pixel follows
from. Numbers measured on them say nothing about HMDB51.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from preprocess.synth.encode import PARTIAL_SUFFIX, ClipJob, write_clip
from preprocess.synth.scene import render_clip
from preprocess.synth.specs import (
    DEFAULT_NUM_CLASSES,
    DEFAULT_NUM_CLIPS,
    MAX_CLASSES,
    ClipSpec,
    Difficulty,
    SetParameters,
    class_counts,
    clip_specs,
)
from preprocess.synth.stage import figure_boxes
from shared.classes import SYNTHETIC_MARKER, VIDEO_SUFFIXES, is_synthetic
from shared.console import progress
from shared.errors import DataError, UsageError
from shared.workers import WorkerDied, WorkerOverran, WorkerPool

__all__ = [
    "DEFAULT_NUM_CLASSES", "DEFAULT_NUM_CLIPS", "MAX_CLASSES", "ClipSpec", "Difficulty", "SetParameters",
    "SynthSummary", "class_counts", "clip_specs", "figure_boxes", "find_spec", "is_synthetic", "render_clip",
    "synthesize",
]  # fmt: skip

GENERATOR = "hmdb-prep synth"
GENERATOR_VERSION = 1  # rises whenever the same parameters give other pixels or names

_SECONDS_PER_CLIP = 300.0


@dataclass(frozen=True, kw_only=True)
class SynthSummary:
    """What a call of ``synthesize`` found and made. num_bytes is that of all videos, also those kept."""

    destination: Path
    parameters: SetParameters
    counts: Mapping[str, int]
    num_sources: int
    num_written: int
    num_kept: int
    num_bytes: int
    elapsed_seconds: float

    @property
    def num_clips(self) -> int:
        return self.num_written + self.num_kept

    def describe(self) -> str:
        """One line for the end of the command."""
        kept = f" ({self.num_kept} were there already)" if self.num_kept else ""
        return (
            f"{self.num_clips} synthetic videos{kept} of {len(self.counts)} classes and {self.num_sources} sources, "
            f"{self.parameters.difficulty}, seed {self.parameters.seed}, {self.num_bytes / 1e6:.1f} MB "
            f"written to {self.destination} in {self.elapsed_seconds:.0f} s"
        )


def synthesize(
    destination: Path,
    *,
    num_clips: int = DEFAULT_NUM_CLIPS,
    num_classes: int = DEFAULT_NUM_CLASSES,
    difficulty: str = "plain",
    seed: int = 0,
    num_workers: int | None = None,
) -> SynthSummary:
    """Render a set of videos to ``destination/<class>/``; those that are complete there already are kept.

    num_workers: processes, by default one a core. Raises UsageError for parameters out of range, DataError where the
    folder holds other videos or synthetic ones of other parameters, or where FFmpeg cannot encode.
    """
    started = time.monotonic()
    if num_workers is not None and num_workers < 1:
        raise UsageError(f"--workers {num_workers} is out of range; give 1 or more")
    parameters = SetParameters(
        num_clips=num_clips, num_classes=num_classes, difficulty=cast(Difficulty, difficulty), seed=seed
    )
    specs = clip_specs(parameters)
    _claim(destination, parameters, specs)
    missing = [spec for spec in specs if not (destination / spec.path).is_file()]
    _render_all(destination, missing, num_workers=num_workers or len(os.sched_getaffinity(0)))
    return SynthSummary(
        destination=destination,
        parameters=parameters,
        counts=class_counts(num_clips, num_classes),
        num_sources=len({spec.source.name for spec in specs}),
        num_written=len(missing),
        num_kept=len(specs) - len(missing),
        num_bytes=sum((destination / spec.path).stat().st_size for spec in specs),
        elapsed_seconds=time.monotonic() - started,
    )


def find_spec(folder: Path, clip_id: str) -> ClipSpec:
    """Rebuild the plan of one clip (``<class>/<file stem>``) of a synthetic folder from its marker.

    Raises DataError where the folder is not synthetic, its marker is damaged or of another version, or the
    clip is none of it.
    """
    if not is_synthetic(folder):
        raise DataError(f"{folder} holds no {SYNTHETIC_MARKER}: its videos were not made by `{GENERATOR}`")
    marker = _read_marker(folder)
    if marker["version"] != GENERATOR_VERSION:
        raise DataError(
            f"{folder} was made by version {marker['version']} of `{GENERATOR}`, this is version {GENERATOR_VERSION}; "
            "delete the folder and render it again"
        )
    parameters = SetParameters(
        num_clips=int(marker["num_clips"]),
        num_classes=int(marker["num_classes"]),
        difficulty=cast(Difficulty, marker["difficulty"]),
        seed=int(marker["seed"]),
    )
    for spec in clip_specs(parameters):
        if spec.clip_id == clip_id:
            return spec
    raise DataError(f"no clip {clip_id!r} among the {parameters.num_clips} of {folder}")


def _render_all(destination: Path, specs: list[ClipSpec], *, num_workers: int) -> None:
    preload = ["preprocess.synth.encode", "torchcodec.encoders"]
    with (
        WorkerPool(num_workers=num_workers, timeout_seconds=_SECONDS_PER_CLIP, preload=preload) as pool,
        progress("rendering", len(specs)) as advance,
    ):
        tickets = [pool.submit(write_clip, ClipJob(spec=spec, destination=destination)) for spec in specs]
        for spec, ticket in zip(specs, tickets, strict=True):
            outcome = pool.wait(ticket)
            if isinstance(outcome, (WorkerDied, WorkerOverran)):
                raise DataError(f"rendering {spec.path} failed: {outcome}; run the same command again to continue")
            advance(1)


def _claim(destination: Path, parameters: SetParameters, specs: tuple[ClipSpec, ...]) -> None:
    """Make sure that the folder is free or holds videos of this very set, mark it, and clear what a killed run left."""
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{destination} is a file, not a folder; name another destination")
    planned = {spec.path for spec in specs}
    if is_synthetic(destination):
        _refuse_other_parameters(destination, parameters)
    else:
        planned = set()
    for path in _files(destination):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.relative_to(destination).as_posix() not in planned:
            raise DataError(
                f"{destination} holds videos that `{GENERATOR}` did not make, {path.relative_to(destination)} for one; "
                "name another destination"
            )
        if path.name.endswith(PARTIAL_SUFFIX):
            path.unlink()
    destination.mkdir(parents=True, exist_ok=True)
    _write_marker(destination, parameters)


def _files(folder: Path) -> list[Path]:
    """Files in the folder and its class folders; deeper ones are no videos of any set."""
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir())
    return [path for entry in entries for path in (sorted(entry.iterdir()) if entry.is_dir() else [entry])]


def _refuse_other_parameters(destination: Path, parameters: SetParameters) -> None:
    before, now = _read_marker(destination), _marker(parameters)
    differences = [f"{key} {before[key]} there, {now[key]} wanted" for key in now if before[key] != now[key]]
    if differences:
        raise DataError(
            f"{destination} holds synthetic videos of other parameters ({'; '.join(differences)}); "
            "delete the folder or name another destination"
        )


def _marker(parameters: SetParameters) -> dict[str, str | int]:
    return {"generator": GENERATOR, "version": GENERATOR_VERSION, **asdict(parameters)}


def _read_marker(folder: Path) -> dict[str, str | int]:
    path = folder / SYNTHETIC_MARKER
    expected = _marker(SetParameters())
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); delete the folder and render it again") from error
    if not isinstance(content, dict) or any(type(content.get(key)) is not type(expected[key]) for key in expected):
        raise DataError(f"{path} is damaged: it lacks {', '.join(expected)}; delete the folder and render it again")
    return content


def _write_marker(folder: Path, parameters: SetParameters) -> None:
    partial = folder / (SYNTHETIC_MARKER + PARTIAL_SUFFIX)
    partial.write_text(json.dumps(_marker(parameters), indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / SYNTHETIC_MARKER)
