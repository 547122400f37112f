"""``/api/v1/stream``: what happens, as it happens, over a WebSocket.

The client sends ``{"id": 1, "subscribe": "device", "device": 7}`` (or devices, events, audit, alarms, refused, wire),
and ``{"id": 1, "unsubscribe": true}``. The first change of a value goes out at once, further ones at most every 50 ms
per value, the newest; with ``"every": true`` all of them, and ``{"id": 1, "lagged": N}`` when N were dropped. Messages
are numbered: with ``"after"`` a client that lost its connection hears what it missed.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.api import DEVICE, VIEW_DEVICES, Response, Route, SocketRoute
from hub.errors import Rejected, RequestError
from hub.facts import DeviceChanged, OrganizationChanged, RightsChanged
from hub.model import ONLINE, AppConnected, Device
from hub.spellings import as_integer
from hub.values import to_json
from plugins.platform_api.feeds import Batch, Feed, Feeds, Item, Key

if TYPE_CHECKING:
    from hub.api import Request, Socket
    from hub.app import Hub

#: Messages kept for a client that is slower than what happens.
MAX_WAITING = 10_000
#: Bytes on their way to the client before it gets no more for now.
MAX_PENDING = 256 * 1024
MAX_SUBSCRIPTIONS = 1_000
#: Devices of one subscription that are named one by one.
MAX_NAMED = 10_000
#: Seconds after which it is asked again whether somebody may hear this, and what makes that be asked at once.
ASK_EVERY = 10.0
_MEANWHILE = (RightsChanged, DeviceChanged, OrganizationChanged)

#: What may be subscribed to, and what that needs.
NEEDS = {
    "device": VIEW_DEVICES,
    "devices": VIEW_DEVICES,
    "events": VIEW_DEVICES,
    "wire": VIEW_DEVICES,
    "audit": "users.log",
    "alarms": "hub.view",
    "refused": "hub.view",
}


def routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    watchers = _Watchers(hub)

    async def is_app_connected(request: Request) -> Response:
        """As Blynk's legacy server has it: an app is a client of the stream that watches the device."""
        device, _ = hub.access.authenticate_device(request)
        return Response(body="true" if watchers.is_watched(device) else "false", type="application/json")

    async def serve(request: Request, socket: Socket) -> None:
        await _Client(hub, watchers, request, socket).run()

    return [
        SocketRoute(path="/api/v1/stream", handler=serve, permission=VIEW_DEVICES, summary="Live values and states"),
        Route(
            "GET",
            "/external/api/isAppConnected",
            is_app_connected,
            DEVICE,
            "Whether an app watches the device",
            raw_query=True,
            media=("application/json",),
        ),
    ]


