"""The configuration database of a running hub."""

from __future__ import annotations


async def fetch_rows(hub, sql):
    """The rows of a query on `pinwheel.db`."""
    return await hub.storage.configuration.fetch_all(sql)
