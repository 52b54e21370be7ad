"""Brings a data set's files from the Hugging Face hub into the hub's own cache."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preprocess.fetch.archives.members import safe_parts
from preprocess.fetch.layout import ARCHIVE_SUFFIXES, archive_stem, is_wanted
from shared.errors import DataError, UsageError
from shared.hub import HUB_PREFIX, hub_errors
from shared.terminal.console import counted, say
from shared.video.listing import VIDEO_SUFFIXES

_SOURCE = re.compile(
    re.escape(HUB_PREFIX) + r"(?:datasets/)?(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:pr/\d+|convert/[^/]+)|[^/]+))?(?:/(?P<path>.*?)/*)?"
)


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A repository of the hub's data sets, or a part of it."""

    repo: str
    revision: str | None  # a branch, tag or commit; None for the main branch
    path: str  # of a file or folder within it, empty for all of it

    @property
    def is_file(self) -> bool:
        """Whether it names one archive: that is told by the suffix."""
        return archive_stem(self.path) is not None


def parse_hub_source(text: str) -> HubSource:
    """Read ``hf:OWNER/NAME[@REVISION][/PATH]``. Raises UsageError where it is not of that form."""
    match = _SOURCE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text} is no data set of the hub; write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or one of them with /FILE"
        )
    return HubSource(repo=match["repo"], revision=match["revision"], path=match["path"] or "")


def bring_from_hub(text: str) -> Path:
    """The archive that ``text`` names, or the folder with the videos and archives of its repository, in the cache.

    What is in the cache already is not fetched again. Raises DataError where there is no such repository, revision or
    file, nothing in it is a video or an archive, the disk is too small or the hub is out of reach.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():  # each step of its bars would be a line
        disable_progress_bars()
    source = parse_hub_source(text)
    name = f"{HUB_PREFIX}{source.repo}"
    unreachable = f"cannot get {text}: the hub is out of reach; the same command continues when it is there"
    try:
        with hub_errors(name, revision=source.revision, out_of_reach=unreachable):
            if source.is_file:
                return Path(hf_hub_download(source.repo, source.path, repo_type="dataset", revision=source.revision))
            _check_files(source, name)
            folder = snapshot_download(
                source.repo, repo_type="dataset", revision=source.revision, allow_patterns=_patterns(source.path)
            )
    except EntryNotFoundError as error:
        raise DataError(
            f"{name} has no {source.path}; check the name, or leave it out for all of the data set"
        ) from error
    return Path(folder, source.path)


def _check_files(source: HubSource, name: str) -> None:
    """Say what will be downloaded; raise DataError where there is nothing of use, or it does not fit the disk."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.hf_api import RepoFile

    entries = HfApi().list_repo_tree(
        source.repo, source.path or None, recursive=True, repo_type="dataset", revision=source.revision
    )
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    wanted = [file for file in files if is_wanted(safe_parts(file.path))]
    if not wanted:
        found = Counter(PurePosixPath(file.path).suffix or PurePosixPath(file.path).name for file in files)
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in found.most_common(5))
        raise DataError(f"{name} holds no videos and no archives, only {kinds or 'nothing'}; choose another data set")
    missing = sum(
        file.size
        for file in wanted
        if not isinstance(
            try_to_load_from_cache(source.repo, file.path, revision=source.revision, repo_type="dataset"), str
        )
    )
    cache = next(folder for folder in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if folder.is_dir())
    free = shutil.disk_usage(cache).free
    if missing > free:
        raise DataError(
            f"{name} needs {missing / 1e6:.0f} MB in the cache {HF_HUB_CACHE}, where {free / 1e6:.0f} MB are free; "
            "make room, or set HF_HOME to a folder on another disk"
        )
    say(
        f"{name}: {len(wanted)} of {counted(len(files), 'file')} are videos or archives, "
        f"{missing / 1e6:.0f} MB to download"
    )


def _patterns(path: str) -> list[str]:
    """What the hub's client fetches below ``path``: all with a suffix that is read, in small or capital letters."""
    folder = re.sub(r"([*?[])", r"[\1]", path) + "/" if path else ""
    suffixes = sorted({*VIDEO_SUFFIXES, *ARCHIVE_SUFFIXES})
    return [f"{folder}*{written}" for suffix in suffixes for written in (suffix, suffix.upper())]
