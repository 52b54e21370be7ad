"""Findings that follow from counts: balance, leaks, near duplicates, and clips that are cut, padded or damaged.

Each is said only where it is true, with exact numbers.
"""

from __future__ import annotations

import pandas as pd

from preprocess.eda.findings.finding import Finding, Link, listed
from preprocess.eda.near_duplicates import NearDuplicates
from preprocess.eda.summary import SHORTFALL_SHARE, Summary
from shared.manifests.files import SPLIT_COLUMNS
from shared.terminal.console import counted

BALANCED_RATIO = 1.5  # largest by smallest class of the training clips up to which balancing is not advised
_USES = {"train": "train on", "test": "test on"}
CROP_NOTABLE = 0.1  # share of a picture lost to the crop from which it is told


def on_balance(summary: Summary, *, places: str) -> Finding:
    """How uneven the classes are, of all clips and of the training clips of each split, and whether to balance."""
    even: list[str] = []
    uneven: list[str] = []
    alike: dict[str, list[str]] = {}
    for split in SPLIT_COLUMNS:
        counts = summary.clips.loc[summary.clips[split] == "train", "class_name"].value_counts()
        if len(counts):
            alike.setdefault(_range_of(counts), []).append(split)
            (even if counts.max() / counts.min() <= BALANCED_RATIO else uneven).append(split)
    parts = [f"{listed(splits, len(splits))} {words}" for words, splits in alike.items()]
    text = f"All clips: {_range_of(summary.classes['clips'])}. Training clips: {'; '.join(parts) or 'none'}."
    if even:
        text += f" {listed(even, len(even))} {_verb(len(even), 'needs', 'need')} no balancing."
    if uneven:
        text += (
            " A plan shows each class equally often: it serves the rare classes and can cost the common ones, so "
            "compare with a run without it (`--plan none`)."
        )
    return Finding(
        title="Balance",
        text=text,
        links=(Link(anchor="plot-classes", text="classes"), Link(anchor="table-splits", text="splits")),
        commands=tuple(f"hmdb-prep balance --split {_number(split)}{places}" for split in uneven),
    )


def _number(split: str) -> str:
    """What commands call a split: split1 is 1, split_full is full."""
    return split.removeprefix("split").removeprefix("_")


def _range_of(counts: pd.Series[int]) -> str:
    """Largest and smallest class with their ratio, for instance ``548 of walk to 102 of pour, ratio 5.37``."""
    ordered = counts.sort_index()
    if ordered.max() == ordered.min():
        return f"{ordered.max()} of each class, ratio 1.00"
    largest, smallest = ordered.idxmax(), ordered.idxmin()
    ratio = ordered.max() / ordered.min()
    return f"{ordered.max()} of {largest} to {ordered.min()} of {smallest}, ratio {ratio:.2f}"


def on_leaks(summary: Summary) -> Finding | None:
    """Sources that stand on both sides of a split."""
    leaks = summary.leaks.set_index("split")
    leaking = leaks[leaks["sources on both sides"] > 0]
    if leaking.empty:
        return None
    parts = [
        f"{row['with a source in train']} of {row['test clips']} in {split}, from "
        f"{counted(row['sources on both sides'], 'source')} ({row['same class']} with a training clip of their own "
        f"class, {row['other class']} with one of another)"
        for split, row in leaking.iterrows()
    ]
    free = [str(split) for split, row in leaks.iterrows() if row["test clips"] and not row["sources on both sides"]]
    text = (
        f"Test clips whose source video also gives training clips: {'; '.join(parts)}. Results there may be too good."
    )
    if free:
        text += f" {listed(free, len(free))} {_verb(len(free), 'keeps', 'keep')} sources apart."
    return Finding(title="Leaks", text=text, links=(Link(anchor="table-leaks", text="sources on both sides"),))


def on_near_duplicates(duplicates: NearDuplicates) -> Finding | None:
    """Pairs that look alike, of sources with different names, one clip to train on and one to test on."""
    hidden = {split: count for split, count in duplicates.num_hidden.items() if count}
    if not hidden:
        return None
    parts = listed([f"{counted(count, 'pair')} in {split}" for split, count in hidden.items()], len(hidden))
    text = (
        f"Clips of different sources look alike, one in train and the other in test: {parts}. They may be one "
        "video under two names, or only alike: look at them."
    )
    return Finding(title="Near duplicates", text=text, links=(Link(anchor="duplicates", text="pairs"),))


def on_single_sources(summary: Summary) -> Finding | None:
    """Classes whose clips are all cut from one video."""
    single = [str(name) for name in summary.classes.index[summary.classes["sources"] == 1].sort_values()]
    if not single:
        return None
    text = (
        f"{len(single)} of {counted(len(summary.classes), 'class')} {_verb(len(single), 'has', 'have')} clips of one "
        f"source only: {listed(single)}. Whether a model knows them in another video cannot be tested."
    )
    return Finding(title="One source", text=text, links=(Link(anchor="table-classes", text="sources of each class"),))


