"""The native protocol, the hub's side: real sockets, and frames as devices send them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import attrs
import pytest
import trio
import trio.testing
from support.raw_native import OK, PATIENCE, online, open_connection
from support.rejections import rejection_reasons
from support.times import until

from connectors.native.client import Client, Disconnected, LoginFailed, connect
from connectors.native.protocol import Cmd, Decoder, Status, frame, response
from connectors.native.timeouts import NativeTimeouts
from hub.clock import Clock
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.errors import Conflict
from hub.facts import DeviceConnected, DeviceDisconnected, DeviceInfo, ValueWritten, WireFrame
from hub.model import SYSTEM, AppConnected, Reboot, Redirect, SetDatastream
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

TEMPLATE = """
[template]
id = "TMPL0native"
name = "Native"
[[datastream]]
pin = "V0"
name = "Count"
type = "integer"
sync = true
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
sync = true
[[datastream]]
pin = "V2"
name = "Level"
type = "double"
default = 2.5
[[datastream]]
pin = "V3"
name = "Never written"
type = "string"
sync = true
[[datastream]]
pin = "V4"
name = "Setpoint"
type = "integer"
default = 20
sync = true
[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"
description = "It is too hot"
[[event]]
code = "door"
name = "Door"
[[metadata]]
name = "Room"
default = "Attic"
"""
#: 2026-07-01T12:00:00Z in milliseconds.
NOON = 1_782_907_200_000
INFO = {"ver": "1.0", "h-beat": "45", "buff-in": "1024"}
HARDWARE, INTERNAL, RESPONSE = int(Cmd.HARDWARE), int(Cmd.INTERNAL), int(Cmd.RESPONSE)


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[hub]\ntimezone = "Europe/Kyiv"\n'


@pytest.fixture
def start(tmp_path, hub_toml, hub_timeouts):
    """Starts a hub with some more configuration, or its own clock."""

    @asynccontextmanager
    async def started(toml="", clock=None):
        clock = clock or Clock(monotonic=trio.current_time)
        config = parse(hub_toml + toml).with_data(str(tmp_path / "data"))
        async with running(config, clock=clock, timeouts=hub_timeouts) as hub:
            yield hub

    return started


class Stamps:
    """The hub's wall clock: stands until it is moved."""

    def __init__(self):
        self.ms = NOON

    def clock(self):
        return Clock(wall=lambda: self.ms * 1_000_000, monotonic=trio.current_time)


@pytest.fixture
def stamps():
    return Stamps()


async def add(hub, name="Device"):
    return await add_device(hub, TEMPLATE, name)


def current(hub, device, pin):
    return hub.writes.current(device, device.points[pin].datastream)


def write(hub, device, pin, raw):
    return hub.write(Write(device, pin, raw, "test", SYSTEM))


def facts(hub, *kinds):
    """A list that such facts are put into."""
    found = []
    for kind in kinds:
        hub.subscribe(kind, found.append)
    return found


def stored(hub, sql):
    """What another program finds in the configuration file."""
    with closing(sqlite3.connect(hub.storage.configuration.path)) as file:
        return file.execute(sql).fetchall()


@asynccontextmanager
async def locked(hub):
    """Nothing can be committed to the configuration file for the length of the block."""
    with closing(sqlite3.connect(hub.storage.configuration.path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield
        file.execute("ROLLBACK")


# -- logging in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
async def test_both_logins(hub, command):
    device, token = await add(hub)
    connected = facts(hub, DeviceConnected)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)

        assert [DeviceConnected(device, "native", "127.0.0.1")] == connected
        assert [] == rejection_reasons(hub)


async def test_a_login_may_come_in_any_pieces(hub):
    _, token = await add(hub)
    async with open_connection(hub) as client:
        for byte in client.frame(Cmd.HW_LOGIN, token):
            await client.stream.send_all(bytes([byte]))

        assert (RESPONSE, 1, OK) == await client.next()


async def test_a_wrong_token_is_answered_with_9_and_may_be_corrected(hub, caplog):
    _, token = await add(hub)
    wrong = token[:-2] + "!?"
    async with open_connection(hub) as client:
        assert Status.INVALID_TOKEN == await client.login(wrong)
        assert Status.INVALID_TOKEN == await client.login("")
        assert OK == await client.login(token)
        assert [] == await client.received()
    assert ["unknown token ending …!?", "unknown token ending …"] == rejection_reasons(hub)
    assert wrong[:-2] not in caplog.text


@pytest.mark.parametrize("command", [Cmd.PING, Cmd.HARDWARE, Cmd.INTERNAL, Cmd.EVENT_LOG])
async def test_a_first_frame_that_is_no_login_ends_the_connection_without_an_answer(hub, command):
    async with open_connection(hub) as client:
        await client.send(command, "vw", "0", "1")

        assert [] == await client.read_to_end()
    assert 1 == len(hub.rejections.recent)


async def test_nothing_but_a_login_is_heard_before_the_login(hub):
    device, _ = await add(hub)
    async with open_connection(hub) as client:
        assert Status.INVALID_TOKEN == await client.login("x" * 32)
        await client.send(Cmd.HARDWARE, "vw", "0", "1")

        assert [] == await client.read_to_end()
    assert "instead of a login" in rejection_reasons(hub)[-1]
    assert None is current(hub, device, 0)


async def test_a_second_login_is_answered_with_4_and_changes_nothing(hub):
    device, token = await add(hub)
    _, other = await add(hub, "Other")
    async with online(hub, token) as client:
        assert Status.ALREADY_REGISTERED == await client.login(token)
        assert Status.ALREADY_REGISTERED == await client.login(other)
        await client.send(Cmd.HARDWARE, "vw", "0", "7")
        assert [] == await client.received()

    assert 7 == current(hub, device, 0)


@pytest.mark.parametrize("said", [frame(Cmd.HW_LOGIN, 1, ("x" * 32,))[:20], frame(Cmd.HW_LOGIN, 1, ("x" * 32,))])
@pytest.mark.timeouts(NativeTimeouts(login=0.05, sweep=0.01))
async def test_who_has_not_logged_in_at_the_deadline_is_closed(hub, said):
    async with open_connection(hub) as client:
        await client.stream.send_all(said)
        await client.read_to_end()

    assert ["did not log in"] == [reason[:14] for reason in rejection_reasons(hub) if "token" not in reason]


async def test_the_deadline_of_a_login_does_not_move_with_every_byte(hub, mock_clock):
    _, token = await add(hub)
    async with open_connection(hub) as client, online(hub, token, h_beat=10) as other:
        await client.stream.send_all(b"\x1d")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            mock_clock.jump(8)
            assert [] == await other.received()
            await client.stream.send_all(b"\0")
        await client.read_to_end()

        assert [] == await other.received()


@pytest.mark.parametrize("length", [129, 10_000, 65_535])
async def test_a_login_that_announces_too_much_is_closed_at_once(hub, length):
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x1d\0\1" + length.to_bytes(2, "big") + b"x")

        assert [] == await client.read_to_end()
    [reason] = rejection_reasons(hub)
    assert f"a body of {length} bytes exceeds the limit" in reason


BROKEN = [
    (b"\x14\0\2\x80\0", "a body of 32768 bytes"),
    (b"\x14\0\2\xff\xff" + bytes(100), "a body of 65535 bytes"),
    (b"\x63\0\2\0\0", "command 99"),
    (b"\x01\0\2\0\0", "command 1 "),
    (b"GET / HTTP/1.1\r\n\r\n", "command 71"),
]


@pytest.mark.parametrize(("data", "said"), BROKEN)
async def test_a_device_that_breaks_the_protocol_is_closed_with_one_line_and_nobody_else(hub, data, said):
    device, token = await add(hub, "Kitchen")
    _, token_of_other = await add(hub, "Other")
    async with online(hub, token_of_other) as other, online(hub, token) as client:
        await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "7") + data)

        assert [] == await client.read_to_end()
        assert [] == await other.received()
    [reason] = rejection_reasons(hub)
    assert said in reason
    assert "Kitchen" in reason
    assert 7 == current(hub, device, 0)


