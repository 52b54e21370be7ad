"""All findings on a data set, in the order in which they matter."""

from __future__ import annotations

from preprocess.eda import count_findings, picture_findings
from preprocess.eda.findings import Finding, Findings
from preprocess.eda.near_duplicates import NearDuplicates
from preprocess.eda.summary import Summary


def conclude(summary: Summary, duplicates: NearDuplicates | None, *, places: str) -> Findings:
    """What the tables say, what to do about it, and what was looked for and not found.

    duplicates: None where there are no shards to compare. places: the options, a space before each, by which commands
    find the shards and manifests; empty where they lie where commands look anyway.
    """
    checks: list[tuple[str, Finding | None]] = [
        ("uneven classes", count_findings.on_balance(summary, places=places)),
        ("sources in both train and test", count_findings.on_leaks(summary)),
        ("classes without training or test clips", count_findings.on_missing_classes(summary)),
        ("classes of one source", count_findings.on_single_sources(summary)),
        ("classes apart in light, sharpness, colour or motion", picture_findings.on_classes_apart(summary)),
        ("augmentation", picture_findings.on_augmentation(summary, places=places)),
        ("pictures that lose a tenth or more to the crop", count_findings.on_crop(summary)),
        ("padded clips", count_findings.on_padding(summary)),
        ("damaged videos", count_findings.on_damage(summary)),
        ("files left out", count_findings.on_left_out(summary)),
    ]
    if duplicates is not None:
        checks.insert(2, ("near duplicates across train and test", count_findings.on_near_duplicates(duplicates)))
    return Findings(
        found=tuple(finding for _, finding in checks if finding),
        clear=tuple(name for name, finding in checks if not finding),
        not_checked=() if duplicates is not None else ("near duplicates, as the shards are not at hand",),
    )
