"""Finds a run by its path or its name, and the splits inside it."""

from __future__ import annotations

import re
from pathlib import Path

from shared.errors import DataError
from train.model.weight_files import CHECKPOINTS_FOLDER
from train.run.folder import seed_folders

_SPLIT_FOLDER = re.compile(r"split([123])|full|all")


def find_run(run: str, *, runs: Path) -> Path:
    """The folder of a run: ``run`` is a path, or a name (or ``<name>/split1``) below ``runs``.

    Raises DataError where neither holds a checkpoint; it lists the runs that exist.
    """
    for folder in (runs / run, Path(run)):
        if _holds_checkpoint(folder) or split_folders(folder):
            return folder
    for folder in (runs / run, Path(run)):
        if found := seed_folders(folder):
            names = ", ".join(run_name(one) for one in found if _is_run(one)) or "none is trained yet"
            raise DataError(f"{folder} has a run for each of its seeds; name one of them: {names}")
    known = [name for entry in sorted(runs.iterdir()) for name in _run_names(entry)] if runs.is_dir() else []
    remedy = (
        f"there are {', '.join(known)}" if known else "train one with `lsvit-train run`, or name its folder with --runs"
    )
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
    """What to call a run in print: the folder's name, with the run's name before that of a split or a seed."""
    folder = folder.resolve()
    is_part = _SPLIT_FOLDER.fullmatch(folder.name) or folder in seed_folders(folder.parent)
    return f"{run_name(folder.parent)}/{folder.name}" if is_part else folder.name


def _run_names(folder: Path) -> list[str]:
    return [run_name(one) for one in (folder, *seed_folders(folder)) if _is_run(one)]


def _is_run(folder: Path) -> bool:
    return _holds_checkpoint(folder) or bool(split_folders(folder))


def _holds_checkpoint(folder: Path) -> bool:
    return any((folder / CHECKPOINTS_FOLDER / name).is_file() for name in ("best.pt", "last.pt"))
