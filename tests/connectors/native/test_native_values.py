"""Native values: virtual writes in both directions, groups with a timestamp, and HARDWARE_SYNC."""

from __future__ import annotations

import pytest
from support.facts import collect_facts
from support.native_devices import HARDWARE, add_native_device
from support.raw_native import online
from support.rejections import rejection_reasons
from support.times import NOON
from support.values import current_value, write_value

from connectors.native.protocol import Cmd, Status
from hub.facts import ValueWritten

# -- virtual writes ---------------------------------------------------------------------------------------------------


async def test_value_is_stored_without_a_response(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "5.0000000")
        await client.send(Cmd.HARDWARE, "vw", "1", "grün")
        await client.send(Cmd.HARDWARE, "vw", "2", "3.5000000")
        assert [] == await client.received()

    assert [5, "grün", 3.5] == [current_value(hub, device, pin) for pin in (0, 1, 2)]


async def test_multiple_values_are_an_array_in_both_directions(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "1", "2", "3")
        assert [] == await client.received()
        assert (1, 2, 3) == current_value(hub, device, 0)
        write_value(hub, device, 0, ["4", "5"])
        assert [("vw", "0", "4", "5")] == [parts[2:] for parts in await client.received()]


async def test_value_of_another_writer_is_pushed_and_the_devices_own_is_not(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "1")
        write_value(hub, device, 0, "2")
        write_value(hub, device, 1, "")

        assert [("vw", "0", "2"), ("vw", "1", "")] == [parts[2:] for parts in await client.received()]


@pytest.mark.parametrize(
    "parts",
    [
        ("vw",),
        ("vw", "0"),
        ("vw", "256", "1"),
        ("vw", "-1", "1"),
        ("vw", "x", "1"),
        ("vw", "٣", "1"),
        ("xx", "0", "1"),
        ("",),
    ],
)
async def test_malformed_hardware_frame_is_answered_with_2(hub, parts):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, *parts)
        assert [] == await client.received()


@pytest.mark.parametrize(
    ("pin", "value"), [("0", "x"), ("0", "1.5"), ("0", ""), ("2", "nan"), ("2", "\udcff"), ("1", "x" * 1025)]
)
async def test_value_of_the_wrong_type_is_answered_with_2_and_recorded_with_its_pin(hub, pin, value):
    device, token = await add_native_device(hub, "Kitchen")
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", pin, "1")
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, "vw", pin, value)
        assert [] == await client.received()

    [reason] = rejection_reasons(hub)
    assert f"device Kitchen: V{pin}" in reason
    assert str(current_value(hub, device, int(pin))).startswith("1")


async def test_text_that_is_not_utf_8_is_decoded_as_latin_1(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "1", b"gr\xfcn".decode("utf-8", "surrogateescape"))
        assert [] == await client.received()

    assert "grün" == current_value(hub, device, 1)


async def test_value_for_an_unknown_pin_is_recorded_once_with_the_datastream_to_add(hub, caplog):
    _, token = await add_native_device(hub, "Kitchen")
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "77", "1")
        assert [] == await client.received()
        [reason] = rejection_reasons(hub)
        for value in ("2", "3"):
            await client.send(Cmd.HARDWARE, "vw", "77", value)
        assert [] == await client.received()

    assert "Kitchen" in reason
    assert '[[datastream]] / pin = "V77"' in reason
    assert 1 == caplog.text.count("has no V77")


# -- groups -----------------------------------------------------------------------------------------------------------


async def test_values_of_a_group_share_the_timestamp_of_its_begin(hub_at_noon, time):
    _, token = await add_native_device(hub_at_noon)
    written = collect_facts(hub_at_noon, ValueWritten)
    async with online(hub_at_noon, token) as client:
        for command, *parts in (
            (Cmd.GROUP, "b"),
            (Cmd.HARDWARE, "vw", "0", "1"),
            (Cmd.HARDWARE, "vw", "1", "x"),
            (Cmd.GROUP, "e"),
            (Cmd.HARDWARE, "vw", "0", "2"),
        ):
            await client.send(command, *parts)
            assert [] == await client.received()
            time.wall += 100

    assert [(1, NOON), ("x", NOON), (2, NOON + 400)] == [(fact.value, fact.ts) for fact in written]
    assert {True} == {fact.latest for fact in written}


