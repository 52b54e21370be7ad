"""Documentation keeps up with the code: commands, options, formats, and every Python example."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from commands import run, succeed
from media import HMDB_LIKE, make_video
from script_files import load_script

from shared.manifests.files import MANIFEST_COLUMNS, Dataset, QuarantineRow

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TODAY = [page for page in PAGES if page.name != "log.md"]  # the log keeps the names of its day


def commands_page() -> ModuleType:
    return load_script("write_commands_page")


@pytest.mark.parametrize("name", ["write_commands_page", "write_files_page"])
def test_written_pages_are_up_to_date(name: str) -> None:
    page = load_script(name)
    assert page.PAGE.read_text() == page.page(), f"run `python scripts/{name}.py`"


def test_every_command_and_option_has_help() -> None:
    for name, command in commands_page().commands():
        assert command.help, name
        for names, _, text in commands_page().parameters(command):
            assert len(text) > 8, f"{name} {names}"


def test_the_contracts_commands_exist() -> None:
    expected = {
        "hmdb-prep": "synth fetch extract merge verify eda balance doctor",
        "lsvit-train": "run probe evaluate compare predict explain serve describe ablate embed export",
    }
    found = {program: set(group.commands) for program, group in commands_page().applications().items()}
    assert found == {program: set(names.split()) for program, names in expected.items()}


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, _ in commands_page().commands():
        assert name in readme, name


HEAVY = "torch torchcodec numba pandas matplotlib sklearn imblearn h5py ray tensorboard jinja2 PIL".split()


@pytest.mark.parametrize(
    ("program", "command"),
    [("hmdb-prep", ""), ("hmdb-prep", "extract"), ("lsvit-train", ""), ("lsvit-train", "run")],
)
def test_help_imports_nothing_heavy(program: str, command: str) -> None:
    module = {"hmdb-prep": "preprocess.cli", "lsvit-train": "train.cli"}[program]
    code = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
sys.argv = "{program} {command} --help".split()
from {module} import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("program", ["hmdb-prep", "lsvit-train"])
def test_help_needs_no_ffmpeg(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    assert "Commands" in run(program, "--help", installed=True).out


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
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def in_code(page: Path) -> set[str]:
    """Everything that stands between single backticks in a document."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)))


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_files_and_tests_that_a_document_names_exist(page: Path) -> None:
    top = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("data", "runs"))
    test_files = list((ROOT / "tests").rglob("test_*.py"))
    test_names = set(re.findall(r"^def (test_\w+)", "\n".join(file.read_text() for file in test_files), re.MULTILINE))
    for text in in_code(page):
        if re.fullmatch(rf"({top})/[\w./-]+", text):
            assert (ROOT / text).exists(), text
        if re.fullmatch(r"\w+\.py", text) and text != "utils.py":  # which must never exist
            assert any(ROOT.glob(f"[!.]*/**/{text}")), text
        if re.fullmatch(r"test_\w+", text):
            assert text in test_names, text
        if re.fullmatch(r"(shared|preprocess|train)(\.\w+)+", text):
            assert names_something(text), text


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_benchmarks_and_targets_that_a_document_names_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"python -m (benchmarks(?:\.\w+)+)", text):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)\b", text)) <= targets


def names_something(dotted: str) -> bool:
    """Whether a dotted name is a module of the project, or something that a module of that name defines."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, _, name = dotted.rpartition(".")
    file = (ROOT / module.replace(".", "/")).with_suffix(".py")
    return file.is_file() and re.search(rf"^(def|class) {name}\b|^{name}\b", file.read_text(), re.MULTILINE) is not None


def test_the_map_names_every_folder() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    missing = [
        folder for folder in load_script("write_files_page").folders() if str(folder.relative_to(ROOT)) not in text
    ]
    assert not missing
