"""Compaction of the history."""

from __future__ import annotations

from support.times import until


async def compact(hub):
    """Compact all values that were written so far into chunks."""
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
