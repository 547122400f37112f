"""Retries of outbound requests."""

from __future__ import annotations

import pytest
import trio
from support.outbound import OK, loopback
from support.patience import patient

from hub.net import OutboundError, OutboundResponse, RetryPolicy, with_retries


def response(status, **headers):
    """A response; an underscore in a header's name stands for a hyphen."""
    return OutboundResponse(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), b"")


TEMPORARY, FINAL = OutboundError("busy", temporary=True), OutboundError("wrong")


class Attempts:
    """A request whose attempts have the given outcomes; records the time of each."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.times = []

    async def send(self):
        self.times.append(trio.current_time())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OutboundError):
            raise outcome
        return outcome

    @property
    def delays(self):
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


async def test_temporary_failures_are_retried_with_growing_delays(autojump_clock):
    attempts = Attempts(TEMPORARY, response(503), response(429), response(204))
    assert 204 == (await with_retries(attempts.send)).status
    for delay, longest in zip(attempts.delays, (1, 2, 4), strict=True):
        assert longest / 2 <= delay <= longest


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 410, 501])
async def test_status_that_a_retry_would_not_change_is_returned(autojump_clock, status):
    attempts = Attempts(response(status))
    assert status == (await with_retries(attempts.send)).status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_last_response_is_returned_when_the_attempts_are_used_up(autojump_clock, status):
    attempts = Attempts(*[response(status)] * 5)
    assert status == (await with_retries(attempts.send)).status
    assert [] == attempts.outcomes


async def test_last_error_is_raised_when_the_attempts_are_used_up(autojump_clock):
    attempts = Attempts(response(503), TEMPORARY)
    with pytest.raises(OutboundError, match="busy"):
        await with_retries(attempts.send, RetryPolicy(attempts=2))


async def test_error_that_is_not_temporary_is_raised_at_once(autojump_clock):
    with pytest.raises(OutboundError, match="wrong"):
        await with_retries(Attempts(FINAL).send)


@pytest.mark.parametrize(
    ("headers", "shortest", "longest"),
    [
        ({"retry_after": "120"}, 120, 120),
        ({"retry_after": "100000"}, 300, 300),
        ({"retry_after": "0"}, 0.5, 1),
        ({"retry_after": "soon"}, 0.5, 1),
        ({"retry_after": "-5"}, 0.5, 1),
        ({"retry_after": "9" * 5000}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:58:29 GMT"}, 90, 90),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 -0000", "date": "Fri, 31 Dec 1999 23:58:29 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 +99999999999999", "date": "x"}, 0.5, 1),
    ],
)
async def test_retry_after_is_honoured_up_to_its_limit(autojump_clock, headers, shortest, longest):
    attempts = Attempts(response(503, **headers), response(200))
    assert 200 == (await with_retries(attempts.send)).status
    assert shortest <= attempts.delays[0] <= longest


def test_delay_stays_below_its_limit_after_many_attempts():
    policy = RetryPolicy(attempts=10_000)
    assert 30 <= policy.delay(9_999, TEMPORARY) <= 60
    assert policy.delay(10_000, TEMPORARY) is None


async def test_requests_that_a_restarting_server_rejects_are_repeated(serve):
    replies = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b"", OK]

    async def reply(stream):
        await stream.send_all(replies.pop(0))

    server, outbound = await serve(reply), loopback()
    policy = RetryPolicy(first_delay=0.01)
    with trio.fail_after(patient(10)):
        result = await with_retries(lambda: outbound.request("POST", server.url, body=b"x"), policy)
    assert (200, 3) == (result.status, server.connections)
