"""Bench ``search``: searches and counts of many devices; their CPU time, and for how long they block the event loop."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bench.api import SAMPLES, ApiClient, fill
from bench.hostile import UNLIMITED
from bench.hub_process import DATASTREAMS, HubProcess
from bench.ticker import Ticker, install_ticker

SEARCH = "/api/v1/devices/search"


def search(*, devices: int, verbose: bool) -> dict[str, Any]:
    """Searches of an Admin on a hub with many devices: milliseconds, CPU, and how long the event loop was blocked."""
    with HubProcess(verbose=verbose, config=UNLIMITED) as hub:
        hub.add_devices(1)
        hub.stop()
        fill(hub, devices)
        _add_values(hub, devices)
        install_ticker(hub)
        hub.start()
        client, ticker = ApiClient(hub), Ticker(hub)
        client.log_in()
        ticker.longest_busy_ms()
        client.request("POST", SEARCH, {"query": "kitchen"})
        results: dict[str, Any] = {"devices": devices, "first_blocked_ms": round(ticker.longest_busy_ms(), 1)}
        longest, costly = 0.0, 0.0
        for name, method, path, body in _requests(devices):
            before = hub.cpu_seconds()
            ms = client.median_ms(method, path, body, _check_answer)
            cpu_ms = (hub.cpu_seconds() - before) / SAMPLES * 1000
            blocked_ms = ticker.longest_busy_ms()
            results[name] = {"ms": ms, "cpu_ms": round(cpu_ms, 1), "blocked_ms": round(blocked_ms, 1)}
            longest, costly = max(longest, blocked_ms), max(costly, cpu_ms)
        return results | {"blocked_ms": round(longest, 1), "most_cpu_ms": round(costly, 1)}


def _requests(devices: int) -> Iterator[tuple[str, str, str, Any]]:
    """Yield the requests, each as (name, method, path, body)."""
    text = {"operator": "contains", "values": ["99"]}
    yield "word", "POST", SEARCH, {"query": f"device {devices - 1}"}
    yield "words", "POST", SEARCH, {"query": "kitchen device 9 bench", "sortBy": "name"}
    yield "name", "POST", SEARCH, {"filters": [{"attribute": "name", **text}], "sortBy": "name"}
    yield "status", "POST", SEARCH, {"filters": [{"attribute": "status", "values": ["offline"]}], "sortBy": "status"}
    room = {"attribute": "metadata", "name": "Room", **text}
    yield "metadata", "POST", SEARCH, {"filters": [room]}
    value = {"attribute": "datastream", "name": "V0", "operator": "more", "values": [30]}
    yield "datastream", "POST", SEARCH, {"filters": [value], "sortBy": "lastReported", "sortOrder": "desc"}
    by_value = {"sortBy": "datastream", "sortName": "V0"}
    yield "by_datastream", "POST", SEARCH, by_value
    yield "by_metadata", "POST", SEARCH, {"sortBy": "metadata", "sortName": "Room", "sortOrder": "desc"}
    yield "last_page", "POST", SEARCH, {"sortBy": "name", "size": 1000, "page": devices // 1000 - 1}
    yield "counts", "GET", "/api/v1/devices/counts?by=template,status,org,owner,tag", None
    named = {"values": [f"V{pin}" for pin in range(DATASTREAMS)], "metadata": ["Room"]}
    yield "values_of_1000", "POST", SEARCH, {"size": 1000, **named}
    yield "list", "GET", "/api/v1/organization/search/devices?size=20&query=", None


def _check_answer(response: bytes) -> None:
    if not json.loads(response)["content"]:
        raise SystemExit("A search found no devices.")


def _add_values(hub: HubProcess, devices: int) -> None:
    """Write a latest value for each datastream of each device of a stopped hub."""
    with closing(sqlite3.connect(hub.data / "history.db")) as connection:
        rows = ((n, 1_700_000_000_000 + n * 7919 % 86_400_000, n * 7919 % 1000 / 10) for n in _series(devices))
        connection.executemany("INSERT INTO latest (series, ts, v) VALUES (?, ?, ?)", rows)
        connection.commit()


def _series(devices: int) -> range:
    return range(1, devices * DATASTREAMS + 1)
