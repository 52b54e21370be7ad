"""Writes a trained model as a folder for the hub, weights, config.json and model card, and uploads it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from shared.errors import DataError, UsageError, first_line
from shared.files import synchronise, write_bytes, write_text
from shared.hub import HUB_PREFIX, client_error
from train.model.weights.portable import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from train.trained.calibration import read_calibration, write_calibration
from train.trained.card import Measures, model_card
from train.trained.model import LoadedModel, load_model
from train.trained.portable import CALIBRATION_FILE, LIBRARY, config_content, is_portable

_UNFINISHED = ".tmp-export"  # a folder within that of the model: what is written, until all of it is
_FILES = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, CALIBRATION_FILE)


def check_place(folder: Path, *, source: Path) -> None:
    """Raise UsageError where the folder holds files of these names that are no exported model: none is replaced.

    source: the folder of the model, which would be lost where writing fails.
    """
    if folder.resolve() == source.resolve():
        raise UsageError(f"--out is {folder}, the folder of the model itself; name another one")
    taken = [name for name in _FILES if (folder / name).exists()]
    is_ours = is_portable(folder) or (folder / _UNFINISHED).is_dir()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out is {folder}, which is a file; name a folder for the model")
    if taken and not is_ours:
        raise UsageError(
            f"{folder} holds {', '.join(taken)}, and no exported model; name another folder with --out, or move them"
        )


def write_folder(folder: Path, loaded: LoadedModel, *, name: str, measures: Measures | None, repo: str) -> None:
    """Write the model; an earlier export stays as it is until the new one is whole, and is replaced then.

    name: of the run. Raises DataError where it does not read back as it is, bit for bit.
    """
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
    try:
        _write_weights(unfinished / WEIGHTS_FILE, loaded)
        write_text(unfinished / CARD_FILE, model_card(loaded, name=name, measures=measures, repo=repo))
        calibrated = _copy_calibration(loaded, unfinished)
        content = config_content(loaded.facts, loaded.origin, run=name, calibrated=calibrated)
        write_text(unfinished / CONFIG_FILE, json.dumps(content, indent=2) + "\n")
        _check_same(loaded, load_model(unfinished))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _move_in(unfinished, folder)


def _move_in(unfinished: Path, folder: Path) -> None:
    """Put the new files in the place of the old ones: never new weights beside the old config.json.

    A folder that a kill leaves in between is no model, and ``unfinished`` tells the next export that it is ours.
    """
    for old in (CONFIG_FILE, CALIBRATION_FILE):
        (folder / old).unlink(missing_ok=True)
    for name in (WEIGHTS_FILE, CARD_FILE, CALIBRATION_FILE, CONFIG_FILE):  # config.json makes it a model
        if (unfinished / name).exists():
            (unfinished / name).replace(folder / name)
    synchronise(folder)
    shutil.rmtree(unfinished, ignore_errors=True)


def _write_weights(path: Path, loaded: LoadedModel) -> None:
    from safetensors.torch import save

    tensors = {key: value.contiguous().clone() for key, value in loaded.model.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"format": "pt"}))  # save_file would keep others from reading the file


def _copy_calibration(loaded: LoadedModel, folder: Path) -> bool:
    """The run's calibration goes along where it is of this state of the model; whether it did."""
    try:
        calibration = read_calibration(loaded)
    except DataError:
        return False
    write_calibration(folder, dataclasses.replace(calibration, checkpoint=WEIGHTS_FILE))
    return True


def _check_same(loaded: LoadedModel, again: LoadedModel) -> None:
    before, after = loaded.model.state_dict(), again.model.state_dict()
    same = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    if not same or loaded.facts != again.facts or loaded.origin != again.origin:
        raise DataError(
            f"the exported model does not read back as the one in {loaded.folder}; please report this with "
            "the versions that `hmdb-prep doctor` prints"
        )


def check_push(repo: str) -> None:
    """Raise UsageError where a push to OWNER/NAME cannot succeed: no such name can be, or no token is at hand."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"--push is {repo!r}, which is no repository name; write OWNER/NAME") from error
    if repo.count("/") != 1:
        raise UsageError(
            f"--push is {repo!r}; write OWNER/NAME, where OWNER is your name on the hub or that of a group"
        )
    if get_token() is None:
        raise UsageError(
            f"--push {repo} needs a token with the right to write; make one on the hub under Settings, Access Tokens, "
            "then `hf auth login` or set HF_TOKEN"
        )


def push(folder: Path, repo: str) -> str:
    """Upload the model's files to the hub, into a repository that is made where there is none; returns its address.

    Raises DataError where the hub is out of reach or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name=LIBRARY)
    with _push_errors(folder, repo):
        address = api.create_repo(repo, repo_type="model", exist_ok=True)
        message = "Model exported by lsvit-train"
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(_FILES), commit_message=message)
    return str(address)


@contextmanager
def _push_errors(folder: Path, repo: str) -> Iterator[None]:
    """Give what the hub's client raises in the block as DataError that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    again = f"the model lies in {folder}, so the same command tries again"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            reason = f"the token may not write to {HUB_PREFIX}{repo} (HTTP {status}); check the name and log in with "
            raise DataError(f"{reason}a token that may: `hf auth login`; {again}") from error
        raise DataError(f"the hub refuses {HUB_PREFIX}{repo}: {first_line(error)}; {again}") from error
    except ValueError as error:  # of a model card that the hub does not take
        raise DataError(f"the hub refuses {HUB_PREFIX}{repo}: {first_line(error)}; {again}") from error
    except (OSError, client_error(HfHubHTTPError)) as error:  # lost connections
        raise DataError(f"the hub is out of reach ({first_line(error)}); connect; {again}") from error
