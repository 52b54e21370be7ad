"""The wheel that users install holds every module, template and table."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "preprocess", "train", "hmdb51_lsvit")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "content")
    return folder / "content"


def files_of(folder: Path) -> set[Path]:
    """Every file of the packages but for compiled ones."""
    found = {file.relative_to(folder) for package in PACKAGES for file in (folder / package).rglob("*.*")}
    return {file for file in found if "__pycache__" not in file.parts}


def test_nothing_is_missing_and_nothing_else_is_in_it(wheel: Path) -> None:
    assert files_of(wheel) == files_of(ROOT) | {Path("shared/splits/hmdb51_splits.csv")}
    assert sum(file.suffix in {".j2", ".css", ".js", ".toml"} for file in files_of(wheel)) >= 6


CODE = """
import sys
sys.path.insert(0, WHEEL)
import shared.splits.parts, train.ablate.grid
assert shared.splits.parts.__file__.startswith(WHEEL)
assert len(shared.splits.parts.official_splits()) == 6766
assert train.ablate.grid.default_grid(base={})
"""


def test_what_is_read_as_data_is_found_in_it(wheel: Path) -> None:
    """In a process that looks there first and not in the checkout."""
    command = [sys.executable, "-I", "-c", CODE.replace("WHEEL", repr(str(wheel)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
