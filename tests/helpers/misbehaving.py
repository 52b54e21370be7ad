"""A decoder that does what its videos are called, for tests of decoding in processes of their own."""

from __future__ import annotations

import os
import signal

import numpy as np

from shared.video.streams import VideoError
from train.predict.videos import ClipRequest, DecodedVideo


def decode_by_name(request: ClipRequest) -> DecodedVideo:
    """crash, hang or corrupt; a number is a clip of that one value."""
    name = request.path.name
    if name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "hang":
        signal.pause()
    if name == "corrupt":
        raise VideoError("decode", "corrupt")
    return DecodedVideo(frames=np.full(1, int(name), dtype=np.uint8), seconds=0.0)
