"""The live stream, ``/api/v1/stream``: values, states, events and changes over a WebSocket, as they happen.

The client sends ``{"id": 1, "subscribe": "device", "device": 7}`` (or another of `TOPICS`), and
``{"id": 1, "unsubscribe": true}``. The first change of a value is sent at once, then the newest value at most every
50 ms; with ``"every": true`` all values are sent. Messages are numbered: with ``"after"`` a client that lost its
connection gets the messages that it missed.

Theory of operation
===================

A `_Connection` is one WebSocket; it has `_Subscription` objects, each to one feed (`plugins.platform_api.feeds`).

===========  ==============================================  ==========================================================
state        holds while                                     a batch of the feed
===========  ==============================================  ==========================================================
following    nothing is deferred                             is sent at once, if no more than `MAX_PENDING` bytes wait
                                                             in the socket; else it is deferred
behind       messages (`_deferred`) or pins (`_stale_pins`)  is deferred
             are deferred
===========  ==============================================  ==========================================================

Only `_Subscription.deliver` moves a subscription to *behind*, and only `_Subscription.catch_up` back to *following*.
The connection calls `catch_up` when the client has taken all bytes that were on their way; it sends until more than
`MAX_PENDING` bytes wait again.

A slow client loses:

* all values of a pin but the newest: only the pin is deferred, and its value is read when it is sent;
* the oldest of other messages (and of values, with ``every``) if there are more than `MAX_DEFERRED`. The client is told
  how many: ``{"id": 1, "lagged": N}``.

Rights are checked for each message when it is sent. The results are cached until the next recheck, which happens at
each fact of `_RIGHTS_FACTS` and every `RECHECK_INTERVAL` seconds. A recheck also ends subscriptions whose permission
the principal has lost, and the connection if that is the permission to see devices.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import (
    DEVICE,
    ONLINE,
    AppConnected,
    Device,
    DeviceChanged,
    OrganizationChanged,
    Rejected,
    RequestError,
    Response,
    RightsChanged,
    Route,
    SocketRoute,
)
from hub.api import VIEW_DEVICES
from hub.parsing.spellings import as_integer
from hub.values import to_json
from plugins.platform_api.feeds import Feed, FeedBatch, FeedKey, FeedMessage, Feeds

if TYPE_CHECKING:
    from hub import Hub, Request, Socket

#: Messages of a subscription that are deferred for a slow client.
MAX_DEFERRED = 10_000
#: Bytes on their way to the client; with more than that, messages are deferred.
MAX_PENDING = 256 * 1024
MAX_SUBSCRIPTIONS = 1_000
#: Device ids in the ``devices`` of one subscription.
MAX_DEVICE_IDS = 10_000
#: Seconds between two checks of the client's rights: API keys and sessions also expire without a fact.
RECHECK_INTERVAL = 10.0
#: Facts that change rights, upon which they are checked at once.
_RIGHTS_FACTS = (RightsChanged, DeviceChanged, OrganizationChanged)

#: The topics of subscriptions, and the permission that each needs.
TOPICS = {
    "device": VIEW_DEVICES,
    "devices": VIEW_DEVICES,
    "events": VIEW_DEVICES,
    "wire": VIEW_DEVICES,
    "audit": "users.log",
    "alarms": "hub.view",
    "refused": "hub.view",
}


class StreamRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._presence = _AppPresence(hub)

    async def stream(self, request: Request, socket: Socket) -> None:
        await _Connection(self._hub, self._presence, request, socket).run()

    async def is_app_connected(self, request: Request) -> Response:
        """As in Blynk's legacy server: an app is a client of the stream that is subscribed to the device."""
        device, _ = await self._hub.access.authenticate_device(request)
        return Response(body="true" if self._presence.is_watched(device) else "false", type="application/json")


def routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    api = StreamRoutes(hub)
    return [
        SocketRoute(
            path="/api/v1/stream", handler=api.stream, permission=VIEW_DEVICES, summary="Live values and states"
        ),
        Route(
            "GET",
            "/external/api/isAppConnected",
            api.is_app_connected,
            DEVICE,
            "Whether an app watches the device",
            raw_query=True,
            media=("application/json",),
        ),
    ]


class _AppPresence:
    """Counts the clients that watch each device, and tells the device when the first comes and the last goes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._watchers: Counter[int] = Counter()

    def is_watched(self, device: Device) -> bool:
        return device.id in self._watchers

    def watch(self, device: Device) -> Callable[[], None]:
        """Count a client; return a function that discounts it."""
        self._watchers[device.id] += 1
        if self._watchers[device.id] == 1:
            self._notify(device, present=True)

        def unwatch() -> None:
            self._watchers[device.id] -= 1
            if not self._watchers[device.id]:
                del self._watchers[device.id]
                self._notify(device, present=False)

        return unwatch

    def _notify(self, device: Device, *, present: bool) -> None:
        if self._hub.sessions.get(device.id) is not None:
            self._hub.command(device, AppConnected(present))


class _Connection:
    """A client's WebSocket and its subscriptions."""

    def __init__(self, hub: Hub, presence: _AppPresence, request: Request, socket: Socket) -> None:
        self.hub = hub
        self.socket = socket
        self.principal = request.principal
        self.feeds = hub.service(Feeds)
        self._presence = presence
        self._request = request
        self._subscriptions: dict[int | str, _Subscription] = {}
        #: Whether the principal may see a device, by device id.
        self._visible: dict[int, bool] = {}
        self._behind = trio.Event()

    def may_see(self, message: FeedMessage) -> bool:
        device = message.device
        if device is None:
            return message.org is None or self.hub.is_allowed(self.principal, "users.log", org=message.org)
        visible = self._visible.get(device.id)
        if visible is None:
            visible = self._visible[device.id] = self.hub.is_allowed(self.principal, VIEW_DEVICES, device)
        return visible

    def _recheck_rights(self, _fact: object) -> None:
        """End subscriptions that are no longer allowed, and the connection if the principal may see no devices."""
        self._visible = {}
        for number, subscription in tuple(self._subscriptions.items()):
            device = subscription.device
            is_deleted = device is not None and self.hub.devices.by_id.get(device.id) is not device
            if is_deleted or not self.hub.is_allowed(self.principal, subscription.permission, device):
                self._subscriptions.pop(number).end()
                self._send_error(number, "The subscription has ended: it is no longer allowed.")
        if not self.hub.is_allowed(self.principal, VIEW_DEVICES):
            self._cancel_scope.cancel()

    async def _recheck_periodically(self) -> None:
        while True:
            await trio.sleep(RECHECK_INTERVAL)
            self._recheck_rights(None)

    async def run(self) -> None:
        """Serve the client until it is gone, or may see no devices any more."""
        unsubscribe = [self.hub.subscribe(fact, self._recheck_rights) for fact in _RIGHTS_FACTS]
        try:
            async with trio.open_nursery() as nursery:
                self._cancel_scope = nursery.cancel_scope
                nursery.start_soon(self._catch_up)
                nursery.start_soon(self._recheck_periodically)
                while (message := await self.socket.receive()) is not None:
                    self._handle(message)
                nursery.cancel_scope.cancel()
        finally:
            for end in unsubscribe:
                end()
            for subscription in self._subscriptions.values():
                subscription.end()

    def request_catch_up(self) -> None:
        """Let subscriptions catch up as soon as the client has taken all bytes that are on their way."""
        self._behind.set()

    async def _catch_up(self) -> None:
        while True:
            await self._behind.wait()
            self._behind = trio.Event()
            await self.socket.drained()
            for subscription in tuple(self._subscriptions.values()):
                subscription.catch_up()

    def _handle(self, text: str | bytes) -> None:
        """Carry out a client's message; answer errors with its id, if it has one."""
        number = None
        try:
            try:
                message = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise Rejected("The message is not JSON.") from error
            if not isinstance(message, dict) or not isinstance(number := message.get("id"), (int, str)):
                raise Rejected("The message must be an object with an id, which is text or a as_integer number.")
            if message.get("unsubscribe"):
                if subscription := self._subscriptions.pop(number, None):
                    subscription.end()
                return
            self._subscribe(number, message)
        except RequestError as error:
            self._send_error(number, str(error))

    def _send_error(self, number: int | str | None, text: str) -> None:
        self.socket.send(json.dumps({"id": number, "error": {"message": text}}))

    def _subscribe(self, number: int | str, message: dict[str, Any]) -> None:
        if number in self._subscriptions:
            raise Rejected(f"The id {number} is in use; unsubscribe it first, or use another id.")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise Rejected(
                f"This connection has {MAX_SUBSCRIPTIONS} subscriptions, which is the limit; unsubscribe one first."
            )
        topic, every, after = message.get("subscribe"), message.get("every") is True, message.get("after")
        if not isinstance(topic, str) or topic not in TOPICS:
            raise Rejected(f"subscribe must be one of {', '.join(TOPICS)}")
        if after is not None and (after := as_integer(after)) is None:
            raise Rejected("after must be a as_integer number, the seq of a message")
        device, device_ids = None, None
        if topic in ("device", "wire"):
            if (device_id := as_integer(message.get("device"))) is None:
                raise Rejected("device must be a device's id")
            device = self.hub.access.device_for(self._request, device_id)
        elif topic not in ("devices", "events"):
            self.hub.authorize(self.principal, TOPICS[topic])
        elif (ids := message.get("devices")) is not None:
            device_ids = _device_ids(ids)
        key = FeedKey(topic, device.id if device else None, every and topic in ("device", "devices"))
        subscription = _Subscription(self, number, TOPICS[topic], device, device_ids)
        # Before new messages are delivered.
        missed = subscription.begin(key, after)
        self._subscriptions[number] = subscription
        if topic == "device" and device is not None:
            subscription.at_end.append(self._presence.watch(device))
        resumed = None if after is None else missed is not None
        self.socket.send(json.dumps(self._snapshot(number, topic, device, resumed)))
        if missed:
            subscription.deliver(FeedBatch(missed))

    def _snapshot(self, number: int | str, topic: str, device: Device | None, resumed: bool | None) -> dict[str, Any]:
        """Return the first message of a subscription: the present state of its topic."""
        hub = self.hub
        snapshot: dict[str, Any] = {"id": number, "subscribed": topic}
        if resumed is not None:
            snapshot["resumed"] = resumed
        if topic == "device" and device is not None:
            values = ((d.pin, hub.writes.current(device, d)) for d in device.template.datastreams)
            snapshot |= {
                "device": device.id,
                "online": device.status == ONLINE,
                "status": hub.lifecycle.status_name(device),
                "values": {f"v{pin}": to_json(value) for pin, value in values if value is not None},
            }
        elif topic == "alarms":
            snapshot["alarms"] = [attrs.asdict(alarm) for alarm in hub.active_alarms()]
        return snapshot


