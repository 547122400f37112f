"""Databases of a hub that cannot commit."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def full_disk(database):
    """Within the block the database's file cannot grow."""

    async def limit(tx):
        [(pages,)] = await tx.fetch_all("PRAGMA page_count")
        await tx.execute(f"PRAGMA max_page_count = {pages}")

    async def unlimit(tx):
        await tx.execute("PRAGMA max_page_count = 1000000")

    await database.transaction(limit)
    try:
        yield
    finally:
        await database.transaction(unlimit)


def hold_commits(database, monkeypatch):
    """Make transactions of the database wait; returns the event that lets them go on."""
    transaction, released = database.transaction, trio.Event()

    async def held(fn):
        await released.wait()
        return await transaction(fn)

    monkeypatch.setattr(database, "transaction", held)
    return released
