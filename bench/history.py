"""Bench ``history``: the value path and the history in this process, with a simulated clock that runs ahead."""

from __future__ import annotations

import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from bench.hub_process import DATASTREAMS, TEMPLATE, written_bytes
from hub.app import Hub
from hub.clock import Clock
from hub.commands import settle
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.history.chunks import HOUR_MS
from hub.model import SYSTEM, DeviceDatastream
from hub.run import running
from hub.writes import Write

MINUTE_MS, DAY_MS = 60_000, 24 * HOUR_MS
#: The time of the first value, 2026-01-01T00:00:00Z in milliseconds.
BEGIN = 1_767_225_600_000
#: Milliseconds by which a value is early or late at most.
JITTER = 500
#: Values in one commit, as with 200 values a second and the default flush interval of one second.
COMMIT_SIZE = 200
#: Queries of each kind; the result is their median.
QUERIES = 31


class StallMeter:
    """Measures the longest time in seconds for which the event loop was blocked while the meter was ``active``."""

    INTERVAL = 0.001

    def __init__(self) -> None:
        self.longest = 0.0
        self.active = False

    async def run(self) -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(self.INTERVAL)
            if self.active:
                self.longest = max(self.longest, time.perf_counter() - before - self.INTERVAL)


def history(*, points: int, series: int) -> dict[str, Any]:
    """Size of values on disk, bytes written for them, and duration of queries: random walks, one value a minute."""
    return trio.run(_history, points, series)


async def _history(points: int, series: int) -> dict[str, Any]:
    now = [BEGIN]
    stalls = StallMeter()
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        config = parse('[storage]\nretain_raw = "9999d"').with_data(str(Path(folder) / "data"))
        clock = Clock(wall=lambda: now[0] * 1_000_000, uptime=lambda: now[0] / 1000)
        async with running(config, listen=False, clock=clock) as hub:
            datastreams = await add_datastreams(hub, series)
            settle()
            before = written_bytes()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stalls.run)
                await write_values(hub, datastreams, points, now, stalls)
                hub.history.close_segment()
                while hub.history.is_busy:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            passed, blocks = (after - then for then, after in zip(before, written_bytes(), strict=True))
            day_ms, year_ms = await _query_ms(hub, datastreams, now[0])
        size = (config.data / "history.db").stat().st_size
    return {
        "points": points,
        "series": series,
        "bytes_per_point": round(size / points, 2),
        "written_bytes_per_point": round(passed / points, 1),
        "blocks_written_bytes_per_point": round(blocks / points, 1),
        "day_raw_ms": round(day_ms, 2),
        "year_daily_ms": round(year_ms, 2),
        "longest_stall_ms": round(stalls.longest * 1000, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


async def add_datastreams(hub: Hub, count: int) -> list[DeviceDatastream]:
    """Add devices with together at least ``count`` datastreams, and return that many."""
    template, _ = await hub.templates.save(TEMPLATE.replace("min = 0\n", ""), SYSTEM)
    devices = [NewDevice(name=f"Bench {n}", template=template) for n in range(-(-count // DATASTREAMS))]
    return [point for device, _ in await hub.devices.add(devices, SYSTEM) for point in device.points.values()][:count]


async def write_values(
    hub: Hub, datastreams: list[DeviceDatastream], points: int, now: list[int], stalls: StallMeter
) -> None:
    """Write ``points`` values, one a minute for each datastream with jitter, and set the clock ``now`` to their times.

    The values are random walks with steps of 0.1, similar to those of sensors.
    """
    chance = random.Random(1)
    values = [chance.randrange(150, 300) for _ in datastreams]
    done, minute = 0, BEGIN
    receipt = None
    while done < points:
        for n, point in enumerate(datastreams):
            due = minute + n * MINUTE_MS // len(datastreams) + chance.randint(-JITTER, JITTER)
            now[0] = max(now[0], due)
            values[n] += chance.choice((-1, 0, 1))
            receipt = hub.write(Write(point.device, point.datastream.pin, values[n] / 10, "bench", SYSTEM))
            done += 1
            if done % COMMIT_SIZE == 0:
                await receipt.durable()
                if done % 100_000 == 0:
                    print(f"\r{done:,} of {points:,}", end="", file=sys.stderr)
        # The first hour is a warm-up.
        stalls.active = minute - BEGIN > HOUR_MS
        minute += MINUTE_MS
        if minute % HOUR_MS == MINUTE_MS:
            # Wait for the compaction: the simulated hour is shorter than the compaction of an hour.
            while hub.history.is_busy:
                await trio.sleep(0.001)
    if receipt is not None:
        await receipt.durable()
    print(file=sys.stderr)


async def _query_ms(hub: Hub, datastreams: list[DeviceDatastream], now: int) -> tuple[float, float]:
    """Return the median duration in milliseconds of two queries: all values of 24 hours, and the days of a year."""
    chance = random.Random(2)
    raw, daily = [], []
    for _ in range(QUERIES):
        series = chance.choice(datastreams).series
        end = max(now - chance.randrange(0, max(1, (now - BEGIN) // 2)), BEGIN + DAY_MS)
        began = time.perf_counter()
        points = [point async for piece in hub.history.points(series, end - DAY_MS, end) for point in piece]
        raw.append(time.perf_counter() - began)
        # One value a minute, less those that jitter has moved out of the 24 hours.
        assert len(points) >= min(1430, (now - BEGIN) // MINUTE_MS - 10), len(points)
        began = time.perf_counter()
        async for _ in hub.history.buckets(series, now - 365 * DAY_MS, now, "day"):
            pass
        daily.append(time.perf_counter() - began)
    return statistics.median(raw) * 1000, statistics.median(daily) * 1000
