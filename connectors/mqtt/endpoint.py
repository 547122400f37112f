"""The hub as MQTT's server for devices and gateways, over TCP, TLS and WebSocket. Not a broker: topics are Blynk's.

A session belongs to a token, so that one client identifier for many devices does no harm, and of two connections with
the same token the newer wins. PUBACK and PUBREC come after the commit that holds what was published. All that one read
brings is handled before the next, and answered with one write.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import trio

from connectors.mqtt.connection import Link
from connectors.mqtt.device_session import DEVICE, GATEWAY_DEVICE, Client, Voice, addressed
from connectors.mqtt.handlers import HANDLERS, text
from connectors.mqtt.packets import V5, Connack, Connect, Kind, Property, Reason, RemoteProtocolError, Will
from connectors.mqtt.protocol import Decoder, encode
from connectors.mqtt.session import Message, Session, Terms
from connectors.mqtt.topics import uplink
from hub.errors import (
    Forbidden,
    RequestError,
    StorageError,
)
from hub.facts import (
    DataErased,
    DeviceChanged,
    DeviceDeleted,
    OrganizationChanged,
    RightsChanged,
    TemplateChanged,
    ValueCleared,
)
from hub.hookspecs import hookimpl
from hub.model import Credentials
from hub.net.wire import WireProtocol
from hub.rate_limits import TokenBucket
from hub.structuring import Duration, between, seconds
from hub.timers import Timers

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.model import Datastream, Device, Template
    from hub.net.wire import Peer, Wire

#: Seconds between two looks for silent connections.
SWEEP_EVERY = 2.0
#: Connections that took each other's place so often within so many seconds wait longer and longer.
FLAPPING, FLAPPING_WINDOW, MAX_FLAPPING_PAUSE = 3, 60.0, 30.0
#: Whose connections take each other's place, at most; and sessions that are kept of one program.
MAX_FLAPPING, MAX_KEPT = 10_000, 50
#: Versions of templates whose names are known by heart.
MAX_PINS = 1_000
#: Filters of one device, which are looked through for everything that is sent to it.
MAX_OF_DEVICE = 50
#: Names looked for that were meant: per second over a longer time, and at once.
HINT_RATE, HINT_BURST = 2.0, 30
#: The first byte of a login in Blynk's native protocol (BlynkProtocolDefs.h): on the same port it is that.
NATIVE_LOGIN = 0x1D
#: The longest packet that may be configured.
MAX_PACKETS = 1024, 1024 * 1024


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.mqtt]``: bytes of the longest packet, and how long a session is kept without a connection."""

    max_packet: Annotated[int, between(*MAX_PACKETS)] = 65_536
    keep_sessions: Duration = "1d"


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    return [
        WireProtocol(
            name="mqtt",
            sniff=sniff,
            serve=hub.service(Endpoint).serve,
            overload_response=busy,
            websocket_path="/mqtt",
            subprotocol="mqtt",
        )
    ]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    nursery.start_soon(hub.service(Endpoint).run)


def sniff(first: bytes) -> bool:
    """CONNECT is the only first packet there is. In version 3.1 flags that mean nothing may be set in it."""
    return first[0] >> 4 == Kind.CONNECT and first[0] != NATIVE_LOGIN


def busy(first: bytes) -> bytes:
    """The CONNACK for a client that is one too many, in its own version as far as that is known."""
    decoder = Decoder(MAX_PACKETS[1])
    with suppress(RemoteProtocolError):
        for _ in decoder.receive(first):
            break
    return encode(Connack(False, Reason.SERVER_BUSY), V5) if decoder.version == V5 else b"\x20\x02\x00\x03"


