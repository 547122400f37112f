"""Documents of templates: parsing, problems and exporting."""

from __future__ import annotations

import string
import tomllib

import attrs
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.templates import WEATHER, stream, template

from hub.errors import WrongType
from hub.model import Datastream, EventType, Expire, Lifecycle, MetadataField, Status, Template
from hub.templates.document import BadTemplate, difference, parse, to_toml
from hub.values import coerce


def problems_of(text):
    with pytest.raises(BadTemplate) as error:
        parse(text, "my.toml")
    for problem in error.value.problems:
        assert problem.startswith("my.toml: ")
    return [problem.removeprefix("my.toml: ") for problem in error.value.problems]


# -- parsing ----------------------------------------------------------------------------------------------------------


def test_template_has_everything_of_its_document():
    assert Template(
        id="TMPL0weather0",
        name="Weather station",
        hardware="ESP32",
        connection="WiFi",
        datastreams=(
            Datastream(
                id=1, pin=0, name="Temperature", units="°C", min=-40, max=85, decimals="#.#", default=0.0, sync=True
            ),
            Datastream(id=2, pin=1, name="Mode", type="enum", values={0: "Off", 1: "Heat", 2: "Cool"}, fallback=0),
        ),
        events=(EventType(code="too_hot", name="Too hot", type="warning"),),
        metadata=(MetadataField(name="Serial Number"),),
    ) == parse(WEATHER)


def test_template_without_an_id_gets_a_random_one():
    first, second = (parse('[template]\nname = "Lamp"').id for _ in range(2))

    assert first.startswith("TMPL")
    assert first != second


def test_datastreams_without_ids_get_the_free_ones():
    parsed = parse(template(stream(7), stream(8, id=1), stream(9)))

    assert [(7, 2), (8, 1), (9, 3)] == [(d.pin, d.id) for d in parsed.datastreams]


def test_default_has_the_type_of_its_datastream():
    parsed = parse(
        template(
            stream(0, type="double", default=5),
            stream(1, type="string", default="x"),
            stream(2, type="location", default=[30.5, 50.25]),
            stream(3, type="integer", default="5.0"),
        )
    )

    assert [5.0, "x", (30.5, 50.25), 5] == [d.default for d in parsed.datastreams]


# -- problems ---------------------------------------------------------------------------------------------------------


def test_all_problems_of_a_template_are_reported_together():
    problems = problems_of("""
        [template]
        id = "TMPL 0"
        name = " "
        [[datastream]]
        pin = "V0"
        name = "a/b"
        [[datastream]]
        pin = "V1"
        name = "Level"
        min = 10
        max = 0
        [[datastream]]
        pin = "V2"
        name = "Mode"
        type = "enum"
        [[datastream]]
        pin = "V3"
        name = "Text"
        type = "string"
        max = 5
        [[event]]
        code = "too/hot"
        name = "Too hot"
        """)

    assert 7 == len(problems)
    for start in ("id: ", "name: ", "datastream 1 ", "datastream 2 ", "datastream 3 ", "datastream 4 ", "event 1: "):
        assert any(problem.startswith(start) for problem in problems), start


def test_problems_of_syntax_and_of_values_are_reported_together():
    problems = problems_of("""
        [template]
        name = "Test"
        [[datastream]]
        pin = "V300"
        name = "First"
        [[datastream]]
        pin = "V1"
        name = "Second"
        colour = "blue"
        [[datastream]]
        pin = "V2"
        name = "Third"
        min = 10
        max = 0
        """)

    assert 3 == len(problems)
    for place in ("datastream 1", "datastream 2", "datastream 3"):
        assert any(place in problem for problem in problems), place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no [template] table"),
        ("template = 3", "there is no [template] table"),
        ("[template\n", "line 1"),
        ('[template]\nid = "TMPL0"', "name"),
        ('[template]\nname = "T"\ncolour = 1', "unknown key colour"),
        ('[template]\nname = "T"\n[colour]', "unknown key colour"),
        ('datastreams = []\n[template]\nname = "T"', "datastreams"),
        ('[template]\nname = "T"\ndatastreams = []', "datastreams"),
        ('[template]\nname = "T"\n[datastream]\npin = "V0"', "[[datastream]] must be an array of tables"),
        ('[template]\nname = "T"\n[[datastream]]\npin = "V0"', "name is missing"),
        ('[template]\nname = "T"\n[[event]]\ncode = "a"\nname = "b"\ntype = "bad"', "event 1: type"),
    ],
)
def test_malformed_template_is_rejected_with_the_place_of_the_problem(text, expected):
    assert any(expected in problem for problem in problems_of(text))


