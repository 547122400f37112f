"""``/api/v1/stream``: what happens, as it happens, over a WebSocket.

The client sends ``{"id": 1, "subscribe": "device", "device": 7}`` (or devices, events, refused, wire), and
``{"id": 1, "unsubscribe": true}``. The first change of a value goes out at once, further ones at most every 50 ms per
value, the newest; with ``"every": true`` all of them, and ``{"id": 1, "lagged": N}`` when N were dropped because the
client did not keep up.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.errors import Rejected, RequestError
from hub.facts import (
    DeviceChanged,
    EventChanged,
    EventLogged,
    OrganizationChanged,
    Refused,
    RightsChanged,
    StatusChanged,
    ValueCleared,
    ValueExpired,
    ValueWritten,
    WireFrame,
)
from hub.model import ONLINE, AppConnected, Device
from hub.routes import VIEW_DEVICES, SocketRoute
from hub.values import to_json

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.routes import Request, Socket

#: Seconds between two changes of one value.
MIN_GAP = 0.05
#: Messages kept for a client that is slower than what happens.
MAX_WAITING = 10_000
#: Bytes on their way to the client before it gets no more for now.
MAX_PENDING = 256 * 1024
MAX_SUBSCRIPTIONS = 1_000
#: Seconds after which it is asked again whether somebody may hear this, and what makes that be asked at once.
ASK_EVERY = 10.0
_MEANWHILE = (RightsChanged, DeviceChanged, OrganizationChanged)


def routes(hub: Hub) -> Sequence[SocketRoute]:
    watchers = _Watchers(hub)

    async def serve(request: Request, socket: Socket) -> None:
        await _Client(hub, watchers, request, socket).run()

    return [
        SocketRoute(path="/api/v1/stream", handler=serve, permission=VIEW_DEVICES, summary="Live values and states")
    ]


class _Watchers:
    """How many watch each device: firmware may want to know when the first comes and the last goes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._count: Counter[int] = Counter()

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
    """One connected client and its subscriptions; `_send_loop` is the only one that sends."""

    def __init__(self, hub: Hub, watchers: _Watchers, request: Request, socket: Socket) -> None:
        self._hub = hub
        self._watchers = watchers
        self._request = request
        self._socket = socket
        self._subscriptions: dict[Any, _Subscription] = {}
        self._wake = trio.Event()
        self._visible: dict[int, bool] = {}

    def _sees(self, device: Device) -> bool:
        """Whether whoever is at the other end may see a device."""
        seen = self._visible.get(device.id)
        if seen is None:
            seen = self._visible[device.id] = self._hub.may(self._request.principal, VIEW_DEVICES, device)
        return seen

    def _ask_again(self, _fact: object) -> None:
        """Rights have changed: end what is no longer allowed, and the connection of whoever may nothing any more."""
        self._visible = {}
        for number, subscription in tuple(self._subscriptions.items()):
            device = subscription.only
            gone = self._hub.devices.by_id.get(device.id) is not device if device else False
            if gone or not self._hub.may(self._request.principal, subscription.permission, device):
                self._subscriptions.pop(number).end()
                self._socket.send(json.dumps({"id": number, "error": {"message": "This is no longer allowed."}}))
        if not self._hub.may(self._request.principal, VIEW_DEVICES):
            self._ended.cancel()

    async def _ask_now_and_then(self) -> None:
        """Keys and sessions end by themselves too."""
        while True:
            await trio.sleep(ASK_EVERY)
            self._ask_again(None)

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        unsubscribe = [self._hub.subscribe(fact, self._ask_again) for fact in _MEANWHILE]
        try:
            async with trio.open_nursery() as nursery:
                self._ended = nursery.cancel_scope
                nursery.start_soon(self._send_loop)
                nursery.start_soon(self._ask_now_and_then)
                while (message := await self._socket.receive()) is not None:
                    self._handle(message)
                nursery.cancel_scope.cancel()
        finally:
            for end in unsubscribe:
                end()
            for subscription in self._subscriptions.values():
                subscription.end()

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
            self._socket.send(json.dumps({"id": number, "error": {"message": str(error)}}))

    def _subscribe(self, number: int | str, message: dict[str, Any]) -> None:
        if number in self._subscriptions:
            raise Rejected(f"there is a subscription {number} already")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise Rejected(f"there are {MAX_SUBSCRIPTIONS} subscriptions already")
        device = None
        what, every = message.get("subscribe"), message.get("every") is True
        if what in ("device", "wire"):
            if type(wanted := message.get("device")) is not int:
                raise Rejected("device must be a device's id")
            device = self._hub.device_for(self._request, wanted)
        elif what == "refused":
            self._hub.authorize(self._request.principal, "hub.view")
        elif what not in ("devices", "events"):
            raise Rejected("subscribe must be device, devices, events, refused or wire")
        permission = "hub.view" if what == "refused" else VIEW_DEVICES
        subscription = _Subscription(number, self.wake, every, permission, device, self._sees)
        self._subscriptions[number] = subscription
        on: Callable[..., None] = subscription.ends.append
        hub, only = self._hub, device.id if device else None
        if what == "refused":
            on(hub.subscribe(Refused, lambda fact: subscription.add({"refused": attrs.asdict(fact)})))
        elif what == "wire":
            on(hub.subscribe(WireFrame, subscription.add_frame))
        elif what == "events":
            on(hub.subscribe(EventLogged, subscription.add_event))
            on(hub.subscribe(EventChanged, subscription.add_event))
        else:
            on(hub.subscribe(ValueWritten, subscription.add_value, only))
            named = hub.lifecycle.name
            on(hub.subscribe(StatusChanged, lambda fact: subscription.add_state(fact, named(fact.device))))
            on(hub.subscribe(ValueExpired, subscription.add_expired))
            on(hub.subscribe(ValueCleared, subscription.add_cleared))
        snapshot: dict[str, Any] = {"id": number, "subscribed": what}
        if what == "device" and device is not None:
            on(self._watchers.add(device))
            streams = device.template.datastreams
            known = ((d, hub.writes.current(device, d)) for d in streams)
            values = {f"v{d.pin}": to_json(value) for d, value in known if value is not None}
            snapshot |= {
                "device": device.id,
                "online": device.status == ONLINE,
                "status": hub.lifecycle.name(device),
                "values": values,
            }
        self._socket.send(json.dumps(snapshot))

    async def _send_loop(self) -> None:
        while True:
            next_at = float("inf")
            for subscription in tuple(self._subscriptions.values()):
                next_at = min(next_at, subscription.flush(self._socket.send))
            if self._socket.pending > MAX_PENDING:
                await self._socket.drained()
                continue
            self._wake = trio.Event()
            with trio.move_on_at(next_at):
                await self._wake.wait()