def on_missing_classes(summary: Summary) -> Finding | None:
    """Classes without training or test clips in a split that has both; where most lack them a warning says so."""
    names = sorted(map(str, summary.classes.index))
    parts = []
    for split in SPLIT_COLUMNS:
        present = {part: set(summary.clips.loc[summary.clips[split] == part, "class_name"]) for part in _USES}
        if not all(present.values()):
            continue
        for part, use in _USES.items():
            absent = [name for name in names if name not in present[part]]
            if absent and 2 * len(absent) <= len(names):
                parts.append(f"{split} has no clips to {use} of {counted(len(absent), 'class')} ({listed(absent)})")
    if not parts:
        return None
    return Finding(
        title="Missing classes", text=f"{'; '.join(parts)}.", links=(Link(anchor="table-splits", text="splits"),)
    )


def on_crop(summary: Summary) -> Finding | None:
    """What --fit crop cuts off."""
    loss = summary.clips["crop_loss"].round(6)
    cut = int((loss >= CROP_NOTABLE).sum())
    if not cut:
        return None
    text = (
        f"{cut} of {counted(len(loss), 'clip')} ({cut / len(loss):.1%}) {_verb(cut, 'loses', 'lose')} "
        f"{CROP_NOTABLE:.0%} or more of the picture at its borders, up to {loss.max():.1%}; over all clips "
        f"{loss.mean():.1%} is lost. What happens there is not seen: `--fit pad` and `--fit squash` of "
        "`hmdb-prep extract` keep it."
    )
    return Finding(title="Cut pictures", text=text, links=(Link(anchor="table-crop", text="how much is lost"),))


def on_padding(summary: Summary) -> Finding | None:
    """Clips of fewer frames than segments."""
    padded = summary.clips[summary.clips["num_padded"] > 0]
    if padded.empty:
        return None
    segments = summary.dataset.num_segments
    stored = len(summary.clips) * segments
    by_class = padded["class_name"].value_counts().sort_index()
    where = f", most in {by_class.idxmax()} ({by_class.max()})" if by_class.max() > 1 else ""
    text = (
        f"{len(padded)} of {counted(len(summary.clips), 'clip')} ({len(padded) / len(summary.clips):.1%}) "
        f"{_verb(len(padded), 'has', 'have')} fewer than {segments} frames{where}. The last one is repeated: "
        f"{padded['num_padded'].sum()} of {counted(stored, 'frame')} that a model sees say nothing new."
    )
    return Finding(title="Padding", text=text, links=(Link(anchor="plot-frames", text="frames"),))


def on_damage(summary: Summary) -> Finding | None:
    """Videos that do not decode, or not wholly."""
    parts, links = [], []
    if len(summary.quarantine):
        num_videos = counted(summary.dataset.num_videos, "video")
        parts.append(f"{len(summary.quarantine)} of {num_videos} gave no clip")
        links.append(Link(anchor="quarantine", text="quarantine"))
    errors, short = summary.decode_errors, summary.shortfalls
    if len(errors):
        worst = f"{errors['clip_id'].iloc[0]}, {counted(errors['decode_errors'].iloc[0], 'packet')}"
        parts.append(
            f"{counted(len(errors), 'clip')} lost frames to packets that do not decode ({_most(len(errors))}{worst})"
        )
        links.append(Link(anchor="table-decode_errors", text="packets that do not decode"))
    if len(short):
        worst = f"{short['clip_id'].iloc[0]}, {short['num_frames'].iloc[0]} of {short['num_frames_header'].iloc[0]}"
        parts.append(
            f"{counted(len(short), 'clip')} {_verb(len(short), 'lacks', 'lack')} more than {1 - SHORTFALL_SHARE:.0%} "
            f"of the frames that the header announces ({_most(len(short))}{worst} decode)"
        )
        links.append(Link(anchor="table-shortfalls", text="missing frames"))
    if not parts:
        return None
    return Finding(title="Damaged videos", text=f"{'; '.join(parts)}.", links=tuple(links))


def on_left_out(summary: Summary) -> Finding | None:
    """Files that were taken for no videos."""
    if summary.left_out.empty:
        return None
    reasons = [f"{count} {reason}" for reason, count in summary.left_out["reason"].value_counts().items()]
    number = len(summary.left_out)
    entries = "1 file or folder was" if number == 1 else f"{number} files and folders were"
    text = f"Among the videos {entries} left out: {', '.join(reasons)}."
    return Finding(title="Left out", text=text, links=(Link(anchor="table-left_out", text="names"),))


def _verb(number: int, one: str, several: str) -> str:
    return one if number == 1 else several


def _most(number: int) -> str:
    return "" if number == 1 else "most "
