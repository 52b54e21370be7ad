"""Where a run lies, what it has begun there, and with which configuration it goes on."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError, UsageError
from shared.files import whole_file
from shared.next_command import Places
from train.run.checkpoint import checkpoint_path, link_file
from train.run.config.fields import RunConfig, default_name, place_of_shards, requested_splits
from train.run.config.files import read_config
from train.run.config.resolve import continued_with, differences, left_open, resolve
from train.run.config.values import Value
from train.run.progress import Progress

CONFIG_FILE = "config.toml"
CHOICES_FILE = "choices.csv"
_SEED_FOLDER = re.compile(r"seed\d+")


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of a run, and what is to be done in it."""

    path: Path
    config: RunConfig
    """Its ``split`` names all splits of the run."""
    parts: Mapping[str, Path]
    """The splits to train now, each with its folder: the run's own where it has one split."""
    left_open: tuple[str, ...] = ()
    """Keys whose choice is left to the program for a split that is not begun."""

    @property
    def has_several_splits(self) -> bool:
        return self.path not in self.parts.values()


def find_folder(values: Mapping[str, Value], *, resume: bool) -> RunFolder:
    """The folder of the run that the options ask for, to be begun or, with ``resume``, continued as it was begun.

    A run that has no checkpoint yet begins anew, with what it was begun with and the options that are given now.
    Raises UsageError where an option would change a run that has one.
    """
    config = resolve(command_line=values, file={})
    config = dataclasses.replace(config, name=config.name or default_name(config))
    path = run_folder(config)
    if resume and seed_folders(path):
        raise UsageError(
            f"{path} is a probe of several seeds; continue it with `lsvit-train probe --name {config.name} --resume`"
        )
    saved = saved_config(path) if resume else None
    if saved is None:
        return _all_parts(path, config, left_open(values))
    wanted = continued_with(saved, values)
    if not any(path.glob("**/checkpoints/*.pt")):
        return _all_parts(path, wanted, left_open(dataclasses.asdict(wanted)))
    if changed := differences(saved, wanted):
        raise UsageError(
            f"--resume continues {path} as it was begun, but this differs: {'; '.join(changed)}; leave it out, or "
            "begin anew under another --name"
        )
    return _begun_parts(path, wanted, begun=requested_splits(saved.split), is_asked="split" in values)


def run_folder(config: RunConfig) -> Path:
    """``<runs>/<name>``. Raises UsageError for a name that leaves the folder of runs."""
    if Path(config.name).name != config.name or config.name in (".", ".."):
        raise UsageError(f"--name is {config.name!r}; it must be one folder name, without slashes")
    return Path(config.runs) / config.name


def resume_text(config: RunConfig) -> str:
    """How a run with a checkpoint is continued, in words."""
    words = ["lsvit-train", "run", "--name", config.name, "--resume"]
    if Path(config.runs) != Path(RunConfig().runs):
        words += ["--runs", config.runs]
    return f"continue with `{shlex.join(words)}`"


def places_of(config: RunConfig) -> Places:
    """The folders of a run, for the command that follows."""
    return Places(shards=place_of_shards(config), manifests=Path(config.manifests), runs=Path(config.runs))


def seed_folders(path: Path) -> list[Path]:
    """The folders of the seeds, in their order, where ``path`` is a probe's of several seeds; else none."""
    found = [folder for folder in path.glob("seed*/") if _SEED_FOLDER.fullmatch(folder.name)]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("seed")))


def saved_config(path: Path) -> RunConfig | None:
    """The configuration that a run was begun with, if any.

    An earlier version noted that of several splits only after the first one: then it names those that have a folder.
    """
    if (path / CONFIG_FILE).is_file():
        return resolve(command_line={}, file=read_config(path / CONFIG_FILE))
    parts = [resolve(command_line={}, file=read_config(file)) for file in sorted(path.glob(f"*/{CONFIG_FILE}"))]
    return dataclasses.replace(parts[0], split=",".join(part.split for part in parts)) if parts else None


def _all_parts(path: Path, config: RunConfig, keys_left_open: tuple[str, ...]) -> RunFolder:
    splits = requested_splits(config.split)
    parts = {splits[0]: path} if len(splits) == 1 else {split: split_folder(path, split) for split in splits}
    return RunFolder(path=path, config=config, parts=parts, left_open=keys_left_open)


def _begun_parts(path: Path, config: RunConfig, *, begun: tuple[str, ...], is_asked: bool) -> RunFolder:
    """What is to be done of a run that has begun some splits; is_asked: whether splits are named now."""
    is_noted = (path / CONFIG_FILE).is_file()
    if is_noted and len(begun) == 1:
        if config.split != begun[0]:
            raise UsageError(
                f"{path} is a run of split {begun[0]}, and --split is {config.split}; leave --split out to continue "
                f"it, or train split {config.split} under another --name"
            )
        return RunFolder(path=path, config=config, parts={begun[0]: path})
    if not is_noted and not is_asked:
        raise UsageError(
            f"{path} has begun split {', '.join(begun)}, and does not say which were to follow; name all of its "
            "splits with --split, such as --split 1,2,3"
        )
    splits = requested_splits(config.split)
    return RunFolder(
        path=path,
        config=dataclasses.replace(config, split=",".join(dict.fromkeys((*begun, *splits)))),
        parts={split: split_folder(path, split) for split in splits},
        left_open=left_open(dataclasses.asdict(config)),
    )


def split_folder(path: Path, split: str) -> Path:
    """Where the part of a run over several splits lies that trains on ``split``."""
    return path / (f"split{split}" if split.isdigit() else split)


def check_last(folder: Path) -> None:
    """Raise DataError where ``last.pt``, from which a run goes on, is gone and ``best.pt`` is not."""
    last, best = checkpoint_path(folder, "last"), checkpoint_path(folder, "best")
    if best.is_file() and not last.is_file():
        raise DataError(
            f"{last} is missing, but {best.name} beside it is not; copy it to {last.name} to continue from the best "
            "epoch, or begin anew under another --name"
        )


def restore_best(folder: Path, progress: Progress) -> str:
    """Put ``best.pt`` back where it is gone and ``last.pt`` holds the same; returns what there is to say, if anything.

    progress: that of ``last.pt``.
    """
    best, last = checkpoint_path(folder, "best"), checkpoint_path(folder, "last")
    if best.is_file() or not progress.best_epoch:
        return ""
    if progress.best_epoch == progress.epoch and not progress.step_in_epoch:
        with whole_file(best) as temporary:
            link_file(last, temporary)
        return f"{best} was missing; it is back, as {last.name} is of the same epoch, {progress.epoch}"
    return (
        f"{best} is missing, of epoch {progress.best_epoch}; until an epoch is better, evaluate and predict take "
        f"{last.name}"
    )
