"""Detection of the protocol by the first bytes, and rejection of protocols that a listener does not serve."""

from __future__ import annotations

import pytest
import trio
from support.listener import HALF_HELLO, LOGIN, TEXT_TEMPLATE, listen, open_stream, rejection
from support.raw_http import UPGRADE, request
from support.raw_native import PATIENCE, online

import hub.net.certificates
import hub.net.listener
import hub.net.wire
from hub.config import parse
from hub.hookspecs import hookimpl
from hub.run import running
from hub.testing import add_device


async def test_rejection_names_an_unknown_protocol_with_its_first_bytes(start):
    async with start(listen()) as hub:
        [reason] = await rejection(hub, b"\x7fELF")

        assert "nothing known" in reason
        assert "0x7f" in reason


@pytest.mark.parametrize(
    ("serve", "data", "protocol"),
    [
        (["http"], LOGIN, "native"),
        (["device-http"], LOGIN, "native"),
        (["native"], b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", "http"),
    ],
)
async def test_rejection_names_a_protocol_that_the_listener_does_not_serve(start, serve, data, protocol):
    async with start(listen(serve=serve)) as hub:
        [reason] = await rejection(hub, data)

        assert f"speaks {protocol}" in reason
        assert ", ".join(serve) in reason


@pytest.mark.parametrize(
    ("serve", "served"),
    [(None, True), (["native", "mqtt", "http"], True), (["native", "http"], False), (["device-http"], False)],
)
async def test_protocol_of_a_plugin_is_served_where_all_protocols_of_the_hub_are(tmp_path, serve, served):
    async def greet(wire, _peer):
        wire.send(b"hello")

    class Greeting:
        __name__, PINWHEEL_HOOKS = "greeting", 1

        @staticmethod
        @hookimpl
        def hub_protocols():
            return [hub.net.wire.WireProtocol(name="greeting", sniff=lambda first: first[:1] == b"g", serve=greet)]

    config = parse(listen(serve=serve) if serve else listen()).with_data(str(tmp_path / "data"))
    async with running(config, plugins=(Greeting(),)) as started, open_stream(started) as stream:
        await stream.send_all(b"g")
        with trio.fail_after(PATIENCE):
            assert (b"hello" if served else b"") == await stream.receive_some()
        assert served == (not started.rejections.recent)


@pytest.mark.parametrize("serve", [["http"], ["device-http"]])
async def test_protocol_that_the_listener_does_not_serve_is_not_reachable_over_a_websocket(start, serve):
    async with start(listen(serve=serve)) as hub, open_stream(hub) as stream:
        await stream.send_all(request("GET", "/websockets", **UPGRADE))
        with trio.fail_after(PATIENCE):
            response = await stream.receive_some(4096)

        assert b"101" != response.split(b" ")[1]


async def test_rejected_connections_do_not_affect_other_devices(start):
    async with start(listen(tls="auto")) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with online(hub, token) as device:
            for data in (b"\x7f", HALF_HELLO, b"\x00" * 5000, b"\xff" * 5000):
                async with open_stream(hub) as stream:
                    await stream.send_all(data)

            assert [] == await device.received()
