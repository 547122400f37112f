"""Changes of templates: the difference to the old one, what an import does to devices and values, and limits."""

from __future__ import annotations

import pytest
from support.templates import WEATHER, stream, template
from support.values import current_value, latest_value, write_value

from hub.config import parse as parse_config
from hub.domain.devices import NewDevice
from hub.errors import Conflict, NotFound
from hub.facts import TemplateChanged
from hub.model import SYSTEM
from hub.run import running
from hub.templates.document import BadTemplate, difference, parse


@pytest.fixture
async def hub(tmp_path):
    """A running hub without listeners."""
    async with running(parse_config("").with_data(str(tmp_path / "data")), listen=False) as started:
        yield started


async def save(hub, *streams, prune=False, **options):
    return await hub.templates.save(template(*streams, **options), SYSTEM, prune=prune)


async def add_device_of(hub, template):
    [(device, _)] = await hub.devices.add([NewDevice(name="Device", template=template)], SYSTEM)
    return device


# -- comparing --------------------------------------------------------------------------------------------------------


def test_difference_to_no_template_lists_everything_as_new():
    new = parse(template(stream(0, "Level"), key="TMPL1", name="Tank"))

    assert (["+ template TMPL1 Tank", "+ V0 Level"], []) == difference(None, new)


def test_difference_has_a_line_for_each_change():
    event, field = '[[event]]\ncode = "{}"\nname = "{}"\n', '[[metadata]]\nname = "{}"\ndefault = "{}"\n'
    old = parse(
        template(
            stream(0, "Stays", id=1),
            stream(1, "Changes", id=2, max=5),
            stream(2, "Goes", id=3),
            stream(3, "Moves", id=4),
            name="Old",
            tables=event.format("stays", "x")
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
            tables=event.format("stays", "x")
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
        "~ event changes: name 'x' -> 'y'",
        "- event goes",
        "~ metadata m: default '1' -> '2'",
    ] == lines
    assert ["Goes"] == [d.name for d in dropped]


def test_new_type_of_a_datastream_drops_its_values_unless_they_fit():
    old = parse(template(stream(0, "Text", type="string"), stream(1, "Whole", type="integer")))
    new = parse(template(stream(0, "Text", type="double"), stream(1, "Whole", type="double")))
    lines, dropped = difference(old, new)

    assert ["~ V0 Text: type 'string' -> 'double'", "~ V1 Whole: type 'integer' -> 'double'"] == lines
    assert ["Text"] == [d.name for d in dropped]


# -- importing --------------------------------------------------------------------------------------------------------


async def test_importing_the_same_template_again_changes_and_emits_nothing(hub):
    facts = []
    first, _ = await hub.templates.save(WEATHER, SYSTEM)
    hub.subscribe(TemplateChanged, facts.append)
    again, lines = await hub.templates.save(WEATHER, SYSTEM)

    assert (first, []) == (again, lines)
    assert [] == facts


async def test_import_emits_template_changed(hub):
    facts = []
    hub.subscribe(TemplateChanged, facts.append)
    saved, _ = await hub.templates.save(WEATHER, SYSTEM)

    assert [TemplateChanged(saved, SYSTEM)] == facts


async def test_template_is_found_by_its_id(hub):
    saved, _ = await hub.templates.save(WEATHER, SYSTEM)

    assert saved is hub.templates.get("TMPL0weather0")
    with pytest.raises(NotFound):
        hub.templates.get("TMPL0nothing")


async def test_second_template_of_the_same_name_is_a_conflict(hub):
    await save(hub, key="TMPL1", name="Lamp")

    with pytest.raises(Conflict, match="Lamp"):
        await save(hub, key="TMPL2", name="Lamp")
    assert ["TMPL1"] == list(hub.templates.by_id)


async def test_invalid_import_leaves_the_old_template(hub):
    saved, _ = await save(hub, stream(0))

    with pytest.raises(BadTemplate):
        await save(hub, stream(0), stream(0))
    assert saved is hub.templates.get("TMPL0")


async def test_datastreams_without_ids_are_matched_by_pin(hub):
    await save(hub, stream(0, "Zero"), stream(1, "One"), stream(2, "Two"))
    saved, lines = await save(hub, stream(9, "Nine"), stream(2, "Two"), stream(0, "Zero"), stream(1, "Uno"))

    assert {0: 1, 1: 2, 2: 3, 9: 4} == {d.pin: d.id for d in saved.datastreams}
    assert ["+ V9 Nine", "~ V1 Uno: name 'One' -> 'Uno'"] == lines


async def test_datastream_with_its_id_keeps_its_value_on_another_pin(hub):
    saved, _ = await save(hub, stream(0, "Level", id=1))
    device = await add_device_of(hub, saved)
    write_value(hub, device, 0, "7")
    await save(hub, stream(5, "Level", id=1))

    assert [5] == list(device.points)
    assert 7.0 == current_value(hub, device, 5)


async def test_datastreams_are_matched_by_id_or_else_by_pin(hub):
    saved, _ = await save(hub, stream(0, "Zero", id=1), stream(1, "One", id=2), stream(2, "Two", id=3))
    device = await add_device_of(hub, saved)
    for pin in range(3):
        write_value(hub, device, pin, str(pin))
    await save(hub, stream(2, "Two"), stream(0, "Zero"), stream(1, "One", id=2))

    assert {0: 0.0, 1: 1.0, 2: 2.0} == {pin: current_value(hub, device, pin) for pin in device.points}


async def test_removing_a_datastream_is_a_conflict_without_prune(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add_device_of(hub, saved)
    write_value(hub, device, 1, "5")

    with pytest.raises(Conflict, match=r"V1 Goes.*--prune"):
        await save(hub, stream(0, "Stays"))
    assert saved is hub.templates.get("TMPL0")
    assert 5.0 == current_value(hub, device, 1)


async def test_removing_a_datastream_with_prune_drops_its_values(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add_device_of(hub, saved)
    write_value(hub, device, 0, "4")
    write_value(hub, device, 1, "5")
    _, lines = await save(hub, stream(0, "Stays"), prune=True)

    assert ["- V1 Goes"] == lines
    assert [0] == list(device.points)
    assert 4.0 == current_value(hub, device, 0)


async def test_datastream_that_is_added_again_is_empty(hub):
    saved, _ = await save(hub, stream(0, "Stays"), stream(1, "Goes"))
    device = await add_device_of(hub, saved)
    await write_value(hub, device, 1, "5").durable()
    old = device.points[1].series
    await save(hub, stream(0, "Stays"), prune=True)
    await save(hub, stream(0, "Stays"), stream(1, "Goes"))

    assert latest_value(hub, device, 1) is None
    assert old != device.points[1].series


async def test_new_type_is_a_conflict_without_prune_and_drops_the_values_with_it(hub):
    saved, _ = await save(hub, stream(0, "Level", type="string"))
    device = await add_device_of(hub, saved)
    write_value(hub, device, 0, "high")

    with pytest.raises(Conflict):
        await save(hub, stream(0, "Level", type="double"))
    assert "high" == current_value(hub, device, 0)

    await save(hub, stream(0, "Level", type="double"), prune=True)
    assert current_value(hub, device, 0) is None
    write_value(hub, device, 0, "5")
    assert 5.0 == current_value(hub, device, 0)


async def test_integer_datastream_that_becomes_a_double_keeps_its_values(hub):
    saved, _ = await save(hub, stream(0, "Level", type="integer"))
    device = await add_device_of(hub, saved)
    write_value(hub, device, 0, "5")
    await save(hub, stream(0, "Level", type="double"))

    assert 5 == current_value(hub, device, 0)


async def test_devices_get_the_changes_of_their_template(hub):
    saved, _ = await save(hub, stream(0, "Level"))
    device = await add_device_of(hub, saved)
    other = await add_device_of(hub, (await save(hub, stream(0), key="TMPL9", name="Other"))[0])
    new, _ = await save(hub, stream(0, "Level"), stream(1, "Comes", default=3))

    assert new is device.template
    assert [0, 1] == sorted(device.points)
    assert 3.0 == current_value(hub, device, 1)
    assert [0] == list(other.points)


async def test_templates_survive_a_restart(tmp_path):
    config = parse_config("").with_data(str(tmp_path / "data"))
    places = template(stream(0, type="location", default=[1.5, 2.5]), key="TMPL1", name="Places")
    async with running(config, listen=False) as hub:
        saved = [(await hub.templates.save(text, SYSTEM))[0] for text in (WEATHER, places)]
    async with running(config, listen=False) as hub:
        assert {t.id: t for t in saved} == hub.templates.by_id


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("datastreams_per_template = 1", "more than 1 datastreams per template ([limits] datastreams_per_template)"),
        ("events_per_template = 1", "more than 1 events per template"),
        ("metadata_per_template = 1", "more than 1 metadata per template"),
        ("templates = 1", "more than 1 templates"),
    ],
)
async def test_error_for_a_template_over_a_limit_names_the_limit(tmp_path, limit, message):
    two = '[template]\nname = "Two"\n[[datastream]]\npin = "V0"\nname = "A"\n[[datastream]]\npin = "V1"\nname = "B"\n'
    two += '[[event]]\ncode = "a"\nname = "A"\n[[event]]\ncode = "b"\nname = "B"\n'
    two += '[[metadata]]\nname = "A"\n[[metadata]]\nname = "B"\n'
    async with running(parse_config(f"[limits]\n{limit}").with_data(str(tmp_path / "data")), listen=False) as hub:
        await hub.templates.save('[template]\nname = "One"', SYSTEM)
        with pytest.raises(BadTemplate) as error:
            await hub.templates.save(two, SYSTEM, source="two.toml")
        assert error.value.problems[0].startswith(f"two.toml: {message}")
