"""Small archives, and what was unpacked of them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rar_writer import RarMember, write_rar4

needs_rar = pytest.mark.skipif(
    shutil.which("unar") is None and shutil.which("bsdtar") is None, reason="no tool for .rar: apt-get install unar"
)
RarWriter = Callable[[Path, Sequence[RarMember]], Path]


def make_zip(path: Path, members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A .zip of files by their names."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], *, compression: str = "gz") -> Path:
    """A .tar of files by their names, packed by gz, bz2, xz or nothing."""
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_rar(path: Path, members: dict[str, bytes], *, write: RarWriter = write_rar4) -> Path:
    """A .rar of files by their names."""
    return write(path, [RarMember(name=name, data=data) for name, data in members.items()])


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name; no link is among them."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return found