class _Subscription:
    def __init__(
        self,
        number: int | str,
        wake: Callable[[], None],
        every: bool,
        permission: str,
        only: Device | None,
        sees: Callable[[Device], bool],
    ) -> None:
        #: What it needs, and the device that it is about, if it is about one.
        self.permission = permission
        self.only = only
        self._sees = sees
        self._number = number
        self._wake = wake
        self._every = every
        self._waiting: deque[dict[str, Any]] = deque()
        self._lagged = 0
        #: Newest value not yet sent, and when the last was, by (device, pin).
        self._changed: dict[tuple[int, int], ValueWritten] = {}
        self._sent: dict[tuple[int, int], float] = {}
        self.ends: list[Callable[[], None]] = []

    def end(self) -> None:
        for end in self.ends:
            end()

    def add(self, message: dict[str, Any]) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._lagged += 1
        self._waiting.append(message)
        self._wake()

    def add_value(self, fact: ValueWritten) -> None:
        if not self._sees(fact.device):
            return
        if self._every:
            value = {f"v{fact.datastream.pin}": to_json(fact.value)}
            self.add({"device": fact.device.id, "values": value, "ts": fact.ts})
        elif fact.latest:
            self._changed[fact.device.id, fact.datastream.pin] = fact
            self._wake()

    def _wants(self, device: Device) -> bool:
        return (self.only is None or self.only is device) and self._sees(device)

    def add_state(self, fact: StatusChanged, name: str) -> None:
        if self._wants(fact.device):
            online = fact.status == ONLINE
            self.add({"device": fact.device.id, "online": online, "status": name, "ts": fact.at})

    def add_expired(self, fact: ValueExpired) -> None:
        if self._wants(fact.device):
            self.add({"device": fact.device.id, "expired": {f"v{fact.datastream.pin}": fact.show}})

    def add_cleared(self, fact: ValueCleared) -> None:
        if self._wants(fact.device):
            self._changed.pop((fact.device.id, fact.datastream.pin), None)
            self.add({"device": fact.device.id, "values": {f"v{fact.datastream.pin}": None}})

    def add_event(self, fact: EventLogged | EventChanged) -> None:
        if self._wants(fact.device):
            self.add({"device": fact.device.id, "event": attrs.asdict(fact.event)})

    def add_frame(self, fact: WireFrame) -> None:
        if self._wants(fact.device):
            self.add({"wire": {"at": fact.at, "direction": fact.direction, "text": fact.text}})

    def flush(self, send: Callable[[str], None]) -> float:
        """Send what is due; returns when the next is, by trio's clock."""
        if self._lagged:
            send(json.dumps({"id": self._number, "lagged": self._lagged}))
            self._lagged = 0
        while self._waiting:
            send(json.dumps({"id": self._number, **self._waiting.popleft()}))
        if not self._changed:
            return float("inf")
        now, next_at, sent = trio.current_time(), float("inf"), self._sent
        due: dict[int, dict[str, Any]] = {}
        for key, fact in tuple(self._changed.items()):
            ready = sent.get(key, 0.0) + MIN_GAP
            if ready <= now:
                del self._changed[key]
                sent[key] = now
                message = due.setdefault(key[0], {"id": self._number, "device": key[0], "values": {}})
                message["values"][f"v{key[1]}"] = to_json(fact.value)
                message["ts"] = fact.ts
            else:
                next_at = min(next_at, ready)
        for message in due.values():
            send(json.dumps(message))
        if len(sent) > MAX_WAITING:
            self._sent = {key: at for key, at in sent.items() if at + MIN_GAP > now}
        return next_at