def _device_ids(ids: Any) -> frozenset[int]:
    """Return the device ids of a client's ``devices``. Raises `Rejected`."""
    numbers = list(map(as_integer, ids)) if isinstance(ids, list) and len(ids) <= MAX_DEVICE_IDS else [None]
    if None in numbers:
        raise Rejected(f"devices must be a list of at most {MAX_DEVICE_IDS} ids")
    return frozenset(number for number in numbers if number is not None)


class _Subscription:
    """A client's subscription to one feed; see the theory of operation above."""

    def __init__(
        self,
        connection: _Connection,
        number: int | str,
        permission: str,
        device: Device | None,
        device_ids: frozenset[int] | None,
    ) -> None:
        self.permission = permission
        #: The device of a subscription to one device.
        self.device = device
        #: Called when the subscription ends.
        self.at_end: list[Callable[[], None]] = []
        self._connection = connection
        self._number = number
        #: The devices that the client selected; None selects all.
        self._device_ids = device_ids
        self._head = f'{{"id":{json.dumps(number)},'.encode()
        self._feed: Feed
        self._deferred: deque[FeedMessage] = deque()
        self._dropped = 0
        #: Pins whose latest values the client has not got.
        self._stale_pins: dict[Device, set[int]] = {}

    def begin(self, key: FeedKey, after: int | None) -> list[FeedMessage] | None:
        """Subscribe to the feed; return what followed the message numbered ``after``, if that is still known."""
        feeds = self._connection.feeds
        feed = self._feed = feeds.subscribe(key, self.device, self.deliver)
        self.at_end.append(lambda: feeds.unsubscribe(feed, self.deliver))
        return None if after is None else feed.after(after)

    def end(self) -> None:
        for end in self.at_end:
            end()

    def deliver(self, batch: FeedBatch) -> None:
        """Send a batch, or defer it while the client is behind."""
        connection = self._connection
        if self._deferred or self._stale_pins or connection.socket.pending > MAX_PENDING:
            self._defer(batch.messages)
            connection.request_catch_up()
            return
        # Clients with the same principal, subscription id and device list share one encoded batch.
        audience = (connection.principal, self._head, self._device_ids)
        if (data := batch.encoded.get(audience)) is None:
            prepare, head = connection.socket.prepare, self._head
            messages = [message for message in batch.messages if self._includes(message)]
            data = batch.encoded[audience] = b"".join(prepare(head + message.body) for message in messages)
        if data:
            connection.socket.send_prepared(data)

    def _includes(self, message: FeedMessage) -> bool:
        """Return whether the client selected the message's device, and may see it."""
        device, device_ids = message.device, self._device_ids
        if device_ids is not None and (device is None or device.id not in device_ids):
            return False
        return self._connection.may_see(message)

    def _defer(self, messages: Iterable[FeedMessage]) -> None:
        for message in messages:
            if not self._includes(message):
                continue
            if message.pins and message.device is not None and not self._feed.key.every:
                self._stale_pins.setdefault(message.device, set()).update(message.pins)
                continue
            if len(self._deferred) >= MAX_DEFERRED:
                self._deferred.popleft()
                self._dropped += 1
            self._deferred.append(message)

    def catch_up(self) -> None:
        """Send what was deferred, until `MAX_PENDING` bytes are on their way."""
        connection, socket = self._connection, self._connection.socket
        if self._dropped:
            socket.send(json.dumps({"id": self._number, "lagged": self._dropped}))
            self._dropped = 0
        while self._deferred and socket.pending <= MAX_PENDING:
            message = self._deferred.popleft()
            if self._includes(message):
                socket.send(self._head + message.body)
        while self._stale_pins and not self._deferred and socket.pending <= MAX_PENDING:
            device, pins = self._stale_pins.popitem()
            self._send_latest(device, pins)
        if self._deferred or self._stale_pins:
            connection.request_catch_up()

    def _send_latest(self, device: Device, pins: Iterable[int]) -> None:
        hub = self._connection.hub
        values, stamps = {}, []
        for pin in sorted(pins):
            latest = hub.history.latest.get(point.series) if (point := device.points.get(pin)) else None
            if latest is not None:
                values[f"v{pin}"] = to_json(latest[1])
                stamps.append(latest[0])
        if values and hub.is_allowed(self._connection.principal, VIEW_DEVICES, device):
            message = {"seq": self._feed.seq, "device": device.id, "values": values, "ts": max(stamps)}
            self._connection.socket.send(self._head + json.dumps(message)[1:].encode())
