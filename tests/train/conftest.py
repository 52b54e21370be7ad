"""Fixtures of what needs clips to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_dataset import MadeDataset, make_dataset

from train.run.report.output import REPORT_FILE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    """A small data set of its own for each file of tests."""
    return make_dataset(tmp_path_factory.mktemp("made"))


@pytest.fixture
def drawn() -> None:
    """For tests that want the reports of the runs that they make in this process."""


@pytest.fixture(autouse=True)
def sparing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line stands for the report of a run that a test makes: to draw it takes longer than so small a training.

    Not for those of fixtures that several tests share, and not where a test uses ``drawn``.
    """
    if "drawn" not in request.fixturenames:
        for command in ("run", "probe"):
            monkeypatch.setattr(f"train.{command}.command.write_report", _write_a_line)


def _write_a_line(folder: Path, **facts: Any) -> Path:
    (folder / REPORT_FILE).write_text("stands for the report\n")
    return folder / REPORT_FILE
