"""Compiled loops: the same with a cache, without one, and without numba."""

from __future__ import annotations

import sys
from typing import Any

import numba
import numpy as np
import pytest

from shared.machine.compiled import compiled


def test_where_no_cache_can_be_written_the_loops_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises RuntimeError where neither the installation nor the home can be written to."""
    tried = []
    njit = numba.njit

    def without_cache(signature: str, *, cache: bool, **options: Any) -> Any:
        def compile_it(function: Any) -> Any:
            tried.append(cache)
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return njit(signature, cache=False, **options)(function)

        return compile_it

    monkeypatch.setattr(numba, "njit", without_cache)
    double = compiled("int64(int64)")(lambda value: 2 * value)
    assert (double(21), tried) == (42, [True, False])


def test_without_numba_the_loop_is_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)

    def double(value: int) -> int:
        return 2 * value

    assert compiled("int64(int64)")(double) is double


def test_sums_keep_their_order() -> None:
    """One, a thousand numbers too small to change it, and minus one: in order the sum is 0."""

    def total(values: Any) -> Any:
        result = 0.0
        for value in values:
            result += value
        return result

    values = np.array([1.0] + [1e-17] * 1000 + [-1.0])
    assert compiled("float64(float64[::1])")(total)(values) == 0.0
