from __future__ import annotations

import string
import tomllib

import attrs
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hub.config import parse as parse_config
from hub.domain.devices import NewDevice
from hub.errors import Conflict, NotFound, WrongType
from hub.facts import TemplateChanged
from hub.model import SYSTEM, Datastream, EventType, Expire, Lifecycle, MetadataField, Status, Template
from hub.run import running
from hub.templates.document import BadTemplate, difference, parse, to_toml
from hub.values import coerce
from hub.writes import Write

WEATHER = """
[template]
id = "TMPL0weather0"
name = "Weather station"
hardware = "ESP32"
connection = "WiFi"

[[datastream]]
pin = "V0"
name = "Temperature"
units = "°C"
min = -40
max = 85
decimals = "#.#"
default = 0
sync = true

[[datastream]]
pin = "v1"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat", 2 = "Cool" }
fallback = 0

[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"

[[metadata]]
name = "Serial Number"
"""


def template(*streams, key="TMPL0", name="Test", more=""):
    """A template's TOML, given its datastreams as tables without header."""
    head = f'[template]\nid = "{key}"\nname = "{name}"\n'
    return head + "".join(f"[[datastream]]\n{stream}\n" for stream in streams) + more


def stream(pin, name=None, values=None, **more):
    table = tomli_w.dumps({"pin": f"V{pin}", "name": name or f"Pin {pin}", **more})
    listed = ", ".join(f'{number} = "{word}"' for number, word in (values or {}).items())
    return table if values is None else f"{table}values = {{ {listed} }}\n"


def problems_of(text):
    with pytest.raises(BadTemplate) as refused:
        parse(text, "my.toml")
    for problem in refused.value.problems:
        assert problem.startswith("my.toml: ")
    return [problem.removeprefix("my.toml: ") for problem in refused.value.problems]


@pytest.fixture
async def hub(tmp_path):
    """A running hub without listeners."""
    async with running(parse_config("").with_data(str(tmp_path / "data")), listen=False) as started:
        yield started


async def save(hub, *streams, prune=False, **more):
    return await hub.templates.save(template(*streams, **more), SYSTEM, prune=prune)


async def add(hub, of):
    [(device, _)] = await hub.devices.add([NewDevice(name="Device", template=of)], SYSTEM)
    return device


def write(hub, device, pin, raw):
    return hub.write(Write(device, pin, raw, "test", SYSTEM))


def latest(hub, device, pin):
    return hub.writes.latest(device, device.points[pin].datastream)


def current(hub, device, pin):
    return hub.writes.current(device, device.points[pin].datastream)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_template_says_what_its_devices_have():
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


def test_a_template_without_id_gets_one():
    first, second = (parse('[template]\nname = "Lamp"').id for _ in range(2))

    assert first.startswith("TMPL")
    assert first != second


def test_datastreams_without_ids_get_those_that_are_free():
    found = parse(template(stream(7), stream(8, id=1), stream(9)))

    assert [(7, 2), (8, 1), (9, 3)] == [(d.pin, d.id) for d in found.datastreams]