@pytest.mark.parametrize("pin", ["V256", "V-1", "V", "0", "D5", "", "V1.0", "V٣", 5, None])
def test_pin_must_be_v0_to_v255(pin):
    table = {"name": "Pin"} if pin is None else {"name": "Pin", "pin": pin}

    assert any("pin must be V0 to V255" in problem for problem in problems_of(template(tomli_w.dumps(table))))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"type": "number"}, "datastream 1: type"),
        ({"min": "low"}, "datastream 1: min"),
        ({"min": float("nan")}, "must be a number, not"),
        ({"type": "integer", "min": float("nan")}, "must be a number, not"),
        ({"type": "integer", "max": float("inf")}, "must be a number, not"),
        ({"type": "integer", "max": 2**31}, "must fit 32 bits"),
        ({"type": "location", "min": 0}, "cannot have min and max"),
        ({"decimals": "two"}, "decimals"),
        ({"type": "enum"}, "an enum must have values"),
        ({"type": "enum", "values": {"a": "A"}}, "'a' is not a whole number"),
        ({"type": "enum", "values": {"0": "A"}, "fallback": 1}, "fallback 1 is not one of its values"),
        ({"fallback": 1}, "only an enum"),
        ({"default": "warm"}, "default 'warm' is not of type double"),
        ({"type": "enum", "values": {"0": "A"}, "default": 4}, "default 4 is not of type enum"),
        ({"id": 0}, "id must be positive"),
        ({"id": "one"}, "datastream 1: id"),
        ({"name": "x" * 51}, "name must be 1-50"),
        ({"name": "a+b"}, "name must be 1-50"),
        ({"sync": 1}, "datastream 1: sync"),
    ],
)
def test_invalid_datastream_is_rejected(options, expected):
    assert any(expected in problem for problem in problems_of(template(stream(0, **options))))


def test_integer_datastream_needs_an_integer_between_its_bounds():
    assert problems_of(template(stream(0, type="integer", min=0.2, max=0.8)))


def test_duplicate_pins_ids_names_and_codes_are_reported():
    problems = problems_of(
        template(
            stream(3, "Level", id=1),
            stream(3, "Level", id=1),
            tables='[[event]]\ncode = "e"\nname = "E"\n' * 2 + '[[metadata]]\nname = "M"\n' * 2,
        )
    )

    assert [
        "pin V3 is used 2 times, by Level, Level",
        "datastream id 1 is used 2 times, by Level, Level",
        "datastream name Level is used 2 times",
        "event code e is used 2 times",
        "metadata name M is used 2 times",
    ] == problems


def test_template_may_have_one_location_datastream_only():
    assert ["there is more than one location datastream"] == problems_of(
        template(stream(0, type="location"), stream(1, type="location"))
    )


KEYS = st.sampled_from(
    [
        "template",
        "datastream",
        "event",
        "metadata",
        "id",
        "name",
        "pin",
        "type",
        "min",
        "max",
        "default",
        "values",
        "fallback",
        "sync",
        "code",
    ]
)
LEAVES = st.one_of(
    st.text(string.printable, max_size=6),
    st.sampled_from(["V0", "V1", "double", "integer", "enum", "string", "location", "info"]),
    st.integers(-5, 2**40),
    st.floats(),
    st.booleans(),
    st.times(),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10
)
STREAMS = st.lists(st.dictionaries(KEYS, LEAVES, max_size=6), max_size=3)


@given(
    st.fixed_dictionaries(
        {"template": st.dictionaries(KEYS, TREES, max_size=3), "datastream": STREAMS | TREES, "event": TREES}
    )
)
def test_any_document_is_a_template_or_raises_bad_template(document):
    try:
        assert isinstance(parse(tomli_w.dumps(document)), Template)
    except BadTemplate as error:
        assert error.problems


