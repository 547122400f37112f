"""Backups over the Platform API."""

from __future__ import annotations

import trio
from support.raw_http import ask, local_key


async def run_backup(hub, path):
    """Make a backup of a running hub; return the finished job."""
    response = await ask(hub, "POST", "/api/v1/backup", {"path": str(path)}, key=local_key(hub))
    assert 200 == response.status, response.text
    while True:
        job = (await ask(hub, "GET", "/api/v1/backup", key=local_key(hub))).json
        if not job["running"]:
            return job
        await trio.sleep(0.02)
