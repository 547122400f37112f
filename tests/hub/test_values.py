from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import WrongType
from hub.model import Datastream
from hub.values import MAX_STRING, coerce, pack, text_of, texts_of, to_json, unpack


def stream(kind="double", **options):
    return Datastream(id=1, pin=0, name="Value", type=kind, **options)


INTEGER = stream("integer")
DOUBLE = stream("double")
STRING = stream("string")
LOCATION = stream("location")
MODE = stream("enum", values={0: "Off", 1: "Heat", 2: "Cool"})
MODE_OR_OFF = stream("enum", values={0: "Off", 1: "Heat", 2: "Cool"}, fallback=0)


def is_rejected(datastream, raw):
    with pytest.raises(WrongType):
        coerce(datastream, raw)
    return True


# -- integer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0", 0),
        ("42", 42),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        (" 5 ", 5),
        ("\t5", 5),
        ("5\n", 5),
        ("5.", 5),
        ("5.0000000", 5),
        ("-5.0", -5),
        ("2147483647", 2**31 - 1),
        ("-2147483648", -(2**31)),
        (5, 5),
        (5.0, 5),
        (True, 1),
    ],
)
def test_integer_datastream_accepts_integers(raw, expected):
    value = coerce(INTEGER, raw)

    assert expected == value
    assert int is type(value)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "abc",
        "5.5",
        "5.0000001",
        ".0",
        "1e3",
        "0x10",
        "1_000",
        "--5",
        "5 5",
        "٥",
        "2147483648",
        "-2147483649",
        "9" * 100,
        "0" * 5000,
        5.5,
        2**31,
        10**400,
        math.nan,
        math.inf,
        None,
        {},
    ],
)
def test_integer_datastream_rejects_anything_else(raw):
    assert is_rejected(INTEGER, raw)


def test_an_integer_is_clamped_to_min_and_max():
    percent = stream("integer", min=0, max=100)

    assert 100 == coerce(percent, "250")
    assert 0 == coerce(percent, "-3")
    assert 55 == coerce(percent, "55")


def test_integer_is_clamped_to_the_integers_between_fractional_bounds():
    datastream = stream("integer", min=0.5, max=9.5)

    assert 1 == coerce(datastream, "-4")
    assert 9 == coerce(datastream, "40")
    assert int is type(coerce(datastream, "40"))


def test_number_that_does_not_fit_32_bits_is_rejected_instead_of_clamped():
    assert is_rejected(stream("integer", min=0, max=100), "99999999999")


# -- double -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0", 0.0),
        ("21.5", 21.5),
        ("3.5000000", 3.5),
        ("-0.25", -0.25),
        ("+1", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        (" 2 ", 2.0),
        ("1\n", 1.0),
        (2, 2.0),
        (True, 1.0),
    ],
)
def test_double_datastream_accepts_decimal_numbers(raw, expected):
    value = coerce(DOUBLE, raw)

    assert expected == value
    assert float is type(value)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "e5",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e400",
        "1_000.0",
        "1,5",
        "٣.٥",
        "１",
        "\u00a01",
        "0x1p3",
        "1 2",
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        None,
        {},
    ],
)
def test_double_datastream_rejects_anything_else(raw):
    assert is_rejected(DOUBLE, raw)


def test_double_is_clamped_and_remains_a_double():
    outside = stream("double", min=-40, max=85)

    assert "85.0" == text_of(coerce(outside, "1000"))
    assert "-40.0" == text_of(coerce(outside, "-1000"))
    assert "21.5" == text_of(coerce(outside, "21.5"))


# -- string -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["", " spaces stay ", "21.5", "nan", "äöü €", "\N{GRINNING FACE}"])
def test_string_datastream_stores_text_unchanged(raw):
    assert raw == coerce(STRING, raw)


def test_string_datastream_converts_a_number_to_text():
    assert "21.5" == coerce(STRING, 21.5)
    assert "7" == coerce(STRING, 7)