class Endpoint:
    """All MQTT connections of a hub, and the sessions that are kept."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        settings: Settings = hub.settings(Settings)
        self.terms = Terms(max_packet=settings.max_packet, max_expiry=int(seconds(settings.keep_sessions)))
        self.clients: dict[tuple[str, int | str, str], Client] = {}
        self._live: set[Link] = set()
        self._sweeping = False
        self._timers = Timers(self._due)
        self._wills: dict[Client, Will] = {}
        self._tasks: trio.Nursery | None = None
        self._hints = TokenBucket(HINT_RATE, HINT_BURST, self.now())
        self._pins: dict[tuple[str, int], tuple[Template, dict[str, int]]] = {}
        #: How often connections of a key took each other's place, and when the last one did.
        self._flapping: dict[tuple[str, int | str, str], tuple[int, float, Client]] = {}
        #: Why the last connection of a device was ended, when it could not be told.
        self._last_words: dict[tuple[str, int | str, str], str] = {}
        for fact in (RightsChanged, DeviceChanged, DeviceDeleted, OrganizationChanged, TemplateChanged):
            hub.subscribe(fact, self._look_again)
        hub.subscribe(ValueCleared, lambda fact: self._unsay(fact.device, (fact.datastream,)))
        hub.subscribe(DataErased, lambda fact: self._unsay(fact.device, fact.datastreams))

    async def run(self) -> None:
        """Follow the clock: sessions end, and wills are published."""
        async with trio.open_nursery() as nursery:
            self._tasks = nursery
            await self._timers.run()

    @staticmethod
    def now() -> float:
        """The clock of everything here."""
        return trio.current_time()

    def pins(self, template: Template) -> Mapping[str, int]:
        """A template's pins by the names of its datastreams."""
        key = (template.id, template.version)
        if len(self._pins) > MAX_PINS:
            self._pins.clear()
        kept = self._pins.get(key)
        if kept is None or kept[0] is not template:
            kept = self._pins[key] = template, {stream.name: stream.pin for stream in template.datastreams}
        return kept[1]

    def may_hint(self) -> bool:
        """Whether a name that is not known may be looked for among those that are."""
        self._hints.refill(self.now())
        return self._hints.take()

    @staticmethod
    def numbered(numbers: list[int]) -> Mapping[int, Any]:
        return {Property.SUBSCRIPTION_ID: numbers} if numbers else {}

    async def serve(self, wire: Wire, peer: Peer) -> None:
        """Talk to one client until it is gone."""
        link = Link(self, wire, peer)
        self._live.add(link)
        if not self._sweeping:
            self._sweeping = True
            wire.spawn(self._sweep)
        try:
            await link.run()
        finally:
            self._live.discard(link)
            link.ended()
        if link.refused:
            await wire.linger()

    async def _sweep(self) -> None:
        """Close the silent, as long as there is any connection: one task instead of a timeout per read."""
        try:
            while self._live:
                await trio.sleep(SWEEP_EVERY)
                now = self.now()
                for link in tuple(self._live):
                    if now > link.connection.expires and not link.busy:
                        link.expire()
                    else:
                        link.look_again()
        finally:
            self._sweeping = False

    # -- who comes ------------------------------------------------------------------------------------------------

    async def login(self, connect: Connect, address: str) -> Client | None:
        """Who presents these credentials; None when it is nobody known. Raises `Forbidden`."""
        username, password = connect.username or "", text(connect.password or b"")
        fresh = Session(connect.client_id or f"pinwheel-{secrets.token_hex(8)}")
        if username not in (DEVICE, GATEWAY_DEVICE):
            credentials = Credentials("client", password, address, username)
            principal = await self.hub.find_principal(credentials) if username else None
            if principal is None:
                return None
            client = Client(self, ("client", principal.id, fresh.client_id), fresh, principal=principal)
            if not client.valid():
                raise Forbidden(f"program {principal.label} has no permission to view devices")
            return client
        device = self.hub.tokens.device_for(password)
        if device is None:
            return None
        if username == GATEWAY_DEVICE:
            if not device.template.gateway:
                template = device.template.id
                raise Forbidden(f"device {device.name}: template {template} is not a gateway: add gateway = true to it")
            return Client(self, ("gateway", device.id, ""), fresh, gateway=device, token=password)
        fresh.most = MAX_OF_DEVICE
        client = Client(self, ("device", device.id, ""), fresh, token=password)
        client.own = Voice(client, device, password, address=address)
        return client

    async def before(self, client: Client, address: str) -> str | None:
        """Let a connection wait that is one of several which take each other's place; why, for its developer.

        None when another one came or got in meanwhile.
        """
        old = self.clients.get(client.key)
        if old is None or old.link is None:
            return ""
        if len(self._flapping) >= MAX_FLAPPING:
            self._flapping.clear()
        count, last, _ = self._flapping.get(client.key, (0, 0.0, client))
        count = count + 1 if self.now() - last < FLAPPING_WINDOW else 1
        self._flapping[client.key] = count, self.now(), client
        if count <= FLAPPING:
            return ""
        said = "keeps taking the place of another connection with the same token, and waits"
        self.hub.reject(address, f"{client.name} {said}")
        if old.own is not None:
            old.own.diag(f"a connection from {address} {said}")
        why = f"this connection {said}; the other is from {old.link.peer.address}"
        await trio.sleep(min(MAX_FLAPPING_PAUSE, 2.0 ** (count - FLAPPING - 1)))
        newest = self._flapping.get(client.key, (0, 0.0, client))[2]
        return why if newest is client and self.clients.get(client.key) in (old, None) else None

    def adopt(self, client: Client, connect: Connect) -> bool:
        """Take over the session of a client who was here before; whether there was one that goes on."""
        old = self.clients.get(client.key)
        self.clients[client.key] = client
        if old is None:
            return False
        same = bool(connect.client_id) and connect.client_id == old.session.client_id
        present = same and not connect.clean and old.session.expiry > 0
        old.listen_no_more()
        self._timers.cancel(("session", old))
        if old.link is not None:
            will = old.link.taken_over()
            # With a session that ends, its will waits no longer; in one that goes on, one with a delay is forgotten.
            if will is not None and not (present and self._delay(old, will)):
                self._publish_will(old, will)
        else:
            if old.own is not None:
                self.hub.sessions.unfollow(old.own)
            if (will := self._wills.pop(old, None)) is not None:
                self._timers.cancel(("will", old))
                if not present:
                    self._publish_will(old, will)
        if present:
            client.session = old.session
            client.listen(old.session.subscriptions)
        return present

    def left(self, client: Client, will: Will | None) -> None:
        """A connection ended; what its client wants kept is kept."""
        if self.clients.get(client.key) is not client:
            return
        if will is not None and (delay := self._delay(client, will)):
            self._wills[client] = will
            self._timers.set(("will", client), self.now() + delay)
        elif will is not None:
            self._publish_will(client, will)
        session = client.session
        if not session.expiry:
            self._forget(client)
            return
        session.queue = {key: message for key, message in session.queue.items() if message.qos}
        if client.own is not None and any(sub.qos for sub, _ in session.subscriptions.values()):
            self.hub.sessions.follow(client.own)
        self._bound(client)
        self._timers.set(("session", client), self.now() + client.session.expiry)

    def _bound(self, client: Client) -> None:
        """A program may have several connections, by client identifier; not all that it makes up are kept."""
        kept = [one for key, one in self.clients.items() if key[:2] == client.key[:2] and one.link is None]
        for one in kept[: max(0, len(kept) - MAX_KEPT)]:
            self._forget(one)

    @staticmethod
    def _delay(client: Client, will: Will) -> int:
        """Seconds that a will waits, but no longer than the session lasts (5 §3.1.3.2.2)."""
        return min(int(will.properties.get(Property.WILL_DELAY, 0)), client.session.expiry)

    def _publish_will(self, client: Client, will: Will) -> None:
        if self._tasks is not None and client.valid():
            self._tasks.start_soon(self._say_will, client, will)

    async def _say_will(self, client: Client, will: Will) -> None:
        try:
            voice, topic = addressed(client, will.topic)
            said = uplink(topic)
            assert said is not None
            receipt = await HANDLERS[said.kind](voice, said, will.payload)
            if receipt is not None:
                await receipt.durable()
        except (RequestError, StorageError) as error:
            self.hub.reject("will", f"{client.name}: its will: {error}", client.own.device.id if client.own else None)

    def _due(self, key: Any) -> None:
        what, client = key
        if what == "will":
            if (will := self._wills.pop(client, None)) is not None:
                self._publish_will(client, will)
        else:
            self._forget(client)

    def _forget(self, client: Client) -> None:
        if self.clients.get(client.key) is client:
            del self.clients[client.key]
        client.listen_no_more()
        if client.own is not None:
            self.hub.sessions.unfollow(client.own)
        self._timers.cancel(("session", client))
        if (will := self._wills.pop(client, None)) is not None:
            self._timers.cancel(("will", client))
            self._publish_will(client, will)

    def _look_again(self, fact: Any) -> None:
        """Rights, devices or templates changed: end whose login does not hold any more."""
        if isinstance(fact, DeviceDeleted):
            for gateway in self.hub.sessions.recipients(fact.device):
                self.hub.sessions.unfollow(gateway)
        if isinstance(fact, DeviceChanged | DeviceDeleted):
            keys = (("device", fact.device.id, ""), ("gateway", fact.device.id, ""))
            found = [self.clients[key] for key in keys if key in self.clients]
        else:
            found = [client for key, client in self.clients.items() if key[0] != "device"]
        for client in found:
            if not client.valid():
                if client.link is not None:
                    client.link.end(Reason.NOT_AUTHORIZED, "its login has ended")
                else:
                    self._forget(client)

    # -- what goes to them ----------------------------------------------------------------------------------------

    def _unsay(self, device: Device, datastreams: Sequence[Datastream]) -> None:
        """Values that wait for their client and are no more are not told."""
        own = self.clients.get(("device", device.id, ""))
        clients = [voice.client for voice in self.hub.sessions.recipients(device) if isinstance(voice, Voice)]
        for client in [*clients, *([own] if own else [])]:
            for stream in datastreams:
                client.session.queue.pop((device.id, stream.pin), None)

    def deliver(self, client: Client, message: Message, voice: Voice) -> None:
        """Send a message, or keep it for when the client is back."""
        if client.link is not None:
            client.link.send(message, voice)
        elif message.qos and message.tag is None:
            client.session.enqueue(message)

    def last_words(self, client: Client, text: str | None = None) -> str:
        """Keep a sentence for the client's next connection, or take the one that was kept."""
        if text is not None:
            self._last_words[client.key] = text
        return self._last_words.pop(client.key, "") if text is None else text