# -- frames -----------------------------------------------------------------------------------------------------------


async def test_ping_is_answered_with_its_id(hub):
    _, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        for message in (5, 65_535, 5):
            assert ([], OK) == await client.ask(Cmd.PING, message=message)


async def test_message_id_0_is_answered_with_1(hub):
    device, token = await add(hub)
    write(hub, device, 0, "7")
    async with online(hub, token) as client:
        for command, *parts in ((Cmd.PING,), (Cmd.HARDWARE_SYNC, "vr", "0"), (Cmd.INTERNAL, "rtc", "sync")):
            await client.send(command, *parts, message=0)
            assert 1 == (await client.next())[1]


async def test_pushes_have_ids_other_than_0(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        hub.command(device, Reboot())
        hub.command(device, Reboot())

        assert 0 not in {(await client.next())[1], (await client.next())[1]}


async def test_many_frames_of_one_read_are_all_heard_in_order(hub):
    device, token = await add(hub)
    written = facts(hub, ValueWritten)
    async with online(hub, token) as client:
        await client.stream.send_all(b"".join(client.frame(Cmd.HARDWARE, "vw", "0", str(n)) for n in range(100)))
        assert [] == await client.received()

    assert list(range(100)) == [fact.value for fact in written]
    assert device is written[0].device


async def test_only_whole_frames_are_sent(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        received = []
        for n in range(200):
            hub.command(device, SetDatastream(n, ("x" * 20,)))
        while len(received) < 200:
            received += await client.read()
            assert b"" == client._decoder._incomplete


async def test_what_old_firmware_has_and_nobody_answers(hub):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert [Status.ILLEGAL_COMMAND] * 3 == [
            await client.status(command, "a", "b", "c") for command in (Cmd.TWEET, Cmd.EMAIL, Cmd.SMS)
        ]
        assert OK == await client.status(Cmd.PUSH, "It burns")
        for command, *parts in (
            (Cmd.DEBUG_PRINT, "x"),
            (Cmd.HARDWARE, "vr", "1"),
            (Cmd.HARDWARE, "dw", "4", "1"),
            (Cmd.HARDWARE, "aw", "4", "1"),
            (Cmd.INTERNAL, "vfs", "x"),
            (Cmd.INTERNAL, "nonsense"),
        ):
            await client.send(command, *parts)
        await client.stream.send_all(response(9, Status.ILLEGAL_COMMAND))
        assert [] == await client.received()


# -- info -------------------------------------------------------------------------------------------------------------

INFOS = {
    "c++ linux": "ver\x001.4.0\0h-beat\x0040\0buff-in\x004096\0dev\0Linux\0fw\x000.1.0\0conn\0Socket\0tmpl\0TMPL0native\0",
    "arduino": "mcu\x001.0.1\0fw-type\0TMPL0native\0build\0Nov 23 2026\0blynk\x001.3.2\0h-beat\x0045\0buff-in\x001024\0dev\0ESP32",
    "javascript": "ver\x000.5.4\0buff-in\x004096\0dev\0js",
    "blynklib": "ver\x000.2.6\0buff-in\x001024\0h-beat\x0010\0dev\0python",
}


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS)
async def test_what_firmware_tells_is_answered_and_kept(hub, info):
    device, token = await add(hub)
    told = facts(hub, DeviceInfo)
    words = info.rstrip("\0").split("\0")
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        assert OK == await client.status(Cmd.INTERNAL, info)
        assert [] == await client.received()

    assert dict(zip(words[::2], words[1::2], strict=True)) == device.firmware
    assert [DeviceInfo(device)] == told
    assert [] == rejection_reasons(hub)


async def test_what_firmware_told_is_known_after_a_restart(start):
    async with start() as hub:
        before, token = await add(hub)
        async with online(hub, token, fw="1.2.3") as client:
            assert [] == await client.received()
    async with start() as hub:
        after = hub.devices.get(before.id)

    assert {"ver": "1.0", "fw": "1.2.3"} == after.firmware
    assert before.activated == after.activated is not None


async def test_firmware_for_another_template_is_said(hub):
    _, token = await add(hub)
    async with online(hub, token, tmpl="TMPLother"):
        [reason] = rejection_reasons(hub)

    assert "TMPLother" in reason
    assert "TMPL0native" in reason


@pytest.mark.parametrize("odd", ["h-beat\0x", "h-beat\0\xb2\0buff-in\0-1", "buff-in\x00" + "9" * 4000, "ver"])
async def test_odd_numbers_in_an_info_are_survived(hub, odd):
    _, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        assert OK == await client.status(Cmd.INTERNAL, odd)
        assert [] == await client.received()


async def test_nothing_is_pushed_between_the_login_and_the_answer_to_the_info(hub):
    device, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        for value in ("1", "2", "3"):
            write(hub, device, 0, value)
        hub.command(device, Reboot())
        assert [] == await client.received()
        assert OK == await client.info()

        assert [(HARDWARE, "vw", "0", "3"), (INTERNAL, "dbg", "reboot")] == [
            (command, *parts) for command, _, *parts in (await client.next(), await client.next())
        ]


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(info=0.05))
async def test_a_client_that_never_tells_anything_gets_its_pushes_after_a_while(hub, command):
    assert 1 <= NativeTimeouts().info <= 2
    device, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)
        write(hub, device, 0, "3")

        command, _, *parts = await client.next()
        assert (HARDWARE, "vw", "0", "3") == (command, *parts)


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(info=3600))
async def test_ping_is_answered_at_once_while_pushes_wait_for_the_info(hub, command):
    device, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)
        write(hub, device, 0, "3")
        await trio.testing.wait_all_tasks_blocked()

        assert [] == await client.received()


