"""Both ways of reading a video, each in turn where the installed torchcodec has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchcodec import decoders

from shared.video import streams


@pytest.fixture(params=["blocks", "private"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every video of this test be opened by torchcodec's public blocks, or by its private function."""
    if request.param == "blocks" and not hasattr(decoders, "Demuxer"):
        pytest.skip("this torchcodec has no decoder blocks; they came with 0.17")
    kind = streams.PacketReader if request.param == "blocks" else streams.FrameReader

    def open_reader(path: Path, *, device: str) -> streams.PacketReader | streams.FrameReader:
        return kind(str(path.absolute()), device=device)

    monkeypatch.setattr(streams, "open_reader", open_reader)
    return str(request.param)
