"""What a fetch did, and how it is said."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.fetch.unpack import Tally
from shared.terminal.console import counted, say

_NUM_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FetchSummary:
    """What a fetch did. The tally's paths are relative to ``destination``, with forward slashes."""

    destination: Path
    archive: Path  # or the folder that was read
    aftermath: str  # what to say of it
    tally: Tally
    splits: Path | None  # the file of the parts that the folders of the source name
    num_official: int
    missing_official: tuple[str, ...]  # clip_ids of the official list without a video here, of ``num_official`` in all


def print_summary(summary: FetchSummary) -> int:
    """Say what was fetched and what is missing. Returns the exit code: 1 where a part of the source was unreadable."""
    tally = summary.tally
    num_ignored = tally.ignored.total()
    kinds = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in tally.ignored.most_common(3))
    say(
        f"{counted(tally.num_written, 'video')} written{_how(summary)}, {tally.num_kept} there already, "
        f"{counted(num_ignored, 'other file')} left out{f' ({kinds})' if kinds else ''}"
    )
    _say_some("in place with other content, kept (delete a file to fetch it again)", tally.conflicts)
    _say_some("named after their part, as another part has a video of that name", tally.renamed)
    _say_some("in two parts at once, counted to the first", tally.in_two_parts)
    _say_some("without a class folder, left out", tally.unplaced)
    _say_some("unreadable, left out", tally.failures)
    present = summary.num_official - len(summary.missing_official)
    _say_official(summary, present)
    if summary.splits is not None:
        parts = ", ".join(sorted({part for part in tally.parts.values() if part}))
        command = ["hmdb-prep", "extract", "--videos", str(summary.destination), "--splits", str(summary.splits)]
        official = "; without --splits the clips of the official list have its splits" if present else ""
        say(f"folders divide the videos into {parts}, which {summary.splits} keeps: {shlex.join(command)}{official}")
    say(f"videos are in {summary.destination}; {summary.aftermath}")
    return 1 if tally.failures else 0


def _how(summary: FetchSummary) -> str:
    """How the files of a folder came here; empty for those of archives."""
    tally = summary.tally
    if not summary.archive.is_dir() or not tally.num_written:
        return ""
    if not tally.num_linked:
        return " (copied or unpacked)"
    others = ", others copied or unpacked" if tally.num_linked < tally.num_written else ""
    return f" ({tally.num_linked} as hard links, which take no space{others})"


def _say_official(summary: FetchSummary, present: int) -> None:
    say(f"official list: {present} of {counted(summary.num_official, 'clip')} of HMDB51 are there")
    if present:
        _say_some("missing", summary.missing_official)
    elif summary.splits is None:
        say("none of the videos bears a name of the official list: they get seeded splits of their own")


def _say_some(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
        say(f"{len(names)} {what}: {', '.join(names[:_NUM_SHOWN])}{more}")
