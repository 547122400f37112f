"""Bench ``ingest``: values from devices, over one of the transports."""

from __future__ import annotations

import time
from typing import Any

from bench import load
from bench.calibration import calibration_us
from bench.hub_process import HubProcess
from bench.load import LoadResult
from bench.stream_clients import Subscriber

#: Seconds to wait until the hub has stored all values.
SETTLE_SECONDS = 10


def ingest(
    *, connections: int, seconds: float, transport: str, rate: str, subscriber: bool, verbose: bool
) -> dict[str, Any]:
    """Values that devices send: checked, stored, and sent to a subscriber of the live stream."""
    per_second = None if rate == "max" else float(rate)
    with HubProcess(verbose=verbose) as hub:
        tokens = hub.add_devices(connections)
        stream = Subscriber(hub.address, hub.api().token, every=per_second is not None) if subscriber else None
        result, cpu_seconds = _measure(hub, tokens, seconds, transport, per_second)
        rss = hub.rss_mb()
        p50, p99, received = stream.percentiles() if stream is not None else (None, None, None)
        if transport == "native" and per_second is None:
            # A flood waits in the buffers of the generator, so that ages say nothing about the hub.
            p50 = p99 = None
        elif stream is None and transport != "native":
            p50, p99 = load.percentiles(result.ages)
        hub.stop()
        cpu_us, calibration = cpu_seconds / max(1, result.messages) * 1e6, calibration_us()
        return {
            "messages": result.messages,
            "per_second": round(result.messages / result.seconds),
            "cpu_us_per_message": round(cpu_us, 2),
            "calibration_us": round(calibration),
            "cpu_per_calibration": round(cpu_us / calibration, 5),
            "p50_ms": p50 and round(p50, 2),
            "p99_ms": p99 and round(p99, 2),
            "told": received,
            "lost": result.messages - hub.count_values(),
            "rss_mb": round(rss, 1),
        }


def _measure(
    hub: HubProcess, tokens: list[str], seconds: float, transport: str, rate: float | None
) -> tuple[LoadResult, float]:
    """Send values until the hub has stored them all; return the result, and the CPU seconds of the hub."""
    sockets = load.native_connections(hub.address, tokens) if transport == "native" else []
    time.sleep(1)
    cpu_before = hub.cpu_seconds()
    if transport != "native":
        result = load.acknowledged_load(load.UPDATE_PROTOCOLS[transport], hub.address, tokens, seconds, rate)
    elif rate is None:
        result = load.native_flood(sockets, seconds)
    else:
        result = load.native_paced(sockets, seconds, rate)
    deadline = time.monotonic() + SETTLE_SECONDS
    while hub.status()["valuesStored"] < result.messages and time.monotonic() < deadline:
        time.sleep(0.1)
    return result, hub.cpu_seconds() - cpu_before
