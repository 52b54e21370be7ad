"""What a model says of one clip, in the order and the letters in which people read it."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt


def ranked(probabilities: npt.NDArray[np.float64]) -> list[int]:
    """Labels by falling probability; of equal ones the lower label comes first."""
    return [int(label) for label in np.argsort(-probabilities, kind="stable")]


def printable(name: str) -> str:
    """A file name as text that any stream can print: bytes that are no UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", errors="replace")
