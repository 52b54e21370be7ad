"""Loops compiled by numba, once for a machine; where numba is missing they run as plain Python, slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Loop = Callable[..., Any]
# The compiler may sum in any order, so that it adds several numbers at once, and may count on each being finite.
_LOOSENED = {"reassoc", "nsz", "contract", "nnan", "ninf"}


def compiled(signature: str, *, loosened: bool = False) -> Callable[[Loop], Loop]:
    """Compile a function for these types when it is defined, and keep the result beside its file.

    Where no cache can be written, every process compiles it. loosened: sums need not keep the order of the code.
    """

    def decorate(function: Loop) -> Loop:
        try:
            import numba
        except ImportError:
            return function

        def compile_it(*, cache: bool) -> Loop:
            fastmath = _LOOSENED if loosened else False
            loop: Loop = numba.njit(signature, cache=cache, nogil=True, error_model="numpy", fastmath=fastmath)(
                function
            )
            return loop

        try:
            return compile_it(cache=True)
        except (RuntimeError, OSError):
            return compile_it(cache=False)

    return decorate
