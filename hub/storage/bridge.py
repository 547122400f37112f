"""The bridge from trio to asyncio: aiosqlite needs an asyncio loop, so one thread runs one for all connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import outcome
import trio

T = TypeVar("T")


class AsyncioThread:
    """A thread with an asyncio loop, and the way there from trio."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="storage", daemon=True)
        self._thread.start()

    async def run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run ``await fn(*args)`` in the loop and return its result.

        The call always runs to its end: a task that is cancelled meanwhile goes on waiting, and gets the result.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

        async def job() -> None:
            result = await outcome.acapture(fn, *args)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(job()))
        return await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
