"""Loops compiled by numba, once for a machine; where numba is missing they run as plain Python, slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Loop = Callable[..., Any]


def compiled(signature: str) -> Callable[[Loop], Loop]:
    """Compile a function for these types when it is defined, and keep the result beside its file.

    Sums keep the order that the code has. Where no cache can be written, every process compiles it.
    """

    def decorate(function: Loop) -> Loop:
        try:
            from numba import njit
        except ImportError:
            return function
        try:
            loop: Loop = njit(signature, cache=True, nogil=True, error_model="numpy")(function)
        except (RuntimeError, OSError):
            loop = njit(signature, nogil=True, error_model="numpy")(function)
        return loop

    return decorate
