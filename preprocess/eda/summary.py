"""What the report says of a data set, as plain tables computed from its manifests. Nothing here prints or draws."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pandas as pd

from preprocess.eda.offsets import PICTURE_COLUMNS, apart_of, offsets_of
from shared.manifests.files import SPLIT_COLUMNS, Dataset
from shared.splits.warnings import warnings_on_splits
from shared.video.resizing import parse_size, scaled_size

CORRELATED_COLUMNS = (
    "brightness", "brightness_std", "contrast", "blur", "colorfulness", "saturation_mean",
    "red_mean", "green_mean", "blue_mean", "motion", "num_frames", "width",
)  # fmt: skip
TAG_COLUMNS = ("body", "camera_motion", "num_people", "viewpoint", "quality", "codec", "decoder")
SHORTFALL_SHARE = 0.9  # decoded frames below this share of the header's are reported ...
SHORTFALL_FRAMES = 2  # ... where more than this many are missing: DX50 headers count one or two too many anyway
CROP_STEPS = (0.001, 0.1, 0.2, 0.3, 0.4)
FRAME_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """A kind of extreme: its title, the column that it is extreme in, and whether small values are the extreme ones."""

    title: str
    column: str
    smallest: bool


OUTLIERS = (
    Outliers(title="Darkest", column="brightness", smallest=True),
    Outliers(title="Brightest", column="brightness", smallest=False),
    Outliers(title="Blurriest", column="blur", smallest=True),
    Outliers(title="Flattest", column="contrast", smallest=True),
    Outliers(title="Most still", column="motion", smallest=True),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """Every table of the report. ``clips`` is the manifests with ``crop_loss`` (share of the picture, 0 to 1) added.

    classes: one row a class (clips, sources, to_median). statistics, offsets and apart: class means of PICTURE_COLUMNS,
    how far they are off, and whether that is far (`preprocess.eda.offsets`), index class_name. imbalance: largest class
    by smallest. warnings: what cannot be right about sources and splits.
    """

    dataset: Dataset
    clips: pd.DataFrame
    quarantine: pd.DataFrame
    classes: pd.DataFrame
    imbalance: float
    statistics: pd.DataFrame
    offsets: pd.DataFrame
    apart: pd.DataFrame
    frame_counts: pd.DataFrame
    crop_losses: pd.DataFrame
    splits: pd.DataFrame
    leaks: pd.DataFrame
    tags: pd.DataFrame
    shortfalls: pd.DataFrame
    decode_errors: pd.DataFrame
    notes: pd.DataFrame
    left_out: pd.DataFrame
    correlations: pd.DataFrame
    warnings: tuple[str, ...]


def summarize(
    clips: pd.DataFrame, dataset: Dataset, *, quarantine: pd.DataFrame, notes: pd.DataFrame, left_out: pd.DataFrame
) -> Summary:
    """Compute all tables from the manifests of one data set."""
    clips = clips.assign(crop_loss=crop_losses_of(clips, dataset))
    statistics = clips.groupby("class_name")[list(PICTURE_COLUMNS)].mean()
    classes = class_counts(clips)
    offsets = offsets_of(clips)
    return Summary(
        dataset=dataset,
        clips=clips,
        quarantine=quarantine,
        classes=classes,
        imbalance=float(classes["clips"].max() / classes["clips"].min()),
        statistics=statistics,
        offsets=offsets,
        apart=apart_of(offsets, classes["sources"]),
        frame_counts=frame_counts(clips, num_segments=dataset.num_segments),
        crop_losses=crop_loss_counts(clips),
        splits=split_balance(clips),
        leaks=leaks_of(clips),
        tags=tag_counts(clips),
        shortfalls=shortfalls_of(clips),
        decode_errors=decode_errors_of(clips),
        notes=notes,
        left_out=left_out,
        correlations=clips[list(CORRELATED_COLUMNS)].corr(),
        warnings=warnings_on_splits(
            clips, source_pattern=dataset.source_pattern, has_own_splits=bool(dataset.splits_sha256)
        ),
    )


def class_counts(clips: pd.DataFrame) -> pd.DataFrame:
    """clips, sources and to_median (clips by the median class), index class_name, largest class first."""
    grouped = clips.groupby("class_name")
    counts = pd.DataFrame({"clips": grouped.size(), "sources": grouped["source"].nunique()})
    counts["to_median"] = counts["clips"] / counts["clips"].median()
    return counts.sort_values(["clips", "class_name"], ascending=[False, True])


def frame_counts(clips: pd.DataFrame, *, num_segments: int) -> pd.DataFrame:
    """Two columns, ``what`` and ``value``: quantiles of num_frames and what padding does."""
    frames = clips["num_frames"]
    names = ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest")
    rows = [(name, f"{frames.quantile(q):.0f}") for name, q in zip(names, FRAME_QUANTILES, strict=True)]
    padded = clips["num_padded"]
    share = (padded > 0).mean()
    rows.append((f"clips of fewer than {num_segments} frames (padded)", f"{(padded > 0).sum()} ({share:.1%})"))
    rows.append(
        ("frames that only repeat the last one", f"{padded.sum()} ({padded.sum() / len(clips) / num_segments:.2%})")
    )
    rows.append(("hours of video", f"{clips['duration_seconds'].sum() / 3600:.2f}"))
    return pd.DataFrame(rows, columns=["what", "value"])


def crop_losses_of(clips: pd.DataFrame, dataset: Dataset) -> pd.Series[float]:
    """The share of each clip's picture that the centre crop drops, 0 to 1; 0 where pictures are not cropped."""
    size = parse_size(dataset.size, fit=dataset.fit)
    if size is None or size.fit != "crop":
        return pd.Series(0.0, index=clips.index)
    shapes = clips[["height", "width"]].drop_duplicates().itertuples(index=False)
    lost = {}
    for height, width in shapes:
        scaled = scaled_size(int(height), int(width), size)
        lost[height, width] = 1 - size.height * size.width / (scaled[0] * scaled[1])
    return pd.Series([lost[shape] for shape in zip(clips["height"], clips["width"], strict=True)], index=clips.index)


