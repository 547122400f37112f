"""Native frames: message ids, ignored commands, pushed commands, one frame per send, and the client's buffer."""

from __future__ import annotations

import time

import pytest
from support.facts import collect_facts
from support.native_devices import RESPONSE, add_native_device
from support.raw_native import OK, online, open_connection
from support.rejections import rejection_reasons
from support.values import write_value

from connectors.native.protocol import Cmd, Status, response
from connectors.native.timeouts import NativeTimeouts
from hub.errors import Conflict
from hub.facts import ValueWritten
from hub.model import AppConnected, Reboot, Redirect, SetDatastream

# -- message ids and commands -----------------------------------------------------------------------------------------


async def test_ping_is_answered_with_its_message_id(hub):
    _, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        for message in (5, 65_535, 5):
            assert ([], OK) == await client.ask(Cmd.PING, message=message)


async def test_response_to_message_id_0_has_id_1(hub):
    device, token = await add_native_device(hub)
    write_value(hub, device, 0, "7")
    async with online(hub, token) as client:
        for command, *parts in ((Cmd.PING,), (Cmd.HARDWARE_SYNC, "vr", "0"), (Cmd.INTERNAL, "rtc", "sync")):
            await client.send(command, *parts, message=0)
            assert 1 == (await client.next())[1]


async def test_pushes_have_nonzero_message_ids(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        hub.command(device, Reboot())
        hub.command(device, Reboot())

        assert 0 not in {(await client.next())[1], (await client.next())[1]}


async def test_frames_of_one_read_are_handled_in_order(hub):
    device, token = await add_native_device(hub)
    written = collect_facts(hub, ValueWritten)
    async with online(hub, token) as client:
        await client.stream.send_all(b"".join(client.frame(Cmd.HARDWARE, "vw", "0", str(n)) for n in range(100)))
        assert [] == await client.received()

    assert list(range(100)) == [fact.value for fact in written]
    assert device is written[0].device


async def test_frames_are_sent_completely(hub):
    device, token = await add_native_device(hub)
    async with online(hub, token) as client:
        received = []
        for n in range(200):
            hub.command(device, SetDatastream(n, ("x" * 20,)))
        while len(received) < 200:
            received += await client.read()
            assert b"" == client._decoder._incomplete


async def test_obsolete_commands_are_answered_or_ignored(hub):
    _, token = await add_native_device(hub)
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


# -- one frame per send -----------------------------------------------------------------------------------------------


@pytest.mark.timeouts(NativeTimeouts(spacing=0.15))
async def test_client_of_the_old_login_receives_one_frame_per_send_with_a_pause_between(hub):
    assert 0.06 <= NativeTimeouts().spacing
    device, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        reads = []
        began_at = time.monotonic()
        await client.stream.send_all(client.frame(Cmd.LOGIN, token) + client.frame(Cmd.INTERNAL, "ver", "0.2.6"))
        write_value(hub, device, 1, "before")
        while len(reads) < 2:
            reads.append(await client.read())
        for pin, value in ((0, "1"), (1, "x"), (0, "2")):
            write_value(hub, device, pin, value)
        await client.stream.send_all(client.frame(Cmd.HARDWARE_SYNC, message=8) + client.frame(Cmd.PING, message=9))
        while (RESPONSE, 9, OK) not in sum(reads, []) or len(reads) < 8:
            reads.append(await client.read())

    assert {1} == {len(read) for read in reads}
    assert time.monotonic() - began_at >= (len(reads) - 1) * 0.15
    assert [(RESPONSE, 1, OK)] * 2 == sum(reads[:2], [])


# -- buffers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("info", "buffer"), [({}, 250), ({"buff_in": 512}, 512), ({"buff_in": 4096}, 1100)])
async def test_no_frame_exceeds_the_clients_buffer(hub, info, buffer):
    device, token = await add_native_device(hub)
    head = len("vw\0" + "1\0")
    async with online(hub, token, **info) as client:
        for length in (buffer - head - 1, buffer - head, 10):
            if length <= 1024:
                write_value(hub, device, 1, "x" * length)
        received = await client.received()

    expected = [buffer - head - 1, 10] if buffer < 1024 else [10]
    assert expected == [len(parts[-1]) for parts in received]
    assert (1 if buffer < 1024 else 0) == len([r for r in rejection_reasons(hub) if f"buffer of {buffer} bytes" in r])


async def test_value_over_the_clients_buffer_does_not_block_the_others(hub):
    device, token = await add_native_device(hub)
    write_value(hub, device, 0, "7")
    write_value(hub, device, 1, "x" * 1000)
    async with online(hub, token, buff_in=256) as client:
        await client.send(Cmd.HARDWARE_SYNC, "vr", "1", "0")

        assert ["7"] == [parts[-1] for parts in await client.received()]


# -- commands to the device -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (Redirect("example.org", 8080), (Cmd.REDIRECT, "example.org", "8080")),
        (Reboot(), (Cmd.INTERNAL, "dbg", "reboot")),
        # With a NUL at the end: without it, the C++ library computes a negative length.
        (AppConnected(True), (Cmd.INTERNAL, "acon", "")),
        (AppConnected(False), (Cmd.INTERNAL, "adis", "")),
        (SetDatastream(9, ("a", "b")), (Cmd.HARDWARE, "vw", "9", "a", "b")),
    ],
)
async def test_command_is_sent_as_its_frame(hub, command, sent):
    device, token = await add_native_device(hub)
    with pytest.raises(Conflict):
        hub.command(device, command)
    async with online(hub, token) as client:
        hub.command(device, command)

        assert [sent] == [(code, *parts) for code, _, *parts in await client.received()]
