"""The embedded data set: synthetic videos of stick figures in HMDB51's layout, for trying and testing everything.

A folder of them bears ``synthetic.json``, written before the first video, with the parameters that every pixel follows
from. Numbers measured on them say nothing about HMDB51.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

from preprocess.synth.encode import ClipJob, write_clip
from preprocess.synth.specs import (
    DEFAULT_NUM_CLASSES,
    DEFAULT_NUM_CLIPS,
    ClipSpec,
    Difficulty,
    SetParameters,
    class_counts,
    clip_specs,
)
from shared.checks import from_builtins, parse_json
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.machine.cores import available_cores
from shared.machine.workers import WorkerDied, WorkerOverran, WorkerPool
from shared.terminal.console import counted, progress
from shared.terminal.interrupts import explained
from shared.video.listing import SYNTHETIC_MARKER, frames_of, is_synthetic, is_video_name, look_into

GENERATOR = "hmdb-prep synth"
GENERATOR_VERSION = 2  # rises whenever the same parameters give other pixels, bytes or names

_SECONDS_PER_CLIP = 300.0


@dataclass(frozen=True, kw_only=True)
class _Marker:
    """What ``synthetic.json`` says; the pixels of every video in the folder follow from it."""

    generator: str
    version: int
    num_clips: int
    num_classes: int
    difficulty: Difficulty
    seed: int


@dataclass(frozen=True, kw_only=True)
class SynthSummary:
    """What a call of ``synthesize`` found and made."""

    destination: Path
    parameters: SetParameters
    counts: Mapping[str, int]
    num_sources: int
    num_written: int
    num_kept: int
    num_bytes: int  # of all videos, also those kept
    elapsed_seconds: float

    @property
    def num_clips(self) -> int:
        return self.num_written + self.num_kept

    def describe(self) -> str:
        """One line for the end of the command."""
        kept = f" ({self.num_kept} were there already)" if self.num_kept else ""
        return (
            f"{counted(self.num_clips, 'synthetic video')}{kept} of {counted(len(self.counts), 'class')} and "
            f"{counted(self.num_sources, 'source')}, "
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
    with explained(partial(_how_to_continue, destination, specs)):
        _render_all(destination, missing, num_workers=num_workers or available_cores())
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


def _how_to_continue(destination: Path, specs: Sequence[ClipSpec]) -> str:
    """What is there of a set that was interrupted, and how it goes on."""
    done = sum((destination / spec.path).is_file() for spec in specs)
    verb = "is" if 1 in (done, len(specs)) else "are"
    return f"{done} of {counted(len(specs), 'video')} {verb} complete in {destination}; the same command continues"


def find_spec(folder: Path, clip_id: str) -> ClipSpec:
    """Rebuild the plan of one clip (``<class>/<file stem>``) of a synthetic folder from its marker.

    Raises DataError where the folder is not synthetic, its marker is damaged or of another version, or the
    clip is none of it.
    """
    if not is_synthetic(folder):
        raise DataError(f"{folder} holds no {SYNTHETIC_MARKER}: its videos were not made by `{GENERATOR}`")
    marker = _read_marker(folder)
    if marker.version != GENERATOR_VERSION:
        raise DataError(
            f"{folder} was made by version {marker.version} of `{GENERATOR}`, this is version {GENERATOR_VERSION}; "
            "delete the folder and render it again"
        )
    for spec in clip_specs(
        SetParameters(
            num_clips=marker.num_clips, num_classes=marker.num_classes, difficulty=marker.difficulty, seed=marker.seed
        )
    ):
        if spec.clip_id == clip_id:
            return spec
    raise DataError(f"no clip {clip_id!r} among the {marker.num_clips} of {folder}")


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
    """Make sure that the folder is free or holds videos of this very set, and mark it."""
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{destination} is a file, not a folder; name another destination")
    planned = {spec.path for spec in specs}
    if is_synthetic(destination):
        _refuse_other_parameters(destination, parameters)
    else:
        planned = set()
    for path in _files(destination):
        if _is_video(path) and path.relative_to(destination).as_posix() not in planned:
            raise DataError(
                f"{destination} holds videos that `{GENERATOR}` did not make, {path.relative_to(destination)} for one; "
                "name another destination"
            )
    destination.mkdir(parents=True, exist_ok=True)
    write_text(destination / SYNTHETIC_MARKER, json.dumps(asdict(_marker(parameters)), indent=2) + "\n")


def _files(folder: Path) -> list[Path]:
    """Files in the folder and its class folders; deeper and hidden ones are no videos of any set."""
    return [path for path in sorted([*folder.glob("*"), *folder.glob("*/*")]) if not path.name.startswith(".")]


def _is_video(path: Path) -> bool:
    return bool(frames_of(look_into(path))) if path.is_dir() else is_video_name(path.name)


def _refuse_other_parameters(destination: Path, parameters: SetParameters) -> None:
    before, now = asdict(_read_marker(destination)), asdict(_marker(parameters))
    differences = [f"{key} {before[key]} there, {now[key]} wanted" for key in now if before[key] != now[key]]
    if differences:
        raise DataError(
            f"{destination} holds synthetic videos of other parameters ({'; '.join(differences)}); "
            "delete the folder or name another destination"
        )


def _marker(parameters: SetParameters) -> _Marker:
    return _Marker(generator=GENERATOR, version=GENERATOR_VERSION, **asdict(parameters))


def _read_marker(folder: Path) -> _Marker:
    path = folder / SYNTHETIC_MARKER
    try:
        return from_builtins(_Marker, parse_json(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); delete the folder and render it again") from error
