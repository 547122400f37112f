"""WebSockets that a page in a browser opens: its token is a subprotocol, and its origin must be the hub."""

from __future__ import annotations

import json
import socket

import pytest
from support.raw_http import connected, local_key
from support.rejections import rejection_reasons
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

from hub.testing import LOOPBACK, address_of

OWN_URL = "https://hub.example.org"


@pytest.fixture
def hub_toml():
    return LOOPBACK + f'[hub]\nurl = "{OWN_URL}"\n'


def stream_url(hub, host="127.0.0.1"):
    return f"ws://{host}:{address_of(hub)[1]}/api/v1/stream"


def page_protocols(hub):
    return ["pinwheel.v1", f"bearer.{local_key(hub)}"]


async def rejection_status(hub, url=None, **options):
    """Return the status with which a WebSocket of the stream is rejected."""
    with pytest.raises(InvalidStatus) as raised:
        async with connect(url or stream_url(hub), **options):
            pass
    return raised.value.response.status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_page_of_the_hub_opens_the_stream_with_its_token(hub, host):
    origin = f"http://{host}:{address_of(hub)[1]}"
    async with connect(stream_url(hub, host), origin=origin, subprotocols=page_protocols(hub)) as stream:
        assert "pinwheel.v1" == stream.subprotocol
        await stream.send('{"id": 1, "subscribe": "alarms"}')
        assert "alarms" == json.loads(await stream.recv())["subscribed"]


async def test_page_at_the_configured_url_opens_the_stream(hub):
    async with connect(stream_url(hub), origin=OWN_URL, subprotocols=page_protocols(hub)) as stream:
        assert "pinwheel.v1" == stream.subprotocol


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://hub.example.org.evil.example", "http://127.0.0.1:1"]
)
async def test_page_of_another_site_is_rejected(hub, origin):
    assert 403 == await rejection_status(hub, origin=origin, subprotocols=page_protocols(hub))
    assert [f"HTTP 403: a page of {origin} asked for /api/v1/stream"] == rejection_reasons(hub)


async def test_foreign_name_that_resolves_to_the_hub_is_rejected(hub):
    """DNS rebinding: Origin and Host are equal, and both are the attacker's name."""
    name = f"rebind.example:{address_of(hub)[1]}"
    head = (
        f"GET /api/v1/stream HTTP/1.1\r\nHost: {name}\r\nOrigin: http://{name}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: {', '.join(page_protocols(hub))}\r\n\r\n"
    )
    async with connected(hub) as http:
        await http.send(head.encode())
        response = await http.read_response()
    assert 403 == response.status


@pytest.mark.parametrize("protocols", [["pinwheel.v1"], ["pinwheel.v1", "bearer."], ["pinwheel.v1", "bearer.wrong"]])
async def test_page_without_a_valid_token_is_rejected(hub, protocols):
    assert 401 == await rejection_status(hub, origin=OWN_URL, subprotocols=protocols)


async def test_token_without_the_subprotocol_of_pages_is_rejected(hub):
    assert 401 == await rejection_status(hub, origin=OWN_URL, subprotocols=[f"bearer.{local_key(hub)}"])


async def test_program_without_an_origin_needs_no_subprotocol(hub):
    headers = {"Authorization": f"Bearer {local_key(hub)}"}
    async with connect(stream_url(hub), additional_headers=headers) as stream:
        assert stream.subprotocol is None


async def test_page_at_the_name_of_the_machine_opens_the_stream(hub):
    name = socket.gethostname()
    origin = f"http://{name.lower()}:{address_of(hub)[1]}"
    options = {"origin": origin, "subprotocols": page_protocols(hub), "host": "127.0.0.1"}
    async with connect(stream_url(hub, name), **options) as stream:
        assert "pinwheel.v1" == stream.subprotocol
