"""Bench ``tenants``: a hub with many organizations."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import statistics
import time
from contextlib import closing
from typing import Any

from bench.hub_process import HubProcess
from plugins.users.model import ADMIN, USER
from plugins.users.passwords import blynk_hash, derive

PASSWORD = "correct horse battery"
#: Organizations whose Admin logs in.
SAMPLES = 21


def tenants(*, organizations: int, users: int, devices: int, verbose: bool) -> dict[str, Any]:
    """Logins of Admins and their lists of devices, and the start, with many organizations (medians in milliseconds)."""
    with HubProcess(verbose=verbose) as hub:
        hub.add_devices(1)
        hub.stop()
        chosen = random.Random(4).sample(range(organizations), min(SAMPLES, organizations))
        _fill(hub, organizations, users, devices, chosen)
        hub.start()
        durations: dict[str, list[float]] = {"login_ms": [], "device_list_ms": []}
        for number in chosen:
            body = {"email": f"admin{number}@example.org", "password": PASSWORD}
            ms, login = _request(hub, "POST", "/api/v1/login", body)
            durations["login_ms"].append(ms)
            ms, page = _request(hub, "GET", "/api/v1/organization/devices?size=1000", key=login["access_token"])
            durations["device_list_ms"].append(ms)
            assert page["totalElements"] == devices, page["totalElements"]
        return {
            "organizations": organizations,
            "users": organizations * users,
            "devices": organizations * devices,
            "start_seconds": round(hub.started_in, 2),
            **{name: round(statistics.median(values), 1) for name, values in durations.items()},
            "rss_mb": round(hub.rss_mb(), 1),
        }


def _fill(hub: HubProcess, organizations: int, users: int, devices: int, chosen: list[int]) -> None:
    """Write organizations, users and devices into the database of a stopped hub.

    Only the Admins of the ``chosen`` organizations can log in: hashing a password takes long.
    """
    with closing(sqlite3.connect(hub.data / "pinwheel.db")) as connection:
        for number in range(organizations):
            sql = "INSERT INTO organizations (name, parent, place) VALUES (?1, 1, '1/' || ?1)"
            org = connection.execute(sql, (f"Org {number}",)).lastrowid
            connection.execute("INSERT INTO enabled_templates VALUES (?, 'TMPL0bench')", (org,))
            for n in range(users):
                role = USER if n else ADMIN
                email = f"user{n}-{number}@example.org" if n else f"admin{number}@example.org"
                password = derive(blynk_hash(email, PASSWORD)) if number in chosen and not n else None
                sql = "INSERT INTO users (org, email, name, role, password, created) VALUES (?, ?, '', ?, ?, 0)"
                connection.execute(sql, (org, email, role, password))
            for n in range(devices):
                sql = "INSERT INTO devices (org, template, name, created) VALUES (?, 'TMPL0bench', ?, 0)"
                device = connection.execute(sql, (org, f"Device {n}")).lastrowid
                connection.executemany(
                    "INSERT INTO series (device, datastream) VALUES (?, ?)", [(device, d) for d in range(1, 6)]
                )
        connection.commit()


def _request(hub: HubProcess, method: str, path: str, body: Any = None, key: str = "") -> tuple[float, Any]:
    """Send a request over a new connection; return its duration in milliseconds, and the decoded response."""
    connection = http.client.HTTPConnection(*hub.address, timeout=60)
    began = time.perf_counter()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = json.loads(connection.getresponse().read())
    ms = (time.perf_counter() - began) * 1000
    connection.close()
    return ms, response
