"""The Python client: made from the API's description, and typed; against a real hub over real sockets."""

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
    """Carry out a call as the local key does, in a thread."""
    host, port = address_of(hub)
    remote = Remote(f"http://{host}:{port}", local_key(hub))

    async def carried_out(call):
        return await trio.to_thread.run_sync(remote, call)

    carried_out.remote = remote
    return carried_out


async def test_the_client_is_what_the_routes_say(hub):
    """Whoever changes a route runs ``make client``."""
    path = Path(operations.__file__)
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "--stdin-filename", str(path), "-"]
    made = await trio.run_process(ruff, stdin=generate_client(build_document(hub)).encode(), capture_stdout=True)
    assert made.stdout.decode() == path.read_text()


async def test_a_device_is_made_written_read_and_deleted(hub, ask):
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    made = await ask(operations.post_organization_device_create(template_id=template.id, name="Küche & Bad"))
    assert 32 == len(made["token"])
    one = {"device_id": made["id"]}
    assert None is await ask(operations.post_organization_device_datastream(**one, pin="V0", value=21.5))
    found = await ask(operations.get_organization_device(**one))
    assert ("Küche & Bad", 21.5) == (found["name"], found["dataStreamValues"][0]["value"])
    listed = await ask(operations.get_organization_search_devices(query="küche &"))
    assert [made["id"]] == [device["id"] for device in listed["content"]]
    await ask(operations.delete_organization_device(**one))
    assert 0 == (await ask(operations.get_organization_devices()))["totalElements"]


