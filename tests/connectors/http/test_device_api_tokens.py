"""Tokens of the Device HTTPS API: authentication, and where they must not appear."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

import pytest
from support.device_https_api import INVALID_TOKEN, NO_TOKEN, SECRET_TOKEN, api_error
from support.raw_http import ask, connected, local_key

from connectors.mqtt import client as mqtt
from connectors.native import client
from hub.model import SYSTEM
from hub.testing import address_of

OPERATIONS = [
    "update",
    "batch/update",
    "get",
    "getAll",
    "update/property",
    "isHardwareConnected",
    "isAppConnected",
    "logEvent",
    "logevent",
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", NO_TOKEN),
        ("?", NO_TOKEN),
        ("?token=", NO_TOKEN),
        ("?token", NO_TOKEN),
        ("?v0=1", NO_TOKEN),
        ("?Token=0123456789abcdef0123456789abcdef", NO_TOKEN),
        ("?token=0123456789abcdef0123456789abcdef&v0=1", INVALID_TOKEN),
        ("?token=short&v0", INVALID_TOKEN),
        ("?token=%ff%00%f0%9f%98%80", INVALID_TOKEN),
    ],
)
async def test_request_without_a_valid_token_is_rejected(hub, operation, query, message):
    response = await ask(hub, "GET", f"/external/api/{operation}{query}")

    assert api_error(message) == (response.status, response.body)
    assert "application/json" == response.headers["content-type"]


@pytest.mark.parametrize(
    ("operation", "query", "body"),
    [
        ("update", "v0=1", b""),
        ("batch/update", "v0=1&v1=2", b"OK"),
        ("get", "v6", b"17"),
        ("getAll", "", b"{}"),
        ("update/property", "pin=v0&label=Level", b""),
        ("isHardwareConnected", "", b"false"),
        ("isAppConnected", "", b"false"),
        ("logEvent", "code=too_hot", b""),
    ],
)
async def test_operation_may_have_a_slash_at_its_end(api, operation, query, body):
    assert (200, body) == await api.status_and_body(f"{operation}/", query)
    assert 404 == (await api(operation.upper(), query)).status


async def test_post_to_a_get_operation_is_rejected(hub, device):
    assert 405 == (await ask(hub, "POST", f"/external/api/get?token={device[1]}&v0", b"")).status


async def test_parameters_may_have_any_order_and_encoding(hub, device):
    target = f"/external/api/update?%76%32=a+b%20c%2Bd%26e%C3%A9&token={device[1]}"

    assert 200 == (await ask(hub, "GET", target)).status
    assert "a b c+d&eé" == hub.writes.latest(device[0], device[0].points[2].datastream)[1]


WHITE_SPACE = pytest.mark.parametrize(
    "around", [("", " "), ("", "\n"), ("", "\r\n"), (" ", ""), ("\t", " \n")], ids=ascii
)


@WHITE_SPACE
async def test_white_space_around_a_token_is_ignored(hub, device, around):
    """Over every transport: a token that was read from a file has a line end."""
    before, after = around
    token = f"{before}{device[1]}{after}"
    query = urlencode({"token": token, "v6": ""}).removesuffix("=")
    assert 200 == (await ask(hub, "GET", f"/external/api/get?{query}")).status
    async with client.connect(*address_of(hub), token):
        assert hub.sessions.get(device[0].id).via == "native"
    async with mqtt.connect(*address_of(hub), token):
        assert hub.sessions.get(device[0].id).via == "mqtt"
        rotated = await hub.tokens.rotate(device[0], SYSTEM, 60_000)
    async with mqtt.connect(*address_of(hub), f"{before}{rotated}{after}"):
        pass


async def test_tokens_are_not_in_responses_logs_or_files(hub, device, caplog):
    caplog.set_level(logging.DEBUG)
    await hub.tokens.rotate(device[0], None, token=SECRET_TOKEN)
    key = local_key(hub)
    responses = []
    async with connected(hub) as http:
        for prefix in "", "x":
            for operation, query in [
                ("update", "v0=1"),
                ("update", "v0=abc"),
                ("update", "v77=1"),
                ("update", "nonsense"),
                ("batch/update", "v0=1&v1=x"),
                ("get", "v0&v1"),
                ("getAll", ""),
                ("update/property", "pin=v0&color=red"),
                ("update/property", "pin=v0&nonsense=red"),
                ("logEvent", "code=nonsense"),
                ("isHardwareConnected", ""),
                ("nonsense", ""),
            ]:
                responses.append(await http.get(f"/external/api/{operation}?{query}&token={prefix}{SECRET_TOKEN}"))
        responses.append(await http.ask("DELETE", f"/external/api/get?token={SECRET_TOKEN}"))
        for target in "/metrics", "/api/v1/status", "/api/v1/plugins", "/api/v1/refusals":
            responses.append(await http.get(target, key))
        responses.append(await http.get(f"/api/v1/organization/device?deviceId={device[0].id}", key))
        responses.append(await http.get(f"/metrics?token={SECRET_TOKEN}", SECRET_TOKEN))
    with pytest.raises(client.LoginFailed):
        async with client.connect(*address_of(hub), "x" + SECRET_TOKEN):
            pass
    async with client.connect(*address_of(hub), SECRET_TOKEN, info={"h-beat": "45"}) as board:
        await board.write(0, "1")

    assert not any(secret in response.text for response in responses for secret in (SECRET_TOKEN, key))
    assert not any(secret in caplog.text for secret in (SECRET_TOKEN, key))
    files = [path for path in hub.config.data.rglob("*") if path.is_file()]
    assert {"pinwheel.db", "history.db", "local.key"} <= {path.name for path in files}
    assert [] == [path for path in files if SECRET_TOKEN.encode() in path.read_bytes()]
    assert ["local.key"] == [path.name for path in files if key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "head",
    [
        f"GET /external/api/update?token={SECRET_TOKEN}&v2=a b HTTP/1.1\r\nHost: hub\r\n\r\n",
        f"GET /external/api/update?token={SECRET_TOKEN}&v2=\xe9 HTTP/1.1\r\nHost: hub\r\n\r\n",
        f"GET /health HTTP/1.1\r\nHost: hub\r\nAuthorization Bearer {SECRET_TOKEN}\r\n\r\n",
        f"POST /api/v1/login HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET_TOKEN}\r\n",
    ],
)
async def test_token_of_a_malformed_request_is_not_in_the_response_or_the_log(hub, caplog, head):
    async with connected(hub) as http:
        await http.send(head.encode("latin-1"))
        received = await http.read_to_end()

    assert received.startswith(b"HTTP/1.1 4")
    assert SECRET_TOKEN.encode() not in received
    assert SECRET_TOKEN not in caplog.text
