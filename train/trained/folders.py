"""Finds a run by its path or its name, and the splits inside it."""

from __future__ import annotations

import re
from pathlib import Path

from shared.errors import DataError
from train.model.weight_files import CHECKPOINTS_FOLDER

_SPLIT_FOLDER = re.compile(r"split([123])|full|all")


def find_run(run: str, *, runs: Path) -> Path:
    """The folder of a run: ``run`` is a path, or a name (or ``<name>/split1``) below ``runs``.

    Raises DataError where neither holds a checkpoint; it lists the runs that exist.
    """
    for folder in (runs / run, Path(run)):
        if _holds_checkpoint(folder) or split_folders(folder):
            return folder
    known = sorted(entry.name for entry in runs.iterdir() if _is_run(entry)) if runs.is_dir() else []
    remedy = f"there are {', '.join(known)}" if known else "train one with `lsvit-train run`, or name its folder --runs"
    raise DataError(f"no run with a checkpoint at {run} or {runs / run}; {remedy}")


def split_folders(folder: Path) -> dict[str, Path]:
    """The splits that a run over several splits has a checkpoint of: split -> folder, in the order of the splits."""
    if not folder.is_dir():
        return {}
    found = {}
    for entry in sorted(folder.iterdir()):
        match = _SPLIT_FOLDER.fullmatch(entry.name)
        if match and _holds_checkpoint(entry):
            found[match[1] or entry.name] = entry
    return found


def run_name(folder: Path) -> str:
    """What to call a run in print: the folder's name, with the run's name before that of a split."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}" if _SPLIT_FOLDER.fullmatch(folder.name) else folder.name


def _is_run(folder: Path) -> bool:
    return _holds_checkpoint(folder) or bool(split_folders(folder))


def _holds_checkpoint(folder: Path) -> bool:
    return any((folder / CHECKPOINTS_FOLDER / name).is_file() for name in ("best.pt", "last.pt"))