async def test_queries_have_lists_truth_and_times_and_answers_may_be_text(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    for pin, value in ((0, 1.5), (1, "a,b")):
        await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()
    chart = partial(operations.get_history, device_ids=[device.id], pins=["V0", "V1"], granularity="raw", to=2**41)
    lines = (await ask(chart(from_="1970-01-01T00:00:00Z")))["series"]
    assert [[1.5], ["a,b"]] == [line["values"] for line in lines]
    assert "time,device,name,value" == (await ask(chart(from_=0, format="csv"))).splitlines()[0]
    empty = operations.get_device_history(device_id=device.id, pin="V0", from_=0, to=1)
    assert "" == await ask(empty)
    below = operations.get_organization_devices(include_sub_org_devices=False)
    assert 1 == (await ask(below))["totalElements"]


async def test_errors_are_what_the_hub_raised(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    with pytest.raises(NotFound, match="Device with identifier 99"):
        await ask(operations.get_organization_device(device_id=99))
    with pytest.raises(Rejected, match="Value: double"):
        await ask(operations.post_organization_device_datastream(device_id=device.id, pin="V0", value="x"))
    with pytest.raises(Conflict):
        await ask(operations.delete_template(template_id="TMPL0client"))
    nobody = Remote(f"http://{ask.remote.host}:{ask.remote.port}", "nobody's")
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(nobody, operations.get_status())
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(Remote(f"http://{nobody.host}:{nobody.port}"), operations.get_status())
    with pytest.raises(RequestError, match="is not allowed for this path"):
        await ask(Call("DELETE", "/health"))
    with pytest.raises(NotFound, match="nothing at"):
        await ask(Call("GET", "/api/v1/nowhere"))


async def test_what_changed_since_it_was_read_is_not_edited(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    _, etag = await trio.to_thread.run_sync(
        ask.remote.call_with_etag, operations.get_organization_device(device_id=device.id)
    )
    rename = operations.put_organization_device(device_id=device.id, name="First").if_match(etag)
    assert "First" == (await ask(rename))["name"]
    with pytest.raises(Outdated):
        await ask(attrs.evolve(rename, body={"name": "Second"}))
    assert "First" == device.name


async def test_what_is_asked_twice_with_a_key_is_done_once(hub, ask):
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


async def test_somebody_logs_in_and_may_what_they_may(hub, ada):
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(ada.login, EMAIL, "wrong")
    who = await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
    assert EMAIL == who["user"]["email"]
    key = await trio.to_thread.run_sync(ada, operations.post_key(name="reader", scopes=["org_devices.view"]))
    reader = Remote(f"http://{ada.host}:{ada.port}", key["key"])
    assert [] == (await trio.to_thread.run_sync(reader, operations.get_organization_devices()))["content"]
    with pytest.raises(Forbidden):
        await trio.to_thread.run_sync(reader, operations.get_organization_users())


async def test_a_session_is_renewed_as_long_as_it_may_be(hub_config, time):
    async with running(hub_config, clock=time.clock()) as hub:
        await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
        host, port = address_of(hub)
        ada = Remote(f"http://{host}:{port}")
        first = await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
        time.pass_(first["expires_in"] * 1000 + 1)
        async with trio.open_nursery() as nursery:
            # Who comes second does not spend a token that is spent.
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, ada, operations.get_profile())
        assert ada.token != first["access_token"]
        time.pass_(first["expires_in"] * 1000 + 1)
        followed = ada.follow({"subscribe": "devices"})
        assert "devices" == (await trio.to_thread.run_sync(next, followed))["subscribed"]
        await trio.to_thread.run_sync(followed.close)
        time.pass_(400 * 86_400_000)
        with pytest.raises(NotAuthenticated):
            await trio.to_thread.run_sync(ada, operations.get_profile())


async def test_a_stream_without_a_right_to_it_is_refused(hub):
    host, port = address_of(hub)
    with pytest.raises(NotAuthenticated, match="rejected the connection to its live stream"):
        await trio.to_thread.run_sync(list, Remote(f"http://{host}:{port}", "x").follow({"subscribe": "devices"}))


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\napi_requests_per_minute = 2\n"])
async def test_who_asks_too_much_is_told_when_to_come_again(hub, ada):
    await trio.to_thread.run_sync(ada.login, EMAIL, PASSWORD)
    with pytest.raises(TooMany) as refused:
        for _ in range(3):
            await trio.to_thread.run_sync(ada, operations.get_organization_devices())
    assert 1 <= refused.value.retry_after <= 60


async def test_the_stream_is_followed_until_the_hub_stops(hub, ask):
    device, _ = await add_device(hub, TEMPLATE)
    followed = ask.remote.follow({"subscribe": "device", "device": device.id})
    first = await trio.to_thread.run_sync(next, followed)
    assert 1 == first["id"]
    hub.write(Write(device, 0, 7.25, "test", SYSTEM))
    while "v0" not in first.get("values", {}):
        first = await trio.to_thread.run_sync(next, followed)
    assert 7.25 == first["values"]["v0"]
    await trio.to_thread.run_sync(followed.close)


async def test_a_subscription_that_is_refused_says_why(hub, ask):
    with pytest.raises(RequestError, match="Device with identifier 99"):
        await trio.to_thread.run_sync(list, ask.remote.follow({"subscribe": "device", "device": 99}))


def test_what_a_stopped_hub_does_not_have_is_not_found(hub_config):
    with local.open_api(hub_config) as stopped:
        assert 0 == stopped(operations.get_organization_devices())["totalElements"]
        with pytest.raises(NotFound, match="There is nothing at /api/v1/nowhere"):
            stopped(Call("GET", "/api/v1/nowhere"))


async def test_a_hub_that_is_not_there_is_called_that(unused_port):
    remote = Remote(f"http://127.0.0.1:{unused_port}", "key")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_port} does not answer"):
        await trio.to_thread.run_sync(remote, operations.get_status())
    with pytest.raises(Unavailable):
        await trio.to_thread.run_sync(list, remote.follow({"subscribe": "events"}))


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, but nobody listens.
        yield taken.getsockname()[1]


@pytest.fixture
async def proxy():
    """Something that answers each request with the bytes that it is given."""
    said = []

    async def serve(stream):
        said.append(await stream.receive_some(4096))
        await stream.send_all(answer_of["next"])
        await stream.aclose()

    answer_of = {"next": b""}
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        host, port = listener.socket.getsockname()[:2]

        async def asked(head, body=b"", path="", call=None, token="key"):
            answer_of["next"] = head + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            remote = Remote(f"http://127.0.0.1:{port}{path}", token)
            return await trio.to_thread.run_sync(remote, call or operations.get_status())

        asked.said = said
        yield asked
        nursery.cancel_scope.cancel()


OK, PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json", b"Content-Type: text/plain"


@pytest.mark.parametrize(
    ("head", "body", "kind", "said"),
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
async def test_what_no_hub_answers_is_called_that(proxy, head, body, kind, said):
    with pytest.raises(kind, match=said):
        await proxy(head, body)


async def test_a_hub_may_be_below_a_path_of_a_proxy(proxy):
    assert {} == await proxy(OK, b"{}", path="/pinwheel/")
    assert proxy.said[0].startswith(b"GET /pinwheel/api/v1/status HTTP/1.1")


async def test_a_key_that_no_header_can_have_is_refused(proxy):
    for token in ("ключ", "key\nX-Evil: 1"):
        with pytest.raises(Rejected, match="not allowed in an HTTP header") as refused:
            await proxy(OK, b"{}", token=token)
        assert "key" not in str(refused.value.__cause__)
    # A file often ends with a new line.
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
def test_what_is_no_address_of_a_hub_is_refused(url):
    with pytest.raises(Rejected, match="is not the address of a hub"):
        Remote(url)


@pytest.mark.parametrize("hub_toml", ['[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'])
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(hub):
    host, port = address_of(hub)
    with pytest.raises(Unavailable, match="certificate"):
        await trio.to_thread.run_sync(Remote(f"https://{host}:{port}", local_key(hub)), operations.get_status())
