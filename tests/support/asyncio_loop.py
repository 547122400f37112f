"""An asyncio loop beside the hub's trio loop, for the asyncio client."""

from __future__ import annotations

import asyncio

from support.raw_http import PATIENCE

from hub.storage.bridge import AsyncioThread


class AsyncioLoop:
    """A loop in a thread."""

    def __init__(self):
        self._thread = AsyncioThread()

    async def run(self, function, *args):
        """Return the result of a coroutine function; raises TimeoutError after `PATIENCE` seconds."""

        async def limited():
            return await asyncio.wait_for(function(*args), PATIENCE)

        return await self._thread.run(limited)

    async def aclose(self):
        """Close the loop as `asyncio.run` does at its end."""

        async def cancel_tasks():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Closed transports tell their protocols in the next turns.
            for _ in range(3):
                await asyncio.sleep(0)

        await self._thread.run(cancel_tasks)
        self._thread.close()