class _Watchers:
    """How many watch each device: firmware may want to know when the first comes and the last goes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._count: Counter[int] = Counter()

    def is_watched(self, device: Device) -> bool:
        return device.id in self._count

    def add(self, device: Device) -> Callable[[], None]:
        """Count one more; returns what ends it."""
        self._count[device.id] += 1
        if self._count[device.id] == 1:
            self._tell(device, present=True)

        def end() -> None:
            self._count[device.id] -= 1
            if not self._count[device.id]:
                del self._count[device.id]
                self._tell(device, present=False)

        return end

    def _tell(self, device: Device, *, present: bool) -> None:
        if self._hub.sessions.get(device.id) is not None:
            self._hub.command(device, AppConnected(present))


class _Client:
    """One connected client and its subscriptions."""

    def __init__(self, hub: Hub, watchers: _Watchers, request: Request, socket: Socket) -> None:
        self.hub = hub
        self.socket = socket
        self.principal = request.principal
        self.feeds = hub.service(Feeds)
        self._watchers = watchers
        self._request = request
        self._subscriptions: dict[Any, _Subscription] = {}
        self._visible: dict[int, bool] = {}
        self._slow = trio.Event()

    def sees(self, item: Item) -> bool:
        """Whether whoever is at the other end may hear of something."""
        device = item.device
        if device is None:
            return item.org is None or self.hub.is_allowed(self.principal, "users.log", org=item.org)
        seen = self._visible.get(device.id)
        if seen is None:
            seen = self._visible[device.id] = self.hub.is_allowed(self.principal, VIEW_DEVICES, device)
        return seen

    def _ask_again(self, _fact: object) -> None:
        """Rights have changed: end what is no longer allowed, and the connection of whoever may nothing any more."""
        self._visible = {}
        for number, subscription in tuple(self._subscriptions.items()):
            device = subscription.only
            gone = self.hub.devices.by_id.get(device.id) is not device if device else False
            if gone or not self.hub.is_allowed(self.principal, subscription.permission, device):
                self._subscriptions.pop(number).end()
                self.socket.send(json.dumps({"id": number, "error": {"message": "This is no longer allowed."}}))
        if not self.hub.is_allowed(self.principal, VIEW_DEVICES):
            self._ended.cancel()

    async def _ask_now_and_then(self) -> None:
        """Keys and sessions end by themselves too."""
        while True:
            await trio.sleep(ASK_EVERY)
            self._ask_again(None)

    async def run(self) -> None:
        unsubscribe = [self.hub.subscribe(fact, self._ask_again) for fact in _MEANWHILE]
        try:
            async with trio.open_nursery() as nursery:
                self._ended = nursery.cancel_scope
                nursery.start_soon(self._catch_up)
                nursery.start_soon(self._ask_now_and_then)
                while (message := await self.socket.receive()) is not None:
                    self._handle(message)
                nursery.cancel_scope.cancel()
        finally:
            for end in unsubscribe:
                end()
            for subscription in self._subscriptions.values():
                subscription.end()

    def is_slow(self) -> None:
        """It takes less than there is: what waits is sent when it has taken what is on its way."""
        self._slow.set()

    async def _catch_up(self) -> None:
        while True:
            await self._slow.wait()
            self._slow = trio.Event()
            await self.socket.drained()
            for subscription in tuple(self._subscriptions.values()):
                subscription.catch_up()

    def _handle(self, text: str | bytes) -> None:
        number = None
        try:
            try:
                message = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise Rejected("not JSON") from error
            if not isinstance(message, dict) or not isinstance(number := message.get("id"), (int, str)):
                raise Rejected("a message is an object with an id")
            if message.get("unsubscribe"):
                if subscription := self._subscriptions.pop(number, None):
                    subscription.end()
                return
            self._subscribe(number, message)
        except RequestError as error:
            self.socket.send(json.dumps({"id": number, "error": {"message": str(error)}}))

    def _subscribe(self, number: int | str, message: dict[str, Any]) -> None:
        if number in self._subscriptions:
            raise Rejected(f"there is a subscription {number} already")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise Rejected(f"there are {MAX_SUBSCRIPTIONS} subscriptions already")
        what, every, after = message.get("subscribe"), message.get("every") is True, message.get("after")
        if not isinstance(what, str) or what not in NEEDS:
            raise Rejected(f"subscribe must be {', '.join(NEEDS)}")
        if after is not None and (after := as_integer(after)) is None:
            raise Rejected("after must be the seq of a message")
        device, named = None, None
        if what in ("device", "wire"):
            if (wanted := as_integer(message.get("device"))) is None:
                raise Rejected("device must be a device's id")
            device = self.hub.access.device_for(self._request, wanted)
        elif what not in ("devices", "events"):
            self.hub.authorize(self.principal, NEEDS[what])
        elif (ids := message.get("devices")) is not None:
            numbers = list(map(as_integer, ids)) if isinstance(ids, list) and len(ids) <= MAX_NAMED else [None]
            if None in numbers:
                raise Rejected(f"devices must be a list of at most {MAX_NAMED} ids")
            named = frozenset(number for number in numbers if number is not None)
        key = Key(what, device.id if device else None, every and what in ("device", "devices"))
        subscription = _Subscription(self, number, NEEDS[what], device, named)
        # Before it hears of what is new.
        missed = subscription.begin(key, after)
        self._subscriptions[number] = subscription
        if what == "device" and device is not None:
            subscription.ends.append(self._watchers.add(device))
        self.socket.send(json.dumps(self._snapshot(number, what, device, resumed=missed is not None, after=after)))
        if missed:
            subscription.hear(Batch(missed))

    def _snapshot(
        self, number: int | str, what: str, device: Device | None, *, resumed: bool, after: int | None
    ) -> dict[str, Any]:
        hub = self.hub
        snapshot: dict[str, Any] = {"id": number, "subscribed": what}
        if after is not None:
            snapshot["resumed"] = resumed
        if what == "device" and device is not None:
            known = ((d, hub.writes.current(device, d)) for d in device.template.datastreams)
            snapshot |= {
                "device": device.id,
                "online": device.status == ONLINE,
                "status": hub.lifecycle.status_name(device),
                "values": {f"v{d.pin}": to_json(value) for d, value in known if value is not None},
            }
        elif what == "alarms":
            snapshot["alarms"] = [attrs.asdict(alarm) for alarm in hub.active_alarms()]
        return snapshot


class _Subscription:
    """What one client hears of one feed."""

    def __init__(
        self,
        client: _Client,
        number: int | str,
        permission: str,
        only: Device | None,
        named: frozenset[int] | None,
    ) -> None:
        #: What it needs, and the device that it is about, if it is about one.
        self.permission = permission
        self.only = only
        self.ends: list[Callable[[], None]] = []
        self._client = client
        self._number = number
        self._named = named
        self._head = f'{{"id":{json.dumps(number)},'.encode()
        self._feed: Feed
        #: What waits for a slow client: messages, and pins of which only the newest values count.
        self._waiting: deque[Item] = deque()
        self._lagged = 0
        self._stale: dict[Device, set[int]] = {}

    def begin(self, key: Key, after: int | None) -> list[Item] | None:
        """Begin to hear; returns what came after a message that the client had before, if that is known."""
        feeds = self._client.feeds
        feed = self._feed = feeds.watch(key, self.only, self.hear)
        self.ends.append(lambda: feeds.leave(feed, self.hear))
        return None if after is None else feed.after(after)

    def end(self) -> None:
        for end in self.ends:
            end()

    def hear(self, batch: Batch) -> None:
        """Tell the client, now or when it has taken what is on its way."""
        client = self._client
        if self._waiting or self._stale or client.socket.pending > MAX_PENDING:
            self._keep(batch.items)
            client.is_slow()
            return
        # Whoever is the same, and calls it the same, hears the same bytes.
        key = (client.principal, self._head, self._named)
        if (data := batch.encoded.get(key)) is None:
            mine = [item for item in batch.items if self._hears(item)]
            data = batch.encoded[key] = b"".join(client.socket.prepare(self._head + item.body) for item in mine)
        if data:
            client.socket.send_prepared(data)

    def _hears(self, item: Item) -> bool:
        if self._named is not None and (item.device is None or item.device.id not in self._named):
            return False
        return self._client.sees(item)

    def _keep(self, items: Iterable[Item]) -> None:
        for item in items:
            if not self._hears(item):
                continue
            if item.pins and item.device is not None and not self._feed.key.every:
                self._stale.setdefault(item.device, set()).update(item.pins)
                continue
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._lagged += 1
            self._waiting.append(item)

    def catch_up(self) -> None:
        """Send what waits, as far as the client takes it."""
        client, send = self._client, self._client.socket.send
        if self._lagged:
            send(json.dumps({"id": self._number, "lagged": self._lagged}))
            self._lagged = 0
        while self._waiting and client.socket.pending <= MAX_PENDING:
            item = self._waiting.popleft()
            if self._hears(item):
                send(self._head + item.body)
        while self._stale and not self._waiting and client.socket.pending <= MAX_PENDING:
            device, pins = self._stale.popitem()
            self._send_newest(device, pins)
        if self._waiting or self._stale:
            client.is_slow()

    def _send_newest(self, device: Device, pins: Iterable[int]) -> None:
        hub = self._client.hub
        values, stamps = {}, []
        for pin in sorted(pins):
            latest = hub.history.latest.get(point.series) if (point := device.points.get(pin)) else None
            if latest is not None:
                values[f"v{pin}"] = to_json(latest[1])
                stamps.append(latest[0])
        if values and hub.is_allowed(self._client.principal, VIEW_DEVICES, device):
            message = {"seq": self._feed.seq, "device": device.id, "values": values, "ts": max(stamps)}
            self._client.socket.send(self._head + json.dumps(message)[1:].encode())
