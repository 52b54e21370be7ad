"""Findings on light, sharpness, colour and motion: classes that stand apart, and the augmentation that helps."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd

from preprocess.eda.findings.finding import Finding, Link, listed
from preprocess.eda.names import shown_name
from preprocess.eda.offsets import AUGMENTED_COLUMNS, MAX_STRENGTH, PICTURE_COLUMNS, strengths_of
from preprocess.eda.summary import Summary
from shared.terminal.console import counted

NARROW_BRIGHTNESS = 30.0  # of 255: where the middle 90 % of the clips span less, the light hardly differs
MOST_FLAGS = 8  # classes that a command names
_WORDS = {  # of a class above and below the others
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "flatter"),
    "blur": ("sharper", "less sharp"),
    "colorfulness": ("more colourful", "greyer"),
    "motion": ("moving more", "moving less"),
}


def on_classes_apart(summary: Summary) -> Finding | None:
    """Classes whose offset from the median class is large, by measure and direction, the largest offset first."""
    parts, links = [], []
    for column in PICTURE_COLUMNS:
        apart = summary.offsets.loc[summary.apart[column], column]
        for word, sign in zip(_WORDS[column], (1, -1), strict=True):
            chosen = (sign * apart)[sign * apart > 0].sort_index().sort_values(ascending=False, kind="stable")
            if len(chosen):
                parts.append(f"{word}: {listed([f'{name} ({sign * d:+.1f})' for name, d in chosen.items()])}")
        if len(apart):
            links.append(Link(anchor=f"plot-{column}", text=shown_name(column)))
    if not parts:
        return None
    number = int(summary.apart.any(axis=1).sum())
    text = (
        f"{counted(number, 'class')} of {len(summary.classes)} {'stands' if number == 1 else 'stand'} apart from the "
        f"median class, in standard deviations between the clips of a class: {'; '.join(parts)}. "
    )
    if bool(summary.apart[list(AUGMENTED_COLUMNS)].to_numpy().any()):
        text += "Where it is not motion, a model may know them by that and not by the action."
    return Finding(title="Classes apart", text=text.rstrip(), links=tuple(links))


def on_augmentation(summary: Summary, *, places: str) -> Finding:
    """What the trainer draws from, how strong it should be, and for which classes stronger."""
    ranges = {column: np.quantile(summary.clips[column], (0.05, 0.95)) for column in AUGMENTED_COLUMNS}
    spans = ", ".join(f"{shown_name(column)} {low:.0f} to {high:.0f}" for column, (low, high) in ranges.items())
    text = f"Training clips are made to look like each other; the middle 90% of all clips: {spans}. "
    if ranges["brightness"][1] - ranges["brightness"][0] < NARROW_BRIGHTNESS:
        text += "That is hardly any difference in light: a model will not know much brighter or darker videos. "
    strengths = strengths_of(summary.offsets, summary.apart)
    flags = [f" --aug-class {shlex.quote(f'{name}={strength:g}')}" for name, strength in strengths.items()]
    if 2 * len(flags) > len(summary.offsets):
        flags = [f" --aug-strength {strengths.median():.1f}"]
        text += "Most classes stand apart, so a stronger augmentation of all is worth trying. "
    elif flags:
        text += "Strength 1, the default, suits most classes. "
    text += _on_strongest(summary, strengths) if flags else "No class needs more than strength 1, the default."
    command = f"lsvit-train run{''.join(flags[:MOST_FLAGS])}{places}"
    return Finding(
        title="Augmentation",
        text=text,
        links=tuple(Link(anchor=f"plot-{column}", text=shown_name(column)) for column in AUGMENTED_COLUMNS),
        commands=(command,) if flags else (),
    )


def _on_strongest(summary: Summary, strengths: pd.Series[float]) -> str:
    """The class that needs the strongest augmentation, why, and what is left of its offset."""
    name, strength = str(strengths.index[0]), float(strengths.iloc[0])
    offsets = {
        column: abs(float(summary.offsets[column].loc[name]))
        for column in AUGMENTED_COLUMNS
        if summary.apart[column].loc[name]
    }
    column, offset = max(offsets.items(), key=lambda item: item[1])
    text = (
        f"{name} needs most: it is {offset:.1f} standard deviations off in {shown_name(column)}, of which strength 1 "
        f"leaves {offset / 2:.2f} and {strength:g} leaves {offset / (2 * strength):.2f}"
    )
    return f"{text}; more would cut the pictures too small." if strength == MAX_STRENGTH else f"{text}."
