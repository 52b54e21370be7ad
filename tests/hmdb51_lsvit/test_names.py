"""A user's own train.py, shared.py or preprocess.py in the way of our packages: one sentence, or no harm at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command_line

PYTHON = sys.executable
TORCHRUN = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user's, whose own files say when they are run."""
    for name in ("train", "shared", "preprocess"):
        (tmp_path / f"{name}.py").write_text(f"open('{name}-was-run', 'w')\n")
    return tmp_path


def run_in(folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": path} if path else {})
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, check=False, timeout=300)


def assert_refused(done: subprocess.CompletedProcess[str], file: Path) -> None:
    """One sentence names the file, and it was not run."""
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    assert f"Python takes {file} for the package `{file.stem}`" in said[0]
    assert "rename it" in said[0]
    assert not list(file.parent.glob("*-was-run"))


@pytest.mark.parametrize(("program", "hidden"), [("hmdb-prep", "preprocess"), ("lsvit-train", "train")])
def test_the_commands_look_in_the_current_folder_only_if_told_to(folder: Path, program: str, hidden: str) -> None:
    words = command_line(program, ["--help"])
    assert run_in(folder, *words).returncode == 0
    assert_refused(run_in(folder, *words, path="."), folder / "shared.py")
    (folder / "shared.py").unlink()
    assert_refused(run_in(folder, *words, path=str(folder)), folder / f"{hidden}.py")
    (folder / f"{hidden}.py").unlink()
    assert run_in(folder, *words, path=".").returncode == 0  # the file that is left hides nothing of this program


@pytest.mark.parametrize("module", ["train", "train.cli", "preprocess"])
def test_python_m(folder: Path, module: str) -> None:
    for name in ("train", "preprocess"):
        (folder / f"{name}.py").unlink()  # Python itself would run these
    done = run_in(folder, PYTHON, "-m", module, "--help")
    assert_refused(done, folder / "shared.py")
    assert done.stderr.count("\n") == 1


def test_a_package_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "notes.txt").touch()
    words = [PYTHON, "-m", "train", "--help"]
    assert run_in(tmp_path, *words).returncode == 0  # a folder that is no package hides nothing
    (tmp_path / "shared" / "__init__.py").touch()
    assert f"Python takes {tmp_path / 'shared'} for" in run_in(tmp_path, *words).stderr


def test_a_script_that_is_itself_in_the_way(folder: Path) -> None:
    (folder / "shared.py").unlink()
    (folder / "train.py").write_text("from hmdb51_lsvit import read_manifests\nprint('fine')\n")
    done = run_in(folder, PYTHON, "train.py")
    assert_refused(done, folder / "train.py")
    assert "Traceback" not in done.stderr
    assert run_in(folder, PYTHON, "-P", "train.py").stdout == "fine\n"


@pytest.mark.slow
def test_torchrun(folder: Path) -> None:
    command = command_line("lsvit-train", ["--help"])
    assert run_in(folder, *TORCHRUN, "--no-python", *command).returncode == 0
    assert_refused(run_in(folder, *TORCHRUN, "--no-python", *command, path="."), folder / "shared.py")
    for name in ("train", "preprocess"):
        (folder / f"{name}.py").unlink()
    assert_refused(run_in(folder, *TORCHRUN, "-m", "train.cli"), folder / "shared.py")


CODE = """
from shared.machine.workers import WorkerPool

if __name__ == "__main__":
    preload = ["shared.machine.workers", "train", "preprocess"]
    with WorkerPool(num_workers=1, timeout_seconds=100, preload=preload) as pool:
        print(pool.wait(pool.submit(abs, -7)))
"""


def test_worker_processes_do_not_look_in_the_current_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("elsewhere") / "script.py"
    script.write_text(CODE)
    done = run_in(folder, PYTHON, str(script))
    assert done.stdout == "7\n", done.stderr
    assert not list(folder.glob("*-was-run"))
