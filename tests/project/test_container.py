"""The Dockerfile: what goes into the image, its steps in a folder of their own, and the image where it can be built."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYNTH = ("hmdb-prep", "synth", "data/videos", "--clips", "4", "--classes", "2")


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with what follows them, lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def only(word: str) -> str:
    """What follows an instruction that is there once."""
    (rest,) = (rest for found, rest in steps() if found == word)
    return rest


def goes_along(path: str) -> bool:
    """Whether .dockerignore lets a file into the image: the last pattern that fits it or a folder of it decides."""
    goes = True
    places = ["/".join(path.split("/")[: i + 1]) for i in range(path.count("/") + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        names = [place.split("/")[-1] for place in places] if "**/" in line else places
        if pattern and not line.startswith("#") and any(fnmatchcase(name, pattern) for name in names):
            goes = line.startswith("!")
    return goes


def tracked() -> list[str]:
    """The files of the project that git knows, or would take."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no git, or no checkout of it")
    return [name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


def test_what_the_package_is_made_of_goes_into_the_image_and_no_data() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = [name for name in tracked() if name.split("/")[0] in packages["packages"]]
    needed = [*sources, *packages["force-include"], "pyproject.toml", "README.md", "LICENSE", "constraints-cpu.txt"]
    assert [name for name in needed if not goes_along(name)] == []
    others = ("data/videos/walk/a.avi", "runs/a/checkpoints/last.pt", ".git/config", ".venv/bin/python")
    others += ("data_manifests/walk.csv", "train/__pycache__/cli.pyc", "tests/conftest.py", ".env")
    assert [name for name in others if goes_along(name)] == []


def test_it_runs_as_an_ordinary_user_where_the_data_are() -> None:
    assert only("USER") not in ("root", "0", "0:0")
    assert only("WORKDIR") == only("VOLUME") == "/work"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert dict(rest.split("=", 1) for word, rest in steps() if word == "ARG")["EXTRAS"] in extras
    installed = next(rest for word, rest in steps() if word == "RUN")
    assert "ffmpeg unar" in installed and "apt-get install ffmpeg unar" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_its_steps_make_the_commands_in_a_folder_of_their_own(tmp_path: Path) -> None:
    """Without its system and without its downloads: the packages that the project needs are those of this machine."""
    root, programs = tmp_path / "root", tmp_path / "venv" / "bin"
    venv.create(tmp_path / "venv", with_pip=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "here.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    for word, rest in steps():
        if word == "COPY":
            assert rest == ". /src"
            for name in filter(goes_along, tracked()):
                target = root / "src" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        elif word == "ARG":
            environment.update([rest.split("=", 1)])
        elif word == "ENV":
            environment.update(pair.split("=", 1) for pair in rest.split())
        elif word == "RUN" and "pip install" in rest:
            command = rest.replace("/src", f"{root}/src").replace("install", "install --no-deps --no-build-isolation")
            subprocess.run(["sh", "-ec", command], env=environment, check=True, capture_output=True)
    work = root / "work"
    work.mkdir()
    environment["HOME"] = str(tmp_path)
    for command in (SYNTH, ("hmdb-prep", "extract"), ("lsvit-train", "run", "--epochs", "1", "--val-fraction", "0")):
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    where = "import shared, train; print(shared.__file__, train.__file__)"
    found = subprocess.run([programs / "python", "-c", where], cwd=work, capture_output=True, text=True, check=True)
    assert all(name.startswith(str(packages)) for name in found.stdout.split())


@pytest.fixture
def engine() -> str:
    """docker or podman, where they can build."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    pytest.skip("neither docker nor podman runs here")


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.slow
def test_the_image_draws_and_extracts_videos_as_any_user(engine: str, shared_folder: Path) -> None:
    index = os.environ.get("PIP_EXTRA_INDEX_URL", "")
    build = [engine, "build", "-q", "-t", "hmdb51-lsvit-test", "--build-arg", f"PIP_EXTRA_INDEX_URL={index}", str(ROOT)]
    subprocess.run(build, check=True, stdout=sys.stderr)
    try:
        for command in (SYNTH, ("hmdb-prep", "extract"), ("hmdb-prep", "verify")):
            run = [engine, "run", "--rm", "--user", "12345:12345", "-v", f"{shared_folder}:/work", "hmdb51-lsvit-test"]
            done = subprocess.run([*run, *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    finally:
        subprocess.run([engine, "rmi", "-f", "hmdb51-lsvit-test"], check=False, capture_output=True)
