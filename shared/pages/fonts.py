"""Letters that the plots' own font lacks, such as Chinese ones, and the installed fonts that have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font

from shared.terminal.console import counted

OWN_FAMILY = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic and more


@dataclass(frozen=True, kw_only=True)
class Letters:
    """How some texts can be drawn."""

    families: tuple[str, ...]
    """Font families in the order in which a letter is looked for: OWN_FAMILY, then installed ones that are needed."""
    missing: str
    """The letters that no installed font has, in order; empty where all can be drawn."""


def find_letters(texts: Iterable[str]) -> Letters:
    """Which fonts draw all letters of the texts. Fonts installed after matplotlib was first used are found too.

    System fonts are opened only where OWN_FAMILY lacks a letter. Each time the font with the most of the letters that
    are still missing is taken, of equal ones the plainest: a regular one before a bold one, the shortest name first.
    """
    missing = _lacking(findfont(OWN_FAMILY), {letter for text in texts for letter in text if _is_drawn(letter)})
    families = [OWN_FAMILY]
    files = {file: missing - _lacking(file, missing) for file in sorted(findSystemFonts())} if missing else {}
    while missing:
        best = max(files, key=lambda file: (len(files[file] & missing), "Regular" in file, -len(file)), default="")
        if not best or not files[best] & missing:
            break
        family = _registered(best)
        if family:
            families.append(family)
            missing = missing - files[best]
        del files[best]
    return Letters(families=tuple(families), missing="".join(sorted(missing)))


def note_on_missing(letters: Letters, class_names: Sequence[str]) -> str:
    """A line for the user where names of classes have letters of which no font is installed; empty where all do."""
    names = [name for name in class_names if set(name) & set(letters.missing)]
    if not names:
        return ""
    return (
        f"no font is installed for letters of {counted(len(names), 'class name')} such as {names[0]}: plots on this "
        "machine show boxes; Noto fonts have them, Noto Sans CJK the Chinese, Japanese and Korean ones"
    )


def _is_drawn(letter: str) -> bool:
    return letter.isprintable() and not letter.isspace()


def _lacking(file: str, letters: set[str]) -> set[str]:
    """Those of the letters that the font of a file lacks; all where it is no font that can be scaled."""
    try:
        font = get_font(file)
    except (RuntimeError, OSError):
        return letters
    return {letter for letter in letters if not font.get_char_index(ord(letter))}


def _registered(file: str) -> str:
    """The family of a font file, made known to matplotlib; empty where it cannot be used."""
    try:
        if not any(entry.fname == file for entry in fontManager.ttflist):
            fontManager.addfont(file)
    except (RuntimeError, OSError, NotImplementedError):
        return ""
    return next(entry.name for entry in fontManager.ttflist if entry.fname == file)
