"""How far each class stands from the others in light, sharpness, colour and motion, and which augmentation helps.

The offset of a class in a measure is d = (m - M) / s, with m the mean of its clips, M the median of the means of all
classes, and s the median, over the classes of two clips or more, of the standard deviation between their clips. It is
Cohen's d (Cohen 1988, Statistical Power Analysis; 0.8 is called large) with a centre and a scale that single classes
cannot move. Sharpness and motion have long tails, so they are compared as log(1 + v).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

PICTURE_COLUMNS = ("brightness", "contrast", "blur", "colorfulness", "motion")
AUGMENTED_COLUMNS = PICTURE_COLUMNS[:4]  # what `lsvit-train run` changes in training clips
LONG_TAILED = ("blur", "motion")
APART = 1.0  # |d| above which a class stands apart ...
STANDARD_ERRORS = 3.0  # ... where that is also so many standard errors, each source counted as one observation
MAX_STRENGTH = 1.5  # suggested at most: there the smallest random crop is a tenth of the picture, at 1.7 a fiftieth


def is_spread_known(class_names: pd.Series[str]) -> bool:
    """Whether at least half of the classes have two clips or more. class_names: of each clip."""
    return bool((class_names.value_counts() >= 2).mean() >= 0.5)


def offsets_of(clips: pd.DataFrame) -> pd.DataFrame:
    """d of every class in PICTURE_COLUMNS, index class_name; 0 where the spread is not known or nothing."""
    values = clips[list(PICTURE_COLUMNS)].copy()
    values[list(LONG_TAILED)] = np.log1p(values[list(LONG_TAILED)].clip(lower=0))
    grouped = values.groupby(clips["class_name"])
    means, spread = grouped.mean(), grouped.std().median()
    is_told = (spread > 0) & is_spread_known(clips["class_name"])
    return ((means - means.median()) / spread.where(is_told)).fillna(0.0)


def apart_of(offsets: pd.DataFrame, num_sources: pd.Series[int]) -> pd.DataFrame:
    """Whether each class stands apart in each measure: |d| above APART and above STANDARD_ERRORS / sqrt(sources)."""
    limits = np.maximum(APART, STANDARD_ERRORS / np.sqrt(num_sources.reindex(offsets.index)))
    return offsets.abs().gt(limits, axis=0)


def strengths_of(offsets: pd.DataFrame, apart: pd.DataFrame) -> pd.Series[float]:
    """The strength of augmentation for the classes that need more than 1, the largest first.

    At strength s >= 1 a clip's value is moved towards that of a random clip by m = min(1, s·u), u uniform in [0, 1]
    (train/data/augment.py), in the mean by 1 - 1/(2s): of an offset d there remains d/(2s). So that no more than a half
    remains, as of a class with d = 1 at strength 1, s is |d|, but no more than MAX_STRENGTH.
    """
    needed = offsets.abs().where(apart, 0.0)[list(AUGMENTED_COLUMNS)].max(axis=1)
    ordered = needed.sort_index().sort_values(ascending=False, kind="stable")
    strengths = ordered.clip(upper=MAX_STRENGTH).round(1)
    return strengths[strengths > 1]