# -- one frame per send -----------------------------------------------------------------------------------------------


@pytest.mark.timeouts(NativeTimeouts(spacing=0.15))
async def test_a_client_of_the_old_login_gets_one_frame_per_send_with_time_between(hub):
    assert 0.06 <= NativeTimeouts().spacing
    device, token = await add(hub)
    async with open_connection(hub) as client:
        reads = []
        began = time.monotonic()
        await client.stream.send_all(client.frame(Cmd.LOGIN, token) + client.frame(Cmd.INTERNAL, "ver", "0.2.6"))
        write(hub, device, 1, "before")
        while len(reads) < 2:
            reads.append(await client.read())
        for pin, value in ((0, "1"), (1, "x"), (0, "2")):
            write(hub, device, pin, value)
        await client.stream.send_all(client.frame(Cmd.HARDWARE_SYNC, message=8) + client.frame(Cmd.PING, message=9))
        while (RESPONSE, 9, OK) not in sum(reads, []) or len(reads) < 8:
            reads.append(await client.read())

    assert {1} == {len(read) for read in reads}
    assert time.monotonic() - began >= (len(reads) - 1) * 0.15
    assert [(RESPONSE, 1, OK)] * 2 == sum(reads[:2], [])


# -- buffers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("info", "buffer"), [({}, 250), ({"buff_in": 512}, 512), ({"buff_in": 4096}, 1100)])
async def test_no_frame_is_longer_than_the_clients_buffer(hub, info, buffer):
    device, token = await add(hub)
    head = len("vw\0" + "1\0")
    async with online(hub, token, **info) as client:
        for length in (buffer - head - 1, buffer - head, 10):
            if length <= 1024:
                write(hub, device, 1, "x" * length)
        received = await client.received()

    expected = [buffer - head - 1, 10] if buffer < 1024 else [10]
    assert expected == [len(parts[-1]) for parts in received]
    assert (1 if buffer < 1024 else 0) == len([r for r in rejection_reasons(hub) if f"buffer of {buffer} bytes" in r])


async def test_what_is_too_long_for_the_buffer_does_not_hold_up_the_rest(hub):
    device, token = await add(hub)
    write(hub, device, 0, "7")
    write(hub, device, 1, "x" * 1000)
    async with online(hub, token, buff_in=256) as client:
        await client.send(Cmd.HARDWARE_SYNC, "vr", "1", "0")

        assert ["7"] == [parts[-1] for parts in await client.received()]


# -- values -----------------------------------------------------------------------------------------------------------


async def test_a_value_is_kept_and_not_answered(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "5.0000000")
        await client.send(Cmd.HARDWARE, "vw", "1", "grün")
        await client.send(Cmd.HARDWARE, "vw", "2", "3.5000000")
        assert [] == await client.received()

    assert [5, "grün", 3.5] == [current(hub, device, pin) for pin in (0, 1, 2)]


async def test_several_values_are_an_array_both_ways(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "1", "2", "3")
        assert [] == await client.received()
        assert (1, 2, 3) == current(hub, device, 0)
        write(hub, device, 0, ["4", "5"])
        assert [("vw", "0", "4", "5")] == [parts[2:] for parts in await client.received()]


async def test_a_value_from_elsewhere_is_pushed_and_ones_own_is_not(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "1")
        write(hub, device, 0, "2")
        write(hub, device, 1, "")

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
async def test_malformed_hardware_is_answered_with_2(hub, parts):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, *parts)
        assert [] == await client.received()


@pytest.mark.parametrize(
    ("pin", "value"), [("0", "x"), ("0", "1.5"), ("0", ""), ("2", "nan"), ("2", "\udcff"), ("1", "x" * 1025)]
)
async def test_a_value_of_the_wrong_type_is_answered_with_2_and_named(hub, pin, value):
    device, token = await add(hub, "Kitchen")
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", pin, "1")
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, "vw", pin, value)
        assert [] == await client.received()

    [reason] = rejection_reasons(hub)
    assert f"device Kitchen: V{pin}" in reason
    assert str(current(hub, device, int(pin))).startswith("1")


async def test_bytes_that_are_not_utf8_are_read_as_the_javascript_client_means_them(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "1", b"gr\xfcn".decode("utf-8", "surrogateescape"))
        assert [] == await client.received()

    assert "grün" == current(hub, device, 1)


async def test_an_unknown_pin_is_not_answered_and_said_with_what_would_add_it(hub, caplog):
    _, token = await add(hub, "Kitchen")
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