@pytest.mark.parametrize("number", ["2147483647", "2147483647.0", "1e300"])
def test_datastream_without_an_id_is_rejected_when_no_id_is_free(number):
    text = f"{template(stream(0, id=5))}\n[[datastream]]\npin = 'V1'\nname = 'Other'\n"
    problems = problems_of(text.replace("id = 5", f"id = {number}"))
    assert any("id must be" in problem for problem in problems), problems


# -- exporting---------------------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters + string.digits + " _-", min_size=1, max_size=12).filter(str.strip)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=12)
NUMBERS = st.integers(-(2**31), 2**31 - 1)


@st.composite
def datastreams(draw, number, pin, name):
    kind = draw(st.sampled_from(["integer", "double", "string", "enum", "location"]))
    options = {}
    if kind in ("integer", "double"):
        bounds = sorted(draw(st.tuples(NUMBERS, NUMBERS)))
        options = draw(st.fixed_dictionaries({}, optional={"min": st.just(bounds[0]), "max": st.just(bounds[1])}))
    if kind == "enum":
        values = draw(st.dictionaries(st.integers(-9, 9), WORDS, min_size=1, max_size=3))
        options = {"values": values, "fallback": draw(st.sampled_from([None, *values]))}
    plain = Datastream(
        id=number,
        pin=pin,
        name=name,
        type=kind,
        units=draw(WORDS),
        decimals=draw(st.sampled_from(["", "#.#", "#.00"])),
        sync=draw(st.booleans()),
        history=draw(st.sampled_from(["off", "minute", "raw"])),
        retain_raw=draw(st.sampled_from(["", "30d"])),
        confirm=draw(st.sampled_from(["", "5s"])),
        expire=draw(st.sampled_from([None, Expire(after="2h"), Expire(after="1m", show="--")])),
        **options,
    )
    raw = draw(
        st.one_of(
            st.none(), NUMBERS, st.floats(), WORDS, st.just((10.5, 20.25)), st.lists(NUMBERS, min_size=1, max_size=3)
        )
    )
    try:
        return attrs.evolve(plain, default=None if raw is None else coerce(plain, raw))
    except WrongType:
        return plain


@st.composite
def templates(draw):
    count = draw(st.integers(0, 4))

    def unique(of):
        return draw(st.lists(of, min_size=count, max_size=count, unique=True))

    keys = zip(unique(st.integers(1, 2**31 - 1)), unique(st.integers(0, 255)), unique(NAMES), strict=True)
    template = Template(
        id=draw(st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=12)),
        name=draw(WORDS.filter(str.strip)),
        hardware=draw(WORDS),
        connection=draw(WORDS),
        datastreams=tuple(draw(datastreams(*key)) for key in keys),
        events=tuple(
            EventType(
                code=code,
                name=draw(WORDS),
                type=draw(st.sampled_from(["info", "critical", "content"])),
                description=draw(WORDS),
            )
            for code in draw(st.lists(NAMES, max_size=2, unique=True))
        ),
        metadata=tuple(
            MetadataField(name=name, default=draw(WORDS)) for name in draw(st.lists(FIELDS, max_size=2, unique=True))
        ),
        lifecycle=Lifecycle(
            wait=draw(st.sampled_from(["0s", "1m", "30m"])),
            reports_data=draw(st.booleans()),
            status=tuple(
                Status(name=name, after="7d", description=draw(WORDS))
                for name in draw(st.lists(FIELDS, max_size=2, unique=True))
                if name not in ("Online", "Offline")
            ),
        ),
    )
    places = sum(d.type == "location" for d in template.datastreams)
    return template if places < 2 else attrs.evolve(template, datastreams=())


@given(templates())
def test_exported_template_is_imported_unchanged(original):
    assert original == parse(to_toml(original))


@given(templates())
def test_exported_template_does_not_differ_from_itself(original):
    assert ([], []) == difference(original, parse(to_toml(original)))


def test_export_omits_defaults():
    assert {"id": 1, "pin": "V0", "name": "Plain", "type": "double"} == tomllib.loads(
        to_toml(parse(template(stream(0, "Plain"))))
    )["datastream"][0]
