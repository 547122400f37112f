"""The history as a hub keeps it: the whole value path and every commit, with a clock that runs as fast as it can."""

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

from bench.hubprocess import TEMPLATE, written
from hub.app import Hub, running
from hub.clock import Clock
from hub.commands import settle
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.history.chunks import HOUR_MS
from hub.model import SYSTEM, DeviceDatastream
from hub.writes import Write

MINUTE_MS, DAY_MS = 60_000, 24 * HOUR_MS
#: 2026-01-01T00:00:00Z in milliseconds.
BEGIN = 1_767_225_600_000
#: Milliseconds by which a reading is early or late.
JITTER = 500
#: Values in one commit: what 200 values a second are with the default flush of a second.
COMMIT = 200
#: Queries of each kind that the median is taken of.
QUERIES = 31


class _Stalls:
    """How long the loop did not run, at the longest, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.on = False

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(0.001)
            if self.on:
                self.longest = max(self.longest, time.perf_counter() - before - 0.001)


def history(points: int, series: int) -> dict[str, Any]:
    """Sensor-like values: a random walk in steps of 0.1, one a minute with jitter."""
    return trio.run(_history, points, series)


async def _history(points: int, series: int) -> dict[str, Any]:
    now = [BEGIN]
    stalls = _Stalls()
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        config = parse('[storage]\nretain_raw = "9999d"').with_data(str(Path(folder) / "data"))
        clock = Clock(wall=lambda: now[0] * 1_000_000, monotonic=lambda: now[0] / 1000)
        async with running(config, listen=False, clock=clock) as hub:
            chosen = await _series(hub, series)
            settle()
            before = written()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stalls.watch)
                await _fill(hub, chosen, points, now, stalls)
                hub.history.close_segment()
                while hub.history.is_busy:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            given, blocks = (after - then for then, after in zip(before, written(), strict=True))
            day, year = await _queries(hub, chosen, now[0])
        size = (config.data / "history.db").stat().st_size
    return {
        "points": points,
        "series": series,
        "bytes_per_point": round(size / points, 2),
        "written_bytes_per_point": round(given / points, 1),
        "blocks_written_bytes_per_point": round(blocks / points, 1),
        "day_raw_ms": round(day, 2),
        "year_daily_ms": round(year, 2),
        "longest_stall_ms": round(stalls.longest * 1000, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


async def _series(hub: Hub, count: int) -> list[DeviceDatastream]:
    template, _ = await hub.templates.save(TEMPLATE.replace("min = 0\n", ""), SYSTEM)
    devices = [NewDevice(name=f"Bench {n}", template=template) for n in range(-(-count // 5))]
    return [point for device, _ in await hub.devices.add(devices, SYSTEM) for point in device.points.values()][:count]


async def _fill(hub: Hub, chosen: list[DeviceDatastream], points: int, now: list[int], stalls: _Stalls) -> None:
    chance = random.Random(1)
    values = [chance.randrange(150, 300) for _ in chosen]
    done, minute = 0, BEGIN
    receipt = None
    while done < points:
        for n, point in enumerate(chosen):
            due = minute + n * MINUTE_MS // len(chosen) + chance.randint(-JITTER, JITTER)
            now[0] = max(now[0], due)
            values[n] += chance.choice((-1, 0, 1))
            receipt = hub.write(Write(point.device, point.datastream.pin, values[n] / 10, "bench", SYSTEM))
            done += 1
            if done % COMMIT == 0:
                await receipt.durable()
                if done % 100_000 == 0:
                    print(f"\r{done:,} of {points:,}", end="", file=sys.stderr)
        # The first hour warms up.
        stalls.on = minute - BEGIN > HOUR_MS
        minute += MINUTE_MS
        if minute % HOUR_MS == MINUTE_MS:
            # An hour passes here in less time than it takes to seal it.
            while hub.history.is_busy:
                await trio.sleep(0.001)
    if receipt is not None:
        await receipt.durable()
    print(file=sys.stderr)


async def _queries(hub: Hub, chosen: list[DeviceDatastream], now: int) -> tuple[float, float]:
    """Medians in milliseconds: 24 hours of every value, and a year of days."""
    chance = random.Random(2)
    raw, daily = [], []
    for _ in range(QUERIES):
        series = chance.choice(chosen).series
        end = max(now - chance.randrange(0, max(1, (now - BEGIN) // 2)), BEGIN + DAY_MS)
        began = time.perf_counter()
        found = [point async for piece in hub.history.points(series, end - DAY_MS, end) for point in piece]
        raw.append(time.perf_counter() - began)
        assert len(found) >= min(1430, (now - BEGIN) // MINUTE_MS - 10), len(found)
        began = time.perf_counter()
        async for _ in hub.history.buckets(series, now - 365 * DAY_MS, now, "day"):
            pass
        daily.append(time.perf_counter() - began)
    return statistics.median(raw) * 1000, statistics.median(daily) * 1000
