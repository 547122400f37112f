"""A plugin in the hub of a benchmark that measures for how long the event loop is blocked."""

from __future__ import annotations

import http.client

from bench.hub_process import HubProcess

#: Seconds between two ticks of the plugin.
TICK = 0.005

#: A plugin with the route /bench/ticker: it returns, and resets, the longest time between two ticks in milliseconds,
#: less the tick itself; and the same without the time in which the thread of the event loop did not run.
TICKER = f"""
import time
import trio
from hub import PUBLIC, Response, Route, hookimpl

PINWHEEL_HOOKS = 1
longest = longest_busy = 0.0


async def tick():
    global longest, longest_busy
    before, cpu_before = time.perf_counter(), time.thread_time()
    while True:
        await trio.sleep({TICK})
        now, cpu_now = time.perf_counter(), time.thread_time()
        gap = now - before - {TICK}
        longest, longest_busy = max(longest, gap), max(longest_busy, min(gap, cpu_now - cpu_before))
        before, cpu_before = now, cpu_now


@hookimpl
async def hub_start(hub, nursery):
    nursery.start_soon(tick)


@hookimpl
def hub_routes(hub):
    async def ticker(request):
        global longest, longest_busy
        answer = Response(body=f"{{longest * 1000}} {{longest_busy * 1000}}")
        longest = longest_busy = 0.0
        return answer

    return [Route("GET", "/bench/ticker", ticker, PUBLIC, audited=False)]
"""


def install_ticker(hub: HubProcess) -> None:
    """Install the plugin in a stopped hub, whose next start loads it."""
    plugins = hub.data / "plugins"
    plugins.mkdir()
    (plugins / "ticker.py").write_text(TICKER)


class Ticker:
    """A client of the plugin."""

    def __init__(self, hub: HubProcess) -> None:
        self._connection = http.client.HTTPConnection(*hub.address, timeout=120)

    def longest_gap_ms(self) -> float:
        """Return how long the event loop was blocked at most since the last call."""
        return self._read()[0]

    def longest_busy_ms(self) -> float:
        """Return how long the event loop was busy at most since the last call; other processes do not count."""
        return self._read()[1]

    def _read(self) -> tuple[float, float]:
        self._connection.request("GET", "/bench/ticker")
        gap, busy = map(float, self._connection.getresponse().read().split())
        return gap, busy
