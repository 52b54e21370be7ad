"""From an uploaded video to its answer: decoded in another process, given to the model, explained."""

from __future__ import annotations

import torch

from shared.errors import DataError
from shared.machine.workers import WorkerDied, WorkerOverran, WorkerPool
from shared.video.shape import ClipShape
from train.explain.clips import padding_notes
from train.explain.command import motion_note, origin_notes, shown_frames
from train.explain.maps import Explanation, explain_clip
from train.explain.page import PageFacts, explanation_page
from train.explain.pictures import heat_layers
from train.learn.processes import memory_errors
from train.serve.decoding import Upload, UploadedVideo, read_upload
from train.serve.jobs import Answer, Job
from train.trained.answers import printable, ranked
from train.trained.model import LoadedModel


def answer(loaded: LoadedModel, pool: WorkerPool, job: Job, *, shape: ClipShape, origin: str) -> Answer:
    """Answer for a video. shape: of the clip of T frames that the model was trained on. origin: which run answers.

    Raises DataError where the video gives no clip, takes too long or crashes its decoder, and where the model fails.
    """
    upload = pool.wait(pool.submit(read_upload, UploadedVideo(path=job.video, shape=shape)))
    if isinstance(upload, WorkerDied):
        raise DataError(f"decoding this video crashes FFmpeg ({upload.cause}); convert it, to MP4 for one")
    if isinstance(upload, WorkerOverran):
        raise DataError(f"decoding this video takes longer than {upload.seconds:g} s; give a shorter one")
    frames = torch.from_numpy(upload.frames)
    with memory_errors("use --device cpu"):
        explanation = explain_clip(loaded, frames, label=job.label)
    shares, names = explanation.probabilities, loaded.facts.class_names
    return Answer(
        predictions=tuple((names[label], float(shares[label])) for label in ranked(shares)),
        page=_page(loaded, job.name, upload, frames, explanation, origin=origin),
    )


def _page(
    loaded: LoadedModel, name: str, upload: Upload, frames: torch.Tensor, explanation: Explanation, *, origin: str
) -> str:
    notes = [*origin_notes(loaded), *padding_notes(upload.num_frames, upload.num_padded)]
    if note := motion_note(loaded, explanation):
        notes.append(note)
    facts = PageFacts(
        video=printable(name),
        origin=origin,
        class_names=loaded.facts.class_names,
        frame_index=upload.frame_index,
        notes=tuple(notes),
    )
    pictures = shown_frames(frames)
    layers = heat_layers(explanation, class_name=loaded.facts.class_names[explanation.label], side=pictures.shape[1])
    return explanation_page(explanation, facts, frames=pictures, layers=layers)
