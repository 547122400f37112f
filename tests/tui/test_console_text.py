from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.text import ASCII_MARKS, MARKS, MAX_CHARACTERS, age, clean, cut, fit, number, quantity

TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x00\x9b\x7f\u202e\u200d\u200b\u0301日🇩🇪👩❤\ufe0f\U000e0041\ud800"),
    ),
    max_size=60,
)
MARKED = st.sampled_from([MARKS, ASCII_MARKS])


@given(TEXT, MARKED)
def test_clean_text_has_nothing_that_a_terminal_obeys(text, marks):
    cleaned = clean(text, marks)
    assert not [c for c in cleaned if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


@given(TEXT, MARKED)
def test_clean_text_stays_as_it_is(text, marks):
    assert clean(text, marks) == clean(clean(text, marks), marks)


@given(TEXT, st.integers(-3, 70), st.sampled_from(["left", "right", "center"]), MARKED)
def test_fitted_text_has_exactly_the_width(text, width, align, marks):
    assert max(width, 0) == cell_len(fit(clean(text, marks), width, align, marks))


@given(TEXT, st.integers(-3, 70))
def test_cut_text_is_never_wider(text, width):
    assert cell_len(cut(clean(text), width)) <= max(width, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred", "␛[31mred"),
        ("a\u202eb", "a⟪rtl!⟫b"),
        ("a\u200fb", "a⟪rtl⟫b"),
        ("a\u200bb", "a⟪zwsp⟫b"),
        ("two\nlines\t", "two␊lines␉"),
        ("\x9b", "⟪9b⟫"),
        ("\ud800", "⟪d800⟫"),
        ("e\u0301", "é"),
        ("a" + "\u0316" * 50 + "b", "a" + "\u0316" * 2 + "b"),
        ("Lüften 日本", "Lüften 日本"),
    ],
)
def test_control_codes_and_invisible_characters_are_visible(text, expected):
    assert expected == clean(text)


def test_plain_marks_are_ascii():
    assert "^[[31m<rtl!>^?" == clean("\x1b[31m\u202e\x7f", ASCII_MARKS)


def test_endless_text_is_cut():
    assert MAX_CHARACTERS + 1 == len(clean("x" * 1_000_000))


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("Boiler", 6, "Boiler"), ("Boiler 3", 6, "Boile…"), ("日本語", 4, "日…"), ("日本語", 5, "日本…"), ("x", 0, "")],
)
def test_text_is_cut_to_cells(text, width, expected):
    assert expected == cut(text, width)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (3, "3 s"),
        (60, "1 min"),
        (7199, "1 h"),
        (2 * 86_400, "2 d"),
        (800 * 86_400, "2 y"),
    ],
)
def test_age_is_in_its_largest_unit(seconds, expected):
    assert expected == age(seconds)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (21.60, None, "21.6"),
        (50_003, None, "50,003"),
        (21.6, 2, "21.60"),
        (-0.5, None, "-0.5"),
        (1e20, None, "1e+20"),
        (float("nan"), None, "nan"),
        (0.1 + 0.2, None, "0.3"),
    ],
)
def test_number_is_short_and_exact(value, decimals, expected):
    assert expected == number(value, decimals)


def test_quantity_has_its_number_at_the_right():
    assert ("   21.6", " °C") == quantity("21.6", "°C", 10)


def test_quantity_without_space_has_no_unit():
    assert (" 21.6", "") == quantity("21.6", "°C", 5)
