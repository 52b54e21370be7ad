"""By which rules sources and splits are found: what is asked for, and what is kept beside the shards since before."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.extract.extraction_plan import ExtractionPlan
from preprocess.extract.facts import ClipFacts, FactRules, facts_of, name_tags, repeated_numbers
from preprocess.extract.state import STATE_FILE, write_extraction_plan
from shared.errors import DataError, UsageError
from shared.manifests.files import SPLITS_FILE, Dataset, read_manifests
from shared.splits.official_names import official_clip_id
from shared.splits.own_files import SplitTable, mismatches, read_kept_table, read_split_table, write_split_table
from shared.splits.sources import compile_source_pattern, matches
from shared.splits.warnings import warnings_on_splits
from shared.terminal.console import counted, say
from shared.video.listing import Video

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class AskedRules:
    """What the user asked for with ``--source-pattern`` and ``--splits``; None: as it is kept."""

    source_pattern: str | None = None
    """Empty: the rules for names."""
    splits: str | None = None
    """A path, or ``auto``: official and seeded splits."""


AS_KEPT = AskedRules()


def kept_rules(shards: Path, plan: ExtractionPlan | None) -> FactRules:
    """The rules that are kept with an extraction. Raises DataError where ``splits.csv`` is damaged."""
    return FactRules(source_pattern=plan.source_pattern if plan else "", table=read_kept_table(shards))


def rules_for(asked: AskedRules, shards: Path, plan: ExtractionPlan | None) -> FactRules:
    """The rules to go by. Raises UsageError and DataError for a bad pattern and bad splits."""
    pattern = asked.source_pattern
    if pattern is None:
        pattern = plan.source_pattern if plan else ""
    if pattern:
        compile_source_pattern(pattern)
    if asked.splits is None:
        table = read_kept_table(shards)
    else:
        table = None if asked.splits == AUTO else read_split_table(Path(asked.splits))
    return FactRules(source_pattern=pattern, table=table)


def made_by(rules: FactRules, dataset: Dataset) -> bool:
    """Whether the manifests of this dataset.json were made by these rules."""
    return (dataset.source_pattern, dataset.splits_sha256) == (rules.source_pattern, sha256_of_table(rules))


def sha256_of_table(rules: FactRules) -> str:
    """What dataset.json notes of splits of one's own; empty where there are none."""
    return rules.table.sha256 if rules.table is not None else ""


def keep_rules(shards: Path, plan: ExtractionPlan, rules: FactRules) -> ExtractionPlan:
    """Keep the rules beside the shards, in ``splits.csv`` and the plan, which is written if it is not there yet.

    Splits first: a task that finds the plan finds them too.
    """
    if rules.table is None:
        (shards / SPLITS_FILE).unlink(missing_ok=True)
    else:
        write_split_table(shards, rules.table)
    changed = dataclasses.replace(plan, source_pattern=rules.source_pattern)
    if changed != plan or not (shards / STATE_FILE).is_file():
        write_extraction_plan(shards, changed)
    return changed


def remarks(videos: Sequence[Video], rules: FactRules, *, asked: AskedRules, shards: Path) -> list[str]:
    """Sentences on how the rules fit the videos, each with an example and what can be done.

    Raises DataError where splits of one's own list none of the videos, UsageError where a source would be a formula.
    """
    sentences = []
    if rules.table is not None:
        sentences += _on_table(videos, rules.table, asked=asked, shards=shards)
    if rules.source_pattern:
        sentences.append(_on_pattern(videos, rules.source_pattern))
        return sentences
    numbered = repeated_numbers(videos)
    if numbered:
        sentences.append(
            f"{counted(len(numbered), 'video')} whose names are numbers that several classes have, such as "
            f"{numbered[0].path}: each is taken for a source of its own; if equal numbers are one video, give "
            r"--source-pattern '(\d+)'"
        )
    return sentences + (_on_official_names(videos) if rules.table is None else [])


def on_unused_table(videos: Path, rules: FactRules, asked: AskedRules) -> list[str]:
    """A sentence on the splits that `fetch` wrote into the folder of videos, where nobody said whether to use them."""
    file = videos / SPLITS_FILE
    if rules.table is not None or asked.splits is not None or not file.is_file():
        return []
    use = shlex.join(["--splits", str(file)])
    return [f"{file} divides these videos and is not used; use {use}, or --splits {AUTO} to ignore it"]


def say_warnings(manifests: Path, dataset: Dataset) -> None:
    """Say what cannot be right about the sources and splits in manifests that were just written."""
    clips, has_own_splits = read_manifests(manifests), bool(dataset.splits_sha256)
    for sentence in warnings_on_splits(clips, source_pattern=dataset.source_pattern, has_own_splits=has_own_splits):
        say(f"warning: {sentence}")


def _on_table(videos: Sequence[Video], table: SplitTable, *, asked: AskedRules, shards: Path) -> list[str]:
    place = asked.splits or str(shards / SPLITS_FILE)
    try:
        return [f"splits: those of {place}", *mismatches(table, videos, place=place)]
    except DataError as error:
        remedy = "" if asked.splits else "; or leave these splits, kept from before, with --splits auto"
        raise DataError(f"{error}{remedy}") from error


def _on_pattern(videos: Sequence[Video], source_pattern: str) -> str:
    tags = name_tags(videos, source_pattern=source_pattern)
    for clip_id, found in tags.items():
        if found.source.startswith("="):
            raise UsageError(
                f"--source-pattern {source_pattern} gives {clip_id} the source {found.source!r}, which a spreadsheet "
                "would run as a formula; mend its group so that sources begin with a letter or a number"
            )
    num_sources = counted(len({found.source for found in tags.values()}), "source")
    said = f"source pattern {source_pattern}: {num_sources} of {counted(len(videos), 'video')}"
    strange = [video.path for video in videos if not matches(source_pattern, video.stem, class_name=video.class_name)]
    if not strange:
        return said
    return (
        f"{said}; it does not match {counted(len(strange), 'name')}, such as {strange[0]}: "
        "each of them is a source of its own, mend the pattern if it should match"
    )


def _on_official_names(videos: Sequence[Video]) -> list[str]:
    """On videos of HMDB51 under altered names, and on a mixture of its videos and others. The rules are the default."""
    official = {video.clip_id: official_clip_id(video.stem) for video in videos}
    known = [video for video in videos if official[video.clip_id] is not None]
    sentences = []
    altered = [video for video in known if official[video.clip_id] != video.clip_id]
    if altered:
        first = altered[0].clip_id
        sentences.append(
            f"{counted(len(altered), 'name')} of HMDB51 altered, such as {first}, there {official[first]}: "
            "they have its official splits; unpack with `hmdb-prep fetch` to have its names"
        )
    if known and len(known) < len(videos):
        others = [video for video in videos if official[video.clip_id] is None]
        facts = facts_of(videos, FactRules(), class_names=sorted({video.class_name for video in videos}))
        sentences.append(
            f"{counted(len(known), 'video')} of HMDB51 with its official splits, {counted(len(others), 'other')}, "
            f"divided by source, or on the side where HMDB51 has the source{_on_unused(others, facts)}"
        )
    return sentences


def _on_unused(videos: Sequence[Video], facts: ClipFacts) -> str:
    unused = [video for video in videos if "unused" in dataclasses.astuple(facts.splits[video.clip_id])]
    if not unused:
        return ""
    return (
        f"; {len(unused)} of them, such as {unused[0].clip_id}, are unused in a split where HMDB51 has their source on "
        "both sides, in other classes"
    )