@pytest.fixture
async def timed(start, stamps):
    async with start(clock=stamps.clock()) as hub:
        yield hub


async def test_the_values_of_a_group_share_the_stamp_of_its_begin(timed, stamps):
    _, token = await add(timed)
    written = facts(timed, ValueWritten)
    async with online(timed, token) as client:
        for command, *parts in (
            (Cmd.GROUP, "b"),
            (Cmd.HARDWARE, "vw", "0", "1"),
            (Cmd.HARDWARE, "vw", "1", "x"),
            (Cmd.GROUP, "e"),
            (Cmd.HARDWARE, "vw", "0", "2"),
        ):
            await client.send(command, *parts)
            assert [] == await client.received()
            stamps.ms += 100

    assert [(1, NOON), ("x", NOON), (2, NOON + 400)] == [(fact.value, fact.ts) for fact in written]
    assert {True} == {fact.latest for fact in written}


async def test_a_group_may_bring_its_own_stamp(timed):
    device, token = await add(timed)
    written = facts(timed, ValueWritten)
    write(timed, device, 0, "1")
    async with online(timed, token) as client:
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
    assert 1 == current(timed, device, 0)


@pytest.mark.parametrize("stamp", [NOON + 86_400_001, NOON - 91 * 86_400_000, 10**30])
async def test_an_unbelievable_stamp_is_refused(timed, stamp):
    device, token = await add(timed)
    async with online(timed, token) as client:
        await client.send(Cmd.GROUP, "t", str(stamp))
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE, "vw", "0", "2")
        await client.send(Cmd.GROUP, "e")
        await client.send(Cmd.HARDWARE, "vw", "0", "3")
        assert [] == await client.received()

    assert 3 == current(timed, device, 0)
    assert 1 == len(timed.rejections.recent)


async def test_a_group_ends_with_its_connection(timed, stamps):
    _, token = await add(timed)
    written = facts(timed, ValueWritten)
    async with online(timed, token) as client:
        await client.send(Cmd.GROUP, "t", str(NOON - 5000))
        assert [] == await client.received()
    async with online(timed, token) as client:
        await client.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await client.received()

    assert [NOON] == [fact.ts for fact in written]


@pytest.mark.parametrize("body", ["", "x", "t", "t\0x", "t\0-1", "t\0²", "b\0\0"])
async def test_odd_groups_are_survived(timed, body):
    _, token = await add(timed)
    async with online(timed, token) as client:
        await client.send(Cmd.GROUP, body)
        await client.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await client.received()


# -- sync -------------------------------------------------------------------------------------------------------------


async def synced(client, *parts):
    """The answers to HARDWARE_SYNC as (pin, value, …); they carry its id."""
    asked = await client.send(Cmd.HARDWARE_SYNC, *parts, message=4711)
    received = await client.received()
    assert {(HARDWARE, asked, "vw")} >= {frame[:3] for frame in received}
    return [frame[3:] for frame in received]


async def test_sync_all_is_answered_with_what_has_a_value_and_is_flagged(hub):
    device, token = await add(hub)
    write(hub, device, 0, "7")
    write(hub, device, 2, "1.5")
    async with online(hub, token) as client:
        assert [("0", "7"), ("4", "20")] == await synced(client)


async def test_sync_of_pins_is_answered_whatever_their_flag(hub):
    device, token = await add(hub)
    write(hub, device, 0, ["1", "2"])
    write(hub, device, 1, "")
    async with online(hub, token) as client:
        assert [("2", "2.5"), ("0", "1", "2"), ("1", "")] == await synced(client, "vr", "2", "0", "1")
        write(hub, device, 2, "1.5")
        assert [("vw", "2", "1.5")] == [parts[2:] for parts in await client.received()]
        assert [("2", "1.5")] == await synced(client, "vr", "2")


@pytest.mark.parametrize("parts", [("vr", "3"), ("vr", "200"), ("vr",), ("dr", "4"), ("ar", "4")])
async def test_sync_of_what_has_no_value_is_silence(hub, parts):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert [] == await synced(client, *parts)


@pytest.mark.parametrize("parts", [("xx",), ("vr", "x"), ("vr", "1", "-1")])
async def test_malformed_sync_is_answered_with_2(hub, parts):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.HARDWARE_SYNC, *parts)


# -- properties -------------------------------------------------------------------------------------------------------


async def properties(hub, device):
    by_id = {stream.id: stream.pin for stream in device.template.datastreams}
    return {by_id[number]: values for number, values in (await hub.properties.values_for(device)).items()}


async def test_properties_are_kept_by_pin(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.PROPERTY, "0", "color", "#D3435C")
        assert OK == await client.status(Cmd.PROPERTY, "0", "color", "#23C48E")
        assert OK == await client.status(Cmd.PROPERTY, "0", "1", "2", "isDisabled", "true")
        assert OK == await client.status(Cmd.PROPERTY, "1", "labels", "Off", "Low", "High")
        assert [] == await client.received()

    assert {
        0: {"color": ("#23C48E",), "isDisabled": ("true",)},
        1: {"isDisabled": ("true",), "labels": ("Off", "Low", "High")},
        2: {"isDisabled": ("true",)},
    } == await properties(hub, device)


async def test_one_of_several_urls_is_set_by_its_index(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.PROPERTY, "1", "urls", "http://a", "http://b")
        assert OK == await client.status(Cmd.PROPERTY, "1", "url", "2", "http://c")

    assert {1: {"urls": ("http://a", "http://c")}} == await properties(hub, device)


