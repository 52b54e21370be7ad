"""What SOURCE means: an address, a repository of the Hugging Face hub, a local archive or a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.fetch.download import Retry, download
from preprocess.fetch.hub import bring_from_hub, parse_hub_source
from shared.errors import DataError, UsageError
from shared.hub import HUB_PREFIX

FORMS = "an http(s) address, hf:OWNER/NAME, an archive (.rar, .zip, .tar, .tar.gz, .tar.bz2, .tar.xz) or a folder"


@dataclass(frozen=True, kw_only=True)
class Brought:
    """A source that is on this machine now."""

    path: Path  # an archive, or a folder of videos and archives
    aftermath: str  # what to say of it when all is done


def bring(source: str, destination: Path, *, retry: Retry | None) -> Brought:
    """Find what ``source`` names; a download lands beside ``destination``, the hub's files in the hub's own cache.

    Raises UsageError for a malformed source, DataError where there is nothing, or it is the destination itself.
    """
    if source.startswith(HUB_PREFIX):
        path = bring_from_hub(source)
        return Brought(path=path, aftermath=f"the hub's files stay in its cache, {path}")
    if "://" in source:
        path = download(source, destination.absolute().parent, retry=retry)
        return Brought(path=path, aftermath=f"the archive {path} is no longer needed")
    path = Path(source).expanduser()
    if path.is_dir():
        if destination.exists() and path.samefile(destination):
            raise DataError(f"{path} is the destination itself; videos in {path}/<class>/ need no fetching")
        return Brought(path=path, aftermath=f"the folder {path} is as it was")
    if path.is_file():
        return Brought(path=path, aftermath=f"the archive {path} is no longer needed")
    raise DataError(f"nothing at {path}; SOURCE is {FORMS}")


def check_form(source: str, *, has_checksum: bool) -> None:
    """Raise UsageError for a malformed source of the hub, or where ``--sha256`` is given and it is no single file."""
    if source.startswith(HUB_PREFIX):
        is_file = parse_hub_source(source).is_file
    else:
        is_file = "://" in source or not Path(source).expanduser().is_dir()
    if has_checksum and not is_file:
        raise UsageError(f"--sha256 is of one archive, and {source} is a folder of files; leave it out")
