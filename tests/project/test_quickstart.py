"""examples/quickstart.ipynb: kept without outputs, names only what exists, and runs from its first cell to its last."""

from __future__ import annotations

import re
import shlex
import shutil
import sysconfig
from pathlib import Path

import nbformat
import pytest
from script_files import load_script

import hmdb51_lsvit

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    return found


def test_it_is_kept_without_outputs(notebook: nbformat.NotebookNode) -> None:
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_its_commands_and_options_exist(notebook: nbformat.NotebookNode) -> None:
    page = load_script("write_commands_page")
    known = {
        name: {option for names, _, _ in page.parameters(command) for option in re.findall(r"--[\w-]+", names)}
        for name, command in page.commands()
    }
    sources = [cell.source.replace("\\\n", "") for cell in code_cells(notebook)]
    lines = [line[1:] for source in sources for line in source.splitlines() if line.startswith("!")]
    assert len(lines) >= 6
    for line in lines:
        program, command, *words = shlex.split(line)
        used = {word for word in words if word.startswith("--")}
        assert used <= known[f"{program} {command}"], line


def test_what_it_imports_exists(notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in code_cells(notebook))
    names = {name for group in re.findall(r"from hmdb51_lsvit import (.+)", text) for name in group.split(", ")}
    assert names
    assert names <= set(hmdb51_lsvit.__all__)


def install_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    (cell,) = [cell for cell in notebook.cells if "install" in cell.metadata.get("tags", [])]
    return cell


def without_pip(cell: nbformat.NotebookNode) -> str:
    lines = cell.source.splitlines()
    assert sum(line.startswith("%pip install") for line in lines) == 1
    return "\n".join(line for line in lines if not line.startswith("%pip"))


def test_its_commands_are_found_where_no_environment_is_activated(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    exec(without_pip(install_cell(notebook)), {})
    assert shutil.which("hmdb-prep") == f"{sysconfig.get_path('scripts')}/hmdb-prep"


@pytest.mark.slow
def test_it_runs(notebook: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but pip itself."""
    from nbclient import NotebookClient

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    cell = install_cell(notebook)
    cell.source = without_pip(cell)
    client = NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not re.search(r"^(error:|Traceback)", printed, re.MULTILINE), printed
    shown = [output.data for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 2  # frames, and the heatmaps
    assert sum("text/html" in data for data in shown) == 2  # the table of clips, and that of predictions
    assert (tmp_path / "runs" / "quickstart" / "evaluation" / "report.html").is_file()
