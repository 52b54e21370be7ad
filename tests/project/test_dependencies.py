"""docs/dependencies.md names every dependency, and none that is gone; the audit never takes silence for health."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from script_files import load_script

ROOT = Path(__file__).parents[2]


def test_every_dependency_has_a_line_and_every_line_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.match(r"[A-Za-z0-9_.-]+", item)[0].lower() for group in groups for item in group}  # type: ignore[index]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = {match[1] for match in re.finditer(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)} - {"package", "---"}
    assert named == wanted


FLAW = {"id": "X-1", "fix_versions": ["2"]}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 packages looked up, 0 known"),
        ([{"name": "a", "version": "1", "vulns": [FLAW]}], 1, "a 1: X-1, mended in 2"),
        ([{"name": "a", "skip_reason": "not found"}], 2, "cannot be reached"),
        (None, 2, "no network"),
    ],
)
def test_the_audit_says_when_it_knows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], packages: object, code: int, said: str
) -> None:
    text = "" if packages is None else json.dumps({"dependencies": packages})
    done = subprocess.CompletedProcess([], 1, stdout=text, stderr="first\nno network\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    assert load_script("audit").main() == code
    assert said in capsys.readouterr().out
