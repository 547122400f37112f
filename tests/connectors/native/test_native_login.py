"""Native logins: both commands, rejections, the deadline, and connections that violate the protocol."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.facts import collect_facts
from support.native_devices import RESPONSE, add_native_device
from support.raw_native import OK, online, open_connection
from support.rejections import rejection_reasons
from support.values import current_value

from connectors.native.protocol import Cmd, Status, frame
from connectors.native.timeouts import NativeTimeouts
from hub.facts import DeviceConnected


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
async def test_device_logs_in_with_either_command(hub, command):
    device, token = await add_native_device(hub)
    connected = collect_facts(hub, DeviceConnected)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)

        assert [DeviceConnected(device, "native", "127.0.0.1")] == connected
        assert [] == rejection_reasons(hub)


async def test_login_may_arrive_byte_by_byte(hub):
    _, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        for byte in client.frame(Cmd.HW_LOGIN, token):
            await client.stream.send_all(bytes([byte]))

        assert (RESPONSE, 1, OK) == await client.next()


async def test_unknown_token_is_answered_with_9_and_the_login_may_be_repeated(hub, caplog):
    _, token = await add_native_device(hub)
    wrong = token[:-2] + "!?"
    async with open_connection(hub) as client:
        assert Status.INVALID_TOKEN == await client.login(wrong)
        assert Status.INVALID_TOKEN == await client.login("")
        assert OK == await client.login(token)
        assert [] == await client.received()
    assert ["unknown token ending …!?", "unknown token ending …"] == rejection_reasons(hub)
    assert wrong[:-2] not in caplog.text


@pytest.mark.parametrize("command", [Cmd.PING, Cmd.HARDWARE, Cmd.INTERNAL, Cmd.EVENT_LOG])
async def test_first_frame_that_is_not_a_login_closes_the_connection_without_a_response(hub, command):
    async with open_connection(hub) as client:
        await client.send(command, "vw", "0", "1")

        assert [] == await client.read_to_end()
    assert 1 == len(hub.rejections.recent)


async def test_other_frame_after_a_failed_login_closes_the_connection(hub):
    device, _ = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert Status.INVALID_TOKEN == await client.login("x" * 32)
        await client.send(Cmd.HARDWARE, "vw", "0", "1")

        assert [] == await client.read_to_end()
    assert "instead of a login" in rejection_reasons(hub)[-1]
    assert None is current_value(hub, device, 0)


async def test_second_login_is_answered_with_4_and_changes_nothing(hub):
    device, token = await add_native_device(hub)
    _, other = await add_native_device(hub, "Other")
    async with online(hub, token) as client:
        assert Status.ALREADY_REGISTERED == await client.login(token)
        assert Status.ALREADY_REGISTERED == await client.login(other)
        await client.send(Cmd.HARDWARE, "vw", "0", "7")
        assert [] == await client.received()

    assert 7 == current_value(hub, device, 0)


@pytest.mark.parametrize("data", [frame(Cmd.HW_LOGIN, 1, ("x" * 32,))[:20], frame(Cmd.HW_LOGIN, 1, ("x" * 32,))])
@pytest.mark.timeouts(NativeTimeouts(login=0.05, sweep=0.01))
async def test_connection_without_a_login_is_closed_at_the_deadline(hub, data):
    async with open_connection(hub) as client:
        await client.stream.send_all(data)
        await client.read_to_end()

    assert ["did not log in"] == [reason[:14] for reason in rejection_reasons(hub) if "token" not in reason]


async def test_login_deadline_is_not_extended_by_received_bytes(hub, mock_clock):
    _, token = await add_native_device(hub)
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
async def test_login_with_an_excessive_length_closes_the_connection_at_once(hub, length):
    async with open_connection(hub) as client:
        await client.stream.send_all(b"\x1d\0\1" + length.to_bytes(2, "big") + b"x")

        assert [] == await client.read_to_end()
    [reason] = rejection_reasons(hub)
    assert f"a body of {length} bytes exceeds the limit" in reason


PROTOCOL_ERRORS = [
    (b"\x14\0\2\x80\0", "a body of 32768 bytes"),
    (b"\x14\0\2\xff\xff" + bytes(100), "a body of 65535 bytes"),
    (b"\x63\0\2\0\0", "command 99"),
    (b"\x01\0\2\0\0", "command 1 "),
    (b"GET / HTTP/1.1\r\n\r\n", "command 71"),
]


@pytest.mark.parametrize(("data", "text"), PROTOCOL_ERRORS)
async def test_protocol_error_closes_only_its_connection_and_is_recorded_once(hub, data, text):
    device, token = await add_native_device(hub, "Kitchen")
    _, other_token = await add_native_device(hub, "Other")
    async with online(hub, other_token) as other, online(hub, token) as client:
        await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "7") + data)

        assert [] == await client.read_to_end()
        assert [] == await other.received()
    [reason] = rejection_reasons(hub)
    assert text in reason
    assert "Kitchen" in reason
    assert 7 == current_value(hub, device, 0)
