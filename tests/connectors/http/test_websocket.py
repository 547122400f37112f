"""The native protocol over WebSockets, by the websockets library's own client."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from contextlib import asynccontextmanager, closing, suppress

import pytest
import trio
from support.facts import collect_facts
from support.raw_http import PATIENCE, UPGRADE, HttpConnection, ask, connected, request
from trio.testing import wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.trio.client import connect

from connectors.http.websocket import TextSocket, WebSocketWire
from connectors.native import client
from connectors.native.protocol import Cmd, Decoder, Status, frame, response
from hub.facts import DeviceConnected, DeviceDisconnected, ValueWritten
from hub.model import SYSTEM
from hub.net import Wire
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
type = "integer"
sync = true
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
"""
MAX_MESSAGE = 64 * 1024


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_prepared_message_is_a_text_frame(size):
    with stdlib_socket.socket() as sock:
        text_socket = TextSocket(WebSocketWire(Wire(sock, lambda _fn: None), ServerProtocol()))
        assert Frame(Opcode.TEXT, b"x" * size).serialize(mask=False) == text_socket.prepare(b"x" * size)


class ByteStream:
    """A WebSocket as the stream of bytes that the native client needs."""

    def __init__(self, socket):
        self._socket = socket

    async def send_all(self, data):
        await self._socket.send(data)

    async def receive_some(self, _=None):
        try:
            with trio.fail_after(PATIENCE):
                message = await self._socket.recv()
        except ConnectionClosed:
            return b""
        assert isinstance(message, bytes)
        return message


@asynccontextmanager
async def open_websocket(hub, path="/websockets", listener=0, tls=None, **options):
    """A WebSocket to the hub."""
    host, port = address_of(hub, listener)
    uri = f"{'wss' if tls else 'ws'}://{host}:{port}{path}"
    async with connect(uri, ssl=tls, proxy=None, ping_interval=None, **options) as socket:
        yield socket


@pytest.fixture
async def meter(hub):
    """A device and its token."""
    return await add_device(hub, METER, "Meter")


@pytest.fixture
async def socket(hub):
    async with open_websocket(hub) as socket:
        yield socket


@pytest.fixture
async def board(socket, meter):
    """A logged-in device."""
    board = client.Client(ByteStream(socket))
    await board.login(meter[1], {"h-beat": "45", "buff-in": "1024"})
    return board


@pytest.fixture
def written(hub):
    """Pins and values that the hub accepted."""
    values = []
    hub.subscribe(ValueWritten, lambda fact: values.append((fact.datastream.pin, fact.value)))
    return values


async def receive_frames(socket, count):
    """The next ``count`` frames, however they are split into messages."""
    connection, frames = Decoder(), []
    with trio.fail_after(PATIENCE):
        while len(frames) < count:
            frames += connection.receive(await socket.recv())
    return frames


async def close_code(socket):
    """The code with which the hub closes the WebSocket."""
    with trio.fail_after(PATIENCE):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            return end.rcvd and end.rcvd.code


# -- a device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/websockets", "/websocket", "/websockets/", "/websockets?x=1"])
async def test_device_logs_in_writes_values_and_receives_values(hub, meter, written, path):
    device, token = meter
    async with open_websocket(hub, path) as socket:
        board = client.Client(ByteStream(socket))
        await board.login(token, {"h-beat": "45"})
        assert ("native", "127.0.0.1") == ((session := hub.sessions.get(device.id)).via, session.address)
        await board.write(0, "7")
        await board.sync(0)
        writes = board.writes()
        assert (0, ["7"]) == await anext(writes)
        hub.write(Write(device, 1, "hello", "test", SYSTEM))
        assert (1, ["hello"]) == await anext(writes)

    assert [(0, 7), (1, "hello")] == written


async def test_unknown_token_is_rejected(hub, socket):
    with pytest.raises(client.LoginFailed) as failed:
        await client.Client(ByteStream(socket)).login("0123456789abcdef0123456789abcdef")

    assert Status.INVALID_TOKEN == failed.value.status