def crop_loss_counts(clips: pd.DataFrame) -> pd.DataFrame:
    """How many clips lose how much of their picture: ``lost``, ``clips``, ``share``."""
    loss = clips["crop_loss"].round(6)
    edges = [-1.0, *(step - 1e-9 for step in CROP_STEPS), 1.0]
    labels = ["nothing", *(f"{max(a, 0):.0%} to {b:.0%}" for a, b in itertools.pairwise(CROP_STEPS))]
    labels.append(f"{CROP_STEPS[-1]:.0%} or more")
    counts = pd.cut(loss, edges, labels=labels).value_counts(sort=False)
    return pd.DataFrame({"lost": labels, "clips": counts.to_numpy(), "share": counts.to_numpy() / max(1, len(clips))})


def split_balance(clips: pd.DataFrame) -> pd.DataFrame:
    """One row for each split and part: clips, classes, the smallest and largest class there, their ratio, sources."""
    rows = []
    for split in SPLIT_COLUMNS:
        for part in ("train", "val", "test", "unused"):
            chosen = clips[clips[split] == part]
            if chosen.empty and part in ("val", "unused"):
                continue
            counts = chosen.groupby("class_name").size()
            smallest, largest = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
            ratio = largest / smallest if smallest else float("nan")
            rows.append((split, part, len(chosen), len(counts), smallest, largest, ratio, chosen["source"].nunique()))
    columns = ["split", "part", "clips", "classes", "smallest class", "largest class", "ratio", "sources"]
    return pd.DataFrame(rows, columns=columns)


def leaks_of(clips: pd.DataFrame) -> pd.DataFrame:
    """For each split: sources with clips in train and in test, and the test clips that share a training clip's source.

    same class: within their own class; other class: with a training clip of another class.
    """
    rows = []
    for split in SPLIT_COLUMNS:
        train, test = clips[clips[split] == "train"], clips[clips[split] == "test"]
        shared = set(train["source"]) & set(test["source"])
        own = set(zip(train["source"], train["class_name"], strict=True))
        classes_of = train.groupby("source")["class_name"].nunique().to_dict()
        keys = list(zip(test["source"], test["class_name"], strict=True))
        same = sum(key in own for key in keys)
        other = sum(classes_of.get(source, 0) > ((source, name) in own) for source, name in keys)
        rows.append((split, len(shared), len(test), sum(source in shared for source, _ in keys), same, other))
    columns = ["split", "sources on both sides", "test clips", "with a source in train", "same class", "other class"]
    return pd.DataFrame(rows, columns=columns)


def tag_counts(clips: pd.DataFrame) -> pd.DataFrame:
    """``tag``, ``value``, ``clips``, ``share``; an empty value is a file name without the tag."""
    rows = []
    for column in TAG_COLUMNS:
        for value, count in clips[column].value_counts().sort_index(key=_numbers_in_order).items():
            rows.append((column, str(value) or "(none)", int(count), count / len(clips)))
    return pd.DataFrame(rows, columns=["tag", "value", "clips", "share"])


def _numbers_in_order(values: pd.Index[str]) -> pd.Index[str]:
    return values.map(lambda value: value.zfill(3) if value.isdigit() else value)


def shortfalls_of(clips: pd.DataFrame) -> pd.DataFrame:
    """Clips that decode far fewer frames than their header says, worst first: truncated or damaged videos."""
    missing = clips["num_frames_header"] - clips["num_frames"]
    short = (clips["num_frames"] < SHORTFALL_SHARE * clips["num_frames_header"]) & (missing > SHORTFALL_FRAMES)
    found = clips.loc[short, ["clip_id", "num_frames_header", "num_frames"]]
    found = found.assign(share=found["num_frames"] / found["num_frames_header"])
    return found.sort_values(["share", "clip_id"], ignore_index=True)


def decode_errors_of(clips: pd.DataFrame) -> pd.DataFrame:
    """Clips of videos with packets that did not decode, whose frames are missing; most errors first."""
    found = clips.loc[clips["decode_errors"] > 0, ["clip_id", "decode_errors", "num_frames_header", "num_frames"]]
    return found.sort_values(["decode_errors", "clip_id"], ascending=[False, True], ignore_index=True)


def extreme_clips(clips: pd.DataFrame, outliers: Outliers, *, count: int) -> pd.DataFrame:
    """The ``count`` most extreme clips of a kind, the most extreme first; ties by clip_id."""
    ordered = clips.sort_values([outliers.column, "clip_id"], ascending=[outliers.smallest, True])
    return ordered.head(count)
