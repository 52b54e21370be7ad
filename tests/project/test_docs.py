"""Documentation keeps up with the code: commands, options, formats, and every Python example."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from commands import run, succeed
from media import HMDB_LIKE, make_video

from shared.manifests import MANIFEST_COLUMNS, Dataset, QuarantineRow

ROOT = Path(__file__).parents[2]


def commands_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_commands_page", ROOT / "scripts" / "write_commands_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_page_is_up_to_date() -> None:
    page = commands_page()
    assert page.PAGE.read_text() == page.page(), "run `python scripts/write_commands_page.py`"


def test_every_command_and_option_has_help() -> None:
    for name, command in commands_page().commands():
        assert command.help, name
        for names, _, text in commands_page().parameters(command):
            assert len(text) > 8, f"{name} {names}"


def test_the_contracts_commands_exist() -> None:
    expected = {
        "hmdb-prep": "synth fetch extract merge verify eda balance doctor",
        "lsvit-train": "run evaluate predict explain describe ablate embed export",
    }
    found = {program: set(group.commands) for program, group in commands_page().applications().items()}
    assert found == {program: set(names.split()) for program, names in expected.items()}


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, _ in commands_page().commands():
        assert name in readme, name


@pytest.mark.parametrize("program", ["hmdb-prep", "lsvit-train"])
def test_help_needs_no_ffmpeg_and_no_heavy_import(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"hmdb-prep": "preprocess.cli", "lsvit-train": "train.cli"}[program]
    code = (
        f"import sys; from {module} import app; import typer; typer.main.get_command(app); "
        "print(*[name for name in ('torch', 'torchcodec', 'pandas', 'matplotlib', 'sklearn', 'h5py', 'ray') "
        "if name in sys.modules])"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    assert "Commands" in run(program, "--help").out


def documented(text: str, heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_the_format_page_lists_every_column_and_key() -> None:
    text = (ROOT / "docs" / "format.md").read_text()
    columns = documented(text, "## The manifest of a class")
    start, end = columns.index("hue_hist_0"), columns.index("hue_hist_7")
    columns[start : end + 1] = [f"hue_hist_{index}" for index in range(8)]
    assert columns == list(MANIFEST_COLUMNS)
    keys = documented(text, "## dataset.json")
    fields = {field.name for field in dataclasses.fields(Dataset)}
    assert set(keys) == {"format", "version", *fields}
    for field in dataclasses.fields(QuarantineRow):
        assert f"`{field.name}`" in text.split("## quarantine.csv", 1)[1]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """A folder with a small data set at the default places."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("run", "walk"):
        for index in range(3):
            make_video(folder / "data" / "videos" / name / f"s{index}_{name}_f_cm_np1_le_goo_0.avi", *HMDB_LIKE)
    succeed("hmdb-prep", "extract", cwd=folder)
    return folder


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", ["docs/format.md", "README.md"])
def test_python_examples_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    blocks = python_blocks(page)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert any(isinstance(value, pd.DataFrame) for value in names.values())


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
