"""Units of measurement: conversion, text of values, and the display for users, organizations and devices."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from support.api import api_client
from support.patience import patient

from hub.domain import units
from hub.domain.devices import NewDevice
from hub.domain.units import GROUPS, UNITS
from hub.model import SYSTEM
from hub.run import running
from hub.templates.document import BadTemplate
from hub.writes import Write

NUMBERS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "base", "wanted", "expected"),
    [
        (21.5, "°C", "°F", 70.7),
        (-40, "°F", "°C", -40),
        (300, "K", "°C", 26.85),
        (25.4, "mm", "in", 1),
        (100, "km/h", "mph", 62.1371192),
        (10, "kn", "km/h", 18.52),
        (1, "kg", "lb", 2.2046226),
        (10, "l/min", "gal/min", 2.6417205),
        (1, "m³/h", "CFM", 0.5885778),
        (1013.25, "hPa", "inHg", 29.9212),
        (2.5, "bar", "psi", 36.2594344),
        (1, "acre", "ha", 0.40468564),
        (5, "gal", "l", 18.92705892),
        (1.5, "L", "gal", 0.39625808),
    ],
)
def test_values_are_converted_with_known_factors(value, base, wanted, expected):
    conversion = units.conversion(base, wanted)
    assert (wanted, pytest.approx(expected, rel=1e-5)) == (conversion.units, conversion(value))


@pytest.mark.parametrize(("base", "wanted"), [("°C", "kg"), ("°C", "smiles"), ("", "°F"), ("%", "%"), ("V", "°C")])
def test_units_without_a_conversion_have_none(base, wanted):
    assert units.conversion(base, wanted) is None


def test_conversion_of_celsius_is_exact():
    assert units.Conversion("°F", 1.8, 32) == units.conversion("°C", "°F")


@given(NUMBERS, st.sampled_from(sorted(UNITS)), st.data())
def test_conversion_there_and_back_gives_the_same_value(value, base, data):
    wanted = data.draw(st.sampled_from([u.name for u in UNITS.values() if u.group == UNITS[base].group]))
    there, back = units.conversion(base, wanted), units.conversion(wanted, base)
    assert math.isclose(back(there(value)), value, rel_tol=1e-9, abs_tol=1e-6)


def test_counterpart_of_a_unit_is_of_its_group_and_the_other_system():
    for unit in UNITS.values():
        if unit.other:
            assert (unit.group, {"metric", "imperial"}) == (
                UNITS[unit.other].group,
                {unit.system, UNITS[unit.other].system},
            )
        else:
            assert unit.system is None
    assert len(GROUPS) == len(set(GROUPS))


@pytest.mark.parametrize(
    ("base", "system", "expected"),
    [
        ("°C", "imperial", "°F"),
        ("°C", "metric", "°C"),
        ("°F", "metric", "°C"),
        ("V", "imperial", "V"),
        ("x", "metric", "x"),
    ],
)
def test_unit_of_the_system_or_without_a_counterpart_is_unchanged(base, system, expected):
    assert expected == units.equivalent(base, system)


@pytest.mark.parametrize(
    ("value", "base", "decimals", "expected"),
    [
        (2500, "g", "", "2.5 kg"),
        (45000, "W", "", "45 kW"),
        (0.002, "kW", "", "2 W"),
        (-1500, "mV", "", "-1.5 V"),
        (67 * 3600, "s", "", "2 days 19 hr"),
        (86_399.9, "s", "", "1 day"),
        (90, "min", "", "1 hr 30 min"),
        (42, "s", "", "42 s"),
        (68, "in", "", "5 ft 8 in"),
        (5.6666, "ft", "", "5 ft 8 in"),
        (-68, "in", "", "-5 ft 8 in"),
        (5, "in", "", "5 in"),
        (20, "oz", "", "1 lb 4 oz"),
        (2048, "B", "", "2 KB"),
        (1499, "Wh", "#", "1.5 kWh"),
        (999.999, "g", "", "1 kg"),
        (999.9, "g", "", "999.9 g"),
        (1e300, "s", "", "1e+300 s"),
        (21.456, "°C", "", "21.46 °C"),
        (21.456, "°C", "#.#", "21.5 °C"),
        (21, "°C", "#.00", "21.00 °C"),
        (0, "W", "", "0 W"),
        (0, "°C", "#.0", "0.0 °C"),
        (-0.001, "°C", "#.##", "0 °C"),
        (0.00123, "x", "", "0.0012 x"),
        (55, "%", "", "55%"),
        (7, "", "", "7"),
        (1234567, "", "", "1234567"),
        (1700000000000000, "", "", "1700000000000000"),
        (123456789012345678, "x", "#", "123456789012345678 x"),
        (7, "x", "#.00", "7.00 x"),
        (1.5, "min.", "", "1 min 30 s"),
    ],
)
def test_text_of_a_value_is_scaled_and_rounded(value, base, decimals, expected):
    assert expected == units.text(value, base, decimals)


def test_text_is_not_scaled_if_disabled():
    assert "2500 g" == units.text(2500, "g", scale=False)
    assert "3600 s" == units.text(3600, "s", scale=False)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(["", "#", "#.##", "#.000"]),
)
@example(5e-324, "m", "")
@example(1.7e308, "GB", "#.##")
@example(-1.7e308, "d", "")
def test_text_of_any_value_is_short_and_well_formed(value, base, decimals):
    text = units.text(value, base, decimals)
    assert text
    assert "-0" not in text.split() and ("e" not in text.split(" ")[0] or abs(value) > 1e12)
    assert len(text) < 40


# -- display ----------------------------------------------------------------------------------------------------------

TEMPLATE = """
[template]
id = "TMPL0units"
name = "Units"
[[datastream]]
pin = "V0"
name = "Temperature"
units = "°C"
pair = "V1"
[[datastream]]
pin = "V1"
name = "Temperature F"
units = "°F"
convert = false
[[datastream]]
pin = "V2"
name = "Wind"
units = "km/h"
[[datastream]]
pin = "V3"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat" }
[[datastream]]
pin = "V4"
name = "Weight"
units = "g"
scale = false
[[datastream]]
pin = "V5"
name = "Word"
type = "string"
[[metadata]]
name = "Shown in"
type = "unit_conversion_switch"
options = ["km/h", "mph"]
[[metadata]]
name = "Threshold"
type = "number"
unit = "°C"
default = "30"
[[metadata]]
name = "Locked"
type = "unit_conversion_switch"
options = ["g", "kg"]
editable = false
"""


@pytest.fixture
async def station(hub, world):
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    await hub.organizations.change(world.orgs["acme"], SYSTEM, templates=frozenset({template.id}))
    [(device, _)] = await hub.devices.add(
        [NewDevice(name="Station", template=template, org=world.orgs["acme"])], SYSTEM
    )
    for pin, value in enumerate((20.0, 68.5, 36.0, 1, 2500, "hello")):
        await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()
    return device


async def read(ask, device):
    """The values of a device by pin, and its metadata by name, as the user sees them."""
    details = await ask("GET", "organization/device", deviceId=device.id)
    return {value["pin"]: value for value in details["dataStreamValues"]}, {
        m["name"]: m["value"]["text"] for m in details["metaFieldValues"]
    }


async def test_values_are_displayed_in_their_own_units_without_a_preference(world, station):
    async with api_client(world) as ask:
        values, fields = await read(ask, station)
    assert ["20 °C", "68.5 °F", "36 km/h", "Heat", "2500 g", "hello"] == [v["display"]["text"] for v in values.values()]
    assert {"units": "°C", "factor": 1, "offset": 0, "pin": None, "text": "20 °C"} == values["v0"]["display"]
    assert "30 °C" == fields["Threshold"]


async def test_display_is_in_the_units_of_the_user_and_stored_values_are_unchanged(world, station):
    async with api_client(world) as ask:
        await ask("PUT", "profile", {"units": "imperial"})
        values, fields = await read(ask, station)
        history = await ask("GET", "history", deviceIds=station.id, pins="v0,v2", granularity="raw", period="1d")
    # Another datastream has the temperature in °F already.
    assert ("68.5 °F", "v1") == (values["v0"]["display"]["text"], values["v0"]["display"]["pin"])
    assert ("22.37 mph", "88.18 oz") == tuple(values[pin]["display"]["text"] for pin in ("v2", "v4"))
    assert "86 °F" == fields["Threshold"]
    assert [20.0, 36.0] == [values[pin]["value"] for pin in ("v0", "v2")]
    temperature, wind = history["series"]
    assert ([20.0], "°C") == (temperature["values"], temperature["units"])
    display = temperature["display"]
    assert ("°F", 68) == (display["units"], pytest.approx(20 * display["factor"] + display["offset"]))
    assert "mph" == wind["display"]["units"]


async def test_counts_and_sums_of_degrees_are_not_converted(world, station):
    async with api_client(world) as ask:
        await ask("PUT", "profile", {"units": "imperial"})
        query = {"deviceIds": station.id, "pins": "v0,v2", "period": "1d"}
        counts = await ask("GET", "history", aggregate="count", **query)
        sums = await ask("GET", "history", aggregate="sum", **query)
    assert [None, None] == [line["display"] for line in counts["series"]]
    # Converting a sum of degrees would need the number of values.
    assert [None, "mph"] == [line["display"] and line["display"]["units"] for line in sums["series"]]


async def test_units_of_an_organization_apply_to_its_users_and_may_differ_by_group(world, station):
    async with api_client(world, "local") as ask:
        await ask("PUT", "organization", {"orgId": 1, "unitSystem": "IMPERIAL"})
    async with api_client(world) as ask:
        values, _ = await read(ask, station)
        assert ("68.5 °F", "22.37 mph") == tuple(values[pin]["display"]["text"] for pin in ("v0", "v2"))
        changed = await ask(
            "PUT", "organization", {"orgId": world.orgs["acme"], "unitOverrides": {"temperature": "K", "speed": "m/s"}}
        )
        assert (None, {"temperature": "K", "speed": "m/s"}) == (changed["unitSystem"], changed["unitOverrides"])
        values, fields = await read(ask, station)
        assert ("293.15 K", "10 m/s", "303.15 K") == (
            *(values[pin]["display"]["text"] for pin in ("v0", "v2")),
            fields["Threshold"],
        )
        # The preference of the user takes precedence.
        await ask("PUT", "profile", {"units": "metric"})
        values, _ = await read(ask, station)
        assert "36 km/h" == values["v2"]["display"]["text"]


async def test_conversion_switch_of_a_device_takes_precedence(hub, world, station):
    async with api_client(world) as ask:
        await ask("PUT", "profile", {"units": "metric"})
        body = {"deviceId": station.id, "name": "Shown in", "newValue": "mph"}
        assert None is await ask("POST", "organization/device/metafield", body)
        values, _ = await read(ask, station)
        assert "22.37 mph" == values["v2"]["display"]["text"]
        locked = await ask("POST", "organization/device/metafield", body | {"name": "Locked", "newValue": "kg"})
        assert (400, True) == (locked.status, "by the device only" in locked.message)
        token = await hub.tokens.rotate(station, SYSTEM)
        update = f"/external/api/device/meta/update?token={token}&metaFieldId=3&value=kg"
        assert 200 == (await ask.http.get(update)).status
        values, _ = await read(ask, station)
        assert "2.5 kg" == values["v4"]["display"]["text"]
    assert station.template.datastreams[2].units == "km/h"


async def displays(hub, world, changes=(), values=(20.5,), metadata=()):
    """How a user with imperial units sees the datastreams of a device whose template has some changes."""
    text = TEMPLATE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    template, _ = await hub.templates.save(text, SYSTEM)
    await hub.organizations.change(world.orgs["acme"], SYSTEM, templates=frozenset({template.id}))
    new = NewDevice(name="Other", template=template, org=world.orgs["acme"], metadata=dict(metadata))
    [(device, _)] = await hub.devices.add([new], SYSTEM)
    for pin, value in enumerate(values):
        await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()
    async with api_client(world) as ask:
        await ask("PUT", "profile", {"units": "imperial"})
        values, _ = await read(ask, device)
        [chart] = (await ask("GET", "history", deviceIds=device.id, pins="v3"))["series"]
    return {pin: value["display"] for pin, value in values.items()} | {"chart": chart["display"]}


async def test_paired_datastream_without_a_value_is_not_used(hub, world):
    display = (await displays(hub, world))["v0"]
    assert ("68.9 °F", None) == (display["text"], display["pin"])


async def test_expired_paired_datastream_is_displayed_as_expired(hub, world):
    expire = ("convert = false", 'convert = false\nexpire = { after = "1s", show = "No Data" }')
    display = await displays(hub, world, [expire], (20.5, 69))
    assert "69 °F" == display["v0"]["text"]
    [device] = [device for device in hub.devices.by_id.values() if device.name == "Other"]
    with trio.fail_after(patient(10)):
        while hub.value_timeouts.expired_text(device.points[1]) is None:
            await trio.sleep(0.05)
    async with api_client(world) as ask:
        values, _ = await read(ask, device)
    assert "No Data" == values["v0"]["display"]["text"]


async def test_spellings_of_a_unit_are_equivalent(hub, world):
    changes = [('units = "°C"\npair', 'units = "℃"\npair'), ('units = "°F"', 'units = "℉"')]
    display = (await displays(hub, world, changes, (20.5, 69)))["v0"]
    assert "v1" == display["pin"]
    options = [('options = ["km/h", "mph"]', 'options = ["°C", "K"]'), ('units = "°C"\npair', 'units = "℃"\npair')]
    display = (await displays(hub, world, options, metadata=[("Shown in", "K")]))["v0"]
    assert "293.65 K" == display["text"]


async def test_conversion_switch_with_a_removed_option_is_ignored(hub, world):
    await displays(hub, world, metadata=[("Shown in", "mph")])
    [device] = [device for device in hub.devices.by_id.values() if device.name == "Other"]
    await hub.templates.save(TEMPLATE.replace('options = ["km/h", "mph"]', 'options = ["km/h", "kn"]'), SYSTEM)
    async with api_client(world) as ask:
        await ask("PUT", "profile", {"units": "metric"})
        values, _ = await read(ask, device)
    assert "km/h" == values["v2"]["display"]["units"]


async def test_enum_is_not_converted(hub, world):
    display = await displays(hub, world, [('type = "enum"', 'type = "enum"\nunits = "°C"')])
    assert ("°C", 1, None) == (display["v3"]["units"], display["v3"]["factor"], display["chart"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"unitSystem": "NAUTICAL"}, "unitSystem"),
        ({"unitOverrides": {"temperature": "kg"}}, "'kg' is not a unit of temperature"),
        ({"unitOverrides": {"mood": "°C"}}, "unitOverrides can have the keys temperature"),
        ({"unitOverrides": ["°C"]}, "unitOverrides"),
    ],
)
async def test_invalid_units_of_an_organization_are_rejected(world, body, message):
    async with api_client(world) as ask:
        response = await ask("PUT", "organization", {"orgId": world.orgs["acme"]} | body)
        assert 400 == response.status
        assert message in response.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('pair = "V1"', 'pair = "V9"', "pair 'V9' must be another datastream's pin"),
        ('pair = "V1"', 'pair = "V0"', "pair 'V0' must be another datastream's pin"),
        ('pair = "V1"', 'pair = "V2"', "'km/h' must be another unit of the same kind as '°C'"),
        ('options = ["km/h", "mph"]', 'options = ["km/h", "kg"]', "not two units that can be converted"),
        ('options = ["km/h", "mph"]', 'options = ["km/h", "km/h"]', "not two units that can be converted"),
        ('options = ["km/h", "mph"]', 'options = ["kg", "g"]', "there are 2 unit conversion switches for g and kg"),
        ("convert = false", "convert = 3", "must be true or false"),
    ],
)
async def test_invalid_units_of_a_template_are_rejected(hub, old, new, message):
    with pytest.raises(BadTemplate, match=message):
        await hub.templates.save(TEMPLATE.replace(old, new), SYSTEM)


async def test_units_are_listed_for_every_user(world):
    async with api_client(world) as ask:
        listed = {unit["name"]: unit for unit in await ask("GET", "units")}
    assert {"name": "°F", "group": "temperature", "system": "imperial", "other": "°C"}.items() <= listed["°F"].items()


async def test_units_of_an_organization_survive_a_restart(hub_config):
    async with running(hub_config) as hub:
        await hub.organizations.change(1, SYSTEM, units="imperial", unit_overrides={"speed": "kn"})
    async with running(hub_config) as hub:
        assert ("imperial", {"speed": "kn"}) == (hub.organizations.root.units, hub.organizations.root.unit_overrides)
