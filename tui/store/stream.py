"""What the hub reports by itself: subscriptions that follow what the screen shows, and their messages.

Subscriptions are never to the values of all devices. A screen names its `Interest`; while the user scrolls, the devices
of a list are subscribed to when the scrolling has paused. Devices whose subscription the hub has confirmed are covered:
their values are live. None is covered from the moment on when the link is lost.

======================  ==============================================================================================
after a loss            the store
======================  ==============================================================================================
``"resumed": true``     gets what it missed; charts fetch their end, because the stream merges values
``"resumed": false``    takes the snapshot, and has its lists loaded again
a number that is lower  is dropped: the hub was restored from a backup, or is another one
======================  ==============================================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from client.aio import AsyncRemote, Connected, Disconnected, StreamItem
from tui.store.devices import Devices
from tui.store.history import History, LineKey
from tui.store.values import Values
from tui.store.writes import Writes

#: Seconds after the last change of the listed devices until they are subscribed to.
DEBOUNCE = 0.3
#: Milliseconds of changes in one message: of values, and of the lists.
VALUES_INTERVAL, LISTS_INTERVAL = 250, 1_000
#: Devices of one subscription: those of a page.
MAX_NAMED = 200
#: Subscriptions to pages at once.
MAX_LISTED_PAGES = 5
#: Messages that are kept for a subscription that is being sent.
MAX_EARLY = 1_000
#: A pin that stands for "no values": the hub wants at least one.
_NO_VALUES = ["V255"]


@attrs.frozen
class Interest:
    """What the screen shows.

    ``pages`` are the devices of the pages of a list that are visible, or nearly; ``device`` is the one that is open.
    ``lists``: devices that are added, deleted or changed. ``events`` and ``alarms`` go to `Feed.on_message`.
    """

    pages: tuple[tuple[int, ...], ...] = ()
    device: int | None = None
    lists: bool = False
    events: bool = False
    alarms: bool = False

    def requests(self) -> dict[str, dict[str, Any]]:
        """Return the subscriptions for it, by a name that is the same for the same subscription."""
        requests = dict[str, dict[str, Any]]()
        for page in self.pages[:MAX_LISTED_PAGES]:
            if ids := sorted(set(page))[:MAX_NAMED]:
                requests[f"devices {ids}"] = {"subscribe": "devices", "devices": ids, "every_ms": VALUES_INTERVAL}
        if self.device is not None:
            requests[f"device {self.device}"] = {"subscribe": "device", "device": self.device}
        if self.lists:
            requests["lists"] = {"subscribe": "devices", "pins": _NO_VALUES, "every_ms": LISTS_INTERVAL}
        if self.events:
            requests["events"] = {"subscribe": "events"}
        if self.alarms:
            requests["alarms"] = {"subscribe": "alarms"}
        return requests


@attrs.frozen
class Link:
    """The state of the link to the hub. ``reason`` is why there is none, ``retry_at`` (the loop's time) when the next
    attempt is, ``as_of`` (the loop's time) when the values were live last.
    """

    is_live: bool = False
    reason: str = ""
    retry_at: float | None = None
    as_of: float | None = None


@attrs.define(eq=False)
class _Subscription:
    """A subscription under its number on the stream. ``covered`` are the devices whose values it delivers."""

    name: str
    request: dict[str, Any]
    covered: frozenset[int]
    is_confirmed: bool = False
    last: int = 0

    @classmethod
    def of(cls, name: str, request: dict[str, Any]) -> _Subscription:
        named = [request["device"]] if "device" in request else request.get("devices", ())
        return cls(name, request, frozenset(named))


class Feed:
    """The stream of a hub, into the parts of the store.

    ``on_link`` is called when the link is live or lost, ``on_lines`` with lines of charts that have changed,
    ``on_message`` with events, alarms and other messages that are not about the store, ``on_problem`` with a sentence
    about a subscription that the hub has rejected or ended, ``on_reset`` when everything known is to be dropped.
    """

    def __init__(self, remote: AsyncRemote, values: Values, devices: Devices, writes: Writes, history: History) -> None:
        self._stream = remote.stream()
        self._values, self._devices, self._writes, self._history = values, devices, writes, history
        self._subscriptions: dict[int, _Subscription] = {}
        self._interest = Interest()
        self._changed = asyncio.Event()
        self._is_renewed = False
        #: Messages of a subscription that is being sent; None when none is.
        self._early: list[dict[str, Any]] | None = None
        self.link = Link()
        self.on_link: Callable[[Link], None] = lambda _: None
        self.on_lines: Callable[[set[LineKey]], None] = lambda _: None
        self.on_message: Callable[[Mapping[str, Any]], None] = lambda _: None
        self.on_problem: Callable[[str], None] = lambda _: None
        self.on_reset: Callable[[], None] = lambda: None

    def show(self, interest: Interest) -> None:
        """Follow what the screen shows from now on."""
        if interest != self._interest:
            self._interest = interest
            self._changed.set()

    def renew(self) -> None:
        """Subscribe again to everything, as for the first time."""
        self._is_renewed = True
        self._changed.set()

    def retry(self) -> None:
        """Connect now instead of after the pause."""
        self._stream.retry()

    async def run(self) -> None:
        """Receive until the stream is closed. Raises `NotAuthenticated`, `Forbidden` or another `RequestError` that a
        further attempt would not change.
        """
        following = asyncio.create_task(self._follow())
        try:
            async for item in self._stream:
                self.receive(item)
        finally:
            following.cancel()
            await asyncio.wait([following])
            self._lose("", None)

    async def aclose(self) -> None:
        """Close the stream; `run` returns."""
        await self._stream.aclose()

    async def _follow(self) -> None:
        """Subscribe to what the screen shows; to the devices of a list when they have not changed for a while."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._is_renewed:
                self._is_renewed = False
                await self._unsubscribe({})
                await self._subscribe(self._interest.requests())
            requests = self._interest.requests()
            await self._subscribe({name: request for name, request in requests.items() if "devices" not in request})
            try:
                async with asyncio.timeout(DEBOUNCE):
                    await self._changed.wait()
            except TimeoutError:
                await self._subscribe(self._interest.requests())
                await self._unsubscribe(self._interest.requests())

    async def _subscribe(self, requests: Mapping[str, dict[str, Any]]) -> None:
        known = {subscription.name for subscription in self._subscriptions.values()}
        for name, request in requests.items():
            if name not in known:
                self._early = []
                number = await self._stream.subscribe(request)
                self._subscriptions[number] = _Subscription.of(name, request)
                early, self._early = self._early, None
                for message in early:
                    self.receive(message)

    async def _unsubscribe(self, requests: Mapping[str, Any]) -> None:
        """End all subscriptions but these."""
        for number, subscription in tuple(self._subscriptions.items()):
            if subscription.name not in requests:
                del self._subscriptions[number]
                await self._stream.unsubscribe(number)
        self._cover()

    def receive(self, item: StreamItem) -> None:
        """Take an item of the stream."""
        if isinstance(item, Connected):
            self.link = Link(is_live=True)
            self._writes.set_live(not self._subscriptions)
            self.on_link(self.link)
        elif isinstance(item, Disconnected):
            self._lose(item.reason, item.retry_in)
        elif (subscription := self._subscriptions.get(item.get("id", -1))) is None:
            if self._early is not None and len(self._early) < MAX_EARLY:
                # The hub has answered before `Stream.subscribe` returned the number.
                self._early.append(item)
        elif "error" in item:
            del self._subscriptions[item["id"]]
            self._cover()
            self.on_problem(_sentence(item))
        elif "subscribed" in item:
            self._confirm(subscription, item)
        else:
            self._number(subscription, item)
            for change in item["changes"] if isinstance(item.get("changes"), list) else [item]:
                self._apply(subscription, change)

    def _lose(self, reason: str, retry_in: float | None) -> None:
        now = asyncio.get_running_loop().time()
        for subscription in self._subscriptions.values():
            subscription.is_confirmed = False
        self._cover()
        self._writes.set_live(False)
        as_of = now if self.link.is_live else self.link.as_of
        self.link = Link(False, reason, None if retry_in is None else now + retry_in, as_of)
        self.on_link(self.link)

    def _cover(self) -> None:
        confirmed = [subscription for subscription in self._subscriptions.values() if subscription.is_confirmed]
        self._values.cover(device for subscription in confirmed for device in subscription.covered)

    def _confirm(self, subscription: _Subscription, message: Mapping[str, Any]) -> None:
        """Take the first message of a subscription, after each connection."""
        resumed = message.get("resumed")
        if resumed is not None:
            # It was subscribed to before.
            self._history.outdate()
        if resumed is not True:
            states = message.get("devices")
            states = states if isinstance(states, list) else [message] if "values" in message else []
            for state in states:
                self._devices.apply_state(state)
                self._values.apply_state(state)
                self._writes.apply_state(state)
            if resumed is False:
                self._devices.outdate()
            if "devices" in subscription.request:
                # The hub leaves out what it does not have, or the user may not view.
                for device in subscription.covered - {state.get("device") for state in states}:
                    self._devices.mark_gone(device)
            if "alarms" in message:
                self.on_message(message)
        subscription.is_confirmed = True
        self._cover()
        if all(other.is_confirmed for other in self._subscriptions.values()):
            self._writes.set_live(True)

    def _number(self, subscription: _Subscription, message: Mapping[str, Any]) -> None:
        number = message.get("seq")
        if isinstance(number, int):
            if number < subscription.last:
                self.on_reset()
            subscription.last = number

    def _apply(self, subscription: _Subscription, change: Any) -> None:
        if not isinstance(change, dict):
            return
        if subscription.name == "lists":
            self._devices.apply_change(change)
            return
        if "lagged" in change:
            self._history.outdate()
            return
        if "event" in change or "alarm" in change or "template" in change:
            self.on_message(change)
            return
        self._devices.apply_change(change)
        self._values.apply_change(change)
        self._writes.apply_change(change)
        if lines := self._history.apply_change(change):
            self.on_lines(lines)


def _sentence(message: Mapping[str, Any]) -> str:
    error = message.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else str(error)