async def test_group_may_have_its_own_timestamp(hub_at_noon):
    device, token = await add_native_device(hub_at_noon)
    written = collect_facts(hub_at_noon, ValueWritten)
    write_value(hub_at_noon, device, 0, "1")
    async with online(hub_at_noon, token) as client:
        for command, *parts in (
            (Cmd.GROUP, "t", str(NOON - 5000)),
            (Cmd.HARDWARE, "vw", "0", "2"),
            (Cmd.HARDWARE, "vw", "1", "x"),
            (Cmd.GROUP, "e"),
            (Cmd.HARDWARE, "vw", "1", "y"),
        ):
            await client.send(command, *parts)
        assert [] == await client.received()

    assert [(2, NOON - 5000, False), ("x", NOON - 5000, True), ("y", NOON, True)] == [
        (fact.value, fact.ts, fact.latest) for fact in written[1:]
    ]
    assert 1 == current_value(hub_at_noon, device, 0)


@pytest.mark.parametrize("timestamp", [NOON + 86_400_001, NOON - 91 * 86_400_000, 10**30])
async def test_implausible_group_timestamp_is_rejected(hub_at_noon, timestamp):
    device, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        await client.send(Cmd.GROUP, "t", str(timestamp))
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, "vw", "0", "2")
        await client.send(Cmd.GROUP, "e")
        await client.send(Cmd.HARDWARE, "vw", "0", "3")
        assert [] == await client.received()

    assert 3 == current_value(hub_at_noon, device, 0)
    assert 1 == len(hub_at_noon.rejections.recent)


async def test_group_ends_with_its_connection(hub_at_noon):
    _, token = await add_native_device(hub_at_noon)
    written = collect_facts(hub_at_noon, ValueWritten)
    async with online(hub_at_noon, token) as client:
        await client.send(Cmd.GROUP, "t", str(NOON - 5000))
        assert [] == await client.received()
    async with online(hub_at_noon, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await client.received()

    assert [NOON] == [fact.ts for fact in written]


@pytest.mark.parametrize("body", ["", "x", "t", "t\0x", "t\0-1", "t\0²", "b\0\0"])
async def test_malformed_group_does_not_end_the_connection(hub_at_noon, body):
    _, token = await add_native_device(hub_at_noon)
    async with online(hub_at_noon, token) as client:
        await client.send(Cmd.GROUP, body)
        await client.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await client.received()


# -- HARDWARE_SYNC ----------------------------------------------------------------------------------------------------


async def request_values(client, *parts):
    """Return the response to HARDWARE_SYNC as (pin, value, …); its frames must carry the message id of the request."""
    message_id = await client.send(Cmd.HARDWARE_SYNC, *parts, message=4711)
    received = await client.received()
    assert {(HARDWARE, message_id, "vw")} >= {frame[:3] for frame in received}
    return [frame[3:] for frame in received]


async def test_sync_of_all_returns_flagged_datastreams_with_a_value(hub):
    device, token = await add_native_device(hub)
    write_value(hub, device, 0, "7")
    write_value(hub, device, 2, "1.5")
    async with online(hub, token) as client:
        assert [("0", "7"), ("4", "20")] == await request_values(client)


async def test_sync_of_pins_ignores_their_flag(hub):
    device, token = await add_native_device(hub)
    write_value(hub, device, 0, ["1", "2"])
    write_value(hub, device, 1, "")
    async with online(hub, token) as client:
        assert [("2", "2.5"), ("0", "1", "2"), ("1", "")] == await request_values(client, "vr", "2", "0", "1")
        write_value(hub, device, 2, "1.5")
        assert [("vw", "2", "1.5")] == [parts[2:] for parts in await client.received()]
        assert [("2", "1.5")] == await request_values(client, "vr", "2")


@pytest.mark.parametrize("parts", [("vr", "3"), ("vr", "200"), ("vr",), ("dr", "4"), ("ar", "4")])
async def test_sync_of_a_pin_without_a_value_has_no_response(hub, parts):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert [] == await request_values(client, *parts)


@pytest.mark.parametrize("parts", [("xx",), ("vr", "x"), ("vr", "1", "-1")])
async def test_malformed_sync_is_answered_with_2(hub, parts):
    _, token = await add_native_device(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE_SYNC, *parts)