@pytest.mark.parametrize(
    "parts",
    [
        ("0", "nonsense", "1"),
        ("0", "color"),
        ("color", "red"),
        ("0",),
        ("",),
        ("0", "", "x"),
        ("200", "color", "red"),
        ("0", "200", "color", "red"),
    ],
)
async def test_what_is_no_property_is_answered_with_11_and_not_kept(hub, parts):
    device, token = await add(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND_BODY == await client.status(Cmd.PROPERTY, *parts)
        assert [] == await client.received()

    assert {} == await properties(hub, device)


# -- events -----------------------------------------------------------------------------------------------------------


async def timeline(hub, device):
    """Code, description and whether it is open, newest first."""
    events = [event for event in await hub.timeline.newest(device) if event.type not in ("online", "offline")]
    return [(event.code, event.description, event.resolved is None) for event in events]


async def test_events_are_logged(timed, stamps):
    device, token = await add(timed)
    async with online(timed, token) as client:
        for parts in (
            ("too_hot",),
            ("door", "is open"),
            ("sys_ota", "Firmware updated from 1 to 2"),
            ("door", "x" * 300),
        ):
            assert OK == await client.status(Cmd.EVENT_LOG, *parts)
            stamps.ms += 1000

    assert [
        ("door", "x" * 300, True),
        ("sys_ota", "Firmware updated from 1 to 2", True),
        ("door", "is open", True),
        ("too_hot", "It is too hot", True),
    ] == await timeline(timed, device)


@pytest.mark.parametrize("parts", [("nonsense",), ("",), ("door", "x" * 301)])
async def test_what_is_no_event_is_answered_with_2_and_not_kept(hub, parts):
    device, token = await add(hub)
    async with online(hub, token) as client:
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.EVENT_LOG, *parts)

    assert [] == await timeline(hub, device)
    assert 1 == len(hub.rejections.recent)


async def test_events_of_one_code_come_a_second_apart(timed, stamps):
    _, token = await add(timed)
    async with online(timed, token) as client:
        answers = []
        for later, code in ((0, "door"), (999, "door"), (0, "too_hot"), (1, "door")):
            stamps.ms += later
            answers.append(await client.status(Cmd.EVENT_LOG, code))

    assert [OK, Status.QUOTA_LIMIT, OK, OK] == answers


async def test_events_of_one_device_are_limited_by_day(start, stamps):
    toml = '[storage]\ndurability = "normal"\n[limits]\nevents_per_day = 100\n'
    async with start(toml, clock=stamps.clock()) as hub:
        _, token = await add(hub)
        _, token_of_other = await add(hub, "Other")
        async with online(hub, token) as client, online(hub, token_of_other) as other:
            answers = []
            for _ in range(102):
                stamps.ms += 1000
                answers.append(await client.status(Cmd.EVENT_LOG, "door"))
            assert OK == await other.status(Cmd.EVENT_LOG, "door")
            stamps.ms += 86_400_000
            answers.append(await client.status(Cmd.EVENT_LOG, "door"))

    assert [OK] * 100 + [Status.QUOTA_LIMIT] * 2 + [OK] == answers


async def test_the_newest_event_or_every_one_is_resolved(timed, stamps):
    device, token = await add(timed)
    async with online(timed, token) as client:
        for code in ("door", "too_hot", "door", "door"):
            assert OK == await client.status(Cmd.EVENT_LOG, code)
            stamps.ms += 1000
        assert OK == await client.status(Cmd.EVENT_CLEAR, "door")
        assert [True, False][::-1] == [is_open for _, _, is_open in (await timeline(timed, device))[:2]]
        assert OK == await client.status(Cmd.EVENT_CLEAR, "door", "all")
        assert OK == await client.status(Cmd.EVENT_CLEAR, "nonsense")

    assert [("door", False), ("door", False), ("too_hot", True), ("door", False)] == [
        (code, is_open) for code, _, is_open in await timeline(timed, device)
    ]


# -- time -------------------------------------------------------------------------------------------------------------


