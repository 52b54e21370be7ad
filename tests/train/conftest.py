"""Fixtures of what needs clips to learn from."""

from __future__ import annotations

import pytest
from made_dataset import MadeDataset, make_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    """A small data set of its own for each file of tests."""
    return make_dataset(tmp_path_factory.mktemp("made"))
