"""Bench ``api``: reads of one device, lists, searches and charts of a hub with many devices."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from bench.hub_process import HubProcess
from hub.history.chunks import HOUR_MS, Statistics, to_row
from plugins.users.model import ADMIN
from plugins.users.passwords import blynk_hash, derive

EMAIL, PASSWORD = "admin@example.org", "correct horse battery"
#: How often each request is sent, and the number of devices that are read in turn, as by a dashboard.
SAMPLES, READ_DEVICES = 11, 20
#: Hours of a year of 364 days, and series in `ApiClient.year_of_hours_ms`.
YEAR_HOURS, YEAR_SERIES = 364 * 24, 8


def api(*, devices: int, seconds: float, verbose: bool) -> dict[str, Any]:
    """Requests of an Admin over one connection, on a hub with many devices (medians in milliseconds)."""
    with HubProcess(verbose=verbose) as hub:
        hub.add_devices(1)
        hub.stop()
        fill(hub, devices)
        hub.start()
        client = ApiClient(hub)
        client.log_in()
        before = hub.cpu_seconds()
        count, duration = client.read_devices(seconds)
        cpu_seconds = hub.cpu_seconds() - before
        search, filtered = "/api/v1/organization/search/devices?size=20&query=", "/api/v1/devices/search"
        room_filter = {"attribute": "metadata", "name": "Room", "operator": "contains", "values": ["kitchen 7"]}
        name_filter = {"attribute": "name", "operator": "contains", "values": ["99"]}
        filters = {"filters": [room_filter, name_filter], "match": "any", "sortBy": "name"}
        return {
            "devices": devices,
            "device_reads_per_second": round(count / duration),
            "cpu_us_per_read": round(cpu_seconds / count * 1_000_000),
            "list_1000_ms": client.list_ms("GET", "/api/v1/organization/devices?size=1000", expected=devices),
            "search_word_ms": client.list_ms("GET", f"{search}device+{devices - 1}"),
            "search_all_ms": client.list_ms("GET", search, expected=devices),
            "filter_ms": client.list_ms("POST", filtered, filters),
            "year_hourly_ms": client.year_of_hours_ms(),
            "rss_mb": round(hub.rss_mb(), 1),
        }


class ApiClient:
    """A client of the API with one connection, which is kept open."""

    def __init__(self, hub: HubProcess) -> None:
        self._address = hub.address
        self._connection = http.client.HTTPConnection(*hub.address, timeout=60)
        self._token = ""

    def log_in(self) -> None:
        response = self.request("POST", "/api/v1/login", {"email": EMAIL, "password": PASSWORD})
        self._token = json.loads(response)["access_token"]

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Send a request and return the body of the response."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise SystemExit(f"{method} {path} failed: {content!r}")
        return content

    def read_devices(self, seconds: float) -> tuple[int, float]:
        """Read one device after the other; return the number of reads, and how many seconds they took.

        Uses a raw socket: http.client takes half as long to parse a response as the hub takes to send it.
        """
        head = f"Host: hub\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        requests = [
            f"GET /api/v1/organization/device?deviceId={number} HTTP/1.1\r\n{head}".encode()
            for number in range(1, READ_DEVICES + 1)
        ]
        count, began = 0, time.perf_counter()
        with socket.create_connection(self._address) as sock:
            while (duration := time.perf_counter() - began) < seconds:
                sock.sendall(requests[count % READ_DEVICES])
                response = b""
                while not response.endswith(b"}") or b"\r\n\r\n" not in response or not _is_complete(response):
                    response += sock.recv(65_536)
                if not response.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"A device could not be read: {response[:200]!r}")
                count += 1
        return count, duration

    def year_of_hours_ms(self) -> float:
        """Return the median duration of a chart with the hours of a year of eight datastreams."""

        def check(response: bytes) -> None:
            points = sum(len(line["ts"]) for line in json.loads(response)["series"])
            if points < YEAR_SERIES * YEAR_HOURS:
                raise SystemExit(f"A chart of a year has only {points} hours.")

        query = "deviceIds=1,2&pins=V0,V1,V2,V3&granularity=hour&period=364d&tz=UTC"
        return self.median_ms("GET", f"/api/v1/history?{query}", None, check)

    def list_ms(self, method: str, path: str, body: Any = None, expected: int | None = None) -> float:
        """Return the median duration of a list with ``expected`` elements in total; None is any number but 0."""

        def check(response: bytes) -> None:
            total = json.loads(response)["totalElements"]
            if total != expected if expected is not None else not total:
                raise SystemExit(f"{method} {path} found {total} devices; expected: {expected or 'at least 1'}.")

        return self.median_ms(method, path, body, check)

    def median_ms(self, method: str, path: str, body: Any, check: Callable[[bytes], None]) -> float:
        """Return the median duration of a request in milliseconds. Decoding and checking the response do not count."""
        durations = []
        for _ in range(SAMPLES):
            began = time.perf_counter()
            response = self.request(method, path, body)
            durations.append((time.perf_counter() - began) * 1000)
            check(response)
        return round(statistics.median(durations), 1)


def _is_complete(response: bytes) -> bool:
    """Return whether a response has the length that its Content-Length names."""
    head, _, body = response.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) == int(length.partition(b":")[2])


def fill(hub: HubProcess, devices: int) -> None:
    """Write an Admin, devices and a year of statistics into the files of a stopped hub that has one device."""
    with closing(sqlite3.connect(hub.data / "pinwheel.db")) as connection:
        password = derive(blynk_hash(EMAIL, PASSWORD))
        sql = "INSERT INTO users (org, email, name, role, password, created) VALUES (1, ?, '', ?, ?, 0)"
        connection.execute(sql, (EMAIL, ADMIN, password))
        for n in range(2, devices + 1):
            sql = "INSERT INTO devices (id, org, template, name, created) VALUES (?, 1, 'TMPL0bench', ?, 0)"
            connection.execute(sql, (n, f"Device {n}"))
            rows = [(n, d) for d in range(1, 6)]
            connection.executemany("INSERT INTO series (device, datastream) VALUES (?, ?)", rows)
            sql = "INSERT INTO metadata (device, name, value, updated) VALUES (?, 'Room', ?, 0)"
            connection.execute(sql, (n, f"Kitchen {n}"))
        connection.commit()
    now = int(time.time() * 1000) // HOUR_MS
    with closing(sqlite3.connect(hub.data / "history.db")) as connection:
        hours = (
            ((hour << 32) | series, *to_row(Statistics(60, 20.5, 22.5, 1290.0, 21.5, 0), 0))
            for hour in range(now - 365 * 24, now + 1)
            for series in range(1, 11)
        )
        connection.executemany("INSERT INTO hours VALUES (?, ?, ?, ?, ?, ?, ?)", hours)
        connection.commit()
