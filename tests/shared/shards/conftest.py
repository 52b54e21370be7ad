"""The shard that the tests of this folder read and damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_shards import record, write_shard

from shared.shards.format import shard_name


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / shard_name(0), [record(0), record(1), record(2)])