@pytest.mark.parametrize("hub_toml", [LOOPBACK + LOOPBACK + 'tls = "on"\n'], ids=["tls"])
async def test_device_logs_in_over_tls(hub, meter):
    context = ssl.create_default_context(cadata=(await ask(hub, "GET", "/ca.pem")).text)
    async with open_websocket(hub, listener=1, tls=context) as socket:
        await client.Client(ByteStream(socket)).login(meter[1])
        assert hub.sessions.get(meter[0].id) is not None


async def test_device_that_closes_the_websocket_is_offline(hub, meter):
    disconnected = trio.Event()
    hub.subscribe(DeviceDisconnected, lambda _: disconnected.set())
    async with open_websocket(hub) as socket:
        await client.Client(ByteStream(socket)).login(meter[1])
        await socket.aclose()
        assert 1000 == socket.close_code
        with trio.fail_after(PATIENCE):
            await disconnected.wait()
    assert 0 == len(hub.sessions)


async def test_newer_session_replaces_the_websocket_without_a_change_of_status(hub, meter, socket, board):
    facts = collect_facts(hub, DeviceConnected, DeviceDisconnected)
    async with client.connect(*address_of(hub), meter[1]):
        await close_code(socket)
        assert [] == facts


async def test_websocket_of_a_deleted_device_is_closed(hub, meter, socket, board):
    await hub.devices.delete(meter[0], SYSTEM)

    assert await close_code(socket) in (1000, 1001)


# -- messages and frames ----------------------------------------------------------------------------------------------


async def test_message_may_contain_several_frames(meter, socket, written):
    await socket.send(
        frame(Cmd.HW_LOGIN, 1, [meter[1]])
        + frame(Cmd.INTERNAL, 2, ["h-beat", "45"])
        + frame(Cmd.HARDWARE, 3, ["vw", "0", "7"])
        + frame(Cmd.PING, 4)
    )

    assert [(0, number, b"", 200) for number in (1, 2, 4)] == await receive_frames(socket, 3)
    assert [(0, 7)] == written


async def test_frame_may_be_split_over_messages(meter, socket, board, written):
    data = frame(Cmd.HARDWARE, 3, ["vw", "1", "hello"]) + frame(Cmd.PING, 4)
    for n in range(len(data)):
        await socket.send(data[n : n + 1])

    assert [(0, 4, b"", 200)] == await receive_frames(socket, 1)
    assert [(1, "hello")] == written


async def test_message_may_be_fragmented(meter, socket, board, written):
    data = frame(Cmd.HARDWARE, 3, ["vw", "1", "hello"]) + frame(Cmd.PING, 4)
    await socket.send([data[n : n + 3] for n in range(0, len(data), 3)])

    assert [(0, 4, b"", 200)] == await receive_frames(socket, 1)
    assert [(1, "hello")] == written


async def test_hub_responds_to_a_websocket_ping(socket, board):
    with trio.fail_after(PATIENCE):
        await (await socket.ping(b"hello")).wait()


async def test_empty_messages_and_text_messages_are_ignored(socket, board):
    await socket.send(b"")
    await socket.send("text")
    await socket.send(frame(Cmd.PING, 9))

    assert [(0, 9, b"", 200)] == await receive_frames(socket, 1)


