"""The user's writes to datastreams, which are shown before the hub has answered: see `tui.store.write_states`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any

import attrs

from client.errors import (
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    Rejected,
    RequestError,
    TooMany,
)
from client.operations import post_organization_device_datastream
from tui.store.devices import AsyncApi
from tui.store.values import PINS, Key, Values
from tui.store.write_states import NO_ANSWER, SHOWN, TIMEOUT, Phase, WriteRequest, WriteStates

#: Seconds between two values of a slider that is being moved.
SLIDER_INTERVAL = 0.2
#: Datastreams that are written at once.
MAX_WRITES = 200
#: Seconds that the console waits at its end for the acknowledgement of buttons that were released.
GRACE = 5.0
#: Errors after which the hub has certainly not written the value.
_FINAL = (NotAuthenticated, Forbidden, NotFound, Rejected, Conflict)


@attrs.frozen
class Pending:
    """A write as it is drawn. ``value`` is shown in place of the true one while ``is_shown``; ``sentence`` is the
    problem, for the user.
    """

    value: Any
    phase: Phase
    sentence: str

    @property
    def is_shown(self) -> bool:
        return self.phase in SHOWN


@attrs.define(eq=False)
class _Write:
    """A datastream with its task, which sends and ends its writes. ``off`` releases its button."""

    states: WriteStates
    changed: asyncio.Event
    off: Any = None
    is_pressed: bool = False
    task: asyncio.Task[None] | None = None


class Writes:
    """The writes to a hub. ``on_error`` is called with errors of requests that are not repeated."""

    def __init__(
        self, api: AsyncApi, values: Values, on_error: Callable[[Key, RequestError], None] | None = None
    ) -> None:
        self._api = api
        self._values = values
        self._on_error = on_error
        self._writes: dict[Key, _Write] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answered = asyncio.Event()
        self._is_live = False

    def get(self, key: Key) -> Pending | None:
        """Return the write of a datastream that is to be drawn, or None."""
        write = self._writes.get(key)
        if write is None or write.states.phase is Phase.DONE:
            return None
        return Pending(write.states.wanted, write.states.phase, write.states.sentence)

    def write(self, key: Key, value: Any) -> None:
        """Write a value. Raises `Rejected` if too many datastreams are being written."""
        self._want(key, WriteRequest(value))

    def slide(self, key: Key, value: Any) -> None:
        """Write a value of a slider that is being moved. The last one is always written. Raises `Rejected`."""
        self._want(key, WriteRequest(value, SLIDER_INTERVAL))

    def press(self, key: Key, on: Any, off: Any) -> None:
        """Press a button, which must be released by `release` or `release_all`. Raises `Rejected`."""
        write = self._want(key, WriteRequest(on, is_press=True))
        write.off, write.is_pressed = off, True

    def release(self, key: Key) -> None:
        """Release a button, if it is pressed."""
        write = self._writes.get(key)
        if write is not None and write.is_pressed:
            write.is_pressed = False
            self._want(key, WriteRequest(write.off, must_arrive=True))

    def release_all(self) -> None:
        """Release all buttons: the screen has lost the focus, or is closed."""
        for key in tuple(self._writes):
            self.release(key)

    def set_live(self, is_live: bool) -> None:
        """Set whether the stream delivers echoes."""
        self._is_live = is_live
        for write in self._writes.values():
            write.changed.set()

    def apply_change(self, change: Mapping[str, Any]) -> None:
        """Take a change of a device from the stream."""
        for key, write in self._of(change.get("device")):
            name = f"v{key[1]}"
            now, values, pending = _now(), change.get("values") or {}, change.get("pending") or {}
            if change.get("deleted") is True:
                self._stop(key, write)
            elif name in values:
                write.states.echo(
                    values[name], str(change.get("by", "")), is_pending=pending.get(name) is True, now=now
                )
            elif pending.get(name) is False:
                write.states.confirmation_ended(now)
            else:
                continue
            write.changed.set()

    def apply_state(self, state: Mapping[str, Any], pins: frozenset[int] | None = None) -> None:
        """Take the present state of a device from a snapshot. ``pins`` are those in it; None is all."""
        for key, write in self._of(state.get("device")):
            name = f"v{key[1]}"
            if pins is None or key[1] in pins:
                value, is_pending = (state.get("values") or {}).get(name), (state.get("pending") or {}).get(name)
                write.states.resynchronize(value, is_pending=is_pending is True, now=_now())
                write.changed.set()

    def clear(self) -> None:
        """Give up all writes: they were meant for another hub, or another state of it."""
        for key, write in tuple(self._writes.items()):
            self._stop(key, write)

    async def aclose(self) -> None:
        """Release all buttons, wait `GRACE` seconds for their acknowledgement, and give up everything else."""
        self.release_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                while any(write.states.must_arrive for write in self._writes.values()):
                    self._answered.clear()
                    await self._answered.wait()
        self.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _of(self, device: Any) -> list[tuple[Key, _Write]]:
        return [(key, write) for key, write in self._writes.items() if key[0] == device]

    def _stop(self, key: Key, write: _Write) -> None:
        self._writes.pop(key, None)
        if write.task is not None:
            write.task.cancel()
        self._values.mark_dirty(key)

    def _want(self, key: Key, request: WriteRequest) -> _Write:
        if f"v{key[1]}" not in PINS:
            raise Rejected(f"There is no pin V{key[1]}: pins are V0 to V255.")
        write = self._writes.get(key)
        if write is None:
            if len(self._writes) >= MAX_WRITES:
                raise Rejected(f"{MAX_WRITES} datastreams are being written; wait until the hub has answered.")
            write = self._writes[key] = _Write(WriteStates(), asyncio.Event())
        write.states.want(request)
        if write.task is None:
            write.task = asyncio.create_task(self._run(key, write))
            self._tasks.add(write.task)
            write.task.add_done_callback(self._tasks.discard)
        write.changed.set()
        self._values.mark_dirty(key)
        return write

    async def _run(self, key: Key, write: _Write) -> None:
        """Send what is wanted until nothing is, and nothing is shown of it."""
        states = write.states
        while states.phase is not Phase.DONE or write.is_pressed:
            before = (states.phase, states.sentence)
            write.changed.clear()
            if (request := states.poll(_now())) is not None:
                self._values.mark_dirty(key)
                await self._send(key, states, request)
            else:
                await self._wait(write)
                states.tick(_now(), is_live=self._is_live)
            if (states.phase, states.sentence) != before:
                self._values.mark_dirty(key)
        if self._writes.get(key) is write:
            del self._writes[key]

    async def _wait(self, write: _Write) -> None:
        states = write.states
        deadline = inf if states.phase is Phase.SENT and not self._is_live else states.deadline
        at = min(states.send_at, deadline)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if at == inf else at):
                await write.changed.wait()

    async def _send(self, key: Key, states: WriteStates, request: WriteRequest) -> None:
        device, pin = key
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._api(
                    post_organization_device_datastream(device_id=device, pin=f"V{pin}", value=request.value)
                )
        except TimeoutError:
            states.failed(NO_ANSWER, _now())
        except TooMany as error:
            sentence = f"The hub takes no more requests for {error.retry_after:g} seconds: {error}"
            states.failed(sentence, _now(), retry_after=error.retry_after)
        except RequestError as error:
            states.failed(str(error), _now(), is_final=isinstance(error, _FINAL))
            if states.phase is Phase.REFUSED and self._on_error is not None:
                self._on_error(key, error)
        else:
            states.accepted(_now())
        self._answered.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
