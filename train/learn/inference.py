"""What a model answers to stored clips: validation during training, evaluation and features of trained models."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from train.data.loader.prefetch import Prefetcher
from train.data.loader.reader import BatchReader
from train.data.loader.transfer import Sender, Sent
from train.data.views import Views, candidate_rows, evaluation_views
from train.learn.precision import widened, widest_float
from train.learn.processes import Processes

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def clip_answers(
    answer: Callable[[torch.Tensor], torch.Tensor],
    reader: BatchReader,
    clips: Integers,
    *,
    width: int,
    image_size: int,
    batch_size: int,
    processes: Processes,
    views: Views | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Floats:
    """The answers to the clips (N,), each the mean over its candidates; float64 (N, width).

    answer: from the crops of b clips, float32 (b, S, T, 3, h, w) in [0, 1], to (b, width). views: None for one view.
    The work is shared by all processes, and all of them get the whole result. Raises UsageError where the shards hold
    fewer candidates than ``views`` asks for.
    """
    views = views or Views()
    layout = reader.layout
    candidates = candidate_rows(views, num_segments=layout.num_segments, frames_per_segment=layout.frames_per_segment)
    share = -(-len(clips) // processes.count)
    order = reader.suitable_order(clips)
    own = clips[order][processes.rank * share : (processes.rank + 1) * share]
    total = torch.zeros(share, width, dtype=widest_float(processes.device), device=processes.device)

    sender = Sender(processes.device)

    def batches() -> Iterator[tuple[int, Sent]]:
        for rows in candidates:
            for start in range(0, len(own), batch_size):
                yield start, sender.send([reader.evaluation(own[start : start + batch_size], rows)])

    with torch.inference_mode(), Prefetcher(batches(), ahead=2) as stream:
        for start, sent in stream:
            (frames,) = sent.received()
            crops = evaluation_views(frames, image_size=image_size, num_crops=views.num_crops)
            total[start : start + len(frames)] += answer(crops)
            advance(len(frames) * processes.count)
    gathered = torch.cat(processes.gather(total / len(candidates)))[: len(clips)]
    result: Floats = np.empty(gathered.shape)
    result[order] = gathered.cpu().numpy()
    return result


def probabilities_of(
    model: nn.Module, *, amp_dtype: torch.dtype | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """P(class | clip), the mean over the crops: float32 (b, S, T, 3, h, w) -> (b, classes), rows summing to 1.

    In float64, on the GPU of a Mac float32. The model is put in evaluation mode. amp_dtype: the half precision of
    autocast, None without it.
    """
    model.eval()

    def answer(crops: torch.Tensor) -> torch.Tensor:
        with torch.autocast(crops.device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
            logits: torch.Tensor = model(crops.flatten(0, 1))
        return widened(logits).softmax(dim=1).view(*crops.shape[:2], -1).mean(dim=1)

    return answer
