"""Bodies that routes read as streams of chunks."""

from __future__ import annotations

import gc
import hashlib
import io
import socket
import weakref

import attrs
import pytest
import trio
from support.patience import patient
from support.raw_http import ask, connected, local_key, request
from support.tenants import tenants
from support.uploads import LARGE_BODY, MAX_BODY, UPLOAD, chunked, head, upload_call
from trio.testing import wait_all_tasks_blocked

from client.remote import Remote
from connectors.http.timeouts import HttpTimeouts
from hub.api import AUTHENTICATED, PUBLIC, Response, Route
from hub.config import parse
from hub.errors import Forbidden, NotAuthenticated, Rejected
from hub.hookspecs import hookimpl
from hub.net.timeouts import NetTimeouts
from hub.run import running
from hub.testing import LOOPBACK, address_of
from plugins.openapi.client_generator import generate_client
from plugins.openapi.document import build_document


@attrs.frozen
class Body:
    key: str


class Uploads:
    """A plugin with streaming routes."""

    __name__ = "uploads"
    PINWHEEL_HOOKS = 1

    def __init__(self):
        self.errors = []
        self.calls = 0
        self.received = 0
        self.started, self.proceed, self.ended = trio.Event(), trio.Event(), trio.Event()

    async def upload(self, request, name: str = "") -> str:
        self.calls += 1
        digest = hashlib.sha256()
        request.subject = f"image {name}"
        self.started.set()
        try:
            async for chunk in request.stream:
                assert chunk
                self.received += len(chunk)
                digest.update(chunk)
        except Rejected as error:
            self.errors.append(str(error))
            raise
        finally:
            self.ended.set()
        assert request.body == b""
        return digest.hexdigest()

    async def first(self, request) -> int:
        """Read no more than the first chunk."""
        self.stream = request.stream
        async for chunk in request.stream:
            return len(chunk)
        return 0

    async def unread(self, _request) -> str:
        return "unread"

    async def slow(self, request) -> int:
        """Read when the test sets ``proceed``."""
        self.started.set()
        await self.proceed.wait()
        return sum([len(chunk) async for chunk in request.stream])

    async def tolerant(self, request) -> str:
        try:
            async for _ in request.stream:
                pass
        except Rejected as error:
            return f"tolerated: {error}"
        return "complete"

    async def nursery(self, request) -> int:
        """Pass the chunks to another task, as a handler does that writes them elsewhere."""
        size = 0

        async def read():
            async with send:
                async for chunk in request.stream:
                    await send.send(chunk)

        send, receive = trio.open_memory_channel(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async for chunk in receive:
                size += len(chunk)
        return size

    async def large(self, request):
        return Response(body=str(len(request.body)))

    @hookimpl
    def hub_routes(self):
        return [
            Route("POST", UPLOAD, self.upload, "hub.view", "Upload", streaming=True, max_body=MAX_BODY),
            Route("PUT", UPLOAD, self.large, "hub.view", "Not streamed", raw_query=True, max_body=2 * MAX_BODY),
            *(
                Route("POST", f"/api/v1/test/{name}", handler, permission, name, streaming=True, max_body=LARGE_BODY)
                for name, handler, permission in (
                    ("first", self.first, AUTHENTICATED),
                    ("unread", self.unread, AUTHENTICATED),
                    ("slow", self.slow, AUTHENTICATED),
                    ("tolerant", self.tolerant, AUTHENTICATED),
                    ("nursery", self.nursery, AUTHENTICATED),
                    ("public", self.upload, PUBLIC),
                )
            ),
        ]


@pytest.fixture
def uploads():
    return Uploads()


@pytest.fixture
def hub_plugins(uploads):
    return (uploads,)


@pytest.fixture
async def http(hub):
    async with connected(hub) as http:
        yield http


@pytest.fixture
def key(hub):
    return local_key(hub)


async def until(event):
    with trio.fail_after(patient(20)):
        await event.wait()


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_streamed_body_arrives_complete_and_in_order(http, key):
    body = bytes(range(256)) * 4000
    response = await http.ask("POST", UPLOAD, body, key)
    assert (200, hashlib.sha256(body).hexdigest()) == (response.status, response.json)
    # The connection can be used again.
    assert hashlib.sha256(b"").hexdigest() == (await http.ask("POST", UPLOAD, b"", key)).json
    assert hashlib.sha256(b"").hexdigest() == (await http.ask("POST", UPLOAD, key=key)).json


async def test_chunked_body_is_streamed(http, key):
    await http.send(head(UPLOAD, key, transfer_encoding="chunked") + chunked(b"a" * 10_000, b"b", b"c" * 9))
    assert hashlib.sha256(b"a" * 10_000 + b"b" + b"c" * 9).hexdigest() == (await http.read_response()).json


async def test_handler_gets_the_first_chunks_before_the_last_are_sent(http, key, uploads):
    await http.send(head(UPLOAD, key, content_length=8) + b"half")
    await until(uploads.started)
    with trio.fail_after(patient(20)):
        while uploads.received < 4:
            await trio.sleep(0.005)
    await http.send(b"rest")
    assert hashlib.sha256(b"halfrest").hexdigest() == (await http.read_response()).json


async def test_client_is_not_read_faster_than_the_handler(http, key, uploads):
    sent = 0

    async def send():
        nonlocal sent
        await http.send(head("/api/v1/test/slow", key, content_length=LARGE_BODY))
        for _ in range(LARGE_BODY // 65_536):
            await http.send(b"x" * 65_536)
            sent += 65_536

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await until(uploads.started)
        await wait_all_tasks_blocked(0.05)
        assert sent < LARGE_BODY / 2
        uploads.proceed.set()
        assert LARGE_BODY == (await http.read_response()).json


async def test_streaming_route_has_parameters(hub, key):
    response = await ask(hub, "POST", f"{UPLOAD}?size=1", b"x", key)
    assert (400, "there is no parameter 'size'; there are name") == (response.status, response.message)


# -- before the first byte --------------------------------------------------------------------------------------------


async def test_client_without_a_token_is_rejected_before_the_body_is_read(http, uploads):
    await http.send(request("POST", UPLOAD, content_length=1000, expect="100-continue"))
    assert 401 == (await http.read_response()).status
    assert 0 == uploads.calls
    assert b"" == await http.read_to_end()


async def test_user_without_the_permission_is_rejected_before_the_body_is_read(hub, http, uploads):
    world = await tenants(hub)
    await http.send(request("POST", UPLOAD, key=world.tokens["uma"], content_length=1000, expect="100-continue"))
    assert 403 == (await http.read_response()).status
    assert 0 == uploads.calls


async def test_client_that_expects_100_gets_it_when_the_handler_reads(http, key):
    await http.send(head(UPLOAD, key, content_length=4, expect="100-continue"))
    assert 100 == (await http.read_response()).status
    await http.send(b"body")
    assert hashlib.sha256(b"body").hexdigest() == (await http.read_response()).json


async def test_client_that_expects_100_does_not_get_it_from_a_handler_that_does_not_read(http, key):
    await http.send(head("/api/v1/test/unread", key, content_length=4, expect="100-continue"))
    assert "unread" == (await http.read_response()).json
    assert b"" == await http.read_to_end()


async def test_idempotency_key_is_rejected_before_the_body_is_read(http, key, uploads):
    await http.send(head(UPLOAD, key, content_length=4, expect="100-continue", idempotency_key="one"))
    response = await http.read_response()
    assert (400, 0) == (response.status, uploads.calls)
    assert response.message.startswith("This request cannot have an Idempotency-Key")


async def test_public_route_is_streamed_without_a_login(hub):
    response = await ask(hub, "POST", "/api/v1/test/public", b"body")
    assert hashlib.sha256(b"body").hexdigest() == response.json


async def test_upload_does_not_count_as_a_connection_without_a_login(hub_config, uploads):
    toml = LOOPBACK + "[limits]\nconnections_per_address = 1\n"
    async with running(parse(toml).with_data(str(hub_config.data)), plugins=(uploads,)) as hub:
        async with connected(hub) as uploading:
            await uploading.send(head(UPLOAD, local_key(hub), content_length=8) + b"half")
            await until(uploads.started)
            assert 200 == (await ask(hub, "GET", "/health")).status
            await uploading.send(b"rest")
            assert 200 == (await uploading.read_response()).status


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MAX_BODY + 1, 2 * MAX_BODY + 1], ids=["of the route", "of the path"])
async def test_announced_body_over_the_limit_is_answered_with_413_and_not_read(http, key, uploads, size):
    await http.send(head(UPLOAD, key, content_length=size, expect="100-continue"))
    response = await http.read_response()
    assert (413, 0) == (response.status, uploads.calls)
    assert b"" == await http.read_to_end()


