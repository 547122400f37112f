from __future__ import annotations

import attrs
import pytest
from rich.style import Style
from textual.theme import Theme

from tui.themes import ASCII, BACKGROUNDS, LINES, MIN_CONTRAST, NO_TEXT, PALETTES, UNICODE, Look, contrast, themes

COLORED = sorted(set(PALETTES) - {"ansi"})


def test_contrast_is_that_of_wcag():
    assert 21 == round(contrast("#000000", "#FFFFFF"), 2)
    assert 4.54 == round(contrast("#767676", "#FFFFFF"), 2)


@pytest.mark.parametrize("theme", COLORED)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_text_has_enough_contrast(theme, background):
    colors = PALETTES[theme]
    low = {
        token: round(contrast(color, colors[background]), 2)
        for token, color in colors.items()
        if token not in NO_TEXT and contrast(color, colors[background]) < MIN_CONTRAST
    }
    assert not low


def test_high_contrast_exceeds_seven():
    colors = PALETTES["high-contrast"]
    assert all(contrast(color, colors["bg"]) >= 7 for token, color in colors.items() if token not in NO_TEXT)


def test_ansi_theme_has_the_terminal_colors_only():
    assert all(color.startswith("ansi_") for color in PALETTES["ansi"].values())


def test_themes_are_themes_of_textual():
    assert list(PALETTES) == [theme.name for theme in themes()]
    assert all(isinstance(theme, Theme) for theme in themes())


@pytest.mark.parametrize("theme", PALETTES)
def test_every_token_has_a_style(theme):
    look = Look(theme)
    for token in PALETTES[theme]:
        assert isinstance(look.style(token), Style)
        assert look.style(token, reverse=True).reverse


def test_unknown_theme_is_rejected():
    with pytest.raises(ValueError, match="theme"):
        Look("solarized")


def test_plain_glyphs_are_ascii():
    texts = attrs.asdict(ASCII, recurse=False).values()
    assert all(text.isascii() for text in texts if isinstance(text, str))
    assert all(len(getattr(ASCII, name)) == len(getattr(UNICODE, name)) for name in ("box", "focus_box", "bar_ends"))


def test_lines_of_a_chart_have_different_colors_in_each_theme():
    for theme in COLORED:
        assert len(LINES) == len({PALETTES[theme][token] for token in LINES})
