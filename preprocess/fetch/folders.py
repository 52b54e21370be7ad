"""Reads a local folder as if it were an archive: its files are hard-linked or copied, and never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from preprocess.fetch.archives.members import Member, check_member
from shared.errors import DataError
from shared.video.listing import SYNTHETIC_MARKER


def list_folder(folder: Path, *, without: Path) -> list[Member]:
    """Every plain file below a folder but those below ``without``, links followed, also where to nothing; by name.

    Raises DataError where a folder cannot be read or is one of synthetic videos, HostileArchiveError where a name has
    control characters.
    """
    members: list[Member] = []
    for place, names in _folders(folder, without=without.resolve()):
        if SYNTHETIC_MARKER in names:
            raise DataError(
                f"{place} holds synthetic videos of `hmdb-prep synth`, which fetch does not mix with real ones; "
                "name that folder with --videos"
            )
        for name in sorted(names):
            path = place / name
            if path.is_file() or not path.exists():  # a link that leads nowhere is found when it is read
                num_bytes = path.stat().st_size if path.exists() else 0
                member = Member(name=str(path.relative_to(folder)), num_bytes=num_bytes, kind="file")
                check_member(member)
                members.append(member)
    return sorted(members, key=lambda member: member.name)


def _folders(top: Path, *, without: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder once, however links lead to it, with the names of its files."""

    def stop(error: OSError) -> None:
        raise error

    seen = {without}
    for place, folders, names in os.walk(top, followlinks=True, onerror=stop):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
        else:
            seen.add(real)
            yield Path(place), names


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file another name, ``target``, or copy it where the disk cannot. Returns whether it is the same file."""
    try:
        os.link(source.resolve(strict=True), target)  # a link to a link would follow the user's folder
    except FileNotFoundError:
        raise
    except OSError:  # another disk, a file system without hard links, a file of somebody else
        shutil.copyfile(source, target)
        return False
    return True
