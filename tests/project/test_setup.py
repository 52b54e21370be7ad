"""scripts/setup on machines that lack something: stand-ins for python, apt-get and id, nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "cut", "dirname", "env", "mkdir", "rm", "sha256sum", "touch", "uname")
# Answers the questions that setup asks of an interpreter: its version, FFmpeg's libraries, a virtual environment, pip.
PYTHON = """#!/bin/bash
echo "python $*" | head -n 1 >>"$LOG"
case "$*" in
    *version_info\\ \\<*) [ -z "$TOO_OLD" ] ;;
    *version_info\\[*) echo 3.11 ;;
    *libavutil*) [ -e "$STATE/ffmpeg" ] ;;
    "-m venv "*) [ -e "$STATE/python3.11-venv" ] || exit 1
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/hmdb-prep" ;;
    "-m virtualenv "*) exit 1 ;;
    "-m pip install "*) [ -z "$PIP_FAILS" ] ;;
esac
"""
APT_GET = """#!/bin/bash
echo "apt-get $*" >>"$LOG"
if [ "$1" = update ]; then touch "$STATE/updated"; exit; fi
[ -e "$STATE/updated" ] || exit 100
for package in "$@"; do touch "$STATE/$package"; done
"""


class Machine:
    """A folder with setup's own files and a PATH on which only the stand-ins and a few plain tools are found."""

    def __init__(self, folder: Path, *, user: int = 0) -> None:
        self.project, self.bin, self.state = folder / "project", folder / "bin", folder / "state"
        for path in (self.project / "scripts", self.bin, self.state):
            path.mkdir(parents=True)
        for name in ("pyproject.toml", "constraints-cpu.txt", "constraints-cuda.txt", "scripts/setup"):
            shutil.copy(ROOT / name, self.project / name)
        for name in (*TOOLS, "head", "cp"):
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.install("python3.12", PYTHON)
        self.install("apt-get", APT_GET)
        self.install("id", f"#!/bin/bash\necho {user}\n")
        self.log = folder / "log"
        self.log.touch()

    def install(self, name: str, text: str) -> None:
        """Put an executable script on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def has(self, *packages: str) -> Machine:
        """Say that packages are installed."""
        for package in packages:
            (self.state / package).touch()
        return self

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/setup."""
        variables = {"PATH": str(self.bin), "LOG": str(self.log), "STATE": str(self.state), **environment}
        command = [str(self.bin / "bash"), str(self.project / "scripts" / "setup"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)

    def calls(self) -> str:
        """Everything that the stand-ins were called with."""
        return self.log.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_complete_machine_is_set_up_once(machine: Machine) -> None:
    machine.has("ffmpeg", "python3.11-venv")
    done = machine.setup("test")
    assert done.returncode == 0, done.stderr
    assert "-m pip install -q --disable-pip-version-check -c constraints-cpu.txt -e .[dev,export]" in machine.calls()
    assert "apt-get" not in machine.calls()
    machine.log.write_text("")
    assert machine.setup("test").stdout == "" and "pip install" not in machine.calls()
    assert machine.setup().stdout == "" and "pip install" not in machine.calls()
    with (machine.project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.setup()
    assert "-e ." in machine.calls() and ".[dev]" not in machine.calls()


def test_a_gpu_takes_the_other_constraints(machine: Machine) -> None:
    machine.has("ffmpeg", "python3.11-venv").install("nvidia-smi", "#!/bin/bash\necho GPU 0\n")
    assert machine.setup().returncode == 0
    assert "-c constraints-cuda.txt -e ." in machine.calls()


def test_other_constraints_can_be_named(machine: Machine) -> None:
    machine.has("ffmpeg", "python3.11-venv")
    assert machine.setup("test", CONSTRAINTS="/dev/null", VENV=".venv-other").returncode == 0
    assert "-c /dev/null -e .[dev,export]" in machine.calls()
    assert (machine.project / ".venv-other" / "bin" / "python").exists() and not (machine.project / ".venv").exists()


def test_root_gets_what_is_missing(machine: Machine) -> None:
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    installs = [line for line in machine.calls().splitlines() if line.startswith("apt-get install")]
    options = "apt-get install -y -q --no-install-recommends"
    assert installs == [f"{options} ffmpeg", f"{options} ffmpeg", f"{options} python3.11-venv"]
    assert machine.calls().count("apt-get update") == 1


@pytest.mark.parametrize(
    ("present", "command"),
    [((), "sudo apt-get update && sudo apt-get install ffmpeg"), (("ffmpeg",), "apt-get install python3.11-venv")],
)
def test_a_user_is_told_what_to_type(tmp_path: Path, present: tuple[str, ...], command: str) -> None:
    machine = Machine(tmp_path, user=1000).has(*present)
    done = machine.setup()
    assert done.returncode == 1
    assert command in done.stderr
    assert "apt-get" not in machine.calls()
    assert not (machine.project / ".venv").exists()


def test_on_a_mac_homebrew_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=1000)
    (machine.bin / "uname").unlink()
    machine.install("uname", "#!/bin/bash\necho Darwin\n")
    (machine.bin / "apt-get").unlink()
    done = machine.setup()
    assert done.returncode == 1 and "brew install ffmpeg" in done.stderr and "apt-get" not in done.stderr


def test_macs_have_another_program_for_checksums(machine: Machine) -> None:
    (machine.bin / "sha256sum").unlink()
    machine.has("ffmpeg", "python3.11-venv").install("shasum", "#!/bin/bash\necho 0123 -\n")
    assert machine.setup().returncode == 0
    assert (machine.project / ".venv" / ".setup-run").read_text().startswith("0123 ")


def test_a_user_with_sudo_gets_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=1000).has("python3.11-venv")
    machine.install("sudo", '#!/bin/bash\n[ "$2" = true ] || "${@:2}"\n')
    assert machine.setup().returncode == 0
    assert (machine.state / "ffmpeg").exists()


def test_an_old_python_is_refused(machine: Machine) -> None:
    done = machine.setup(TOO_OLD="1")
    assert done.returncode == 1 and "no Python 3.11 or later found" in done.stderr
    done = machine.setup(TOO_OLD="1", PYTHON="python3.12")
    assert done.returncode == 1 and "PYTHON=python3.12 is not Python 3.11 or later" in done.stderr


def test_a_failed_installation_is_tried_again(machine: Machine) -> None:
    machine.has("ffmpeg", "python3.11-venv")
    assert machine.setup(PIP_FAILS="1").returncode == 1
    machine.log.write_text("")
    assert machine.setup().returncode == 0 and "pip install" in machine.calls()


def test_unknown_words_are_refused(machine: Machine) -> None:
    assert "usage: scripts/setup [test]" in machine.setup("tests").stderr


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/demo", "scripts/newest", ".ci/run"])
def test_scripts_parse_and_are_executable(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)
