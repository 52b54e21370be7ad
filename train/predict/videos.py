"""From raw video files to the very frames that `hmdb-prep extract` would have stored of them.

Several videos are decoded in other processes, so that one that crashes or hangs FFmpeg does not lose the others. One
video alone is decoded in this process, which saves the start of another.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.machine.workers import Ticket, WorkerDied, WorkerOverran, WorkerPool
from shared.video.decoding import decode_clip
from shared.video.shape import ClipShape
from shared.video.streams import VideoError

Frames = npt.NDArray[np.uint8]
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """A video and the shape of the clip wanted of it."""

    path: Path
    shape: ClipShape


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedVideo:
    """What is needed of a video to answer for it."""

    frames: Frames
    """The clip's frames, uint8 (T·K, H, W, 3)."""
    seconds: float
    """How long it is shown; 0 where it does not say."""


def decode_video(request: ClipRequest) -> DecodedVideo:
    """Decode a video to its clip. Raises VideoError where there is none."""
    clip = decode_clip(request.path, request.shape)
    return DecodedVideo(frames=clip.frames.numpy(), seconds=clip.duration_seconds)


def decode_all(
    requests: Sequence[ClipRequest],
    *,
    num_workers: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
    decode: Callable[[ClipRequest], DecodedVideo] = decode_video,
) -> Iterator[DecodedVideo | VideoError]:
    """Decode the videos, in order, a few ahead: what ``decode`` gives, or why it gives nothing.

    num_workers: processes that decode; with 0 this one does, and nothing protects it from a video that crashes FFmpeg.
    """
    if len(requests) == 1 or not num_workers:
        for request in requests:
            yield _outcome(functools.partial(decode, request))
        return
    preload = ["torchcodec.decoders", __name__]
    with WorkerPool(num_workers=num_workers, timeout_seconds=timeout_seconds, preload=preload) as pool:
        tickets: deque[Ticket[DecodedVideo]] = deque()
        for request in requests:
            if len(tickets) > num_workers:
                yield _outcome(lambda: pool.wait(tickets.popleft()))
            tickets.append(pool.submit(decode, request))
        while tickets:
            yield _outcome(lambda: pool.wait(tickets.popleft()))


def _outcome(decode: Callable[[], DecodedVideo | WorkerDied | WorkerOverran]) -> DecodedVideo | VideoError:
    """The clip, or why there are none, of one video: whatever is wrong with it, the others go on."""
    try:
        result = decode()
    except VideoError as error:
        return error
    except (OSError, MemoryError) as error:
        return VideoError("open", str(error) or "out of memory")
    if isinstance(result, WorkerDied):
        return VideoError("crash", f"decoding crashed ({result.cause})")
    if isinstance(result, WorkerOverran):
        return VideoError("timeout", f"decoding took longer than {result.seconds:g} s")
    return result
