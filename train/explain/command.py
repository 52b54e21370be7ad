"""Heatmaps over one video or stored clip: for each action a contact sheet, a video and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shared.errors import UsageError
from shared.terminal.console import say
from train.data.views import square_boxes
from train.explain.clips import DataFolders, ShownClip, find_clip
from train.explain.maps import Explanation, explain_clip
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
    """None for ``<run>/explanations``."""
    actions: tuple[str, ...]
    """The classes to explain, none for the predicted one."""
    data: DataFolders
    device: str


def explain(run: str, video: str, options: ExplainOptions) -> list[Path]:
    """Write ``<out>/<video>/<action>/`` with sheet.png, heat.mp4 and index.html; returns these folders.

    video: a file, a frame folder, or the id of a stored clip, ``<class>/<stem>``.
    """
    folder = find_run(
        run, runs=options.runs, written="" if options.out else "the explanation (unless --out says where)"
    )
    loaded = load_model(folder, device=choose_device(options.device))
    labels = _labels(loaded, options.actions)
    clip = find_clip(video, loaded, options.data)
    place = (options.out or folder / EXPLANATIONS_FOLDER) / clip.folder
    notes = _notes(loaded, clip)
    for note in notes:
        say(note)
    origin = f"{run_name(folder)}, {loaded.path.name}, epoch {loaded.epoch}"
    return [_explain_action(loaded, clip, label, place, notes=notes, origin=origin) for label in labels]


def _explain_action(
    loaded: LoadedModel, clip: ShownClip, label: int | None, place: Path, *, notes: tuple[str, ...], origin: str
) -> Path:
    explanation = explain_clip(loaded, clip.frames, label=label)
    class_name = loaded.facts.class_names[explanation.label]
    share = 100 * float(explanation.probabilities[explanation.label])
    frames = shown_frames(clip.frames)
    layers = heat_layers(explanation, class_name=class_name, side=frames.shape[1])
    if note := motion_note(loaded, explanation):
        say(note)
        notes = (*notes, note)
    out = place / folder_name(class_name)
    out.mkdir(parents=True, exist_ok=True)
    done = "replaced" if (out / PAGE_FILE).exists() else "wrote"  # another video of the same name may have been here
    write_sheet(
        out / SHEET_FILE,
        frames=frames,
        frame_index=clip.frame_index,
        layers=layers,
        received=explanation.received,
        blocks=explanation.blocks,
        title=f"{clip.name}: {class_name} {share:.1f} % ({origin})",
    )
    write_video(out / VIDEO_FILE, frames=frames, frame_index=clip.frame_index, layers=layers)
    facts = PageFacts(
        video=clip.name,
        origin=origin,
        class_names=loaded.facts.class_names,
        frame_index=clip.frame_index,
        notes=notes,
    )
    write_page(out / PAGE_FILE, explanation, facts, frames=frames, layers=layers)
    say(f"{clip.name}: {class_name} {share:.2f} %; {done} {out}: {SHEET_FILE}, {VIDEO_FILE}, {PAGE_FILE}")
    return out


def shown_frames(frames: torch.Tensor) -> Pictures:
    """The part of the stored frames that evaluation's centre crop takes: uint8 (T, H, W, 3) -> (T, S, S, 3)."""
    (box,) = square_boxes(frames.shape[1], frames.shape[2], num_crops=1)
    top, left, height, width = box
    pictures: Pictures = frames[:, top : top + height, left : left + width].contiguous().numpy()
    return pictures


def folder_name(class_name: str) -> str:
    """The name of a class as that of one folder, whatever a run calls its classes."""
    name = printable(class_name).replace("/", "_")
    return name if name.strip(".") else f"_{name}"


def _labels(loaded: LoadedModel, actions: tuple[str, ...]) -> list[int | None]:
    """The labels of actions, each once; None, the predicted one, where there are none."""
    class_names = loaded.facts.class_names
    for action in actions:
        if action not in class_names:
            raise UsageError(f"--action is {action!r}; this run knows {', '.join(class_names)}")
    return [class_names.index(action) for action in dict.fromkeys(actions)] or [None]


def _notes(loaded: LoadedModel, clip: ShownClip) -> tuple[str, ...]:
    return (*origin_notes(loaded), *clip.notes)


def origin_notes(loaded: LoadedModel) -> tuple[str, ...]:
    """What is to be said of a model that has never seen a real video."""
    origin = "trained on the embedded synthetic data set: what it has learnt says nothing about HMDB51"
    return (origin,) if loaded.facts.synthetic else ()


def motion_note(loaded: LoadedModel, explanation: Explanation) -> str:
    """What is to be said where the map of motion is empty; empty itself where it is not."""
    has_motion = explanation.motion is not None and bool(np.any(explanation.motion))
    if loaded.facts.model_config.smif == "none" or has_motion:
        return ""
    return "SMIF injects no motion here: its weights are zero, or nothing moves"
