"""What people's programs ask of a hub with many devices: one device, lists, and searches."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import statistics
import time
from contextlib import closing
from typing import Any

from bench.hubprocess import HubProcess
from hub.history.chunks import HOUR_MS, Statistics, to_row
from plugins.users.model import ADMIN
from plugins.users.passwords import blynk_hash, derive

EMAIL, PASSWORD = "admin@example.org", "correct horse battery"
#: How often each is asked; and devices of a dashboard, which are read again and again.
SAMPLES, READ_DEVICES = 11, 20


def api(devices: int, seconds: float, *, verbose: bool) -> dict[str, Any]:
    """An Admin asks, over one connection; medians in milliseconds."""
    with HubProcess(verbose=verbose) as hub:
        hub.devices(1)
        hub.stop()
        _fill(hub, devices)
        hub.start()
        client = _Client(hub)
        client.key = client("POST", "/api/v1/login", {"email": EMAIL, "password": PASSWORD})["access_token"]
        used = hub.cpu()
        count, reads = client.read_devices(seconds)
        used = hub.cpu() - used
        words, filters = "/api/v1/organization/search/devices?size=20&query=", "/api/v1/devices/search"
        kitchen = {"attribute": "metadata", "name": "Room", "operator": "contains", "values": ["kitchen 7"]}
        named = {"attribute": "name", "operator": "contains", "values": ["99"]}
        asked = {
            "list_1000_ms": ("GET", "/api/v1/organization/devices?size=1000", None, devices),
            "search_word_ms": ("GET", f"{words}device+{devices - 1}", None, None),
            "search_all_ms": ("GET", words, None, devices),
            "filter_ms": ("POST", filters, {"filters": [kitchen, named], "match": "any", "sortBy": "name"}, None),
        }
        took = {name: client.median(*what) for name, what in asked.items()}
        took["year_hourly_ms"] = client.year()
        return {
            "devices": devices,
            "device_reads_per_second": round(reads),
            "cpu_us_per_read": round(used / count * 1_000_000),
            **took,
            "rss_mb": round(hub.rss(), 1),
        }


class _Client:
    """One connection."""

    def __init__(self, hub: HubProcess) -> None:
        self._address = hub.address
        self._connection = http.client.HTTPConnection(*hub.address, timeout=60)
        self.key = ""

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self.answer(method, path, body))

    def answer(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer as it came: what a client makes of it is its own time."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {content!r}")
        return content

    def read_devices(self, seconds: float) -> tuple[int, float]:
        """Read one device after the other; how many, and how many a second.

        By hand: what http.client makes of an answer takes half as long as the hub takes to give it.
        """
        head = f"Host: hub\r\nAuthorization: Bearer {self.key}\r\n\r\n"
        asked = [
            f"GET /api/v1/organization/device?deviceId={number} HTTP/1.1\r\n{head}".encode()
            for number in range(1, READ_DEVICES + 1)
        ]
        count, began = 0, time.perf_counter()
        with socket.create_connection(self._address) as sock:
            while (took := time.perf_counter() - began) < seconds:
                sock.sendall(asked[count % READ_DEVICES])
                answer = b""
                while not answer.endswith(b"}") or b"\r\n\r\n" not in answer or not _is_whole(answer):
                    answer += sock.recv(65_536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"device: {answer[:200]!r}")
                count += 1
        return count, count / took

    def year(self) -> float:
        """Milliseconds that a year of the hours of eight datastreams takes."""
        took = []
        for _ in range(SAMPLES):
            began = time.perf_counter()
            asked = "deviceIds=1,2&pins=V0,V1,V2,V3&granularity=hour&period=364d&tz=UTC"
            answer = self.answer("GET", f"/api/v1/history?{asked}")
            took.append((time.perf_counter() - began) * 1000)
            points = sum(len(line["ts"]) for line in json.loads(answer)["series"])
            if points < 8 * 364 * 24:
                raise SystemExit(f"a year has {points} hours")
        return round(statistics.median(took), 1)

    def median(self, method: str, path: str, body: Any, expected: int | None) -> float:
        """Milliseconds that an answer takes, when it says that ``expected`` were found, or any."""
        took = []
        for _ in range(SAMPLES):
            began = time.perf_counter()
            answer = self.answer(method, path, body)
            took.append((time.perf_counter() - began) * 1000)
            found = json.loads(answer)["totalElements"]
            if found != expected if expected is not None else not found:
                raise SystemExit(f"{path}: found {found}")
        return round(statistics.median(took), 1)


def _is_whole(answer: bytes) -> bool:
    """Whether an answer has as many bytes as its head says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) == int(length.partition(b":")[2])


def _fill(hub: HubProcess, devices: int) -> None:
    """Put an Admin and devices into the files of a hub that has stopped and has one device."""
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
