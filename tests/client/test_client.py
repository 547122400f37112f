"""The Python client, which is generated from the API's description, against a running hub."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from support.raw_http import local_key

from client import Call, local, operations
from client.remote import Remote
from hub.errors import (
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    Outdated,
    Rejected,
    RequestError,
    TooMany,
    Unavailable,
)
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write
from plugins.openapi.client_generator import generate_client
from plugins.openapi.document import build_document
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
TEMPLATE = """
[template]
id = "TMPL0client"
name = "Client"
[[datastream]]
pin = "V0"
name = "Value"
type = "double"
[[datastream]]
pin = "V1"
name = "Word"
type = "string"
"""


@pytest.fixture
async def ask(hub):
    """A function that executes a call with the local key, in a thread."""
    host, port = address_of(hub)
    remote = Remote(f"http://{host}:{port}", local_key(hub))

    async def execute(call):
        return await trio.to_thread.run_sync(remote, call)

    execute.remote = remote
    return execute


async def test_generated_client_is_up_to_date(hub):
    """A change of a route needs ``make client``."""
    path = Path(operations.__file__)
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "--stdin-filename", str(path), "-"]
    generated = await trio.run_process(ruff, stdin=generate_client(build_document(hub)).encode(), capture_stdout=True)
    assert generated.stdout.decode() == path.read_text()


async def test_device_is_created_written_read_and_deleted(hub, ask):
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    created = await ask(operations.post_organization_device_create(template_id=template.id, name="Küche & Bad"))
    assert 32 == len(created["token"])
    target = {"device_id": created["id"]}
    assert None is await ask(operations.post_organization_device_datastream(**target, pin="V0", value=21.5))
    details = await ask(operations.get_organization_device(**target))
    assert ("Küche & Bad", 21.5) == (details["name"], details["dataStreamValues"][0]["value"])
    listed = await ask(operations.get_organization_search_devices(query="küche &"))
    assert [created["id"]] == [device["id"] for device in listed["content"]]
    await ask(operations.delete_organization_device(**target))
    assert 0 == (await ask(operations.get_organization_devices()))["totalElements"]


async def test_query_parameters_are_encoded_and_responses_may_be_text(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    for pin, value in ((0, 1.5), (1, "a,b")):
        await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()
    chart = partial(operations.get_history, device_ids=[device.id], pins=["V0", "V1"], granularity="raw", to=2**41)
    lines = (await ask(chart(from_="1970-01-01T00:00:00Z")))["series"]
    assert [[1.5], ["a,b"]] == [line["values"] for line in lines]
    assert "time,device,name,value" == (await ask(chart(from_=0, format="csv"))).splitlines()[0]
    empty = operations.get_device_history(device_id=device.id, pin="V0", from_=0, to=1)
    assert "" == await ask(empty)
    own_devices = operations.get_organization_devices(include_sub_org_devices=False)
    assert 1 == (await ask(own_devices))["totalElements"]


async def test_error_responses_raise_the_hubs_exceptions(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    with pytest.raises(NotFound, match="Device with identifier 99"):
        await ask(operations.get_organization_device(device_id=99))
    with pytest.raises(Rejected, match="Value: double"):
        await ask(operations.post_organization_device_datastream(device_id=device.id, pin="V0", value="x"))
    with pytest.raises(Conflict):
        await ask(operations.delete_template(template_id="TMPL0client"))
    stranger = Remote(f"http://{ask.remote.host}:{ask.remote.port}", "nobody's")
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(stranger, operations.get_status())
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(Remote(f"http://{stranger.host}:{stranger.port}"), operations.get_status())
    with pytest.raises(RequestError, match="is not allowed for this path"):
        await ask(Call("DELETE", "/health"))
    with pytest.raises(NotFound, match="nothing at"):
        await ask(Call("GET", "/api/v1/nowhere"))


async def test_outdated_etag_is_rejected(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    _, etag = await trio.to_thread.run_sync(
        ask.remote.call_with_etag, operations.get_organization_device(device_id=device.id)
    )
    rename = operations.put_organization_device(device_id=device.id, name="First").if_match(etag)
    assert "First" == (await ask(rename))["name"]
    with pytest.raises(Outdated):
        await ask(attrs.evolve(rename, body={"name": "Second"}))
    assert "First" == device.name


async def test_call_with_an_idempotency_key_is_executed_once(hub, ask):
    await hub.templates.save(TEMPLATE, SYSTEM)
    call = operations.post_organization_device_create(template_id="TMPL0client", name="Once").with_idempotency_key(
        "key 1"
    )
    assert (await ask(call))["id"] == (await ask(call))["id"]
    with pytest.raises(Conflict):
        await ask(
            operations.post_organization_device_create(template_id="TMPL0client", name="Else").with_idempotency_key(
                "key 1"
            )
        )
    assert 1 == len(hub.devices.by_id)


@pytest.fixture
async def ada(hub):
    await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
    host, port = address_of(hub)
    return Remote(f"http://{host}:{port}")


async def test_login_and_scoped_key_limit_what_a_client_may_call(hub, ada):
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(ada.login, EMAIL, "wrong")
    login = await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
    assert EMAIL == login["user"]["email"]
    key = await trio.to_thread.run_sync(ada, operations.post_key(name="reader", scopes=["org_devices.view"]))
    reader = Remote(f"http://{ada.host}:{ada.port}", key["key"])
    assert [] == (await trio.to_thread.run_sync(reader, operations.get_organization_devices()))["content"]
    with pytest.raises(Forbidden):
        await trio.to_thread.run_sync(reader, operations.get_organization_users())


async def test_session_is_refreshed_until_it_expires(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
        host, port = address_of(hub)
        ada = Remote(f"http://{host}:{port}")
        first = await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
        time.pass_(first["expires_in"] * 1000 + 1)
        async with trio.open_nursery() as nursery:
            # Concurrent calls share one refresh; the refresh token is valid only once.
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, ada, operations.get_profile())
        assert ada.token != first["access_token"]
        time.pass_(first["expires_in"] * 1000 + 1)
        messages = ada.follow({"subscribe": "devices"})
        assert "devices" == (await trio.to_thread.run_sync(next, messages))["subscribed"]
        await trio.to_thread.run_sync(messages.close)
        time.pass_(400 * 86_400_000)
        with pytest.raises(NotAuthenticated):
            await trio.to_thread.run_sync(ada, operations.get_profile())


async def test_stream_with_an_invalid_key_is_rejected(hub):
    host, port = address_of(hub)
    with pytest.raises(NotAuthenticated, match="rejected the connection to its live stream"):
        await trio.to_thread.run_sync(list, Remote(f"http://{host}:{port}", "x").follow({"subscribe": "devices"}))


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\napi_requests_per_minute = 2\n"])
async def test_rate_limit_raises_the_time_to_retry_after(hub, ada):
    await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
    with pytest.raises(TooMany) as raised:
        for _ in range(3):
            await trio.to_thread.run_sync(ada, operations.get_organization_devices())
    assert 1 <= raised.value.retry_after <= 60


async def test_followed_stream_yields_values(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    messages = ask.remote.follow({"subscribe": "device", "device": device.id})
    first = await trio.to_thread.run_sync(next, messages)
    assert 1 == first["id"]
    hub.write(Write(device, 0, 7.25, "test", SYSTEM))
    while "v0" not in first.get("values", {}):
        first = await trio.to_thread.run_sync(next, messages)
    assert 7.25 == first["values"]["v0"]
    await trio.to_thread.run_sync(messages.close)


async def test_rejected_subscription_raises_its_error(hub, ask):
    with pytest.raises(RequestError, match="Device with identifier 99"):
        await trio.to_thread.run_sync(list, ask.remote.follow({"subscribe": "device", "device": 99}))


def test_unknown_path_of_a_stopped_hub_is_not_found(hub_config):
    with local.open_api(hub_config) as stopped:
        assert 0 == stopped(operations.get_organization_devices())["totalElements"]
        with pytest.raises(NotFound, match="There is nothing at /api/v1/nowhere"):
            stopped(Call("GET", "/api/v1/nowhere"))


async def test_unreachable_hub_is_reported_as_unavailable(unused_port):
    remote = Remote(f"http://127.0.0.1:{unused_port}", "key")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_port} does not answer"):
        await trio.to_thread.run_sync(remote, operations.get_status())
    with pytest.raises(Unavailable):
        await trio.to_thread.run_sync(list, remote.follow({"subscribe": "events"}))


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        # Bound, but not listening.
        yield unused.getsockname()[1]


@pytest.fixture
async def proxy():
    """A server that answers each request with given bytes; ``requests`` has the requests."""
    requests = []

    async def serve(stream):
        requests.append(await stream.receive_some(4096))
        await stream.send_all(next_response["next"])
        await stream.aclose()

    next_response = {"next": b""}
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        host, port = listener.socket.getsockname()[:2]

        async def request_with(head, body=b"", path="", call=None, token="key"):
            next_response["next"] = head + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            remote = Remote(f"http://127.0.0.1:{port}{path}", token)
            return await trio.to_thread.run_sync(remote, call or operations.get_status())

        request_with.requests = requests
        yield request_with
        nursery.cancel_scope.cancel()


OK, PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json", b"Content-Type: text/plain"


@pytest.mark.parametrize(
    ("head", "body", "error", "requests"),
    [
        (b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere", b"", Unavailable, "does not answer as a hub"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html", b"<h1>Hello</h1>", Unavailable, "does not answer as a hub"),
        (OK, b'{"cut', Unavailable, "does not answer as a hub"),
        (OK, b"\xff\xfe", Unavailable, "does not answer as a hub"),
        (b"HTTP/1.1 502 Bad Gateway\r\n" + PLAIN, b"", RequestError, "502 Bad Gateway"),
        (b"HTTP/1.1 404 Not Found\r\n" + PLAIN, b"no such host", NotFound, "no such host"),
        (b"HTTP/1.1 403 No\r\nContent-Type: application/json", b'{"message": "go away"}', Forbidden, "go away"),
        (b"HTTP/1.1 400 No\r\nContent-Type: application/json", b'{"error": "x"}', Rejected, "error"),
        (b"HTTP/1.1 429 No\r\nRetry-After: Fri, 27 Nov 2026 00:00:00 GMT", b"slowly", TooMany, "slowly"),
    ],
)
async def test_responses_of_other_servers_raise_errors(proxy, head, body, error, requests):
    with pytest.raises(error, match=requests):
        await proxy(head, body)


async def test_url_of_a_hub_may_have_a_path(proxy):
    assert {} == await proxy(OK, b"{}", path="/pinwheel/")
    assert proxy.requests[0].startswith(b"GET /pinwheel/api/v1/status HTTP/1.1")


async def test_key_that_is_invalid_in_a_header_is_rejected(proxy):
    for token in ("ключ", "key\nX-Evil: 1"):
        with pytest.raises(Rejected, match="not allowed in an HTTP header") as raised:
            await proxy(OK, b"{}", token=token)
        assert "key" not in str(raised.value.__cause__)
    # The newline at the end of a file is ignored.
    assert {} == await proxy(OK, b"{}", token="key\n")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://hub",
        "http://",
        "",
        "http://hub:x",
        "http://hub:99999",
        "http://[::1:80",
        "http://hub/é",
    ],
)
def test_invalid_url_of_a_hub_is_rejected(url):
    with pytest.raises(Rejected, match="is not the address of a hub"):
        Remote(url)


@pytest.mark.parametrize("hub_toml", ['[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'])
async def test_untrusted_certificate_is_rejected(hub):
    host, port = address_of(hub)
    with pytest.raises(Unavailable, match="certificate"):
        await trio.to_thread.run_sync(Remote(f"https://{host}:{port}", local_key(hub)), operations.get_status())