async def test_message_of_64_kib_is_accepted(socket, board):
    long = frame(Cmd.INTERNAL, 8, ["x" * (MAX_MESSAGE // 2 - 15)])
    await socket.send(long * 2 + frame(Cmd.PING, 9))

    assert [(0, 9, b"", 200)] == await receive_frames(socket, 1)


async def test_client_that_sends_a_message_over_64_kib_is_disconnected(hub, meter, socket, board):
    with suppress(ConnectionClosed), trio.fail_after(PATIENCE):
        await socket.send(b"\x06" * (MAX_MESSAGE * 10))

    # The code is lost while the client still sends.
    assert await close_code(socket) in (1009, None)


async def test_invalid_frame_closes_the_websocket(hub, socket, board, caplog):
    await socket.send(b"\xff\x00\x01\x00\x01")

    assert await close_code(socket) is not None
    assert ["WARNING"] == [record.levelname for record in caplog.records if record.name.startswith("hub")]


# -- the bytes --------------------------------------------------------------------------------------------------------


def binary(data, mask=True):
    """The bytes of a binary message."""
    return Frame(Opcode.BINARY, data).serialize(mask=mask)


def closing_code(data):
    """The code of the close frame with which a connection ends."""
    assert b"\x88" == data[:1]
    return int.from_bytes(data[2:4], "big")


async def test_first_message_may_be_sent_together_with_the_request(hub, meter):
    async with connected(hub) as http:
        await http.send(request("GET", "/websockets", **UPGRADE) + binary(frame(Cmd.HW_LOGIN, 1, [meter[1]])))

        assert 101 == (await http.read_response()).status
        expected = binary(response(1, Status.OK), mask=False)
        assert expected == await http._exactly(len(expected))


async def test_unmasked_message_closes_the_websocket(hub, meter):
    async with connected(hub) as http:
        assert 101 == (await http.ask("GET", "/websockets", **UPGRADE)).status
        await http.send(binary(frame(Cmd.HW_LOGIN, 1, [meter[1]]), mask=False))

        assert 1002 == closing_code(await http.read_to_end())
    assert 0 == len(hub.sessions)


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"mask",
        Frame(Opcode.BINARY, b"x" * MAX_MESSAGE, fin=False).serialize(mask=True) + b"\x80\x81mask",
    ],
    ids=["one frame", "fragments"],
)
async def test_message_over_64_kib_closes_the_websocket_before_it_is_complete(hub, data):
    async with connected(hub) as http:
        assert 101 == (await http.ask("GET", "/websockets", **UPGRADE)).status
        await http.send(data)

        assert 1009 == closing_code(await http.read_to_end())


@pytest.mark.parametrize(
    "change",
    [
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Version": "8"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Content_Length": "3"},
        {"Transfer_Encoding": "chunked"},
        {"X_Long": "x" * 9000},
        {f"X_{n}": "x" for n in range(130)},
    ],
    ids=lambda change: ",".join(change)[:20],
)
async def test_invalid_upgrade_is_answered_with_4xx(hub, caplog, change):
    headers = {name: value for name, value in (UPGRADE | change).items() if value is not None}
    upgrade = await ask(hub, "GET", "/websockets", **headers)

    assert 400 <= upgrade.status < 500
    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


async def test_upgrade_with_another_method_than_get_is_answered_with_4xx(hub):
    assert 400 <= (await ask(hub, "POST", "/websockets", b"", **UPGRADE)).status < 500


async def test_upgrade_over_http_1_0_is_answered_with_4xx(hub):
    async with connected(hub) as http:
        await http.send(request("GET", "/websockets", **UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0", 1))

        assert 400 <= (await http.read_response()).status < 500


@pytest.mark.parametrize(
    ("path", "headers"), [("/websockets", {}), ("/websocket", {}), ("/nothing", UPGRADE), ("/", UPGRADE)]
)
async def test_request_without_an_upgrade_or_to_another_path_is_answered_with_4xx(hub, path, headers):
    assert 400 <= (await ask(hub, "GET", path, **headers)).status < 500


async def test_hub_does_not_read_from_a_client_that_does_not_read_pongs(hub):
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
    with closing(trio.socket.socket()) as sock:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await sock.connect(address_of(hub))
        http = HttpConnection(trio.SocketStream(sock))
        assert 101 == (await http.ask("GET", "/websockets", **UPGRADE)).status
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.send, ping * 60_000)
            await wait_all_tasks_blocked(0.05)

            assert max(wire.pending for wire in hub.listener._wires) < 1024 * 1024
            nursery.cancel_scope.cancel()