@pytest.mark.parametrize("sizes", [[MAX_BODY + 1], [65_536] * 17], ids=["one chunk", "many chunks"])
async def test_chunked_body_that_grows_over_the_limit_is_answered_with_413(hub, http, key, uploads, sizes):
    await http.send(head(UPLOAD, key, transfer_encoding="chunked") + chunked(*(b"x" * size for size in sizes)))
    assert 413 == (await http.read_response()).status
    limit = f"The body exceeds the limit of {MAX_BODY} bytes for this path."
    assert [limit] == uploads.errors
    assert f"HTTP 413: {limit}" == hub.rejections.recent[-1].reason


async def test_body_of_exactly_the_limit_is_read(http, key, uploads):
    await http.send(head(UPLOAD, key, transfer_encoding="chunked") + chunked(b"x" * MAX_BODY))
    assert 200 == (await http.read_response()).status
    assert MAX_BODY == uploads.received


async def test_bytes_beyond_content_length_are_the_next_request(http, key, uploads):
    await http.send(head(UPLOAD, key, content_length=4) + b"body" + request("GET", "/health"))
    assert hashlib.sha256(b"body").hexdigest() == (await http.read_response()).json
    assert 200 == (await http.read_response()).status


# -- clients that go away ---------------------------------------------------------------------------------------------


