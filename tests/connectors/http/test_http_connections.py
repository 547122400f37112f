"""Connections of the HTTP server: several requests, streamed responses, splits of the bytes, and the stop."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.http_routes import CHUNK, CHUNKED, HEALTH, LARGE, ExampleRoutes, echo_request, is_closed
from support.patience import patient
from support.raw_http import connected, request
from trio.testing import wait_all_tasks_blocked

from connectors.http.timeouts import HttpTimeouts
from hub.run import running


async def test_connection_is_reused_for_further_requests(http):
    assert "one" == (await http.ask("POST", "/test/echo", b"one")).text
    assert "two" == (await http.ask("POST", "/test/echo", b"two")).text
    assert 200 == (await http.get("/health")).status


async def test_pipelined_requests_are_answered_in_order(http):
    await http.send(echo_request(b"one") + HEALTH + echo_request(b"two"))

    assert "one" == (await http.read_response()).text
    assert {"status": "ok"} == (await http.read_response()).json
    assert "two" == (await http.read_response()).text


async def test_connection_is_closed_when_the_client_requests_it(http):
    response = await http.ask("GET", "/health", connection="close")

    assert (200, "close") == (response.status, response.headers["connection"])
    assert await is_closed(http)


async def test_http_1_0_connection_is_closed_after_its_response(http):
    await http.send(b"GET /health HTTP/1.0\r\n\r\n")

    assert 200 == (await http.read_response()).status
    assert await is_closed(http)


async def test_body_that_is_not_read_does_not_affect_the_next_request(http):
    await http.send(request("POST", "/api/v1/template/import", b'{"toml": ""}') + HEALTH)

    assert 401 == (await http.read_response()).status
    assert 200 == (await http.read_response()).status


async def test_upgrade_to_an_unknown_protocol_is_ignored(http):
    response = await http.ask("GET", "/health", connection="Upgrade, HTTP2-Settings", upgrade="h2c")

    assert 200 == response.status


async def test_hub_does_not_read_requests_while_responses_are_not_read(hub, http, example_routes):
    """Pending responses are bounded, however many requests are sent."""
    await http.send(request("GET", "/test/chunk") * 200)
    await wait_all_tasks_blocked(0.05)

    assert max(wire.pending for wire in hub.listener._wires) < 1024 * 1024
    assert example_routes.served < 200
    for _ in range(200):
        assert CHUNK == len((await http.read_response()).body)


async def test_streamed_response_to_a_half_closed_connection_is_complete(http):
    await http.send(request("GET", "/test/streamed"))
    await http.stream.send_eof()
    assert "one,two" == (await http.read_response()).text


@pytest.mark.timeouts(HttpTimeouts(half_closed=0.05))
async def test_streamed_response_is_cancelled_when_its_client_disconnects(hub, example_routes, caplog):
    async with connected(hub) as http:
        await http.send(request("GET", "/test/endless") + HEALTH)
        await http._until(b"one,")
    with trio.fail_after(patient(5)):
        await example_routes.release.wait()
    async with connected(hub) as http:
        assert 200 == (await http.get("/health")).status
    assert "" == caplog.text


async def test_streamed_response_is_complete_before_the_next_request(http):
    await http.send(request("GET", "/test/streamed") + HEALTH)

    assert "one,two" == (await http.read_response()).text
    assert 200 == (await http.read_response()).status


async def response_at_the_stop(hub_config, example_routes, target):
    """The response to a request that is still in progress when the hub begins to stop."""
    responses = []

    async def read(http, *idle):
        # Connections without a request are closed first: then the hub is stopping.
        for connection in idle:
            assert await is_closed(connection)
        example_routes.release.set()
        responses.append(await http.read_response())
        assert await is_closed(http)

    async with (
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
        running(hub_config, plugins=(example_routes,)) as hub,
    ):
        used, silent, busy = [await stack.enter_async_context(connected(hub)) for _ in range(3)]
        assert 200 == (await used.get("/health")).status
        await busy.send(request("GET", target))
        await example_routes.started.wait()
        await wait_all_tasks_blocked()
        nursery.start_soon(read, busy, used, silent)
    return responses[0]


async def test_request_in_progress_is_finished_at_the_stop(hub_config, example_routes):
    response = await response_at_the_stop(hub_config, example_routes, "/test/wait")

    assert ("waited", "close") == (response.text, response.headers["connection"])


async def test_large_response_is_sent_completely_at_the_stop(hub_config, example_routes):
    assert LARGE == len((await response_at_the_stop(hub_config, example_routes, "/test/large")).body)


async def test_large_response_that_is_being_sent_is_completed_at_the_stop(hub_config, example_routes):
    example_routes.release.set()

    assert LARGE == len((await response_at_the_stop(hub_config, example_routes, "/test/large")).body)


DIALOGUE = b"".join(
    [
        echo_request(b"with a length"),
        CHUNKED + b"6\r\nchunks\r\n0\r\n\r\n",
        request("GET", "/test/target/?a=%20b"),
        request("GET", "/nothing"),
        request("HEAD", "/health"),
        b"GARBAGE\r\n\r\n",
    ]
)
HEAD_REQUEST = 4
CUTS = st.lists(st.integers(1, len(DIALOGUE) - 1), max_size=6).map(sorted)


async def responses_to(hub, cuts):
    """The responses to the dialogue, sent in pieces; without their dates."""
    edges = [0, *cuts, len(DIALOGUE)]
    async with connected(hub) as http:
        for a, b in zip(edges, edges[1:], strict=False):
            await http.send(DIALOGUE[a:b])
            await wait_all_tasks_blocked()
        responses = [await http.read_response(head=n == HEAD_REQUEST) for n in range(6)]
        assert await is_closed(http)
    for response in responses:
        del response.headers["date"]
    return responses


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(splits=st.lists(CUTS, min_size=10, max_size=10))
def test_responses_do_not_depend_on_how_requests_are_split(hub_config, splits):
    async def send_dialogue():
        async with running(hub_config, plugins=(ExampleRoutes(),)) as hub:
            expected = await responses_to(hub, [])
            assert [200, 200, 200, 404, 200, 400] == [response.status for response in expected]
            for cuts in splits:
                assert expected == await responses_to(hub, cuts)

    trio.run(send_dialogue)