def utc(*date):
    return str(int(datetime(*date, tzinfo=UTC).timestamp()))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (("rtc", "sync"), ("rtc", str(NOON // 1000 + 3 * 3600))),
        (("utc", "time"), ("utc", "time", str(NOON))),
        (("utc", "iso"), ("utc", "iso", "2026-07-01T15:00:00+03:00")),
        (("utc", "tz"), ("utc", "tz", "120", "60")),
        (("utc", "tz_name"), ("utc", "tz_name", "Europe/Kyiv")),
        (("utc", "tz_rule"), ("utc", "tz_rule", "EET-2EEST,M3.5.0/3,M10.5.0/4")),
        (("utc", "dst_next"), ("utc", "dst_next", utc(2026, 10, 25, 1), "120", utc(2027, 3, 28, 1), "180")),
    ],
)
async def test_the_time_is_told_in_the_hubs_time_zone(timed, asked, answer):
    _, token = await add(timed)
    async with online(timed, token) as client:
        message = await client.send(Cmd.INTERNAL, *asked)

        assert [(INTERNAL, message, *answer)] == await client.received()


@pytest.mark.parametrize("asked", [("utc",), ("utc", "nonsense"), ("utc", "")])
async def test_other_questions_about_the_time_are_silence(timed, asked):
    _, token = await add(timed)
    async with online(timed, token) as client:
        await client.send(Cmd.INTERNAL, *asked)

        assert [] == await client.received()


# -- metadata ---------------------------------------------------------------------------------------------------------


async def meta(client, name):
    """The value of a field; None when there is no answer but a status."""
    message = await client.send(Cmd.INTERNAL, "meta", "get", name)
    answers = [frame for frame in await client.received() if frame[0] == INTERNAL]
    assert answers in ([], [(INTERNAL, message, "meta", name, *answers[0][4:])] if answers else [])
    return answers[0][4] if answers else None


async def test_metadata_is_told(hub):
    device, token = await add(hub, "Kitchen lamp")
    async with online(hub, token) as client:
        assert ["Attic", "Kitchen lamp", token] == [
            await meta(client, name) for name in ("Room", "Device Name", "Auth Token")
        ]
        await hub.metadata.set(device, "Room", "Cellar", SYSTEM)
        assert [("meta", "Room", "Cellar")] == [frame[2:] for frame in await client.received()]
        assert "Cellar" == await meta(client, "Room")


async def test_metadata_is_set_and_not_echoed(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        for name, value in (("Room", "Hall"), ("Hotspot Name", "AP-1"), ("Device UID", "00:11")):
            assert OK == await client.status(Cmd.INTERNAL, "meta", "set", name, value)
            assert value == await meta(client, name)
        assert OK == await client.status(Cmd.INTERNAL, "meta", "set", "Room", "")
        assert [] == await client.received()

    assert {"Room": "", "Hotspot Name": "AP-1", "Device UID": "00:11"} == await hub.metadata.values_for(device)


async def test_fields_that_the_template_does_not_have(hub):
    device, token = await add(hub)
    async with online(hub, token) as client:
        # Edgent sets some on every boot.
        assert OK == await client.status(Cmd.INTERNAL, "meta", "set", "Nonsense", "x")
        assert Status.NO_DATA == await client.status(Cmd.INTERNAL, "meta", "get", "Nonsense")

    assert {"Room": "Attic"} == await hub.metadata.values_for(device)


async def test_the_token_cannot_be_set_nor_seen_on_the_wire_of_a_watcher(hub):
    device, token = await add(hub)
    frames = facts(hub, WireFrame)
    async with online(hub, token) as client:
        assert token == await meta(client, "Auth Token")
        await client.send(Cmd.INTERNAL, "meta", "set", "Auth Token", token)
        await client.send(Cmd.BRIDGE, "1", "i", token)
        await client.send(Cmd.HW_LOGIN, token)
        await client.received()

    assert frames
    assert [] == [fact.text for fact in frames if token in fact.text]
    assert {"Room": "Attic"} == await hub.metadata.values_for(device)


# -- bridge -----------------------------------------------------------------------------------------------------------


async def test_a_bridge_writes_to_another_device(hub):
    _, token = await add(hub)
    target, token_of_target = await add(hub, "Target")
    async with online(hub, token) as client, online(hub, token_of_target) as other:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", token_of_target)
        assert OK == await client.status(Cmd.BRIDGE, "64", "vw", "0", "1", "2")
        [(command, _, *parts)] = await other.received()

        assert command in (Cmd.HARDWARE, Cmd.BRIDGE)
        assert ["vw", "0", "1", "2"] == parts
        assert [] == await client.received()
    assert (1, 2) == current(hub, target, 0)


async def test_a_bridge_to_a_device_that_is_offline_is_answered_with_7_and_its_value_is_kept(hub):
    _, token = await add(hub)
    target, token_of_target = await add(hub, "Target")
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", token_of_target)
        assert Status.DEVICE_NOT_IN_NETWORK == await client.status(Cmd.BRIDGE, "64", "vw", "0", "5")

    assert 5 == current(hub, target, 0)


async def test_a_bridge_that_leads_nowhere_is_answered_with_6(hub):
    _, token = await add(hub)
    async with online(hub, token) as client:
        for parts in (("64", "vw", "0", "5"), ("64", "i", "x" * 32), ("64", "i"), ("64", "i", "")):
            assert Status.NOT_ALLOWED == await client.status(Cmd.BRIDGE, *parts)


async def test_a_device_has_at_most_100_bridges(start):
    async with start("[limits]\nburst = 1000\n") as hub:
        _, token = await add(hub)
        async with online(hub, token) as client:
            answers = [await client.status(Cmd.BRIDGE, str(n), "i", token) for n in range(102)]
            assert OK == await client.status(Cmd.BRIDGE, "5", "i", token)

    assert [OK] * 100 + [Status.NOT_ALLOWED] * 2 == answers


@pytest.mark.parametrize("parts", [("64", "vw", "0"), ("64", "vw", "x", "1"), ("64", "vw", "256", "1")])
async def test_a_malformed_bridge_is_answered_with_2(hub, parts):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(Cmd.BRIDGE, "64", "i", token)
        assert Status.ILLEGAL_COMMAND == await client.status(Cmd.BRIDGE, *parts)


# -- commands to a device ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (Redirect("example.org", 8080), (Cmd.REDIRECT, "example.org", "8080")),
        (Reboot(), (Cmd.INTERNAL, "dbg", "reboot")),
        # With a NUL at their end: C++ computes a negative length without.
        (AppConnected(True), (Cmd.INTERNAL, "acon", "")),
        (AppConnected(False), (Cmd.INTERNAL, "adis", "")),
        (SetDatastream(9, ("a", "b")), (Cmd.HARDWARE, "vw", "9", "a", "b")),
    ],
)
async def test_commands(hub, command, sent):
    device, token = await add(hub)
    with pytest.raises(Conflict):
        hub.command(device, command)
    async with online(hub, token) as client:
        hub.command(device, command)

        assert [sent] == [(code, *parts) for code, _, *parts in await client.received()]


# -- who is online ----------------------------------------------------------------------------------------------------


async def test_the_newest_session_of_a_device_wins_and_it_is_never_offline_in_between(hub):
    device, token = await add(hub)
    told = facts(hub, DeviceConnected, DeviceDisconnected)
    async with online(hub, token) as older:
        async with online(hub, token) as newer:
            assert [] == await older.read_to_end()
            await until(lambda: 1 == hub.listener.connections)
            write(hub, device, 0, "7")
            assert [("vw", "0", "7")] == [frame[2:] for frame in await newer.received()]
            assert [DeviceConnected] == [type(fact) for fact in told]
        await until(lambda: hub.sessions.get(device.id) is None)

    assert [DeviceConnected, DeviceDisconnected] == [type(fact) for fact in told]


async def test_values_of_a_session_that_was_replaced_are_not_taken(hub):
    """What it sent before it was closed is, what it sends after is not."""
    device, token = await add(hub)
    async with online(hub, token) as older, online(hub, token) as newer:
        await newer.send(Cmd.HARDWARE, "vw", "0", "2")
        assert [] == await newer.received()
        try:
            await older.send(Cmd.HARDWARE, "vw", "0", "1")
        except trio.BrokenResourceError:
            pass
        assert [] == await older.read_to_end()

    assert 2 == current(hub, device, 0)


async def test_who_hangs_up_is_offline_at_once(hub):
    device, token = await add(hub)
    told = facts(hub, DeviceDisconnected)
    async with online(hub, token):
        pass
    await until(lambda: told)

    assert [device] == [fact.device for fact in told]
    assert None is hub.sessions.get(device.id)


