"""Bench ``stream``: values sent to many clients of the live stream."""

from __future__ import annotations

import time
from typing import Any

from bench import load
from bench.calibration import calibration_us
from bench.hub_process import HubProcess
from bench.load import LoadResult
from bench.stream_clients import Subscriber, Watchers


def stream(
    *, connections: int, subscribers: int, rate: float, seconds: float, interval: int, verbose: bool
) -> dict[str, Any]:
    """Values from many devices, sent to many clients that watch all devices; one client measures ages.

    With an ``interval``, in milliseconds, the clients want the values gathered (``every_ms``).
    """
    load.raise_descriptor_limit()
    with HubProcess(verbose=verbose) as hub:
        tokens = hub.add_devices(connections)
        _, unwatched_percent = _measure(hub, tokens, seconds, rate)
        options = {"every_ms": interval} if interval else {}
        watchers = Watchers(hub.address, hub.api().token, subscribers - 1, **options)
        subscriber = Subscriber(hub.address, hub.api().token, **options)
        result, watched_percent = _measure(hub, tokens, seconds, rate)
        p50, p99, received = subscriber.percentiles()
        size = watchers.stop()
        return {
            "subscribers": subscribers,
            "per_second": round(result.messages / result.seconds),
            "told": received,
            "messages_per_second": round(subscriber.messages / result.seconds, 1),
            "p50_ms": round(p50, 2),
            "p99_ms": round(p99, 2),
            "cpu_percent": round(watched_percent, 1),
            "cpu_percent_unwatched": round(unwatched_percent, 1),
            "cpu_percent_each": round((watched_percent - unwatched_percent) / subscribers, 2),
            "calibration_us": round(calibration_us()),
            "megabytes": round(size / 1e6, 1),
        }


def _measure(hub: HubProcess, tokens: list[str], seconds: float, rate: float) -> tuple[LoadResult, float]:
    """Send values at a rate; return the result, and the CPU of the hub in percent of a core."""
    sockets = load.native_connections(hub.address, tokens)
    time.sleep(1)
    before = hub.cpu_seconds()
    result = load.native_paced(sockets, seconds, rate)
    return result, (hub.cpu_seconds() - before) / result.seconds * 100
