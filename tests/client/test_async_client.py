"""The asyncio client's calls, against a running hub."""

from __future__ import annotations

import asyncio
import io
import ssl
from functools import partial

import pytest
import trio
from support.certificates import unverified_context
from support.http_routes import MAX_BODY, ExampleRoutes
from support.patience import patient
from support.raw_http import local_key
from support.relay import open_relay
from support.times import until

from client import Call, aio, operations
from client.aio import MAX_CONNECTIONS, AsyncRemote
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
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of
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
"""
#: Seconds that a client waits in the test of a hub that does not answer.
SILENCE = patient(0.5)
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def example_routes():
    return ExampleRoutes()


@pytest.fixture
def hub_plugins(example_routes):
    return (example_routes,)


@pytest.fixture
async def new_remote(loop):
    """A function that returns a client; it is closed at the end."""
    remotes = []

    def new(*arguments, **options):
        remotes.append(AsyncRemote(*arguments, **options))
        return remotes[-1]

    yield new
    for remote in remotes:
        await loop.run(remote.aclose)


@pytest.fixture
async def remote(relay, hub, new_remote):
    """A client of the hub, by way of the relay, with the local key."""
    return new_remote(relay.url, local_key(hub))


async def add_ada(hub):
    await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))


async def test_calls_have_the_results_of_the_synchronous_client(hub, remote, loop):
    device, _ = await add_device(hub, TEMPLATE, "Küche & Bad")
    target = {"device_id": device.id}
    write = operations.post_organization_device_datastream(**target, pin="V0", value=21.5)
    assert None is await loop.run(remote, write)
    details, etag = await loop.run(remote.call_with_etag, operations.get_organization_device(**target))
    assert ("Küche & Bad", 21.5) == (details["name"], details["dataStreamValues"][0]["value"])
    rename = operations.put_organization_device(**target, name="Hall")
    assert "Hall" == (await loop.run(remote, rename.if_match(etag)))["name"]
    with pytest.raises(Outdated):
        await loop.run(remote, rename.if_match(etag))
    chart = operations.get_history(device_ids=[device.id], pins=["V0"], granularity="raw", period="1h", format="csv")
    assert (await loop.run(remote, chart)).startswith("time,")


async def test_error_responses_raise_the_hubs_exceptions(hub, remote, loop, new_remote):
    device, _ = await add_device(hub, TEMPLATE)
    for call, error, message in (
        (operations.get_organization_device(device_id=99), NotFound, "Device with identifier 99"),
        (operations.post_organization_device_datastream(device_id=device.id, pin="V0", value="x"), Rejected, "Value"),
        (operations.delete_template(template_id="TMPL0client"), Conflict, "device"),
        (Call("DELETE", "/health"), RequestError, "is not allowed for this path"),
        (Call("GET", "/api/v1/nowhere"), NotFound, "nothing at"),
    ):
        with pytest.raises(error, match=message):
            await loop.run(remote, call)
    stranger = new_remote(f"http://{remote.address.authority}", "nobody's")
    with pytest.raises(NotAuthenticated):
        await loop.run(stranger, operations.get_status())


async def test_connection_is_used_again_until_the_hub_closes_it(relay, remote, loop):
    for _ in range(3):
        await loop.run(remote, operations.get_status())
    assert 1 == relay.accepted
    relay.cut()
    # A write is not repeated on another connection by guess: it begins with one that is open.
    await until(lambda: not relay._connections)
    assert "id" in await loop.run(remote, operations.post_key(name="k", user_id=await user_id(loop, remote)))
    assert 2 == relay.accepted


async def user_id(loop, remote):
    created = operations.post_organization_users_invite(email="bob@example.org")
    return (await loop.run(remote, created))["id"]


async def test_idle_connection_that_the_hub_may_have_closed_is_replaced(relay, remote, loop, monkeypatch):
    await loop.run(remote, operations.get_status())
    monkeypatch.setattr(aio, "MAX_IDLE", 0.0)
    await loop.run(remote, operations.get_status())
    assert 2 == relay.accepted


async def test_concurrent_calls_share_a_limited_number_of_connections(relay, remote, loop):
    async def calls():
        return await asyncio.gather(*(remote(operations.get_status()) for _ in range(5 * MAX_CONNECTIONS)))

    assert 5 * MAX_CONNECTIONS == len(await loop.run(calls))
    assert relay.accepted <= MAX_CONNECTIONS


async def test_cancelled_call_does_not_disturb_the_next(remote, loop, example_routes):
    async def cancelled_call():
        call = asyncio.create_task(remote(Call("GET", "/test/wait")))
        await asyncio.sleep(0)
        await asyncio.to_thread(trio.from_thread.run, example_routes.started.wait, trio_token=token)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    token = trio.lowlevel.current_trio_token()
    for _ in range(3):
        await loop.run(cancelled_call)
    example_routes.release.set()
    assert "waited" == await loop.run(remote, Call("GET", "/test/wait"))
    assert ["/test/target", "a=1"] == await loop.run(remote, Call("GET", "/test/target", params={"a": 1}))


async def test_hub_that_stops_answering_is_unavailable(relay, hub, loop, new_remote):
    remote = new_remote(relay.url, local_key(hub), timeout=SILENCE)
    await loop.run(remote, operations.get_status())
    relay.stall()
    with pytest.raises(Unavailable, match=f"does not answer: it was silent for {SILENCE:g} seconds"):
        await loop.run(remote, operations.get_status())
    relay.flow()
    assert await loop.run(remote, operations.get_status())


async def test_hub_that_ends_the_connection_is_unavailable(relay, remote, loop):
    relay.lead_to(None)
    with pytest.raises(Unavailable, match="does not answer"):
        await loop.run(remote, operations.get_status())


async def test_long_answer_that_keeps_coming_is_not_too_late(loop, new_remote):
    pieces = 15

    async def serve(stream):
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % pieces)
        for _ in range(pieces):
            await trio.sleep(SILENCE / 10)
            await stream.send_all(b"x")

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        host, port = listener.socket.getsockname()[:2]
        remote = new_remote(f"http://{host}:{port}", timeout=SILENCE)
        assert pieces * "x" == await loop.run(remote, Call("GET", "/"))
        nursery.cancel_scope.cancel()


async def test_answer_without_end_is_limited(hub, remote, loop, example_routes, monkeypatch):
    monkeypatch.setattr(aio, "MAX_CONTENT", 1024 * 1024)
    example_routes.release.set()
    with pytest.raises(Unavailable, match="the response has more than 1 MB"):
        await loop.run(remote, Call("GET", "/test/large"))


async def test_file_is_sent_as_a_stream(remote, loop):
    content = bytes(range(256)) * 4096
    assert len(content) < MAX_BODY
    sent = Call("POST", "/test/echo", content=io.BytesIO(content.hex().encode()))
    assert content.hex() == await loop.run(remote, sent)


async def test_rejected_stream_raises_the_error_of_the_hub(remote, loop):
    too_large = Call("POST", "/test/echo", content=io.BytesIO(bytes(8 * MAX_BODY)))
    with pytest.raises(RequestError, match="exceeds the limit"):
        await loop.run(remote, too_large)
    assert ["/test/target", ""] == await loop.run(remote, Call("GET", "/test/target"))


async def test_file_that_cannot_be_read_fails_the_call(remote, loop):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await loop.run(remote, Call("POST", "/test/echo", content=Broken(b"x" * 100)))


async def test_login_is_refreshed_once_for_concurrent_calls(hub_config, time, loop, new_remote):
    async with running(hub_config, clock=time.clock()) as hub, open_relay() as relay:
        relay.lead_to(hub)
        await add_ada(hub)
        remote = new_remote(relay.url)
        with pytest.raises(NotAuthenticated):
            await loop.run(remote.login, EMAIL, "wrong password")
        login = await loop.run(remote.login, EMAIL, PASSWORD)
        time.pass_(login["expires_in"] * 1000 + 1)

        async def calls():
            return await asyncio.gather(*(remote(operations.get_profile()) for _ in range(6)))

        assert [EMAIL] * 6 == [profile["email"] for profile in await loop.run(calls)]
        first = remote.token
        assert first != login["access_token"]
        # A call that is cancelled while it refreshes does not lose the new tokens.
        time.pass_(login["expires_in"] * 1000 + 1)
        relay.stall()

        async def cancelled_refresh():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await remote.refresh(first)

        await loop.run(cancelled_refresh)
        relay.flow()
        assert EMAIL == (await loop.run(remote, operations.get_profile()))["email"]
        # The session itself has expired.
        time.pass_(31 * 86_400_000)
        with pytest.raises(NotAuthenticated):
            await loop.run(remote, operations.get_profile())


@pytest.mark.parametrize("hub_toml", [LOOPBACK + "[limits]\napi_requests_per_minute = 2\n"])
async def test_rate_limit_raises_the_time_to_retry_after(hub, relay, loop, new_remote):
    await add_ada(hub)
    remote = new_remote(relay.url)
    await loop.run(remote.login, EMAIL, PASSWORD)
    with pytest.raises(TooMany) as raised:
        for _ in range(3):
            await loop.run(remote, operations.get_organization_devices())
    assert 1 <= raised.value.retry_after <= 60


async def test_scoped_key_limits_what_a_client_may_call(hub, relay, loop, new_remote):
    await add_ada(hub)
    ada = new_remote(relay.url)
    await loop.run(ada.login, EMAIL, PASSWORD)
    key = await loop.run(ada, operations.post_key(name="reader", scopes=["org_devices.view"]))
    reader = new_remote(relay.url, key["key"])
    assert [] == (await loop.run(reader, operations.get_organization_devices()))["content"]
    with pytest.raises(Forbidden):
        await loop.run(reader, operations.get_organization_users())


@pytest.mark.parametrize("hub_toml", ['[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'])
async def test_certificates_are_verified(hub, loop, new_remote):
    url = "https://{}:{}".format(*address_of(hub))
    for tls in (None, ssl.create_default_context()):
        with pytest.raises(Unavailable, match="certificate"):
            await loop.run(new_remote(url, local_key(hub), tls), operations.get_status())
    trusting = new_remote(url, local_key(hub), unverified_context())
    assert await loop.run(trusting, operations.get_status())


@pytest.fixture
async def server():
    """A server that answers each request with given bytes, and closes the connection."""
    answers, requests = [], []

    async def serve(stream):
        requests.append(bytes(await stream.receive_some(4096)))
        await stream.send_all(answers[-1])
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        host, port = listener.socket.getsockname()[:2]
        serve.url, serve.answers, serve.requests = f"http://{host}:{port}", answers, requests
        yield serve
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "does not answer: .*(closed the connection before a response|reset)"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "does not answer as a hub: status 301"),
        (JSON_HEAD + b'Content-Length: 9\r\n\r\n{"cut', "does not answer"),
        (JSON_HEAD + b'Content-Length: 5\r\n\r\n{"cut', "does not answer as a hub"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "as a hub: status 200, text/html",
        ),
    ],
)
async def test_response_of_another_server_is_unavailable(server, loop, answer, message, new_remote):
    server.answers.append(answer)
    with pytest.raises(Unavailable, match=message):
        await loop.run(new_remote(server.url, "key"), operations.get_status())


async def test_url_may_have_a_path_and_answers_may_close_the_connection(server, loop, new_remote):
    server.answers.append(JSON_HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
    remote = new_remote(f"{server.url}/pinwheel/", "key\n")
    for _ in range(2):
        assert {} == await loop.run(remote, operations.get_status())
    assert server.requests[1].startswith(b"GET /pinwheel/api/v1/status HTTP/1.1\r\n")
    assert b"Authorization: Bearer key\r\n" in server.requests[1]


async def test_key_that_is_invalid_in_a_header_is_rejected(server, loop, new_remote):
    for token in ("ключ", "key\nX-Evil: 1"):
        with pytest.raises(Rejected, match="not allowed in an HTTP header"):
            await loop.run(new_remote(server.url, token), operations.get_status())
    assert [] == server.requests


async def test_key_with_other_letters_is_sent(remote, relay, loop, new_remote):
    with pytest.raises(NotAuthenticated):
        await loop.run(new_remote(relay.url, "clé"), operations.get_status())


async def test_path_that_is_invalid_in_a_request_is_not_sent(remote, loop):
    with pytest.raises(Unavailable, match="target"):
        await loop.run(remote, Call("GET", "/two words"))


def test_invalid_url_of_a_hub_is_rejected():
    with pytest.raises(Rejected, match="is not the address of a hub"):
        AsyncRemote("ftp://hub")
