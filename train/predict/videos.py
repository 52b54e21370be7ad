"""From raw video files to the very frames that `hmdb-prep extract` would have stored of them.

Several videos are decoded in a process each, so that one that crashes or hangs FFmpeg does not lose the others. One
video alone is decoded in this process, which saves the start of another.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from shared.video.decoding import VideoError, decode_clip
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from shared.workers import end_with_parent

TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """A video and the clip wanted of it: T·K frames of ``size``."""

    path: Path
    num_segments: int
    frames_per_segment: int
    size: FrameSize


def decode_frames(request: ClipRequest) -> torch.Tensor:
    """The clip's frames, uint8 (T·K, H, W, 3), by extract's own path. Raises VideoError where there is no clip."""
    shape = ClipShape(
        num_segments=request.num_segments, frames_per_segment=request.frames_per_segment, size=request.size
    )
    return decode_clip(request.path, shape).frames


def decode_all(
    requests: Sequence[ClipRequest],
    *,
    num_workers: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
    decode: Callable[[ClipRequest], torch.Tensor] = decode_frames,
) -> Iterator[torch.Tensor | VideoError]:
    """Decode the videos, in order, a few ahead: what ``decode`` gives, or why it gives nothing."""
    if len(requests) == 1:
        try:
            yield decode(requests[0])
        except VideoError as error:
            yield error
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchcodec.decoders", __name__])
    running: deque[_Decoding] = deque()
    try:
        for request in requests:
            if len(running) > num_workers:
                yield running.popleft().result(timeout_seconds)
            running.append(_Decoding(context, decode, request))
        while running:
            yield running.popleft().result(timeout_seconds)
    finally:
        for decoding in running:
            decoding.stop()


class _Decoding:
    """One video in a process of its own."""

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        decode: Callable[[ClipRequest], torch.Tensor],
        request: ClipRequest,
    ) -> None:
        self._receiver, sender = context.Pipe(duplex=False)
        arguments = (decode, request, sender)
        self._process: BaseProcess = context.Process(target=_decode_and_send, args=arguments, daemon=True)
        self._process.start()
        sender.close()
        self._started = time.monotonic()

    def result(self, timeout_seconds: float) -> torch.Tensor | VideoError:
        try:
            if not self._receiver.poll(max(0.0, self._started + timeout_seconds - time.monotonic())):
                return VideoError("timeout", f"decoding took longer than {timeout_seconds:g} s")
            answer = self._receiver.recv()
        except EOFError:
            self._process.join()
            return VideoError("crash", f"decoding crashed ({_cause_of_death(self._process.exitcode)})")
        finally:
            self.stop()
        return answer if isinstance(answer, VideoError) else torch.from_numpy(answer)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._receiver.close()


def _decode_and_send(decode: Callable[[ClipRequest], torch.Tensor], request: ClipRequest, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    end_with_parent()
    torch.set_num_threads(1)
    try:
        sender.send(decode(request).numpy())
    except VideoError as error:
        sender.send(error)


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
