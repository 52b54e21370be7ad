"""Which fonts draw which letters, with fonts made for the test."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from made_fonts import make_font
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from shared.pages import fonts
from shared.pages.figures import drawn_in
from shared.pages.fonts import OWN_FAMILY, find_letters, note_on_missing


def test_plain_names_need_no_other_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: pytest.fail("fonts were looked for"))
    letters = find_letters(["walk", "brush_hair", "gehen über Straßen", "ходьба"])
    assert (letters.families, letters.missing) == ((OWN_FAMILY,), "")


def test_letters_of_no_font_are_named(installed: Path) -> None:
    letters = find_letters(["跑步", "walk"])
    assert (letters.families, letters.missing) == ((OWN_FAMILY,), "步跑")
    assert note_on_missing(letters, ["walk", "跑步"]).startswith(
        "no font is installed for letters of 1 class name such as 跑步: "
    )
    assert note_on_missing(letters, ["walk"]) == ""


def test_the_font_with_most_letters_is_taken_first(installed: Path) -> None:
    make_font(installed / "a.ttf", "跑", family="One Letter")
    make_font(installed / "b.ttf", "跑步", family="Two Letters")
    make_font(installed / "c.ttf", "ก", family="Thai Letter")
    (installed / "broken.ttf").write_bytes(b"no font at all")
    letters = find_letters(["跑步", "ก walk", "☃"])
    assert letters.families == (OWN_FAMILY, "Two Letters", "Thai Letter")
    assert letters.missing == ""


def test_a_name_of_spaces_and_controls_asks_for_nothing(installed: Path) -> None:
    assert find_letters(["a b\u200b\u3000"]).missing == ""


def test_a_picture_is_drawn_with_the_font_found(installed: Path) -> None:
    """Of one letter that only the made font has, a box; matplotlib knows its file by then, and says nothing."""
    file = make_font(installed / "two.ttf", "跑步", family="Letters For A Picture")
    with warnings.catch_warnings(), drawn_in(find_letters(["跑步"]).families):
        warnings.simplefilter("error")
        figure = Figure()
        text = figure.text(0.5, 0.5, "跑步")
        FigureCanvasAgg(figure).draw()
        used = fontManager._find_fonts_by_props(text.get_fontproperties())
    assert str(file) in [str(font) for font in used]