def test_string_is_limited_to_1024_bytes_of_utf_8():
    assert "x" * MAX_STRING == coerce(STRING, "x" * MAX_STRING)
    assert "ä" * (MAX_STRING // 2) == coerce(STRING, "ä" * (MAX_STRING // 2))
    assert is_rejected(STRING, "x" * (MAX_STRING + 1))
    assert is_rejected(STRING, "ä" * (MAX_STRING // 2 + 1))


@pytest.mark.parametrize("raw", ["\ud800", "ok \udcff", True, None, {}])
def test_string_datastream_rejects_values_that_are_not_text(raw):
    assert is_rejected(STRING, raw)


# -- enum -------------------------------------------------------------------------------------------------------------


def test_enum_accepts_its_numbers():
    assert 2 == coerce(MODE, "2")
    assert 1 == coerce(MODE, "1.0000000")
    assert 0 == coerce(MODE, 0)


def test_enum_without_fallback_rejects_other_numbers():
    assert is_rejected(MODE, "3")


def test_enum_with_fallback_replaces_other_numbers():
    assert 0 == coerce(MODE_OR_OFF, "3")


@pytest.mark.parametrize("raw", ["Heat", "", "1.5", None])
def test_enum_with_fallback_rejects_values_that_are_not_integers(raw):
    assert is_rejected(MODE_OR_OFF, raw)


# -- location ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["30.5,-50.25", "30.5, -50.25", ["30.5", "-50.25"], [30.5, -50.25], ["30.5,-50.25"]])
def test_location_is_longitude_and_latitude(raw):
    assert (30.5, -50.25) == coerce(LOCATION, raw)


@pytest.mark.parametrize(
    "raw",
    ["", "30.5", "1,2,3", "a,b", "nan,0", "181,0", "0,91", "-181,0", ["1"], ["1", "2", "3"], [], 30.5, [[1, 2]], None],
)
def test_location_rejects_invalid_coordinates(raw):
    assert is_rejected(LOCATION, raw)


def test_longitude_is_the_first_coordinate():
    assert (170.0, 10.0) == coerce(LOCATION, "170,10")
    assert is_rejected(LOCATION, "10,170")


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_list_of_values_is_an_array_of_the_type_of_the_datastream():
    assert (1, 2, 3) == coerce(INTEGER, ["1", "2.0", "3"])
    assert ("a", "", "c") == coerce(STRING, ["a", "", "c"])


def test_each_value_of_an_array_is_clamped():
    assert (0.0, 5.0, 10.0) == coerce(stream(min=0, max=10), ["-1", "5", "11"])


def test_array_with_one_element_is_that_element():
    assert 7 == coerce(INTEGER, ["7"])


@pytest.mark.parametrize("raw", [[], ["1", "x"], ["1", None], [["1"], ["2"]]])
def test_array_with_an_invalid_element_is_rejected(raw):
    assert is_rejected(INTEGER, raw)


# -- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [(100, "100"), (100.0, "100.0"), (21.5, "21.5"), (0.1, "0.1"), (1e22, "1e+22"), ("text", "text"), (-0.0, "-0.0")],
)
def test_text_of_a_value_is_the_shortest_that_decodes_to_it(value, expected):
    assert expected == text_of(value)


def test_array_has_a_text_for_each_element():
    assert ("1", "2") == texts_of((1, 2))
    assert ("1.5",) == texts_of(1.5)


def test_array_is_an_array_in_json():
    assert [1, 2] == to_json((1, 2))
    assert "1" == to_json("1")


TEXTS = st.one_of(
    st.text(st.characters(), max_size=40),
    st.from_regex(r"\A[+-]?[0-9]{0,12}\.?[0-9]{0,9}([eE][+-]?[0-9]{1,3})?\Z"),
    st.integers().map(str),
    st.floats().map(repr),
    st.tuples(st.floats(-180, 180), st.floats(-90, 90)).map(lambda place: f"{place[0]!r},{place[1]!r}"),
)
SCALARS = st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none())
RAW = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.lists(st.lists(SCALARS, max_size=2), max_size=2),
    st.dictionaries(TEXTS, SCALARS, max_size=1),
)
BOUNDS = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)).map(sorted)


@st.composite
def datastreams(draw):
    kind = draw(st.sampled_from(["integer", "double", "string", "enum", "location"]))
    if kind in ("integer", "double"):
        low, high = draw(BOUNDS)
        return stream(kind, min=draw(st.sampled_from([None, low])), max=draw(st.sampled_from([None, high])))
    if kind == "enum":
        numbers = draw(st.sets(st.integers(-5, 5), min_size=1))
        fallback = draw(st.sampled_from([None, *numbers]))
        return stream(kind, values={n: f"Mode {n}" for n in numbers}, fallback=fallback)
    return stream(kind)


def coerced(datastream, raw):
    """The coerced value, or None if it is rejected; any other exception fails the test."""
    try:
        return coerce(datastream, raw)
    except WrongType:
        return None


@given(datastreams(), RAW)
def test_any_input_is_coerced_to_the_type_or_rejected(datastream, raw):
    value = coerced(datastream, raw)

    if value is not None:
        expected = {"integer": int, "enum": int, "string": str}.get(datastream.type, float)
        assert {expected} == {type(element) for element in (value if isinstance(value, tuple) else (value,))}


@given(datastreams(), RAW)
def test_text_of_any_value_is_coerced_to_the_same_value(datastream, raw):
    value = coerced(datastream, raw)

    if value is not None:
        again = coerce(datastream, list(texts_of(value)))
        assert value == again
        assert texts_of(value) == texts_of(again)


@given(datastreams(), RAW)
def test_json_of_any_value_is_coerced_to_the_same_value(datastream, raw):
    value = coerced(datastream, raw)

    if value is not None:
        assert value == coerce(datastream, to_json(value))


@given(datastreams(), RAW)
def test_packed_value_unpacks_to_the_same_value(datastream, raw):
    value = coerced(datastream, raw)

    if value is not None:
        assert value == unpack(pack(value))
        assert texts_of(value) == texts_of(unpack(pack(value)))


@given(datastreams(), RAW)
def test_coerced_numbers_are_within_the_range_of_the_datastream(datastream, raw):
    value = coerced(datastream, raw)

    if value is not None and datastream.type in ("integer", "double"):
        for element in value if isinstance(value, tuple) else (value,):
            assert datastream.min is None or element >= datastream.min
            assert datastream.max is None or element <= datastream.max
