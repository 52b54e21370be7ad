"""Brings a real HMDB51 to ``<destination>/<class>/<file>``: download, unpacking, check against the official list."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from preprocess.fetch.archives import checked_members
from preprocess.fetch.download import Retry, download, sha256_of
from preprocess.fetch.members import Budget, Limits
from preprocess.fetch.unpack import Tally, Unpacker
from shared.console import progress_in_megabytes, say
from shared.errors import DataError, UsageError
from shared.splits import official_splits
from shared.videos import find_videos, is_synthetic

_STAGING = ".fetch-partial"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_NUM_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FetchSummary:
    """What a fetch did. The tally's paths are relative to ``destination``, with forward slashes."""

    destination: Path
    archive: Path
    tally: Tally
    num_official: int
    missing_official: tuple[str, ...]  # clip_ids of the official list without a video here, of ``num_official`` in all


def fetch(
    source: str,
    destination: Path,
    *,
    sha256: str | None = None,
    limits: Limits | None = None,
    retry: Retry | None = None,
) -> FetchSummary:
    """Bring the videos of ``source``, an http(s) address or a local .rar or .zip, to ``destination/<class>/<file>``.

    A download lands beside ``destination`` and stays there. ``sha256`` is that of the archive, in hexadecimal.
    Videos in place are never overwritten; a killed fetch is continued by the same command.
    Raises UsageError for a malformed source or checksum, DataError where the source, the archive or the
    destination is bad.
    """
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError(f"--sha256 {sha256!r} is not 64 hexadecimal digits")
    _refuse_destination(destination)
    archive = _bring(source, destination, retry=retry)
    if sha256 is not None:
        _check_sha256(archive, sha256)
    tally = Tally()
    with _staging_folder(destination) as staging:
        _unpack_all(archive, destination, staging=staging, limits=limits or Limits(), tally=tally)
    return _summarise(archive, destination, tally)


def print_summary(summary: FetchSummary) -> int:
    """Say what was fetched and what is missing. Returns the exit code: 1 where a part of the archive was unreadable."""
    tally = summary.tally
    say(
        f"{tally.num_written} videos written, {tally.num_kept} there already, "
        f"{tally.num_ignored} other files in the archive left out"
    )
    _say_some("in place with other content, kept (delete a file to fetch it again)", tally.conflicts)
    _say_some("videos without a class folder, left out", tally.unplaced)
    _say_some("unreadable parts of the archive", tally.failures)
    present = summary.num_official - len(summary.missing_official)
    say(f"official list: {present} of {summary.num_official} clips of HMDB51 are there")
    if present:
        _say_some("missing", summary.missing_official)
    else:
        say("none of the videos bears a name of the official list: they get seeded splits of their own")
    say(f"videos are in {summary.destination}; the archive {summary.archive} is no longer needed")
    return 1 if tally.failures else 0


def _say_some(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
        say(f"{len(names)} {what}: {', '.join(names[:_NUM_SHOWN])}{more}")


def _refuse_destination(destination: Path) -> None:
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{destination} is a file, not a folder; name another destination")
    if is_synthetic(destination):
        raise DataError(
            f"{destination} holds synthetic videos of `hmdb-prep synth`; real ones do not belong beside them: "
            "name another destination or delete that folder"
        )


def _bring(source: str, destination: Path, *, retry: Retry | None) -> Path:
    if "://" in source:
        return download(source, destination.absolute().parent, retry=retry)
    archive = Path(source).expanduser()
    if archive.is_dir():
        raise DataError(f"{archive} is a folder; videos in {archive}/<class>/ need no fetching: name it with --videos")
    if not archive.is_file():
        raise DataError(f"no archive at {archive}; SOURCE is an http(s) address or a local .rar or .zip")
    return archive


def _check_sha256(archive: Path, expected: str) -> None:
    actual = sha256_of(archive)
    if actual != expected.lower():
        raise DataError(
            f"{archive} has SHA-256 {actual}, not {expected.lower()}; delete it and fetch it anew, or correct --sha256"
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


def _unpack_all(archive: Path, destination: Path, *, staging: Path, limits: Limits, tally: Tally) -> None:
    members = checked_members(archive)
    with progress_in_megabytes(f"Unpacking {archive.name}", sum(member.num_bytes for member in members)) as advance:
        unpacker = Unpacker(destination, limits=limits, budget=Budget(limits, archive=archive), tally=tally)
        unpacker.unpack(archive, label="", members=members, staging=staging, depth=1, advance=advance)


def _summarise(archive: Path, destination: Path, tally: Tally) -> FetchSummary:
    if not (tally.num_written or tally.num_kept or tally.conflicts):
        reason = f": {tally.failures[0]}" if tally.failures else ""
        raise DataError(f"{archive} gave no video in a class folder or an archive named after a class{reason}")
    present = {video.clip_id for video in find_videos(destination)}
    official = official_splits()
    return FetchSummary(
        destination=destination,
        archive=archive,
        tally=tally,
        num_official=len(official),
        missing_official=tuple(clip_id for clip_id in official if clip_id not in present),
    )
