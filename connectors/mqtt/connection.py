"""`MqttConnection`, one connection of a device or gateway: reads packets, calls handlers, acknowledges, sends messages.

Theory of operation. One task per connection calls `MqttConnection.run`: it reads a chunk, handles all packets in it,
waits for the commit of their values once, and sends all answers in one write. Its state is one of `State`:

    state      the task                                                       left for
    IDLE       awaits the next chunk, or until the client has read            HANDLING, PAUSED
    HANDLING   handles the packets of a chunk, or authenticates the client    DELAYED, OPERATING, WAITING, IDLE
    DELAYED    waits because connections keep replacing each other            HANDLING
    OPERATING  awaits the handler of a message that is not a value            HANDLING
    WAITING    awaits a commit, or space in the history                       HANDLING
    PAUSED     does not read from a device over its rate                      IDLE
    ENDED      is about to return: disconnected, replaced, or out of time     -
    REJECTED   the same, after the client was sent why                        -

The task itself makes all transitions but one: `end` may be called by other tasks at any time (takeover, a revoked
token, the sweep for silent connections), and a state that is over stays. Two properties of a state matter outside the
task: silence counts only where the client is being read (IDLE, HANDLING), and messages to the client are collected
for one write only while packets are handled (HANDLING, DELAYED, OPERATING).

Messages to the client are sent by whichever task produces them. If more than ``MAX_PENDING`` bytes wait for the client,
they go to the queue of its session, and a drain task sends from there as the client reads.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs
import trio

from connectors.mqtt.device_session import printable
from connectors.mqtt.handlers import HANDLERS, unknown_topic, write
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
from connectors.mqtt.payloads import decode_text, preview, redact_token
from connectors.mqtt.protocol import encode
from connectors.mqtt.registry import DEVICE_USERNAME, GATEWAY_USERNAME
from connectors.mqtt.session import (
    MAX_QUEUED,
    ConnectionState,
    Delivered,
    Message,
    Repeated,
    ServerLimits,
    ServerProtocol,
    is_shared,
)
from connectors.mqtt.topics import device_may_subscribe, gateway_may_subscribe, parse_uplink, split_gateway_topic
from hub import (
    Conflict,
    Forbidden,
    Hello,
    HubError,
    NotAuthenticated,
    NotFound,
    Rejected,
    RequestError,
    StorageError,
    TokenBucket,
    TooMany,
    Unavailable,
    UnknownPin,
    WireFrame,
    translate,
)

if TYPE_CHECKING:
    from connectors.mqtt.device_session import ClientState, MqttDeviceSession
    from connectors.mqtt.registry import ClientRegistry
    from hub import Device, Peer, Wire
    from hub.history import Receipt

#: Reason codes of version 5 by the class of an exception.
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

#: Unsent bytes above which messages go to the session's queue, where only the newest of each key stays.
MAX_PENDING = 64 * 1024
#: Keep-alive in seconds above which, for a client below version 5, the kernel probes the connection instead.
LONG_KEEP_ALIVE = 600
#: Rate limit for diagnostics to a client: burst, and sustained per second.
DIAGNOSTIC_BURST, DIAGNOSTIC_RATE = 10, 0.2
#: Seconds in which the same rejection of a device is logged once, and the same unknown topic.
REJECTION_QUIET, UNKNOWN_TOPIC_QUIET = 60.0, 3600.0
#: Error text for a value that can never be committed.
NOT_STORED = "the value could not be stored"
#: Packets that are collected before they are written.
MAX_COLLECTED = 64
#: Topic filters of a SUBSCRIBE that count as much against the rate limit as one message.
FILTERS_PER_MESSAGE = 20
#: Characters of a topic filter.
MAX_FILTER = 256
#: The prefix of the ids of OAuth clients (docs.blynk.io, OAuth2 authorization).
OAUTH_CLIENT_PREFIX = "oa2-client-id_"


class State(Enum):
    """State of an `MqttConnection`; see the theory of operation above."""

    #: (name, silence counts, output is collected, the connection is over)
    IDLE = "idle", True, False, False
    HANDLING = "handling", True, True, False
    DELAYED = "delayed", False, True, False
    OPERATING = "operating", False, True, False
    WAITING = "waiting", False, False, False
    PAUSED = "paused", False, False, False
    ENDED = "ended", False, False, True
    REJECTED = "rejected", False, False, True

    def __init__(self, _name: str, silence_counts: bool, collects_output: bool, is_over: bool) -> None:
        self.silence_counts = silence_counts
        self.collects_output = collects_output
        self.is_over = is_over


#: Bound once: they are compared for every packet, and Python 3.11 looks up a member of an enum by a call.
_IDLE, _HANDLING, _DELAYED, _OPERATING = State.IDLE, State.HANDLING, State.DELAYED, State.OPERATING
_WAITING, _PAUSED, _CONNECTED = State.WAITING, State.PAUSED, ConnectionState.CONNECTED


class PendingAck:
    """The acknowledgement of a PUBLISH, which waits until the message is stored or rejected."""

    __slots__ = ("_handled", "_receipt", "reason", "text")

    def __init__(self, *, handled: bool) -> None:
        """``handled`` is False if another connection may wait for this acknowledgement before `resolve` is called."""
        self._receipt: Receipt | None = None
        self._handled = None if handled else trio.Event()
        self.reason = Reason.SUCCESS
        self.text = ""

    def resolve(self, receipt: Receipt | None = None, reason: Reason = Reason.SUCCESS, text: str = "") -> None:
        """Set the result of handling the message; a value with a receipt may not be on disk yet."""
        self._receipt, self.reason, self.text = receipt, reason, text
        if self._handled is not None:
            self._handled.set()

    async def settled(self) -> None:
        """Return when the value is on disk, however long that takes, or can never be."""
        if self._handled is not None:
            await self._handled.wait()
        if self._receipt is not None:
            if not await self._receipt.settled():
                self.reason, self.text = Reason.UNSPECIFIED, NOT_STORED
            self._receipt = None


class MqttConnection:
    """A connection from its first byte to its end, before and after the login of its client."""

    __slots__ = (
        "_ack_scope",
        "_client",
        "_diagnostic_limit",
        "_draining",
        "_end_reason",
        "_flood_reported",
        "_hub",
        "_monotonic",
        "_peer",
        "_pending_acks",
        "_protocol",
        "_rate_limit",
        "_registry",
        "_silent_seconds",
        "_state",
        "_wire",
    )

    def __init__(self, registry: ClientRegistry, limits: ServerLimits, wire: Wire, peer: Peer) -> None:
        self._registry = registry
        self._hub = registry.hub
        self._monotonic = registry.hub.clock.monotonic
        self._wire = wire
        self._peer = peer
        self._state = State.IDLE
        self._protocol = ServerProtocol(limits, self._monotonic() + registry.timeouts.connect)
        self._client: ClientState | None = None
        self._pending_acks: list[tuple[Publish, PendingAck]] = []
        #: Cancelled by `end`: a connection that was replaced must not last for as long as the disk refuses.
        self._ack_scope = trio.CancelScope()
        #: Whether the drain task runs.
        self._draining = False
        self._end_reason = ""
        #: Seconds of silence that ended the connection; 0 if it ended otherwise.
        self._silent_seconds = 0.0
        self._diagnostic_limit: TokenBucket | None = None
        self._rate_limit: TokenBucket | None = None
        self._flood_reported = float("-inf")

    @property
    def address(self) -> str:
        return self._peer.address

    @property
    def tls(self) -> bool:
        return self._peer.tls

    @property
    def rtt(self) -> float | None:
        return self._wire.rtt

    @property
    def rejected(self) -> bool:
        """Whether the client was sent why it is disconnected, and should be given time to read it."""
        return self._state is State.REJECTED

    def is_silent(self, now: float) -> bool:
        """Whether the client has sent nothing for too long."""
        return now > self._protocol.expires and self._state.silence_counts

    # -- reading --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read from the client until the connection is over."""
        wire = self._wire
        try:
            while data := await wire.receive():
                await self._handle_chunk(data)
                if wire.closing:
                    # The hub stops; all acknowledgements have been sent.
                    self.end(Reason.SHUTTING_DOWN, "the hub stops")
                if self._state.is_over:
                    break
                if wire.pending > MAX_PENDING:
                    await wire.drained()
        except UnacceptableConnect as error:
            await self._reject_unacceptable(error)
        except RemoteProtocolError as error:
            self._on_protocol_error(error)

    async def _handle_chunk(self, data: bytes) -> None:
        """Handle all packets of one read: one wait for the commit, and one write of the answers."""
        protocol, pause = self._protocol, 0.0
        if self._state is _IDLE:
            self._state = _HANDLING
        try:
            for event in protocol.receive(data, self._monotonic()):
                match event:
                    case Publish():
                        pause = max(pause, await self._on_publish(event))
                    case Connect():
                        await self._on_connect(event)
                    case Subscribe():
                        pause = max(pause, self._on_subscribe(event))
                    case Unsubscribe():
                        protocol.answer_unsubscribe(event)
                        if self._client is not None:
                            self._client.unsubscribe(event.filters)
                    case Delivered(message):
                        if message.tag is not None:
                            message.tag.set()
                    case Repeated(publish):
                        self._pending_acks.append((publish, protocol.session.received[publish.packet_id]))
                    case Disconnect():
                        self._set_ended("it disconnected")
                if self._state is not _HANDLING:
                    break
            if self._pending_acks:
                await self._send_acks()
            if protocol.session.dropped:
                self._report_dropped()
        finally:
            if self._state is _HANDLING:
                self._state = _IDLE
            self.flush()
        if pause:
            await self._pause(pause)

    async def _send_acks(self) -> None:
        """Acknowledge the handled messages in their order, each once it is on disk, however long that takes."""
        wire, protocol = self._wire, self._protocol
        pending, self._pending_acks = self._pending_acks, []
        self.flush()
        if self._state is _HANDLING:
            self._state = _WAITING
        wire.busy = True
        try:
            with self._ack_scope:
                for publish, ack in pending:
                    await ack.settled()
                    if protocol.state is not _CONNECTED:
                        return
                    if ack.text == NOT_STORED:
                        self._record_rejection(f"{publish.topic[:60]!r}: {NOT_STORED}")
                    protocol.acknowledge(publish, ack.reason, ack.text)
        finally:
            self._ack_scope = trio.CancelScope()
            wire.busy = False
            if self._state is _WAITING:
                self._state = _HANDLING
        protocol.mark_alive(self._monotonic())

    async def _pause(self, pause: float) -> None:
        """Do not read for some seconds from a device that exceeds its rate, and report it."""
        now = self._monotonic()
        if now - self._flood_reported > self._registry.timeouts.flood_report and self._client is not None:
            self._flood_reported = now
            rate = self._hub.config.limits.messages_per_second
            text = f"sends more than {rate} messages/s, and is read at that rate"
            self._record_rejection(f"{self._client.name} {text}")
            if self._client.device_session is not None:
                self._client.device_session.send_diagnostic(f"this device {text}")
        if self._state is _IDLE:
            self._state = _PAUSED
        while pause > 0 and self._state is _PAUSED:
            await trio.sleep(min(pause, self._registry.timeouts.pause))
            pause -= self._registry.timeouts.pause
        if self._state is _PAUSED:
            self._state = _IDLE
        self._protocol.mark_alive(self._monotonic())

    async def _wait_for_space(self) -> None:
        """Return when the history accepts values again."""
        self.flush()
        self._state = _WAITING
        await self._hub.history.wait_for_space()
        if self._state is _WAITING:
            self._state = _HANDLING
        self._protocol.mark_alive(self._monotonic())

    # -- connecting -----------------------------------------------------------------------------------------------

    async def _on_connect(self, connect: Connect) -> None:
        """Log a client in: accept or reject its CONNECT."""
        client = await self._authenticate(connect)
        if client is None or self._state.is_over:
            return
        dropped_will = ""
        if connect.will is not None and (error := self._will_error(client, connect.will)):
            if self._protocol.version == V5:
                self._reject(Reason.BAD_TOPIC, f"{client.name}: {error}")
                return
            # Version 3.1.1 has no return code for it (3 §3.2.2.3), and firmware cannot change its will.
            connect, dropped_will = attrs.evolve(connect, will=None), f"{error}; the will is dropped"
        delay_reason = await self._wait_for_takeover(client)
        if delay_reason is None:
            return
        client.attach(self)
        self._client = client
        self._peer.authenticated()
        present = self._registry.resume(client, connect)
        self._protocol.accept(connect, client.session, self._monotonic(), present=present)
        if self._protocol.version == V5:
            self._wire.farewell = encode(Disconnect(Reason.SHUTTING_DOWN), V5)
        elif not 0 < connect.keep_alive <= LONG_KEEP_ALIVE:
            self._wire.keep_alive()
        if client.device_session is not None:
            self._hub.sessions.connected(client.device_session)
            for text in (delay_reason, self._registry.take_pending_diagnostic(client), dropped_will):
                if text:
                    client.device_session.send_diagnostic(text)
        if dropped_will:
            self._record_rejection(f"{client.name}: {dropped_will}")

    async def _authenticate(self, connect: Connect) -> ClientState | None:
        """Return the state of an authenticated client; reject the CONNECT and return None if authentication fails.

        The connection may be over by then.
        """
        hello = Hello(via="mqtt", address=self.address, tls=self.tls)
        if await self._registry.find_new_device(connect, hello) and self._wire.ended:
            self._set_ended("the client disconnected during its login")
            return None
        try:
            client = await self._registry.login(connect, self._peer.address)
        except NotAuthenticated:
            client = None
        except Forbidden as error:
            self._reject(Reason.NOT_AUTHORIZED, str(error))
            return None
        if client is None:
            self._reject(Reason.BAD_LOGIN, login_failure(connect))
        return client

    async def _wait_for_takeover(self, client: ClientState) -> str | None:
        """Wait for the takeover delay; return why there was one, or "".

        Return None if the connection is over, because the login or the client itself ended meanwhile.
        """
        if self._state is _HANDLING:
            self._state = _DELAYED
        reason = await self._registry.takeover_delay(client, self._peer.address)
        if self._state is _DELAYED:
            self._state = _HANDLING
        if not client.is_valid():
            self._reject(Reason.BAD_LOGIN, f"{client.name}: its login became invalid while it waited")
            return None
        if reason is None:
            text = f"{client.name}: another connection logged in while this one waited"
            self._reject(Reason.SERVER_UNAVAILABLE, text)
        elif reason and self._wire.hung_up:
            self._set_ended("the client disconnected while it waited")
            return None
        return reason

    @staticmethod
    def _will_error(client: ClientState, will: Will) -> str:
        """Return why a client may not publish its will; "" if it may."""
        subject = f"its will to {redact_token(will.topic)[:60]!r}"
        try:
            device_session, topic = client.resolve_topic(will.topic)
        except RequestError as error:
            return f"{subject} cannot be published: {error}"
        if parse_uplink(topic) is not None:
            return ""
        return f"{subject} cannot be published: {unknown_topic(device_session, topic)}"

    async def _reject_unacceptable(self, error: UnacceptableConnect) -> None:
        """Reject a valid CONNECT that asks for something not supported; record the client's name if it is known."""
        try:
            client = await self._registry.login(error.connect, self._peer.address)
        except (NotAuthenticated, Forbidden):
            client = None
        self._reject(error.reason, str(error) if client is None else f"{client.name}: {error}")
        self.flush()

    def _reject(self, reason: Reason, text: str) -> None:
        """Refuse a client that has sent CONNECT. A client whose credentials are wrong is not sent the text."""
        self._record_rejection(text)
        self._protocol.fail(reason, "" if reason == Reason.BAD_LOGIN else text)
        if not self._state.is_over:
            self._state, self._end_reason = State.REJECTED, text

    # -- ending ---------------------------------------------------------------------------------------------------

    def _on_protocol_error(self, error: RemoteProtocolError) -> None:
        """End the connection of a client that violates the protocol."""
        client, protocol = self._client, self._protocol
        name = client.name if client is not None else "a client that has not logged in"
        self._record_rejection(f"{name} broke the protocol: {redact_token(str(error))}")
        if client is not None and client.device_session is not None and protocol.version < V5:
            self._registry.set_pending_diagnostic(client, f"the last connection was ended: {error}")
        protocol.fail(error.reason, str(error))
        self._state, self._end_reason = State.REJECTED, str(error)
        self.flush()

    def expire(self) -> None:
        """End the connection because the client has sent nothing for too long."""
        if self._client is None:
            self._record_rejection(f"sent no CONNECT within {self._registry.timeouts.connect:.0f} s")
            self.end(Reason.KEEP_ALIVE_TIMEOUT, "no CONNECT")
        else:
            self._silent_seconds = self._protocol.silence_limit
            self.end(Reason.KEEP_ALIVE_TIMEOUT, f"nothing came for {self._silent_seconds:.0f} s")

    def end(self, reason: Reason, text: str) -> None:
        """End the connection, and send the client the reason as far as its version allows. Any task may call this."""
        self._set_ended(text)
        self._protocol.fail(reason, text)
        self.flush()
        self._wire.close()
        self._ack_scope.cancel()

    def _set_ended(self, reason: str) -> None:
        """Enter ENDED, unless the connection is over already."""
        if not self._state.is_over:
            self._state, self._end_reason = State.ENDED, reason

    def revalidate(self) -> None:
        """End the connection of a gateway whose token has expired."""
        client = self._client
        if client is not None and client.device_session is None and not client.is_valid():
            self.end(Reason.NOT_AUTHORIZED, "its login is not valid any more")

    def replace(self) -> Will | None:
        """End the connection in favor of a newer one of the same client; return its will."""
        will = self._protocol.take_will()
        self.end(Reason.SESSION_TAKEN_OVER, "another connection replaced it")
        return will

    def on_closed(self) -> None:
        """Tell the registry and the hub that the connection is over."""
        client = self._client
        if client is None:
            return
        client.detach()
        if client.device_session is not None:
            reason = self._end_reason or "it closed the connection"
            self._hub.sessions.disconnected(client.device_session, reason, self._silent_seconds)
        # When the hub stops, no wills are published: its devices are not gone.
        stopping = self._hub.listener is not None and self._hub.listener.draining
        self._registry.on_disconnect(client, None if stopping else self._protocol.will)

    def _record_rejection(self, text: str) -> None:
        """Record that the client, or something it sent, was rejected."""
        device_session = self._client.device_session if self._client is not None else None
        device = device_session.device.id if device_session is not None else None
        self._hub.reject(self._peer.address, text, device)

    # -- messages from the client ---------------------------------------------------------------------------------

    async def _on_publish(self, publish: Publish) -> float:
        """Handle a message; return for how many seconds the client should not be read."""
        client, hub = self._client, self._hub
        assert client is not None
        if hub.history.full:
            await self._wait_for_space()
            if self._state is not _HANDLING:
                return 0.0
        device_session, pause, ack = client.device_session, 0.0, PendingAck(handled=publish.qos < 2)
        if publish.qos == 2:
            self._protocol.session.received[publish.packet_id] = ack
        try:
            topic = publish.topic
            if device_session is None:
                device_session, topic = client.resolve_topic(topic)
            if hub.bus.wants(WireFrame):
                device_session.trace("in", f"PUBLISH {topic} {printable(preview(publish.payload))}")
            pause = self._charge_device(device_session.device)
            pin = device_session.pins.get(topic[3:]) if topic.startswith("ds/") else None
            if pin is not None:
                receipt: Receipt | None = write(device_session, pin, publish.payload)
            elif (uplink := parse_uplink(topic)) is not None:
                self._state = _OPERATING
                try:
                    receipt = await HANDLERS[uplink.kind](device_session, uplink, publish.payload)
                finally:
                    if self._state is _OPERATING:
                        self._state = _HANDLING
                    self._protocol.mark_alive(self._monotonic())
            else:
                raise NotFound(unknown_topic(device_session, topic))
        except (RequestError, StorageError) as error:
            self._reject_publish(publish, ack, device_session, error)
            return pause if device_session is not None else self._charge_connection(1)
        ack.resolve(receipt)
        if publish.qos:
            self._pending_acks.append((publish, ack))
        if client.device_session is None and hub.sessions.get(device_session.device.id) is None:
            hub.lifecycle.on_data(device_session.device)
        return pause

    def _charge_device(self, device: Device) -> float:
        """Charge a message to the device's rate limit; return the seconds until it may send again."""
        budget = self._hub.message_budget(device, self._monotonic())
        budget.take_on_credit()
        return budget.wait if budget.tokens < 0 else 0.0

    def _charge_connection(self, count: int) -> float:
        """Charge messages that belong to no device to a limit of the connection; return as `_charge_device`."""
        now, limits = self._monotonic(), self._hub.config.limits
        if self._rate_limit is None:
            self._rate_limit = TokenBucket(limits.messages_per_second, limits.burst, now)
        self._rate_limit.refill(now)
        for _ in range(count):
            self._rate_limit.take_on_credit()
        return self._rate_limit.wait if self._rate_limit.tokens < 0 else 0.0

    def _reject_publish(
        self, publish: Publish, ack: PendingAck, device_session: MqttDeviceSession | None, error: HubError
    ) -> None:
        """Reject a message: tell a client of version 5 with the acknowledgement, and the developer in any case."""
        reason, text = translate(error, REASONS), printable(str(error))
        ack.resolve(None, reason, text)
        if self._protocol.version < V5 and isinstance(error, (Unavailable, StorageError)):
            # Only a new connection makes the client send the message again.
            self._protocol.session.received.pop(publish.packet_id, None)
            self.end(Reason.UNSPECIFIED, f"a message could not be stored: {text}")
            return
        if publish.qos:
            self._pending_acks.append((publish, ack))
        if device_session is None:
            assert self._client is not None
            self._record_rejection(f"{self._client.name}: {text}")
            return
        device, topic = device_session.device, redact_token(publish.topic.removeprefix(device_session.prefix))[:60]
        quiet = UNKNOWN_TOPIC_QUIET if reason == Reason.BAD_TOPIC else REJECTION_QUIET
        self._hub.reject(self._peer.address, f"device {device.name}: {topic!r}: {text}", device.id, quiet=quiet)
        device_session.send_diagnostic(f"{topic}: {text}")

    # -- subscriptions --------------------------------------------------------------------------------------------

    def _on_subscribe(self, subscribe: Subscribe) -> float:
        """Grant or refuse subscriptions; return for how many seconds the client should not be read."""
        client, requested = self._client, subscribe.subscriptions
        assert client is not None
        if client.device_session is not None and self._hub.bus.wants(WireFrame):
            client.device_session.trace("in", "SUBSCRIBE " + ", ".join(sub.filter for sub in requested))
        errors = [self._filter_error(client, sub.filter) for sub in requested]
        reasons = [sub.qos if error is None else error[0] for sub, error in zip(requested, errors, strict=True)]
        self._protocol.answer_subscribe(subscribe, reasons)
        if first_error := next((error for error in errors if error), None):
            self._record_rejection(f"{client.name}: {first_error[1]}")
            if client.device_session is not None:
                client.device_session.send_diagnostic(first_error[1])
        if client.device_session is None:
            subscriptions = client.session.subscriptions
            client.subscribe(sub.filter for sub in requested if sub.filter in subscriptions)
        return self._charge_connection(1 + len(requested) // FILTERS_PER_MESSAGE)

    @staticmethod
    def _filter_error(client: ClientState, topic_filter: str) -> tuple[Reason, str] | None:
        """Return why a client may not use a topic filter; None if it may."""
        if is_shared(topic_filter):
            return Reason.SHARED_NOT_SUPPORTED, "shared subscriptions are not supported"
        if len(topic_filter) > MAX_FILTER:
            return Reason.QUOTA_EXCEEDED, f"a topic filter must have at most {MAX_FILTER} characters"
        if client.device_session is not None:
            if device_may_subscribe(topic_filter):
                return None
            redacted = redact_token(topic_filter)[:60]
            text = f"{redacted!r}: a device subscribes to topics below downlink/, such as downlink/#"
            return Reason.NOT_AUTHORIZED, text
        parts = split_gateway_topic(topic_filter)
        if parts is None or not gateway_may_subscribe(parts[1]):
            return Reason.NOT_AUTHORIZED, "a gateway subscribes to dev/{token}/downlink/#, with a device's token"
        if client.session_for(parts[0], "org_devices.view") is None:
            return Reason.NOT_AUTHORIZED, "no device that it may view has the token in its topic filter"
        return None

    # -- messages to the client -----------------------------------------------------------------------------------

    def send(self, message: Message, device_session: MqttDeviceSession) -> None:
        """Send a message now, or as soon as the client reads."""
        protocol = self._protocol
        if self._hub.bus.wants(WireFrame):
            topic = message.topic.removeprefix(device_session.prefix)
            device_session.trace("out", f"PUBLISH {topic} {printable(preview(message.payload))}")
        if protocol.state is not _CONNECTED:
            return
        if self._draining or self._wire.pending > MAX_PENDING:
            protocol.session.enqueue(message)
            self._start_draining()
        elif not protocol.publish(message, self._monotonic()):
            size, topic = len(message.payload), message.topic.removeprefix(device_session.prefix)
            text = f"device {device_session.device.name}: a message of {size} bytes on {topic} is too long for it"
            self._record_rejection(text)
        if not self._state.collects_output or protocol.packets_to_send >= MAX_COLLECTED:
            self.flush()

    def _report_dropped(self) -> None:
        """Report the messages to the client that its session has dropped."""
        client, count = self._client, self._protocol.session.take_dropped()
        text = f"{count} messages to it were dropped: more than {MAX_QUEUED} were queued, or they were too long for it"
        if client is not None:
            self._record_rejection(f"{client.name}: {text}")
            if client.device_session is not None:
                client.device_session.send_diagnostic(text)

    def may_send_diagnostic(self) -> bool:
        """Count a diagnostic; False if there have been too many."""
        now = self._monotonic()
        if self._diagnostic_limit is None:
            self._diagnostic_limit = TokenBucket(DIAGNOSTIC_RATE, DIAGNOSTIC_BURST, now)
        self._diagnostic_limit.refill(now)
        return self._diagnostic_limit.take()

    def limit_packet_size(self, max_packet: int) -> None:
        """Send no packet longer than this many bytes."""
        self._protocol.limit_packet_size(max_packet)

    def flush(self) -> None:
        """Write the collected packets."""
        if data := self._protocol.data_to_send():
            self._wire.send(data)

    def _start_draining(self) -> None:
        if not self._draining:
            self._draining = True
            self._wire.spawn(self._drain)

    async def _drain(self) -> None:
        """Send the queued messages as fast as the client reads."""
        queue = self._protocol.session.queue
        try:
            while queue and not self._wire.broken:
                await self._wire.drained()
                if self._protocol.state is not _CONNECTED:
                    # The queue belongs to the next connection.
                    return
                before = len(queue)
                self._protocol.send_queued(self._monotonic())
                self.flush()
                if len(queue) >= before:
                    # The client's acknowledgements will continue.
                    break
        finally:
            self._draining = False


def login_failure(connect: Connect) -> str:
    """Return why the credentials of a CONNECT were not accepted, without revealing them."""
    username = (connect.username or "")[:64]
    if not connect.password:
        return f"no password: the username must be {DEVICE_USERNAME!r}, and the password the device's token"
    if username.startswith(OAUTH_CLIENT_PREFIX):
        return f"unknown program {username!r}, or wrong secret"
    if username in (DEVICE_USERNAME, GATEWAY_USERNAME):
        return f"unknown token ending …{ascii(decode_text((connect.password or b'')[-2:]))[1:-1]}"
    # The username is not repeated: some clients put their token there.
    return f"unknown username: it must be {DEVICE_USERNAME!r}, and the password the device's token"