async def test_handler_ends_with_an_error_when_the_client_disconnects(hub, key, uploads):
    async with connected(hub) as http:
        await http.send(head(UPLOAD, key, content_length=1000) + b"some")
        await until(uploads.started)
    await until(uploads.ended)
    assert 1 == len(uploads.errors)


async def test_handler_ends_with_an_error_when_the_client_resets_the_connection(hub, key, uploads):
    async with connected(hub) as http:
        await http.send(head(UPLOAD, key, content_length=1000) + b"some")
        await until(uploads.started)
        http.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await until(uploads.ended)
    assert 1 == len(uploads.errors)
    assert 200 == (await ask(hub, "GET", "/health")).status


async def test_truncated_body_is_answered_with_400(http, key, uploads):
    await http.send(head(UPLOAD, key, content_length=1000) + b"some")
    await http.stream.send_eof()
    assert 400 == (await http.read_response()).status
    assert 1 == len(uploads.errors)
    assert b"" == await http.read_to_end()


@pytest.mark.parametrize("nonsense", [b"", b"nonsense\r\n"], ids=["truncated", "malformed"])
async def test_error_of_the_client_in_a_nursery_of_the_handler_is_not_logged_as_an_error_of_the_hub(
    http, key, caplog, nonsense
):
    await http.send(head("/api/v1/test/nursery", key, transfer_encoding="chunked") + b"4\r\nbody\r\n" + nonsense)
    await http.stream.send_eof()
    assert 400 == (await http.read_response()).status
    assert {"hub.domain.rejections"} == {record.name for record in caplog.records}


async def test_handler_may_read_in_a_nursery(http, key):
    response = await http.ask("POST", "/api/v1/test/nursery", b"x" * 100_000, key)
    assert 100_000 == response.json


async def test_malformed_chunk_is_answered_with_400(http, key, uploads):
    await http.send(head(UPLOAD, key, transfer_encoding="chunked") + b"4\r\nbody\r\nnonsense\r\n")
    assert 400 == (await http.read_response()).status
    assert 1 == len(uploads.errors)


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_client_that_stalls_is_answered_with_408(http, key, uploads):
    await http.send(head(UPLOAD, key, content_length=1000) + b"some")
    assert 408 == (await http.read_response()).status
    assert ["The body stalled: less than 1024 bytes/s for 0.05 s."] == uploads.errors
    assert b"" == await http.read_to_end()


@pytest.mark.timeouts(HttpTimeouts(body=0.2))
async def test_slow_body_is_answered_with_408(http, key, uploads):
    async def drip():
        await http.send(head(UPLOAD, key, content_length=1000))
        for _ in range(1000):
            await http.send(b"x")
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert 408 == (await http.read_response()).status
        nursery.cancel_scope.cancel()


@pytest.mark.timeouts(HttpTimeouts(body=patient(1.0)))
async def test_upload_may_take_longer_than_any_other_body(http, key):
    started_at = trio.current_time()
    await http.send(head(UPLOAD, key, content_length=200 * 1024))
    for _ in range(200):
        await http.send(b"x" * 1024)
        await trio.sleep(patient(1.5) / 200)
    assert 200 == (await http.read_response()).status
    assert trio.current_time() - started_at > patient(1.0)


@pytest.mark.timeouts(HttpTimeouts(body=0.05))
async def test_time_of_a_slow_handler_does_not_count_as_a_stall(http, key, uploads):
    await http.send(head("/api/v1/test/slow", key, content_length=4) + b"body")
    await until(uploads.started)
    await trio.sleep(0.1)
    uploads.proceed.set()
    assert 4 == (await http.read_response()).json


