"""`hub.uplinks`, called as a plugin with a protocol of its own calls it."""

from __future__ import annotations

import pytest
from support.rejections import rejection_reasons

from hub import MAX_IMPORT, ONLINE, NotFound, Rejected, TooMany, UnknownPin, WrongType
from hub.domain import BY_TOKEN, WrongValue
from hub.testing import LOOPBACK, add_device

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[lifecycle]
reports_data = true
[[datastream]]
pin = "V0"
name = "Leistung é"
[[datastream]]
pin = "V1"
name = "Mode"
type = "string"
sync = true
[[event]]
code = "hot"
name = "Hot"
type = "warning"
[[metadata]]
name = "Room"
[[metadata]]
name = "Contact"
type = "contact"
"""
QUOTA = 5


@pytest.fixture
def hub_toml():
    return LOOPBACK + f"[limits]\nimport_points_per_day = {QUOTA}\n"


@pytest.fixture
async def meter(hub):
    return (await add_device(hub, METER))[0]


def stream(device, pin=0):
    return device.points[pin].datastream


# -- values -----------------------------------------------------------------------------------------------------------


async def test_values_by_name_and_pin_share_one_timestamp_and_make_the_device_online(hub, meter):
    receipt = hub.uplinks.write_values(meter, [("Leistung e\u0301", "21.5"), (1, "eco")], "lora")
    await receipt.durable()

    (power_at, power), (mode_at, mode) = (hub.writes.latest(meter, stream(meter, pin)) for pin in (0, 1))
    assert (21.5, "eco") == (power, mode)
    assert power_at == mode_at
    assert ONLINE == meter.status


@pytest.mark.parametrize(
    ("values", "error", "recorded"),
    [
        ([(0, "1"), ("Leistung", "2")], UnknownPin, False),
        ([(0, "1"), (7, "2")], UnknownPin, True),
        ([("Mode", "eco"), (0, "warm")], WrongType, False),
    ],
)
async def test_no_value_is_written_if_one_is_invalid(hub, meter, values, error, recorded):
    with pytest.raises(error):
        hub.uplinks.write_values(meter, values, "lora", address="10.0.0.7")
    assert [] == hub.uplinks.current_values(meter, [0, 1])
    assert recorded == any("has no V7" in reason for reason in rejection_reasons(hub))


async def test_writing_no_values_returns_no_receipt(hub, meter):
    assert hub.uplinks.write_values(meter, [], "lora") is None


async def test_current_values_are_of_the_given_pins_or_of_all_synced_datastreams(hub, meter):
    hub.uplinks.write_values(meter, [(0, "5"), (1, "eco")], "lora")
    assert [(stream(meter), 5), (stream(meter, 1), "eco")] == hub.uplinks.current_values(meter, [0, 1, 9])
    assert [(stream(meter, 1), "eco")] == hub.uplinks.current_values(meter)


async def test_error_for_an_unknown_datastream_suggests_the_most_similar_name(hub, meter):
    with pytest.raises(UnknownPin, match="did you mean 'Mode'"):
        hub.uplinks.datastream(meter, "Modus")
    with pytest.raises(UnknownPin, match="V1 is a pin; the datastream is named 'Mode'"):
        hub.uplinks.datastream(meter, "V1")


async def test_imported_values_count_against_the_quota_unless_they_are_rejected(hub, meter):
    now, uplinks = hub.clock.now(), hub.uplinks
    points = [(stream(meter), now - number * 1000, number) for number in range(QUOTA)]
    with pytest.raises(Rejected, match="point 5"):
        await uplinks.import_values(meter, [*points[:-1], (stream(meter), now, "warm")], "lora")
    receipt = await uplinks.import_values(meter, points, "lora")
    await receipt.durable()
    assert [(stream(meter), 0)] == uplinks.current_values(meter, [0])
    with pytest.raises(TooMany):
        await uplinks.import_values(meter, points[:1], "lora")


async def test_import_of_too_many_values_is_rejected_before_the_quota(hub, meter):
    with pytest.raises(Rejected, match=f"at most {MAX_IMPORT} values, not {MAX_IMPORT + 1}"):
        await hub.uplinks.import_values(meter, [(stream(meter), 1, 1)] * (MAX_IMPORT + 1), "lora")
    assert [] == rejection_reasons(hub)


# -- information, metadata, properties, events ------------------------------------------------------------------------


async def test_info_activates_the_device_and_drops_unprintable_fields(hub, meter):
    await hub.uplinks.report_info(meter, {"fw": "1.2", "mcu": "bell\a"}, "10.0.0.7")
    assert {"fw": "1.2"} == meter.firmware
    assert meter.activated
    assert [] == rejection_reasons(hub)


async def test_info_of_firmware_for_another_template_is_recorded_and_can_be_sent_back(hub, meter):
    sent = []
    await hub.uplinks.report_info(meter, {"tmpl": "TMPL0other"}, "10.0.0.7", sent.append)
    assert ["runs firmware for template TMPL0other, not TMPL0meter"] == sent
    assert [f"device {meter.name} {sent[0]}"] == rejection_reasons(hub)


async def test_metadata_is_set_and_read_by_name_and_number(hub, meter):
    await hub.uplinks.set_metadata(meter, 1, "Kitchen")
    assert ("text", "Kitchen") == await hub.uplinks.metadata(meter, "Room")
    assert ("text", "Kitchen") == await hub.uplinks.metadata(meter, 1)
    assert ("text", meter.name) == await hub.uplinks.metadata(meter, "Device Name")
    for name in ("Floor", 3):
        with pytest.raises(NotFound):
            await hub.uplinks.metadata(meter, name)
        with pytest.raises(NotFound):
            await hub.uplinks.set_metadata(meter, name, "1")


async def test_time_zone_is_found_under_blynks_name_too(hub, meter):
    await hub.uplinks.set_metadata(meter, "Device Timezone", "Europe/Kyiv")
    for name in ("Device Timezone", "Time Zone"):
        assert ("time_zone", "Europe/Kyiv") == await hub.uplinks.metadata(meter, name)
    assert "Europe/Kyiv" == hub.timezone_of(meter)


async def test_error_for_metadata_that_devices_cannot_change_can_be_worded_by_the_transport(hub, meter):
    with pytest.raises(WrongValue, match="metadata field Contact has the type contact, which devices cannot change"):
        await hub.uplinks.set_metadata(meter, "Contact", "{}")
    with pytest.raises(WrongValue, match="^no contact$"):
        await hub.uplinks.set_metadata(meter, "Contact", "{}", BY_TOKEN, "no {type}")


async def test_auth_token_is_returned_only_to_a_device_that_logged_in_with_it(hub, meter):
    assert ("text", "secret") == await hub.uplinks.metadata(meter, "Auth Token", "secret")
    with pytest.raises(NotFound):
        await hub.uplinks.metadata(meter, "Auth Token")


async def test_location_is_latitude_and_longitude_or_empty(hub, meter):
    assert "" == await hub.uplinks.location(meter)
    await hub.metadata.set(meter, "Location", '{"lat": 48.2, "lon": 16.37}', meter.as_principal())
    assert "48.2,16.37" == await hub.uplinks.location(meter)


async def test_properties_are_set_by_name_and_pin_or_not_at_all(hub, meter):
    await hub.uplinks.set_properties(meter, ["Mode", 0], {"label": ["Now"]})
    values = await hub.properties.values_for(meter)
    assert {("Now",)} == {properties["label"] for properties in values.values()}
    assert 2 == len(values)
    with pytest.raises(UnknownPin):
        await hub.uplinks.set_properties(meter, [0, "Modus"], {"label": ["Later"]})
    assert values == await hub.properties.values_for(meter)


async def test_event_is_logged_and_resolved(hub, meter):
    event = await hub.uplinks.log_event(meter, "hot", "95 °C")
    assert ("hot", "95 °C") == (event.code, event.description)
    assert 1 == await hub.uplinks.resolve_event(meter, "hot")
    assert 0 == await hub.uplinks.resolve_event(meter, "hot", every=True)
    with pytest.raises(Rejected):
        await hub.uplinks.log_event(meter, "cold")
