"""What a finding on a data set is: a sentence or two, where the page shows it, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NUM_NAMED = 5  # classes that a sentence names


@dataclass(frozen=True, kw_only=True)
class Link:
    """A place in the page: the id of a plot, table or section, and what the link is called."""

    anchor: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding. title: two or three words. commands: what to type, one call each."""

    title: str
    text: str
    links: tuple[Link, ...]
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All findings on a data set.

    clear: what was looked for and not found. not_checked: what could not be looked for. A few words each.
    """

    found: tuple[Finding, ...]
    clear: tuple[str, ...]
    not_checked: tuple[str, ...]


def listed(names: Sequence[str], limit: int = NUM_NAMED) -> str:
    """A, B and C; of more than ``limit`` the first ones and the number of the others."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
