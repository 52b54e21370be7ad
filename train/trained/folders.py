"""Finds a run by its path, its name or its repository on the hub, and the splits inside it."""

from __future__ import annotations

import re
from pathlib import Path

from shared.errors import DataError, UsageError
from shared.hub import HUB_PREFIX
from train.model.weights.files import CHECKPOINTS_FOLDER, find_beside, find_weights
from train.run.config.fields import SPLITS
from train.run.folder import seed_folders, split_folder
from train.trained.portable import CALIBRATION_FILE, is_calibrated, is_portable

HUB_FOLDER = "hub"
EVALUATION_FOLDER = "evaluation"
EVALUATION_JSON = "metrics.json"
_CACHED = "models--"  # how the hub's cache begins the names of folders
_SPLIT_FOLDER = re.compile(r"split[123]|full|all")


def find_run(run: str, *, runs: Path, written: str = "") -> Path:
    """The folder of a trained model: a run, or one that was exported for the hub.

    run: a path, a name (or ``<name>/split1``) below ``runs``, or ``hf:REPO[@REVISION]``, which is downloaded into the
    hub's cache. written: what is to be written into the folder; empty for nothing. Raises DataError where there is no
    model, with a list of the runs that exist, and UsageError where something is to be written into the hub's cache.
    """
    if run.startswith(HUB_PREFIX):
        return _find_on_hub(run, written=written)
    for folder in (runs / run, Path(run)):
        if _holds_model(folder) or split_folders(folder):
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


def _find_on_hub(run: str, *, written: str) -> Path:
    if written:
        repo = run.removeprefix(HUB_PREFIX)
        raise UsageError(
            f"{written} is written into the model's folder, and {run} has none here; download it with "
            f"`hf download {repo.partition('@')[0]} --local-dir DIR`, then give DIR"
        )
    folder = find_weights(run).path.parent
    if not is_portable(folder):
        raise DataError(
            f"{run} holds no model that `lsvit-train export --format hub` has written; where it holds weights of a "
            f"ViT, train with them: `lsvit-train run --init {run}`"
        )
    if is_calibrated(folder):
        find_beside(run, CALIBRATION_FILE)
    return folder


def split_folders(folder: Path) -> dict[str, Path]:
    """The splits that a run over several splits has a checkpoint of: split -> folder, in the order of the splits."""
    places = {split: split_folder(folder, split) for split in SPLITS}
    return {split: place for split, place in places.items() if _holds_checkpoint(place)}


def run_name(folder: Path) -> str:
    """What to call a run in print: the folder's name, with the run's name before that of a split or a seed.

    A model of the hub is called by its repository.
    """
    folder = folder.resolve()
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(_CACHED):  # in the hub's cache
        return HUB_PREFIX + folder.parent.parent.name.removeprefix(_CACHED).replace("--", "/", 1)
    is_export = folder.name == HUB_FOLDER and _holds_checkpoint(folder.parent)
    is_part = is_export or _SPLIT_FOLDER.fullmatch(folder.name) or folder in seed_folders(folder.parent)
    return f"{run_name(folder.parent)}/{folder.name}" if is_part else folder.name


def _run_names(folder: Path) -> list[str]:
    return [run_name(one) for one in (folder, *seed_folders(folder)) if _is_run(one)]


def _is_run(folder: Path) -> bool:
    return _holds_checkpoint(folder) or bool(split_folders(folder))


def _holds_model(folder: Path) -> bool:
    return _holds_checkpoint(folder) or is_portable(folder)


def _holds_checkpoint(folder: Path) -> bool:
    return any((folder / CHECKPOINTS_FOLDER / name).is_file() for name in ("best.pt", "last.pt"))