@pytest.mark.parametrize(("toml", "silence", "longer"), [("", 14.9, 15.1), ("heartbeat_factor = 2.3\n", 22.9, 23.1)])
async def test_a_device_is_closed_after_one_and_a_half_heartbeats_of_silence(start, mock_clock, toml, silence, longer):
    async with start(toml) as hub:
        device, token = await add(hub)
        _, token_of_other = await add(hub, "Other")
        disconnected = facts(hub, DeviceDisconnected)
        async with online(hub, token, h_beat=10) as client, online(hub, token_of_other, h_beat=3600) as other:
            for _ in range(3):
                mock_clock.jump(silence)
                await trio.testing.wait_all_tasks_blocked()
                assert [] == await client.received()
            mock_clock.jump(longer)

            assert [] == await client.read_to_end()
            assert [] == await other.received()
            await until(lambda: disconnected)
            assert [device] == [fact.device for fact in disconnected]
            assert "sent nothing" in disconnected[0].reason


async def test_a_device_that_told_no_heartbeat_has_one_of_45_seconds(hub, mock_clock):
    _, token = await add(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        mock_clock.jump(67.4)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == await client.received()
        mock_clock.jump(67.6)

        assert [] == await client.read_to_end()


@pytest.mark.parametrize(("told", "meant"), [("1", 10), ("0", 10), ("99999999999", 3600)])
async def test_heartbeats_are_kept_to_what_the_library_accepts(hub, mock_clock, told, meant):
    _, token = await add(hub)
    async with online(hub, token, h_beat=told) as client:
        mock_clock.jump(1.5 * meant - 0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == await client.received()
        mock_clock.jump(1.5 * meant + 0.1)

        assert [] == await client.read_to_end()


@pytest.mark.timeouts(NativeTimeouts(sweep=0.2))
async def test_reconnecting_does_not_gather_tasks(hub):
    def tasks():
        found, left = [], [trio.lowlevel.current_root_task()]
        while left:
            task = left.pop()
            found.append(task.name)
            left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        return len(found)

    _, token = await add(hub)
    async with online(hub, token):
        before = tasks()
    for _ in range(10):
        await until(lambda: not hub.listener.connections)
        async with online(hub, token) as client:
            assert [] == await client.received()
    async with online(hub, token):
        await until(lambda: before >= tasks())


# -- floods -----------------------------------------------------------------------------------------------------------

SLOW = "[limits]\nmessages_per_second = 50\nburst = 100\n"


#: A device that floods is not paused: the clock of these tests stands.
NO_PAUSE = NativeTimeouts(flood_pause=0, sweep=3600)


async def flood(client, count=130):
    """Send so many values at once; what was answered when the hub has read them and paused."""
    await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "1", message=60_000) * count)
    # The first PING may have come in the same read, the second is read after the pause.
    return await client.received() + await client.received()


LIMITED = [(RESPONSE, 60_000, Status.QUOTA_LIMIT)]


