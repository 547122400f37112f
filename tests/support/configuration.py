"""The configuration database of a running hub."""

from __future__ import annotations

import trio
from support.patience import brief, patient


async def fetch_rows(hub, sql):
    """The rows of a query on `pinwheel.db`."""
    return await hub.storage.configuration.fetch_all(sql)


async def rows_become(hub, sql, rows):
    """Return when a query on `pinwheel.db` has these rows."""
    with trio.fail_after(patient(10)):
        while rows != await fetch_rows(hub, sql):
            await trio.sleep(brief(0.005))
