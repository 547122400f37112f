"""The live stream, ``/api/v1/stream``: values, states, events and changes over a WebSocket, as they happen.

The client sends ``{"id": 1, "subscribe": "device", "device": 7}`` (or another of `TOPICS`), and
``{"id": 1, "unsubscribe": true}``. The first change of a value is sent at once, then the newest value at most every
50 ms; with ``"every": true`` all values are sent, and with ``"every_ms": 250`` all changes of 250 ms in one message.
Messages are numbered: with ``"after"`` a client that lost its connection gets the messages that it missed.

A `Connection` is one WebSocket. It has subscriptions (`plugins.platform_api.subscriptions`), each to one feed
(`plugins.platform_api.feeds`), and begins each with a snapshot (`plugins.platform_api.snapshots`).

Rights are checked for each message when it is sent. The results are cached until the next recheck, which happens at
each fact of `_RIGHTS_FACTS` and every `RECHECK_INTERVAL` seconds. A recheck also ends subscriptions whose permission
the principal has lost, and the connection if that is the permission to see devices.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub import (
    DEVICE,
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
from plugins.platform_api.feeds import Feeds
from plugins.platform_api.snapshots import check_size, device_state, encode_states
from plugins.platform_api.stream_changes import Change
from plugins.platform_api.stream_requests import SubscriptionRequest, decode, subscription_request
from plugins.platform_api.subscriptions import GatheredSubscription, LatestSubscription, Subscription

if TYPE_CHECKING:
    from hub import Hub, Request, Socket

#: Subscriptions of a connection, and devices that they name together.
MAX_SUBSCRIPTIONS, MAX_NAMED_DEVICES = 1_000, 100_000
#: Seconds between two checks of the client's rights: API keys and sessions also expire without a fact.
RECHECK_INTERVAL = 10.0
#: Facts that change rights, upon which they are checked at once.
_RIGHTS_FACTS = (RightsChanged, DeviceChanged, OrganizationChanged)


class StreamRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._presence = _AppPresence(hub)

    async def stream(self, request: Request, socket: Socket) -> None:
        await Connection(self._hub, self._presence, request, socket).run()

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


class Connection:
    """A client's WebSocket and its subscriptions."""

    def __init__(self, hub: Hub, presence: _AppPresence, request: Request, socket: Socket) -> None:
        self.hub = hub
        self.socket = socket
        self.principal = request.principal
        self.feeds = hub.service(Feeds)
        self._presence = presence
        self._request = request
        self._subscriptions: dict[int | str, Subscription] = {}
        #: Whether the principal may see a device, by device id.
        self._visible: dict[int, bool] = {}
        self._behind = trio.Event()

    def may_see(self, change: Change) -> bool:
        if change.device is not None:
            return self._may_see_device(change.device)
        return change.org is None or self.hub.is_allowed(self.principal, "users.log", org=change.org)

    def _may_see_device(self, device: Device) -> bool:
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
            if is_deleted or not self.hub.is_allowed(self.principal, subscription.request.permission, device):
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
                    await self._handle(message)
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
                if subscription.catch_up():
                    await trio.lowlevel.checkpoint()

    async def _handle(self, text: str | bytes) -> None:
        """Carry out a client's message; answer errors with its id, if it has one."""
        number = None
        try:
            message = decode(text)
            number = message["id"]
            if message.get("unsubscribe"):
                if subscription := self._subscriptions.pop(number, None):
                    subscription.end()
                return
            if number in self._subscriptions:
                raise Rejected(f"The id {number} is in use; unsubscribe it first, or use another id.")
            if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
                raise Rejected(
                    f"This connection has {MAX_SUBSCRIPTIONS} subscriptions, which is the limit; unsubscribe one first."
                )
            request = subscription_request(message)
            named = sum(len(subscription.request.devices or ()) for subscription in self._subscriptions.values())
            if request.devices and named + len(request.devices) > MAX_NAMED_DEVICES:
                raise Rejected(
                    f"The subscriptions of this connection name {named} devices, and {MAX_NAMED_DEVICES} is the limit;"
                    " unsubscribe one first, or leave out devices to subscribe to all."
                )
            await self._subscribe(request)
        except RequestError as error:
            self._send_error(number, str(error))

    def _send_error(self, number: int | str | None, text: str) -> None:
        self.socket.send(json.dumps({"id": number, "error": {"message": text}}))

    async def _subscribe(self, request: SubscriptionRequest) -> None:
        device, devices = None, list[Device]()
        if request.device is not None:
            device = self.hub.access.device_for(self._request, request.device)
        else:
            self.hub.authorize(self.principal, request.permission)
        if request.topic == "devices" and request.devices is not None and request.snapshot:
            # A device that the client may not see is left out like one that does not exist.
            found = (self.hub.devices.by_id.get(number) for number in request.devices)
            devices = [device for device in found if device is not None and self._may_see_device(device)]
            check_size(devices, request.pins)
        subscription = (GatheredSubscription if request.every_ms else LatestSubscription)(self, request, device)
        # Before the snapshot is made, so that no change is missed.
        resumed = subscription.begin()
        self._subscriptions[request.id] = subscription
        if request.topic == "device" and device is not None:
            subscription.at_end.append(self._presence.watch(device))
        snapshot = json.dumps(self._snapshot(request, device, resumed))
        if request.topic == "devices" and request.devices is not None and request.snapshot:
            try:
                states = await encode_states(self.hub, devices, request.pins, self._may_see_device)
            except Rejected:
                if self._subscriptions.pop(request.id, None) is subscription:
                    subscription.end()
                raise
            snapshot = f'{snapshot[:-1]}, "devices": {states}}}'
        if self._subscriptions.get(request.id) is subscription:
            # It has not ended meanwhile, with the right to it.
            self.socket.send(snapshot)
            subscription.start()

    def _snapshot(self, request: SubscriptionRequest, device: Device | None, resumed: bool | None) -> dict[str, Any]:
        """Return the first message of a subscription, without the states of several devices."""
        snapshot: dict[str, Any] = {"id": request.id, "subscribed": request.topic}
        if request.every_ms:
            snapshot["every_ms"] = request.every_ms
        if resumed is not None:
            snapshot["resumed"] = resumed
        if request.topic == "device" and device is not None and request.snapshot:
            snapshot |= device_state(self.hub, device, request.pins)
        elif request.topic == "alarms":
            snapshot["alarms"] = [attrs.asdict(alarm) for alarm in self.hub.active_alarms()]
        return snapshot
