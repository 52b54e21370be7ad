"""Heatmaps over one video: a contact sheet, a video and a page."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shared.console import counted, say
from shared.errors import UsageError
from shared.video.decoding import DecodedClip, decode_clip
from shared.videos import stem_of
from train.data.views import square_boxes
from train.explain.maps import explain_clip
from train.explain.page import PageFacts, write_page
from train.explain.pictures import Pictures, heat_layers, write_sheet, write_video
from train.learn.processes import choose_device
from train.trained.answers import printable
from train.trained.folders import find_run, run_name
from train.trained.model import LoadedModel, load_model

EXPLANATIONS_FOLDER = "explanations"
SHEET_FILE = "sheet.png"
VIDEO_FILE = "heat.mp4"
PAGE_FILE = "index.html"


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of the command."""

    runs: Path
    out: Path | None
    """None for ``<run>/explanations/<video>``."""
    action: str
    """The class to explain, empty for the predicted one."""
    device: str


def explain(run: str, video: Path, options: ExplainOptions) -> Path:
    """Write sheet.png, heat.mp4 and index.html; returns their folder."""
    folder = find_run(run, runs=options.runs)
    loaded = load_model(folder, device=choose_device(options.device))
    label = _label(loaded, options.action)
    clip = decode_clip(video, dataclasses.replace(loaded.facts.shape, frames_per_segment=1))
    explanation = explain_clip(loaded, clip.frames, label=label)
    class_name = loaded.facts.class_names[explanation.label]
    share = 100 * float(explanation.probabilities[explanation.label])
    frames = shown_frames(clip.frames)
    layers = heat_layers(explanation, class_name=class_name, side=frames.shape[1])
    out = options.out or folder / EXPLANATIONS_FOLDER / (printable(stem_of(video)) or "video")
    out.mkdir(parents=True, exist_ok=True)
    facts = PageFacts(
        video=printable(video.name),
        origin=f"{run_name(folder)}, {loaded.path.name}, epoch {loaded.epoch}",
        class_names=loaded.facts.class_names,
        frame_index=tuple(int(frame) for frame in clip.frame_index),
        notes=_notes(loaded, clip, has_motion=explanation.motion is not None and bool(np.any(explanation.motion))),
    )
    write_sheet(
        out / SHEET_FILE,
        frames=frames,
        frame_index=facts.frame_index,
        layers=layers,
        received=explanation.received,
        title=f"{facts.video}: {class_name} {share:.1f} % ({facts.origin})",
    )
    write_video(out / VIDEO_FILE, frames=frames, layers=layers)
    write_page(out / PAGE_FILE, explanation, facts, frames=frames, layers=layers)
    for note in facts.notes:
        say(note)
    say(f"{facts.video}: {class_name} {share:.2f} %; wrote {out}: {SHEET_FILE}, {VIDEO_FILE}, {PAGE_FILE}")
    return out


def shown_frames(frames: torch.Tensor) -> Pictures:
    """The part of the stored frames that evaluation's centre crop takes: uint8 (T, H, W, 3) -> (T, S, S, 3)."""
    (box,) = square_boxes(frames.shape[1], frames.shape[2], num_crops=1)
    top, left, height, width = box
    pictures: Pictures = frames[:, top : top + height, left : left + width].contiguous().numpy()
    return pictures


def _label(loaded: LoadedModel, action: str) -> int | None:
    if not action:
        return None
    class_names = loaded.facts.class_names
    if action not in class_names:
        raise UsageError(f"--action is {action!r}; this run knows {', '.join(class_names)}")
    return class_names.index(action)


def _notes(loaded: LoadedModel, clip: DecodedClip, *, has_motion: bool) -> tuple[str, ...]:
    notes = []
    if loaded.facts.synthetic:
        notes.append("trained on the embedded synthetic data set: what it has learnt says nothing about HMDB51")
    if clip.num_padded:
        frames, times = counted(clip.num_frames, "frame"), counted(clip.num_padded, "time")
        notes.append(f"the video has {frames}: the last one is repeated {times}")
    if loaded.facts.model_config.smif != "none" and not has_motion:
        notes.append("SMIF injects no motion here: its weights are zero, or nothing moves")
    return (*notes, *clip.notes)
