"""The history's way to its file."""

from __future__ import annotations

from support.times import until


async def compacted(hub):
    """What came so far is in chunks."""
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