def test_a_default_has_the_type_of_its_datastream():
    found = parse(
        template(
            stream(0, type="double", default=5),
            stream(1, type="string", default="x"),
            stream(2, type="location", default=[30.5, 50.25]),
            stream(3, type="integer", default="5.0"),
        )
    )

    assert [5.0, "x", (30.5, 50.25), 5] == [d.default for d in found.datastreams]


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_every_mistake_of_a_template_is_said_at_once():
    found = problems_of("""
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

    assert 7 == len(found)
    for words in ("id: ", "name: ", "datastream 1 ", "datastream 2 ", "datastream 3 ", "datastream 4 ", "event 1: "):
        assert any(problem.startswith(words) for problem in found), words


def test_mistakes_of_form_and_of_sense_are_said_at_once():
    found = problems_of("""
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

    assert 3 == len(found)
    for word in ("datastream 1", "datastream 2", "datastream 3"):
        assert any(word in problem for problem in found), word


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
def test_a_template_that_is_none_is_refused_with_the_place(text, expected):
    assert any(expected in problem for problem in problems_of(text))


@pytest.mark.parametrize("pin", ["V256", "V-1", "V", "0", "D5", "", "V1.0", "V٣", 5, None])
def test_a_pin_is_v0_to_v255(pin):
    table = {"name": "Pin"} if pin is None else {"name": "Pin", "pin": pin}

    assert any("pin must be V0 to V255" in problem for problem in problems_of(template(tomli_w.dumps(table))))


@pytest.mark.parametrize(
    ("more", "expected"),
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
def test_a_datastream_that_makes_no_sense_is_refused(more, expected):
    assert any(expected in problem for problem in problems_of(template(stream(0, **more))))


def test_an_integer_needs_a_whole_number_between_its_bounds():
    assert problems_of(template(stream(0, type="integer", min=0.2, max=0.8)))


def test_what_is_there_twice_is_refused():
    found = problems_of(
        template(
            stream(3, "Level", id=1),
            stream(3, "Level", id=1),
            more='[[event]]\ncode = "e"\nname = "E"\n' * 2 + '[[metadata]]\nname = "M"\n' * 2,
        )
    )

    assert [
        "pin V3 is used 2 times, by Level, Level",
        "datastream id 1 is used 2 times, by Level, Level",
        "datastream name Level is used 2 times",
        "event code e is used 2 times",
        "metadata name M is used 2 times",
    ] == found


def test_one_place_is_enough_for_a_device():
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
def test_any_document_is_a_template_or_a_bad_one(document):
    try:
        assert isinstance(parse(tomli_w.dumps(document)), Template)
    except BadTemplate as error:
        assert error.problems


@pytest.mark.parametrize("number", ["2147483647", "2147483647.0", "1e300"])
def test_datastream_without_an_id_after_the_last_one_is_a_problem(number):
    text = f"{template(stream(0, id=5))}\n[[datastream]]\npin = 'V1'\nname = 'Other'\n"
    problems = problems_of(text.replace("id = 5", f"id = {number}"))
    assert any("id must be" in problem for problem in problems), problems


# -- writing ----------------------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters + string.digits + " _-", min_size=1, max_size=12).filter(str.strip)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=12)
NUMBERS = st.integers(-(2**31), 2**31 - 1)


@st.composite
def datastreams(draw, number, pin, name):
    kind = draw(st.sampled_from(["integer", "double", "string", "enum", "location"]))
    more = {}
    if kind in ("integer", "double"):
        bounds = sorted(draw(st.tuples(NUMBERS, NUMBERS)))
        more = draw(st.fixed_dictionaries({}, optional={"min": st.just(bounds[0]), "max": st.just(bounds[1])}))
    if kind == "enum":
        values = draw(st.dictionaries(st.integers(-9, 9), WORDS, min_size=1, max_size=3))
        more = {"values": values, "fallback": draw(st.sampled_from([None, *values]))}
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
        **more,
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
    found = Template(
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
    places = sum(d.type == "location" for d in found.datastreams)
    return found if places < 2 else attrs.evolve(found, datastreams=())


@given(templates())
def test_what_is_exported_imports_as_the_same(original):
    assert original == parse(to_toml(original))


@given(templates())
def test_a_template_does_not_differ_from_itself(original):
    assert ([], []) == difference(original, parse(to_toml(original)))


def test_an_export_says_only_what_is_no_default():
    assert {"id": 1, "pin": "V0", "name": "Plain", "type": "double"} == tomllib.loads(
        to_toml(parse(template(stream(0, "Plain"))))
    )["datastream"][0]


# -- comparing --------------------------------------------------------------------------------------------------------


def test_a_new_template_is_all_new():
    new = parse(template(stream(0, "Level"), key="TMPL1", name="Tank"))

    assert (["+ template TMPL1 Tank", "+ V0 Level"], []) == difference(None, new)


def test_the_difference_has_a_line_for_everything_that_changes():
    event, field = '[[event]]\ncode = "{}"\nname = "{}"\n', '[[metadata]]\nname = "{}"\ndefault = "{}"\n'
    old = parse(
        template(
            stream(0, "Stays", id=1),
            stream(1, "Changes", id=2, max=5),
            stream(2, "Goes", id=3),
            stream(3, "Moves", id=4),
            name="Old",
            more=event.format("stays", "x")
            + event.format("goes", "x")
            + event.format("changes", "x")
            + field.format("m", "1"),
        )
    )
    new = parse(
        template(
            stream(0, "Stays", id=1),
            stream(1, "Changes", id=2, max=9),
            stream(7, "Moves", id=4),
            stream(8, "Comes", id=5),
            name="New",
            more=event.format("stays", "x")
            + event.format("changes", "y")
            + event.format("comes", "x")
            + field.format("m", "2"),
        )
    )
    lines, dropped = difference(old, new)

    assert [
        "~ name 'Old' -> 'New'",
        "~ V1 Changes: max 5 -> 9",
        "~ V7 Moves: pin 3 -> 7",
        "+ V8 Comes",
        "- V2 Goes",
        "+ event comes",
        "~ event changes",
        "- event goes",
        "~ metadata m",
    ] == lines
    assert ["Goes"] == [d.name for d in dropped]


def test_another_type_drops_the_values_unless_they_fit():
    old = parse(template(stream(0, "Text", type="string"), stream(1, "Whole", type="integer")))
    new = parse(template(stream(0, "Text", type="double"), stream(1, "Whole", type="double")))
    lines, dropped = difference(old, new)

    assert ["~ V0 Text: type 'string' -> 'double'", "~ V1 Whole: type 'integer' -> 'double'"] == lines
    assert ["Text"] == [d.name for d in dropped]


# -- importing --------------------------------------------------------------------------------------------------------


async def test_importing_the_same_again_changes_nothing(hub):
    told = []
    first, _ = await hub.templates.save(WEATHER, SYSTEM)
    hub.subscribe(TemplateChanged, told.append)
    again, lines = await hub.templates.save(WEATHER, SYSTEM)

    assert (first, []) == (again, lines)
    assert [] == told


async def test_an_import_is_told(hub):
    told = []
    hub.subscribe(TemplateChanged, told.append)
    saved, _ = await hub.templates.save(WEATHER, SYSTEM)

    assert [TemplateChanged(saved, SYSTEM)] == told


async def test_a_template_can_be_asked_for_by_id(hub):
    saved, _ = await hub.templates.save(WEATHER, SYSTEM)

    assert saved is hub.templates.get("TMPL0weather0")
    with pytest.raises(NotFound):
        hub.templates.get("TMPL0nothing")


async def test_two_templates_cannot_have_one_name(hub):
    await save(hub, key="TMPL1", name="Lamp")

    with pytest.raises(Conflict, match="Lamp"):
        await save(hub, key="TMPL2", name="Lamp")
    assert ["TMPL1"] == list(hub.templates.by_id)


async def test_a_bad_import_leaves_the_old_template(hub):
    saved, _ = await save(hub, stream(0))

    with pytest.raises(BadTemplate):
        await save(hub, stream(0), stream(0))
    assert saved is hub.templates.get("TMPL0")


async def test_datastreams_without_ids_are_matched_by_pin(hub):
    await save(hub, stream(0, "Zero"), stream(1, "One"), stream(2, "Two"))
    saved, lines = await save(hub, stream(9, "Nine"), stream(2, "Two"), stream(0, "Zero"), stream(1, "Uno"))

    assert {0: 1, 1: 2, 2: 3, 9: 4} == {d.pin: d.id for d in saved.datastreams}
    assert ["+ V9 Nine", "~ V1 Uno: name 'One' -> 'Uno'"] == lines


async def test_a_datastream_with_its_id_may_move_to_another_pin(hub):
    saved, _ = await save(hub, stream(0, "Level", id=1))
    device = await add(hub, saved)
    write(hub, device, 0, "7")
    await save(hub, stream(5, "Level", id=1))

    assert [5] == list(device.points)
    assert 7.0 == current(hub, device, 5)


async def test_datastreams_are_matched_by_id_and_those_without_by_pin(hub):
    saved, _ = await save(hub, stream(0, "Zero", id=1), stream(1, "One", id=2), stream(2, "Two", id=3))
    device = await add(hub, saved)
    for pin in range(3):
        write(hub, device, pin, str(pin))
    await save(hub, stream(2, "Two"), stream(0, "Zero"), stream(1, "One", id=2))

    assert {0: 0.0, 1: 1.0, 2: 2.0} == {pin: current(hub, device, pin) for pin in device.points}


async def test_dropping_a_datastream_is_refused_without_prune(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add(hub, saved)
    write(hub, device, 1, "5")

    with pytest.raises(Conflict, match=r"V1 Goes.*--prune"):
        await save(hub, stream(0, "Stays"))
    assert saved is hub.templates.get("TMPL0")
    assert 5.0 == current(hub, device, 1)


async def test_prune_drops_a_datastream_with_its_values(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add(hub, saved)
    write(hub, device, 0, "4")
    write(hub, device, 1, "5")
    _, lines = await save(hub, stream(0, "Stays"), prune=True)

    assert ["- V1 Goes"] == lines
    assert [0] == list(device.points)
    assert 4.0 == current(hub, device, 0)


async def test_a_datastream_that_was_dropped_comes_back_empty(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add(hub, saved)
    await write(hub, device, 1, "5").durable()
    old = device.points[1].series
    await save(hub, stream(0, "Stays"), prune=True)
    await save(hub, stream(0, "Stays"), stream(1, "Goes"))

    assert latest(hub, device, 1) is None
    assert old != device.points[1].series


async def test_another_type_is_refused_without_prune_and_drops_the_values_with_it(hub):
    saved, _ = await save(hub, stream(0, "Level", type="string"))
    device = await add(hub, saved)
    write(hub, device, 0, "high")

    with pytest.raises(Conflict):
        await save(hub, stream(0, "Level", type="double"))
    assert "high" == current(hub, device, 0)

    await save(hub, stream(0, "Level", type="double"), prune=True)
    assert current(hub, device, 0) is None
    write(hub, device, 0, "5")
    assert 5.0 == current(hub, device, 0)


async def test_an_integer_becomes_a_double_with_its_values(hub):
    saved, _ = await save(hub, stream(0, "Level", type="integer"))
    device = await add(hub, saved)
    write(hub, device, 0, "5")
    await save(hub, stream(0, "Level", type="double"))

    assert 5 == current(hub, device, 0)


async def test_devices_follow_their_template(hub):
    saved, _ = await save(hub, stream(0, "Level"))
    device = await add(hub, saved)
    other = await add(hub, (await save(hub, stream(0), key="TMPL9", name="Other"))[0])
    new, _ = await save(hub, stream(0, "Level"), stream(1, "Comes", default=3))

    assert new is device.template
    assert [0, 1] == sorted(device.points)
    assert 3.0 == current(hub, device, 1)
    assert [0] == list(other.points)


async def test_templates_survive_a_restart(tmp_path):
    config = parse_config("").with_data(str(tmp_path / "data"))
    places = template(stream(0, type="location", default=[1.5, 2.5]), key="TMPL1", name="Places")
    async with running(config, listen=False) as hub:
        saved = [(await hub.templates.save(text, SYSTEM))[0] for text in (WEATHER, places)]
    async with running(config, listen=False) as hub:
        assert {t.id: t for t in saved} == hub.templates.by_id


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("datastreams_per_template = 1", "more than 1 datastreams per template ([limits] datastreams_per_template)"),
        ("events_per_template = 1", "more than 1 events per template"),
        ("metadata_per_template = 1", "more than 1 metadata per template"),
        ("templates = 1", "more than 1 templates"),
    ],
)
async def test_a_template_over_a_limit_is_refused_and_the_limit_named(tmp_path, limit, said):
    from hub.config import parse as configuration
    from hub.run import running

    two = '[template]\nname = "Two"\n[[datastream]]\npin = "V0"\nname = "A"\n[[datastream]]\npin = "V1"\nname = "B"\n'
    two += '[[event]]\ncode = "a"\nname = "A"\n[[event]]\ncode = "b"\nname = "B"\n'
    two += '[[metadata]]\nname = "A"\n[[metadata]]\nname = "B"\n'
    async with running(configuration(f"[limits]\n{limit}").with_data(str(tmp_path / "data")), listen=False) as hub:
        await hub.templates.save('[template]\nname = "One"', SYSTEM)
        with pytest.raises(BadTemplate) as refused:
            await hub.templates.save(two, SYSTEM, source="two.toml")
        assert refused.value.problems[0].startswith(f"two.toml: {said}")


async def test_devices_have_a_limit(tmp_path):
    from hub.config import parse as configuration
    from hub.errors import Rejected
    from hub.run import running

    async with running(configuration("[limits]\ndevices = 2").with_data(str(tmp_path / "data")), listen=False) as hub:
        template, _ = await hub.templates.save('[template]\nname = "One"', SYSTEM)
        await hub.devices.add([NewDevice(name="A", template=template)], SYSTEM)
        with pytest.raises(Rejected, match=r"more than 2 devices \(\[limits\] devices\)"):
            await hub.devices.add([NewDevice(name=n, template=template) for n in "BC"], SYSTEM)
        assert ["A"] == [device.name for device in hub.devices.by_id.values()]
