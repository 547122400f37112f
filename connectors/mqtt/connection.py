"""One MQTT connection: what its client says goes to the hub, and what the hub says to the client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import trio
from hub.rejections import QUIET as REFUSAL_QUIET

from connectors.mqtt.device_session import DEVICE, GATEWAY_DEVICE, PROGRAMS, Client, Voice, addressed
from connectors.mqtt.handlers import HANDLERS, masked, no_uplink, printable, shown, text, write
from connectors.mqtt.packets import (
    V5,
    Connect,
    Disconnect,
    Publish,
    Reason,
    RemoteProtocolError,
    Subscribe,
    UnacceptableConnect,
    Unsubscribe,
    Will,
)
from connectors.mqtt.protocol import encode
from connectors.mqtt.session import MAX_QUEUED, Connection, Delivered, Message, Repeated, is_shared
from connectors.mqtt.topics import is_for_devices, is_for_gateways, through_gateway, uplink
from hub.errors import (
    Conflict,
    Forbidden,
    HubError,
    NotAuthenticated,
    NotFound,
    Rejected,
    RequestError,
    StorageError,
    TooMany,
    Unavailable,
    UnknownPin,
    translate,
)
from hub.facts import WireFrame
from hub.rate_limits import TokenBucket

if TYPE_CHECKING:
    from connectors.mqtt.endpoint import Endpoint
    from hub.history import Receipt
    from hub.model import Device
    from hub.net.wire import Peer, Wire

#: What a client of version 5 hears instead of an exception.
REASONS: dict[type[HubError], Reason] = {
    NotAuthenticated: Reason.BAD_LOGIN,
    Forbidden: Reason.NOT_AUTHORIZED,
    NotFound: Reason.BAD_TOPIC,
    UnknownPin: Reason.BAD_TOPIC,
    Rejected: Reason.BAD_PAYLOAD,
    Conflict: Reason.UNSPECIFIED,
    TooMany: Reason.QUOTA_EXCEEDED,
    Unavailable: Reason.UNSPECIFIED,
    StorageError: Reason.UNSPECIFIED,
}

#: Seconds for CONNECT, from the first byte on.
CONNECT_DEADLINE = 10.0
#: Bytes waiting for a client before what is for it waits in its session, where only the newest counts.
MAX_PENDING = 64 * 1024
#: A client below version 5 that is silent for longer than this many seconds is looked after by the kernel.
LONG_KEEP_ALIVE = 600
#: Seconds that a device over its rate is not looked after at a time, and between two sentences about it.
MAX_PAUSE = 5.0
FLOOD_TOLD_EVERY = 60.0
#: Sentences to a client: so many at once, and per second over a longer time.
DIAG_BURST, DIAG_RATE = 10, 0.2
#: Topics of one device that are put down as unknown at a time.
UNKNOWN_QUIET = 3600.0
#: Of a value that no disk takes.
LOST = "the value could not be stored"
#: Packets that are put together before they are written.
MAX_OUT = 64
#: Topic filters that cost as much of what a client may do as a message.
FILTERS_A_MESSAGE = 20
#: Characters of a topic filter.
MAX_FILTER = 256


class Taken:
    """What became of a message: whoever acknowledges it waits until that is for good."""

    __slots__ = ("_done", "_receipt", "reason", "why")

    def __init__(self, receipt: Receipt | None = None, *, done: bool = True) -> None:
        self._receipt = receipt
        self._done = None if done else trio.Event()
        self.reason = Reason.SUCCESS
        self.why = ""

    def ends(self, receipt: Receipt | None = None, reason: Reason = Reason.SUCCESS, why: str = "") -> None:
        """It was handled; what it wrote may not be on disk yet."""
        self._receipt, self.reason, self.why = receipt, reason, why
        if self._done is not None:
            self._done.set()

    async def settled(self) -> None:
        """Return when it is on disk, however long that takes, or when it is certain that it never will be."""
        if self._done is not None:
            await self._done.wait()
        if self._receipt is not None:
            if not await self._receipt.settled():
                self.reason, self.why = Reason.UNSPECIFIED, LOST
            self._receipt = None


class Link:
    """One connection."""

    __slots__ = (
        "_batch",
        "_budget",
        "_client",
        "_diags",
        "_draining",
        "_flood_told",
        "_owed",
        "_reason",
        "_silent",
        "_waiting",
        "busy",
        "connection",
        "endpoint",
        "hub",
        "peer",
        "refused",
        "wire",
    )

    def __init__(self, endpoint: Endpoint, wire: Wire, peer: Peer) -> None:
        self.endpoint = endpoint
        self.hub = endpoint.hub
        self.wire = wire
        self.peer = peer
        self.connection = Connection(endpoint.terms, endpoint.now() + CONNECT_DEADLINE)
        #: It is not read at the moment, so it cannot be silent.
        self.busy = False
        #: It was told why it is ended, and should be able to read it.
        self.refused = False
        self._client: Client | None = None
        self._owed: list[tuple[Publish, Taken]] = []
        self._waiting = trio.CancelScope()
        self._batch = False
        self._draining = False
        self._reason = ""
        self._silent = 0.0
        self._diags: TokenBucket | None = None
        self._budget: TokenBucket | None = None
        self._flood_told = 0.0

    # -- reading --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        wire = self.wire
        try:
            while data := await wire.receive():
                await self._handle(data)
                if wire.closing:
                    # The hub stops, and nothing is owed any more.
                    self.end(Reason.SHUTTING_DOWN, "the hub stops")
                if self._reason:
                    break
                if wire.pending > MAX_PENDING:
                    await wire.drained()
        except UnacceptableConnect as error:
            await self._not_offered(error)
        except RemoteProtocolError as error:
            self._broke(error)

    async def _handle(self, data: bytes) -> None:
        """All packets of one read: one write of the answers, and one wait for the commit."""
        connection, pause = self.connection, 0.0
        self._batch = True
        try:
            for event in connection.receive(data, self.endpoint.now()):
                match event:
                    case Publish():
                        pause = max(pause, await self._published(event))
                    case Connect():
                        await self._connected(event)
                    case Subscribe():
                        pause = max(pause, self._subscribe(event))
                    case Unsubscribe():
                        connection.unsubscribed(event)
                        if self._client is not None:
                            self._client.listen_no_more(event.filters)
                    case Delivered(message):
                        if message.tag is not None:
                            message.tag.set()
                    case Repeated(publish):
                        self._owed.append((publish, connection.session.received[publish.packet_id]))
                    case Disconnect():
                        self._reason = self._reason or "it disconnected"
                if self._reason:
                    break
            if self._owed:
                await self._acknowledge()
            if connection.session.dropped:
                self._lost_messages()
        finally:
            self._batch = False
            self.flush()
        if pause:
            await self._pause(pause)

    async def _acknowledge(self) -> None:
        """Answer what is owed, in order, once it is on disk, however long that takes."""
        wire, connection = self.wire, self.connection
        owed, self._owed = self._owed, []
        self.flush()
        self.busy = wire.busy = True
        self._batch = False
        try:
            # Ended by `end`: whoever was replaced must not stay for as long as the disk refuses.
            with self._waiting:
                for publish, taken in owed:
                    await taken.settled()
                    if not connection.open:
                        return
                    if taken.why == LOST:
                        self._refuse(f"{publish.topic[:60]!r}: {LOST}")
                    connection.acknowledge(publish, taken.reason, taken.why)
        finally:
            self._waiting = trio.CancelScope()
            self.busy = wire.busy = False
            self._batch = True
        connection.heard(self.endpoint.now())

    async def _pause(self, pause: float) -> None:
        """Do not read for a while from a device over its rate, and say so when it goes on."""
        now = self.endpoint.now()
        if now - self._flood_told > FLOOD_TOLD_EVERY and self._client is not None:
            self._flood_told = now
            rate = self.hub.config.limits.messages_per_second
            why = f"sends more than {rate} messages/s, and is read no faster"
            self._refuse(f"{self._client.name} {why}")
            if self._client.own is not None:
                self._client.own.diag(f"this device {why}")
        self.busy = True
        while pause > 0 and not self._reason:
            await trio.sleep(min(pause, MAX_PAUSE))
            pause -= MAX_PAUSE
        self.busy = False
        self.connection.heard(self.endpoint.now())

    async def _room(self) -> None:
        """Wait until values can be kept again."""
        self.flush()
        self.busy, self._batch = True, False
        await self.hub.history.wait_for_space()
        self.busy, self._batch = False, True
        self.connection.heard(self.endpoint.now())

    # -- coming and going -----------------------------------------------------------------------------------------

    async def _connected(self, connect: Connect) -> None:
        connection, dropped = self.connection, ""
        try:
            client = await self.endpoint.login(connect, self.peer.address)
        except NotAuthenticated:
            client = None
        except Forbidden as error:
            self._turn_away(Reason.NOT_AUTHORIZED, str(error))
            return
        if client is None:
            self._turn_away(Reason.BAD_LOGIN, self._stranger(connect))
            return
        if connect.will is not None and (wrong := self._wrong_will(client, connect.will)):
            if connection.version == V5:
                self._turn_away(Reason.BAD_TOPIC, f"{client.name}: {wrong}")
                return
            # There is no return code for it (3 §3.2.2.3), and firmware cannot change its will.
            connect, dropped = attrs.evolve(connect, will=None), f"{wrong}, and was dropped"
        self.busy = True
        why = await self.endpoint.before(client, self.peer.address)
        self.busy = False
        if not client.valid():
            self._turn_away(Reason.BAD_LOGIN, f"{client.name}: its login ended while it waited")
            return
        if why is None:
            self._turn_away(Reason.SERVER_UNAVAILABLE, f"{client.name}: another connection came while this one waited")
            return
        if why and self.wire.hung_up:
            self._reason = "it went away while it waited"
            return
        client.link, self._client = self, client
        self.peer.authenticated()
        present = self.endpoint.adopt(client, connect)
        connection.accept(connect, client.session, self.endpoint.now(), present=present)
        if connection.version == V5:
            self.wire.farewell = encode(Disconnect(Reason.SHUTTING_DOWN), V5)
        elif not 0 < connect.keep_alive <= LONG_KEEP_ALIVE:
            self.wire.keep_alive()
        if client.own is not None:
            self.hub.sessions.connected(client.own)
            for words in (why, self.endpoint.last_words(client), dropped):
                if words:
                    client.own.diag(words)
        if dropped:
            self._refuse(f"{client.name}: {dropped}")

    @staticmethod
    def _wrong_will(client: Client, will: Will) -> str:
        """Why a client may not publish its will; "" when it may."""
        said = f"its will to {masked(will.topic)[:60]!r}"
        try:
            voice, topic = addressed(client, will.topic)
        except RequestError as error:
            return f"{said} cannot be published: {error}"
        return "" if uplink(topic) is not None else f"{said} {no_uplink(voice, topic)}"

    async def _not_offered(self, error: UnacceptableConnect) -> None:
        """Refuse a CONNECT that breaks no rule, and say whose it is if its login is right."""
        try:
            client = await self.endpoint.login(error.connect, self.peer.address)
        except (NotAuthenticated, Forbidden):
            client = None
        self._turn_away(error.reason, str(error) if client is None else f"{client.name}: {error}")
        self.flush()

    @staticmethod
    def _stranger(connect: Connect) -> str:
        username = (connect.username or "")[:64]
        if not connect.password:
            return f"no password: the username is {DEVICE!r}, and the password the device's token"
        if username.startswith(PROGRAMS):
            return f"unknown program {username!r}, or not its secret"
        if username in (DEVICE, GATEWAY_DEVICE):
            return f"unknown token ending …{ascii(text((connect.password or b'')[-2:]))[1:-1]}"
        # Not which: some put the token there.
        return f"unknown username: a device's is {DEVICE!r}, and its password its token"

    def _turn_away(self, reason: Reason, why: str) -> None:
        self._refuse(why)
        self.connection.fail(reason, "" if reason == Reason.BAD_LOGIN else why)
        self._reason, self.refused = why, True

    def _broke(self, error: RemoteProtocolError) -> None:
        """The client does not follow the protocol."""
        client, connection = self._client, self.connection
        who = client.name if client is not None else "somebody who has not logged in"
        self._refuse(f"{who} broke the protocol: {masked(str(error))}")
        if client is not None and client.own is not None and connection.version < V5:
            self.endpoint.last_words(client, f"the last connection was ended: {error}")
        connection.fail(error.reason, str(error))
        self._reason, self.refused = str(error), True
        self.flush()

    def expire(self) -> None:
        """Nothing came for too long."""
        if self._client is None:
            self._refuse(f"sent no CONNECT within {CONNECT_DEADLINE:.0f} s")
            self.end(Reason.KEEP_ALIVE_TIMEOUT, "no CONNECT")
        else:
            self._silent = self.connection.silent
            self.end(Reason.KEEP_ALIVE_TIMEOUT, f"nothing came for {self._silent:.0f} s")

    def end(self, reason: Reason, why: str) -> None:
        """End the connection, telling the client why as far as its version allows."""
        self._reason = self._reason or why
        self.connection.fail(reason, why)
        self.flush()
        self.wire.close()
        self._waiting.cancel()

    def look_again(self) -> None:
        """End a gateway whose token's time is over."""
        client = self._client
        if client is not None and client.own is None and not client.valid():
            self.end(Reason.NOT_AUTHORIZED, "its login has ended")

    def taken_over(self) -> Will | None:
        """A newer connection takes this one's place; returns its will."""
        will, self.connection.will = self.connection.will, None
        self.end(Reason.SESSION_TAKEN_OVER, "another connection took its place")
        return will

    def ended(self) -> None:
        """The connection is over."""
        client = self._client
        if client is None:
            return
        client.link = None
        if client.own is not None:
            self.hub.sessions.disconnected(client.own, self._reason or "it closed the connection", self._silent)
        # A hub that stops publishes no wills: its devices are not gone.
        stopping = self.hub.listener is not None and self.hub.listener.draining
        self.endpoint.left(client, None if stopping else self.connection.will)

    def _refuse(self, why: str) -> None:
        own = self._client.own if self._client is not None else None
        self.hub.reject(self.peer.address, why, own.device.id if own is not None else None)

    # -- what the client says -------------------------------------------------------------------------------------

    async def _published(self, publish: Publish) -> float:
        """Handle a message; returns seconds in which its device should not be read."""
        client = self._client
        assert client is not None
        if self.hub.history.full:
            await self._room()
            if self._reason:
                return 0.0
        voice, pause, taken = client.own, 0.0, Taken(done=publish.qos < 2)
        if publish.qos == 2:
            self.connection.session.received[publish.packet_id] = taken
        try:
            topic = publish.topic
            if voice is None:
                voice, topic = addressed(client, topic)
            if self.hub.bus.wants(WireFrame):
                voice.show("in", f"PUBLISH {topic} {shown(publish.payload)}")
            pause = self._take(voice.device)
            pin = voice.pins.get(topic[3:]) if topic.startswith("ds/") else None
            if pin is not None:
                receipt: Receipt | None = write(voice, pin, publish.payload)
            elif (said := uplink(topic)) is not None:
                self.busy = True
                try:
                    receipt = await HANDLERS[said.kind](voice, said, publish.payload)
                finally:
                    self.busy = False
                    self.connection.heard(self.endpoint.now())
            else:
                raise NotFound(no_uplink(voice, topic))
        except (RequestError, StorageError) as error:
            self._dropped(publish, taken, voice, error)
            return pause if voice is not None else self._charge(1)
        taken.ends(receipt)
        if publish.qos:
            self._owed.append((publish, taken))
        if client.own is None and self.hub.sessions.get(voice.device.id) is None:
            self.hub.lifecycle.on_data(voice.device)
        return pause

    def _take(self, device: Device) -> float:
        budget = self.hub.message_budget(device, time.monotonic())
        budget.take_on_credit()
        return budget.wait if budget.tokens < 0 else 0.0

    def _charge(self, count: int) -> float:
        """What the connection itself does, for no device: as often as a device may send."""
        now, limits = time.monotonic(), self.hub.config.limits
        if self._budget is None:
            self._budget = TokenBucket(limits.messages_per_second, limits.burst, now)
        self._budget.refill(now)
        for _ in range(count):
            self._budget.take_on_credit()
        return self._budget.wait if self._budget.tokens < 0 else 0.0

    def _dropped(self, publish: Publish, taken: Taken, voice: Voice | None, error: HubError) -> None:
        """Say why a message was not taken: in version 5 to the client, else only to its developer."""
        reason, why = translate(error, REASONS), printable(str(error))
        taken.ends(None, reason, why)
        if self.connection.version < V5 and isinstance(error, (Unavailable, StorageError)):
            # There is no other way not to acknowledge it: the client sends it again.
            self.connection.session.received.pop(publish.packet_id, None)
            self.end(Reason.UNSPECIFIED, f"not kept: {why}")
            return
        if publish.qos:
            self._owed.append((publish, taken))
        if voice is None:
            assert self._client is not None
            self._refuse(f"{self._client.name}: {why}")
            return
        topic = masked(publish.topic.removeprefix(voice.prefix))[:60]
        quiet = UNKNOWN_QUIET if reason == Reason.BAD_TOPIC else REFUSAL_QUIET
        self.hub.reject(
            self.peer.address, f"device {voice.device.name}: {topic!r}: {why}", voice.device.id, quiet=quiet
        )
        voice.diag(f"{topic}: {why}")

    def _subscribe(self, subscribe: Subscribe) -> float:
        """Grant what may be; returns seconds in which the client should not be read."""
        client, asked = self._client, subscribe.subscriptions
        assert client is not None
        if client.own is not None and self.hub.bus.wants(WireFrame):
            client.own.show("in", "SUBSCRIBE " + ", ".join(sub.filter for sub in asked))
        granted = [self._granted(client, sub.filter) for sub in asked]
        answers = [sub.qos if reason is None else reason for sub, (reason, _) in zip(asked, granted, strict=True)]
        self.connection.subscribed(subscribe, answers)
        if why := next((why for _, why in granted if why), ""):
            self._refuse(f"{client.name}: {why}")
            if client.own is not None:
                client.own.diag(why)
        if client.own is None:
            kept = client.session.subscriptions
            client.listen(sub.filter for sub in asked if sub.filter in kept)
        return self._charge(1 + len(asked) // FILTERS_A_MESSAGE)

    @staticmethod
    def _granted(client: Client, asked: str) -> tuple[Reason | None, str]:
        """Why a filter is refused, for the client and in words; None when it is not."""
        if is_shared(asked):
            return Reason.SHARED_NOT_SUPPORTED, "there are no shared subscriptions"
        if len(asked) > MAX_FILTER:
            return Reason.QUOTA_EXCEEDED, f"a topic filter must have at most {MAX_FILTER} characters"
        if client.own is not None:
            if is_for_devices(asked):
                return None, ""
            why = f"{masked(asked)[:60]!r}: a device subscribes below downlink/, such as to downlink/#"
            return Reason.NOT_AUTHORIZED, why
        found = through_gateway(asked)
        if found is None or not is_for_gateways(found[1]):
            return Reason.NOT_AUTHORIZED, "a gateway subscribes to dev/{token}/downlink/#, with a token each"
        if client.voice(found[0], "org_devices.view") is None:
            return Reason.NOT_AUTHORIZED, "it subscribes to a device that is not there, or not its to view"
        return None, ""

    # -- what the client hears ------------------------------------------------------------------------------------

    def send(self, message: Message, voice: Voice) -> None:
        """Send a message, now or as soon as the client takes it."""
        if self.hub.bus.wants(WireFrame):
            voice.show("out", f"PUBLISH {message.topic.removeprefix(voice.prefix)} {shown(message.payload)}")
        if not self.connection.open:
            return
        if self._draining or self.wire.pending > MAX_PENDING:
            self.connection.session.enqueue(message)
            self._start_draining()
        elif not self.connection.publish(message, self.endpoint.now()):
            size, topic = len(message.payload), message.topic.removeprefix(voice.prefix)
            self._refuse(f"device {voice.device.name}: {topic} of {size} bytes is too long for it")
        if not self._batch or self.connection.waiting >= MAX_OUT:
            self.flush()

    def _lost_messages(self) -> None:
        """Say that messages were lost on their way to the client."""
        client, session = self._client, self.connection.session
        count, session.dropped = session.dropped, 0
        why = f"{count} messages to it were lost: more than {MAX_QUEUED} waited, or they were too long for it"
        if client is not None:
            self._refuse(f"{client.name}: {why}")
            if client.own is not None:
                client.own.diag(why)

    def may_diag(self) -> bool:
        """Whether the client may hear one more sentence; nobody reads a flood of them."""
        now = self.endpoint.now()
        if self._diags is None:
            self._diags = TokenBucket(DIAG_RATE, DIAG_BURST, now)
        self._diags.refill(now)
        return self._diags.take()

    def flush(self) -> None:
        if data := self.connection.data_to_send():
            self.wire.send(data)

    def _start_draining(self) -> None:
        if not self._draining:
            self._draining = True
            self.wire.spawn(self._drain)

    async def _drain(self) -> None:
        """Send what waits, as fast as the client takes it."""
        queue = self.connection.session.queue
        try:
            while queue and not self.wire.broken:
                await self.wire.drained()
                if not self.connection.open:
                    # What waits is another connection's now.
                    return
                left = len(queue)
                self.connection.pump(self.endpoint.now())
                self.flush()
                if len(queue) >= left:
                    # The client's acknowledgements go on with it.
                    break
        finally:
            self._draining = False
