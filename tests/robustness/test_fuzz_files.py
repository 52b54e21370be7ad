"""Damaged shards, manifests, plans, checkpoints, weights and configurations: an answer or one line of error, no more.

A sample of each kind in every test run, thousands with ``make test-stress``. FUZZ_SEED shifts the cases,
FUZZ_CASES says how many of each kind.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from fuzzing import run_cases

SEED = int(os.environ.get("FUZZ_SEED", "1000"))
NUM_CASES = int(os.environ.get("FUZZ_CASES", "400"))


def check(target: str, folder: Path, *, first: int, count: int) -> None:
    tally = run_cases(target, first=first, count=count, folder=folder)
    for number, text in list(tally.failures.items())[:5]:
        print(f"case {number} of {target}:\n{text}")
    assert not tally.failures, f"{target}: cases {sorted(tally.failures)} of {first}..{first + count - 1}"
    assert sum(tally.outcomes.values()) == count
    print(f"\n{count} {target} from case {first}: {dict(tally.outcomes)}")


@pytest.mark.parametrize("target", ["shards", "checkpoints"])
def test_a_sample(target: str, tmp_path: Path) -> None:
    check(target, tmp_path, first=0, count=45)


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"shards", "checkpoints"}))
def test_a_sample_of_the_others(target: str, tmp_path: Path) -> None:
    check(target, tmp_path, first=0, count=45)


@pytest.mark.stress
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_many(target: str, tmp_path: Path) -> None:
    check(target, tmp_path, first=SEED, count=NUM_CASES)