async def test_handler_may_answer_although_the_body_is_incomplete(http, key):
    await http.send(head("/api/v1/test/tolerant", key, content_length=1000) + b"some")
    await http.stream.send_eof()
    response = await http.read_response()
    assert 200 == response.status
    assert response.json.startswith("tolerated: ")
    assert b"" == await http.read_to_end()


# -- bodies that are not read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["unread", "first"])
@pytest.mark.timeouts(NetTimeouts(linger=patient(20)))
async def test_connection_ends_without_a_reset_when_the_body_is_not_read(http, key, path):
    await http.send(head(f"/api/v1/test/{path}", key, content_length=LARGE_BODY) + b"x" * 100_000)
    assert 200 == (await http.read_response()).status
    assert b"" == await http.read_to_end()
    # A reset, which could overtake the response, would be an error here.
    for _ in range(100):
        await http.stream.send_all(b"x" * 10_000)


async def test_connection_stays_open_when_the_unread_body_has_arrived(http, key):
    await http.send(head("/api/v1/test/unread", key, content_length=4) + b"body" + request("GET", "/health"))
    assert "unread" == (await http.read_response()).json
    assert 200 == (await http.read_response()).status


async def test_stream_cannot_be_read_after_the_response(http, key, uploads):
    assert 4 == (await http.ask("POST", "/api/v1/test/first", b"body", key)).json
    with pytest.raises(Rejected, match="until the request is answered"):
        await anext(uploads.stream)


async def test_stream_of_a_disconnected_client_is_freed(hub, key, uploads):
    async with connected(hub) as http:
        await http.send(head("/api/v1/test/first", key, content_length=1000) + b"some")
        assert 4 == (await http.read_response()).json
    stream, uploads.stream = weakref.ref(uploads.stream), None
    with trio.fail_after(patient(20)):
        while hub.listener.connections:
            await trio.sleep(0.005)
    gc.collect()
    assert stream() is None


# -- the audit --------------------------------------------------------------------------------------------------------


async def test_audit_has_the_parameters_but_not_the_body(hub, http, key):
    assert 200 == (await http.ask("POST", f"{UPLOAD}?name=valve", b"secret", key)).status
    [record, *_] = (await ask(hub, "GET", "/api/v1/audit", key=key)).json["content"]
    assert ("Upload", "image valve", {"name": "valve"}) == (record["action"], record["subject"], record["details"])


async def test_upload_that_was_rejected_is_not_in_the_audit(hub, http, key):
    await http.send(head(UPLOAD, key, transfer_encoding="chunked") + chunked(b"x" * (MAX_BODY + 1)))
    assert 413 == (await http.read_response()).status
    assert [] == (await ask(hub, "GET", "/api/v1/audit", key=key)).json["content"]


# -- routes and clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"method": "GET"}, {"body": Body}, {"lock": "image"}])
def test_route_that_cannot_be_streaming_is_an_error(options):
    async def handler(request):
        pass

    with pytest.raises(ValueError, match="is streaming: it cannot be"):
        Route(
            **{"method": "POST", "path": "/x", "handler": handler, "permission": "hub.view"} | options, streaming=True
        )


async def test_document_and_client_have_a_streamed_body(hub):
    document = build_document(hub)
    operation = document["paths"][UPLOAD]["post"]
    assert {"required": True, "content": {"application/octet-stream": {}}} == operation["requestBody"]
    assert ["name"] == [parameter["name"] for parameter in operation["parameters"]]
    source = generate_client(document)
    assert "from typing import Any, BinaryIO, Literal" in source
    assert "def post_test_upload(*, name: str | None = None, content: BinaryIO) -> Call[str]:" in source
    namespace = {}
    exec(source, namespace)
    call = namespace["post_test_upload"](name="valve", content=io.BytesIO(b"body"))
    assert ("POST", UPLOAD, "name=valve") == (call.method, call.path, call.query)
    assert {"Content-Type": "application/octet-stream"} == call.headers


async def test_client_sends_a_file(hub, key):
    host, port = address_of(hub)
    remote = Remote(f"http://{host}:{port}", key)
    body = b"x" * MAX_BODY
    assert hashlib.sha256(body).hexdigest() == await trio.to_thread.run_sync(remote, upload_call(body))


async def test_client_raises_the_error_that_rejects_its_file(hub, key):
    host, port = address_of(hub)
    with pytest.raises(NotAuthenticated):
        await trio.to_thread.run_sync(
            Remote(f"http://{host}:{port}"), upload_call(b"x" * LARGE_BODY, "/api/v1/test/first")
        )
    world = await tenants(hub)
    with pytest.raises(Forbidden):
        await trio.to_thread.run_sync(Remote(f"http://{host}:{port}", world.tokens["uma"]), upload_call(b"x" * 10_000))