@pytest.mark.timeouts(attrs.evolve(NO_PAUSE, flood_patience=3600))
async def test_what_is_over_the_rate_is_dropped_and_answered_once_a_minute(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add(hub, "Kitchen")
        async with online(hub, token, h_beat=3600) as client:
            answers = []
            for later in (0, 10, 49, 1):
                mock_clock.jump(later)
                answers.append(await flood(client))

            assert [LIMITED, [], [], LIMITED] == answers
            # The info was one of the first hundred; in the last second there came fifty.
            assert 99 + 100 + 100 + 50 == hub.writes.count

        assert ["device Kitchen sends more than 50 messages/s"] * 2 == rejection_reasons(hub)


@pytest.mark.timeouts(NO_PAUSE)
async def test_a_device_at_its_rate_is_not_limited(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add(hub)
        async with online(hub, token, h_beat=3600) as client:
            for _ in range(20):
                mock_clock.jump(1)
                assert [] == await flood(client, 50)

        assert 20 * 50 == hub.writes.count


@pytest.mark.timeouts(NO_PAUSE)
async def test_who_does_not_stop_is_cut_off_and_nobody_else(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add(hub)
        device, token_of_other = await add(hub, "Other")
        disconnected = facts(hub, DeviceDisconnected)
        async with online(hub, token, h_beat=3600) as client, online(hub, token_of_other, h_beat=3600) as other:
            for second in range(10):
                await flood(client)
                mock_clock.jump(1)
                await other.send(Cmd.HARDWARE, "vw", "0", str(second))
                assert [] == await other.received()
            assert [] == disconnected
            mock_clock.jump(0.5)
            await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "1") * 130)
            await client.read_to_end()
            await until(lambda: disconnected)

            assert ["the device kept sending more than 50 messages/s"] == [fact.reason for fact in disconnected]
            assert [] == await other.received()
        assert 9 == current(hub, device, 0)


@pytest.mark.timeouts(NO_PAUSE)
async def test_who_stopped_for_long_is_not_cut_off_for_another_burst(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add(hub)
        async with online(hub, token, h_beat=3600) as client:
            assert LIMITED == await flood(client)
            for _ in range(60):
                mock_clock.jump(10)
                assert [] == await flood(client, 1)

            assert LIMITED == await flood(client)


@pytest.mark.timeouts(NO_PAUSE)
async def test_ping_and_group_cost_a_device_nothing(start, mock_clock):
    """They are outside the library's own limit as well."""
    async with start(SLOW) as hub:
        device, token = await add(hub)
        async with online(hub, token) as client:
            await client.stream.send_all(client.frame(Cmd.GROUP, "b") * 200 + client.frame(Cmd.PING) * 200)
            assert [(RESPONSE, 1, OK)] * 200 == await client.received()
            await client.send(Cmd.HARDWARE, "vw", "0", "5")
            assert [] == await client.received()

        assert 5 == current(hub, device, 0)


@pytest.mark.timeouts(NO_PAUSE)
async def test_a_group_ends_also_when_its_end_is_over_the_rate(start, mock_clock, stamps):
    async with start(SLOW, clock=stamps.clock()) as hub:
        _, token = await add(hub)
        written = facts(hub, ValueWritten)
        async with online(hub, token, h_beat=3600) as client:
            await client.send(Cmd.GROUP, "b")
            assert LIMITED == await flood(client)
            await client.send(Cmd.GROUP, "e")
            assert [] == await client.received()
            mock_clock.jump(2)
            stamps.ms += 2000
            await client.send(Cmd.HARDWARE, "vw", "0", "2")
            assert [] == await client.received()

    assert (2, NOON + 2000) == (written[-1].value, written[-1].ts)


# -- promises ---------------------------------------------------------------------------------------------------------

PROMISES = [
    ((Cmd.PROPERTY, "0", "label", "Lamp"), "SELECT value FROM properties", '["Lamp"]'),
    ((Cmd.EVENT_LOG, "door", "open"), "SELECT description FROM timeline WHERE code = 'door'", "open"),
    ((Cmd.INTERNAL, "meta", "set", "Room", "Hall"), "SELECT value FROM metadata", "Hall"),
]


@pytest.mark.parametrize(("asked", "sql", "value"), PROMISES)
async def test_ok_is_said_after_the_commit(hub, asked, sql, value):
    _, token = await add(hub)
    async with online(hub, token) as client:
        assert OK == await client.status(*asked)
        assert [(value,)] == stored(hub, sql)


@pytest.mark.parametrize(("asked", "sql", "value"), PROMISES)
async def test_nothing_is_said_before_the_commit_and_others_are_not_disturbed(hub, asked, sql, value):
    answers = []

    async def ask(client):
        answers.append(await client.status(*asked))

    _, token = await add(hub)
    _, token_of_other = await add(hub, "Other")
    async with online(hub, token) as client, online(hub, token_of_other) as other, trio.open_nursery() as nursery:
        # The hub answers an info frame before it has written its row: the lock must not come in between.
        assert [] == await client.received() + await other.received()
        async with locked(hub):
            nursery.start_soon(ask, client)
            for _ in range(20):
                assert [] == await other.received()
            assert [] == stored(hub, sql)
            assert [] == answers

    assert [OK] == answers
    assert [(value,)] == stored(hub, sql)


@asynccontextmanager
async def full_disk(hub):
    """The configuration file cannot grow for the length of the block."""

    async def pages(tx):
        [(count,)] = await tx.fetch_all("PRAGMA page_count")
        await tx.execute(f"PRAGMA max_page_count = {count}")

    async def room(tx):
        await tx.execute("PRAGMA max_page_count = 1000000")

    await hub.storage.transaction(pages)
    try:
        yield
    finally:
        await hub.storage.transaction(room)


async def test_a_full_disk_is_answered_with_19_until_there_is_room(start):
    label = "x" * 1000
    async with start("[limits]\nburst = 10000\n") as hub:
        template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
        added = await hub.devices.add([NewDevice(name=f"Device {n}", template=template) for n in range(10)], SYSTEM)
        async with full_disk(hub):
            told = {}
            for device, token in added:
                async with online(hub, token) as client:
                    told[device] = await client.status(Cmd.PROPERTY, "0", "1", "2", "3", "label", label)
            assert {OK, int(Status.SERVER_ERROR)} >= set(told.values())
            assert Status.SERVER_ERROR == told[added[-1][0]]
            for device, status in told.items():
                kept = await hub.properties.values_for(device)
                assert ({(label,)} if status == OK else set()) == {value["label"] for value in kept.values()}
        async with online(hub, added[-1][1]) as client:
            assert OK == await client.status(Cmd.PROPERTY, "0", "label", label)


async def test_an_event_that_a_full_disk_did_not_take_may_be_logged_again_at_once(timed, stamps):
    device, token = await add(timed)
    async with online(timed, token) as client:
        async with full_disk(timed):
            answer = OK
            while answer == OK:
                stamps.ms += 1000
                answer = await client.status(Cmd.EVENT_LOG, "door", "x" * 300)
        assert Status.SERVER_ERROR == answer
        assert OK == await client.status(Cmd.EVENT_LOG, "door", "again")

    assert ("door", "again", True) == (await timeline(timed, device))[0]


# -- the device's side ------------------------------------------------------------------------------------------------


async def test_the_client_talks_to_the_hub(hub):
    device, token = await add(hub)
    write(hub, device, 1, "kept")
    async with connect(*address_of(hub), token, info=INFO) as client:
        await client.write(0, "1", "2")
        await client.sync(1)
        with trio.fail_after(PATIENCE):
            assert (1, ["kept"]) == await client.next_write()
            write(hub, device, 0, "3")
            assert (0, ["3"]) == await client.next_write()
    assert INFO == device.firmware


async def test_the_client_says_why_a_login_failed(hub):
    with pytest.raises(LoginFailed) as caught:
        async with connect(*address_of(hub), "x" * 32):
            pass

    assert Status.INVALID_TOKEN == caught.value.status


async def test_the_client_says_when_the_hub_hangs_up_instead_of_answering():
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()

    with pytest.raises(Disconnected):
        await Client(ours).login("x" * 32)


async def test_tasks_that_send_at_once_take_turns():
    """A heartbeat meets a value that the hub has not taken yet, as on a busy machine."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    client, heard = Client(ours), Decoder()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.write, 0, "x" * 500)
            nursery.start_soon(client.ping)
        await trio.testing.wait_all_tasks_blocked()
        frames = []
        with trio.fail_after(PATIENCE):
            while len(frames) < 6:
                frames += heard.receive(bytes(await theirs.receive_some(7)))

    assert 3 * [Cmd.HARDWARE] + 3 * [Cmd.PING] == sorted((found[0] for found in frames), reverse=True)


async def test_the_client_loses_nothing_that_comes_with_an_answer():
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(ours)
    await theirs.send_all(
        frame(Cmd.HARDWARE, 1, ("vw", "0", "early"))
        + response(1, OK)
        + frame(Cmd.HARDWARE, 2, ("vw", "1", "between"))
        + response(2, OK)
        + frame(Cmd.HARDWARE, 3, ("vw", "2", "behind"))
    )
    await theirs.send_eof()
    with trio.fail_after(PATIENCE):
        await client.login("x" * 32, INFO)

        assert [(0, ["early"]), (1, ["between"]), (2, ["behind"])] == [pushed async for pushed in client.writes()]
