"""All findings on a data set, in the order in which they matter."""

from __future__ import annotations

from preprocess.eda.findings import counts, pictures
from preprocess.eda.findings.finding import Finding, Findings
from preprocess.eda.near_duplicates import NearDuplicates
from preprocess.eda.offsets import is_spread_known
from preprocess.eda.summary import Summary

_APART = "classes apart in light, sharpness, colour or motion"
_DUPLICATES = "near duplicates across train and test"


def conclude(summary: Summary, duplicates: NearDuplicates | None, *, places: str) -> Findings:
    """What the tables say, what to do about it, and what was looked for and not found.

    duplicates: None where there are no shards to compare. places: the options, a space before each, by which commands
    find the shards and manifests; empty where they lie where commands look anyway.
    """
    checks: list[tuple[str, Finding | None]] = [
        ("uneven classes", counts.on_balance(summary, places=places)),
        ("sources in both train and test", counts.on_leaks(summary)),
        ("classes without training or test clips", counts.on_missing_classes(summary)),
        ("classes of one source", counts.on_single_sources(summary)),
        ("augmentation", pictures.on_augmentation(summary, places=places)),
        ("pictures that lose a tenth or more to the crop", counts.on_crop(summary)),
        ("padded clips", counts.on_padding(summary)),
        ("damaged videos", counts.on_damage(summary)),
        ("files left out", counts.on_left_out(summary)),
    ]
    not_checked = []
    if is_spread_known(summary.clips["class_name"]):
        checks.insert(4, (_APART, pictures.on_classes_apart(summary)))
    else:
        not_checked.append(f"{_APART}, as most classes have a single clip")
    if duplicates is not None:
        checks.insert(2, (_DUPLICATES, counts.on_near_duplicates(duplicates)))
    else:
        not_checked.append(f"{_DUPLICATES}, as the shards are not at hand")
    return Findings(
        found=tuple(finding for _, finding in checks if finding),
        clear=tuple(name for name, finding in checks if not finding),
        not_checked=tuple(not_checked),
    )
