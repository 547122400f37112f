"""A hub with many organizations: a login, what a tenant sees, and the start."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import statistics
import time
from contextlib import closing
from typing import Any

from bench.hubprocess import HubProcess
from plugins.users.model import ADMIN, USER
from plugins.users.passwords import blynk_hash, derive

PASSWORD = "correct horse battery"
#: Organizations that are asked for what they see.
SAMPLES = 21


def tenants(organizations: int, users: int, devices: int, *, verbose: bool) -> dict[str, Any]:
    """Organizations beside each other, each with an Admin, users and devices; medians in milliseconds."""
    with HubProcess(verbose=verbose) as hub:
        hub.devices(1)
        hub.stop()
        chosen = random.Random(4).sample(range(organizations), min(SAMPLES, organizations))
        _fill(hub, organizations, users, devices, chosen)
        hub.start()
        took: dict[str, list[float]] = {"login_ms": [], "device_list_ms": []}
        for number in chosen:
            asked = {"email": f"admin{number}@example.org", "password": PASSWORD}
            ms, answer = _ask(hub, "POST", "/api/v1/login", asked)
            took["login_ms"].append(ms)
            ms, listed = _ask(hub, "GET", "/api/v1/organization/devices?size=1000", key=answer["access_token"])
            took["device_list_ms"].append(ms)
            assert listed["totalElements"] == devices, listed["totalElements"]
        return {
            "organizations": organizations,
            "users": organizations * users,
            "devices": organizations * devices,
            "start_seconds": round(hub.started_in, 2),
            **{name: round(statistics.median(values), 1) for name, values in took.items()},
            "rss_mb": round(hub.rss(), 1),
        }


def _fill(hub: HubProcess, organizations: int, users: int, devices: int, chosen: list[int]) -> None:
    """Put them into the files of a hub that has stopped; the Admins of the ``chosen`` can log in."""
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


def _ask(hub: HubProcess, method: str, path: str, body: Any = None, key: str = "") -> tuple[float, Any]:
    connection = http.client.HTTPConnection(*hub.address, timeout=60)
    began = time.perf_counter()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    took = (time.perf_counter() - began) * 1000
    connection.close()
    return took, answer
