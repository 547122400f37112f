"""Text of devices on a terminal: no control code and no invisible mark reaches it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.text import MAX_CHARACTERS, cells, clean, display, fit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 21.5 °C", "plain 21.5 °C"),
        ("\x1b[31mred\x1b]0;title\x07", "␛[31mred␛]0;title␇"),
        ("a\nb\tc\x7f", "a␊b␉c␡"),
        ("\x9b2J", "⟪9b⟫2J"),
        ("user\u202egnp.exe", "user⟪rtl⟫gnp.exe"),
        ("a\u2066b\u2069", "a⟪ltr⟫b⟪end⟫"),
        ("pay\u200bpal", "pay⟪zero width⟫pal"),
        ("\ufeffstart", "⟪zero width⟫start"),
        ("\U000e0041tag", "⟪e0041⟫tag"),
        ("\ud800", "⟪d800⟫"),
        ("e\u0301", "e\u0301"),
        ("\u0301", "◌\u0301"),
        ("a" + "\u0301" * 50, "a" + "\u0301" * 3),
        ("a\u00a0b\u3000c", "a b c"),
        ("温度", "温度"),
        ("[red]markup[/]", "[red]markup[/]"),
    ],
)
def test_invisible_characters_are_named(text, shown):
    assert shown == clean(text)


@given(st.text())
def test_no_text_reaches_the_terminal_with_codes_or_marks(text):
    shown = clean(text)
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert clean(shown) == shown


@given(st.text(), st.integers(0, 20))
def test_fitted_text_is_never_wider(text, width):
    assert cells(fit(clean(text), width)) <= width


def test_long_text_is_cut():
    assert "x" * MAX_CHARACTERS + "…" == clean("x" * (MAX_CHARACTERS + 1))
    assert "温…" == fit("温度計", 4)
    assert "温度計" == fit("温度計", 6)
    assert "" == fit("abc", 0)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [(None, "–"), (21.5, "21.5"), (3, "3"), ("a\x00b", "a␀b"), ([1, "\x1b", "ü"], '[1, "\\u001b", "ü"]')],
)
def test_values_are_displayed(raw, shown):
    assert shown == display(raw)
