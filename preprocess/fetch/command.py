"""Brings a data set to ``<destination>/<class>/<file>``: download, unpacking, check against HMDB51's official list."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from preprocess.fetch.archives.kinds import archive_kind, checked_members
from preprocess.fetch.archives.members import Budget, Limits
from preprocess.fetch.download import Retry, sha256_of
from preprocess.fetch.folders import list_folder
from preprocess.fetch.layout import joined, split_table_of
from preprocess.fetch.sources import bring, check_form
from preprocess.fetch.summary import FetchSummary
from preprocess.fetch.unpack import Tally, Unpacker
from shared.errors import DataError, UsageError
from shared.manifests.files import SPLITS_FILE
from shared.splits.own_files import SplitTable, read_split_table, write_split_table
from shared.splits.parts import Part, official_splits
from shared.terminal.console import progress_in_megabytes, say
from shared.terminal.interrupts import explained
from shared.video.frame_names import PICTURE_SUFFIXES
from shared.video.listing import is_synthetic, list_videos

_STAGING = ".fetch-partial"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
OFFICIAL_NAME = "hmdb51_org.rar"
OFFICIAL_SHA256 = "9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e"  # of the Serre lab's archive


def fetch(
    source: str,
    destination: Path,
    *,
    sha256: str | None = None,
    limits: Limits | None = None,
    retry: Retry | None = None,
) -> FetchSummary:
    """Bring the videos of ``source`` to ``destination/<class>/<file>``: see sources for what it may be.

    A download lands beside ``destination`` and stays there. ``sha256`` is that of the archive, in hexadecimal.
    Videos in place are never overwritten; a killed fetch is continued by the same command.
    Raises UsageError for a malformed source or checksum, DataError where the source, the archive or the
    destination is bad.
    """
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError(f"--sha256 {sha256!r} is not 64 hexadecimal digits")
    check_form(source, has_checksum=sha256 is not None)
    _refuse_destination(destination)
    with explained(lambda: f"what has come so far is kept beside or in {destination}; the same command continues"):
        return _fetch(source, destination, sha256=sha256, limits=limits, retry=retry)


def _fetch(
    source: str, destination: Path, *, sha256: str | None, limits: Limits | None, retry: Retry | None
) -> FetchSummary:
    brought = bring(source, destination, retry=retry)
    if brought.path.is_file():
        archive_kind(brought.path)  # before its checksum is computed, which takes a while
        _check_sha256(brought.path, sha256)
    tally = Tally()
    with _staging_folder(destination) as staging:
        _unpack_all(brought.path, destination, staging=staging, limits=limits or Limits(), tally=tally)
    missing = _missing_official(brought.path, destination, tally)
    return FetchSummary(
        destination=destination,
        archive=brought.path,
        aftermath=brought.aftermath,
        tally=tally,
        splits=_keep_parts(destination, tally.parts),
        num_official=len(official_splits()),
        missing_official=missing,
    )


def _refuse_destination(destination: Path) -> None:
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{destination} is a file, not a folder; name another destination")
    if is_synthetic(destination):
        raise DataError(
            f"{destination} holds synthetic videos of `hmdb-prep synth`; real ones do not belong beside them: "
            "name another destination or delete that folder"
        )


def _check_sha256(archive: Path, expected: str | None) -> None:
    """Say whether it is the official archive where that is to be expected; raise DataError for another checksum."""
    actual = sha256_of(archive)
    if expected is not None and actual != expected.lower():
        raise DataError(
            f"{archive} has SHA-256 {actual}, not {expected.lower()}; delete it and fetch it anew, or correct --sha256"
        )
    if actual == OFFICIAL_SHA256:
        say(f"{archive} is the official archive of HMDB51: its SHA-256 is {actual}")
    elif archive.name.lower() == OFFICIAL_NAME:
        say(
            f"{archive} is not the official archive of HMDB51, whose SHA-256 is {OFFICIAL_SHA256}: this one has "
            f"{actual}, so it is packed anew, cut or another; what it holds is unpacked all the same"
        )


@contextmanager
def _staging_folder(destination: Path) -> Iterator[Path]:
    """A hidden folder in the destination (so that moving is a rename), gone afterwards; one process at a time."""
    destination.mkdir(parents=True, exist_ok=True)
    staging = destination / _STAGING
    handle = os.open(destination, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"another process is fetching into {destination}; wait for it or stop it") from error
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(handle)


def _unpack_all(source: Path, destination: Path, *, staging: Path, limits: Limits, tally: Tally) -> None:
    if source.is_dir():
        members, depth, num_bytes = list_folder(source, without=destination), 0, 0
    else:
        members, depth, num_bytes = checked_members(source, limits=limits), 1, source.stat().st_size
    total = sum(member.num_bytes for member in members)
    budget = Budget(limits, name=source.name, num_bytes=num_bytes or total)
    with progress_in_megabytes(f"Unpacking {source.name}", total) as advance:
        unpacker = Unpacker(destination, limits=limits, budget=budget, tally=tally)
        unpacker.unpack(source, label="", members=members, staging=staging, depth=depth, advance=advance)


def _missing_official(source: Path, destination: Path, tally: Tally) -> tuple[str, ...]:
    """The clips of the official list that are not there. Raises DataError where the source gave no video at all."""
    if not (tally.num_written or tally.num_kept or tally.conflicts):
        reasons = [*tally.failures, *(f"{name} lies in no class folder" for name in tally.unplaced)]
        found = ", ".join(f"{number} {suffix}" for suffix, number in tally.ignored.most_common(3))
        reason = reasons[0] if reasons else f"it holds {found}" if found else "it is empty"
        frames = "; folders of pictures need no fetching: unpack them by hand and name their folder with --videos"
        hint = frames if PICTURE_SUFFIXES & tally.ignored.keys() else ""
        raise DataError(f"{source} gave no video in a class folder or an archive named after a class: {reason}{hint}")
    present = {video.clip_id for video in list_videos(destination).videos}
    return tuple(clip_id for clip_id in official_splits() if clip_id not in present)


def _keep_parts(destination: Path, parts: Mapping[str, Part | None]) -> Path | None:
    """Write the parts that folders named to ``splits.csv``, for --splits; None where they do not divide the videos.

    A file that is there is added to; where it says otherwise it is kept as it is.
    """
    table = split_table_of(parts)
    if table is None:
        return None
    file = destination / SPLITS_FILE
    if file.exists():
        table = _joined_with(file, table)
    if table is None:
        say(
            f"{file} is there and says otherwise than the folders of the source, so it is kept; move it away and fetch "
            "again to have it made anew"
        )
        return None
    write_split_table(destination, table)
    return file


def _joined_with(file: Path, table: SplitTable) -> SplitTable | None:
    try:
        return joined(read_split_table(file), table)
    except DataError:  # a user's own file of another form, which is theirs
        return None
