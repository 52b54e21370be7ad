"""Probabilities of stored clips under a model. Used for validation and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from train.data.prefetch import Prefetcher
from train.data.reader import BatchReader
from train.data.views import evaluation_views
from train.learn.processes import Processes

Integers = npt.NDArray[np.int64]


def clip_probabilities(
    model: nn.Module,
    reader: BatchReader,
    clips: Integers,
    *,
    num_classes: int,
    image_size: int,
    batch_size: int,
    processes: Processes,
    amp_dtype: torch.dtype | None = None,
    num_crops: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> npt.NDArray[np.float64]:
    """P(class | clip) of the clips (N,), float64 (N, classes), rows summing to 1; the mean over the crops.

    The work is shared by all processes, and all of them get the whole result. The model is put in evaluation
    mode.
    """
    model.eval()
    share = -(-len(clips) // processes.count)
    own = clips[processes.rank * share : (processes.rank + 1) * share]
    result = torch.zeros(share, num_classes, dtype=torch.float64, device=processes.device)

    def batches() -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(0, len(own), batch_size):
            yield start, reader.evaluation(own[start : start + batch_size])

    with torch.inference_mode(), Prefetcher(batches(), ahead=2) as stream:
        for start, frames in stream:
            views = evaluation_views(
                frames.to(processes.device, non_blocking=True), image_size=image_size, num_crops=num_crops
            )
            probabilities = view_probabilities(model, views, amp_dtype=amp_dtype)
            result[start : start + len(frames)] = probabilities
            advance(len(frames) * processes.count)
    gathered: npt.NDArray[np.float64] = torch.cat(processes.gather(result))[: len(clips)].cpu().numpy()
    return gathered


def view_probabilities(model: nn.Module, views: torch.Tensor, *, amp_dtype: torch.dtype | None) -> torch.Tensor:
    """Mean probabilities over the views of each clip: float32 (B, S, T, 3, h, w) -> float64 (B, classes)."""
    with torch.autocast(views.device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        logits: torch.Tensor = model(views.flatten(0, 1))
    return logits.double().softmax(dim=1).view(*views.shape[:2], -1).mean(dim=1)
