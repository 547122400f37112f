"""`MqttDeviceSession`, the hub's session of a device over MQTT, and `ClientState`, the client that it goes through.

A client is a device, which has one device session, or a gateway, which has a device session for each device that it
publishes for or subscribes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
import trio

from connectors.mqtt.packets import Reason
from connectors.mqtt.payloads import encode_values, redact_token
from connectors.mqtt.session import Message, Session, is_topic, subscription_ids
from connectors.mqtt.timeouts import MqttTimeouts
from connectors.mqtt.topics import DOWNLINK_PREFIX, GATEWAY_PREFIX, UNSUBSCRIBED_TOPICS, split_gateway_topic
from hub import (
    Command,
    Device,
    Forbidden,
    NotFound,
    Principal,
    Reboot,
    Reconfigure,
    Redirect,
    SetDatastream,
    SetMetadata,
    WireFrame,
)
from hub.parsing.spellings import escape, strip_padding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connectors.mqtt.packets import Will
    from hub import Hub

#: Seconds after which a reboot or a reconfiguration that was not delivered is dropped.
COMMAND_LIFETIME = 60.0
#: The smallest receive buffer, in bytes, that a device may report.
MIN_BUFFER = 128
#: Characters of a client's text in packets and logs.
MAX_TEXT = 300

#: The kind of client ("device", "gateway" or "client"), the id of the device or OAuth client, and the client
#: identifier, which only tells the connections of one OAuth client apart.
ClientKey: TypeAlias = tuple[str, int | str, str]


def printable(text: str) -> str:
    """Shorten text that came from a client, and escape what is not printable, for packets and logs."""
    return escape(text[:MAX_TEXT])


class ClientConnection(Protocol):
    """The connection of a client, as its state and its device sessions use it."""

    @property
    def address(self) -> str:
        """The address of the client."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""

    @property
    def rtt(self) -> float | None:
        """Round-trip time in milliseconds; None if it is unknown."""

    def send(self, message: Message, device_session: MqttDeviceSession) -> None:
        """Send a message now, or as soon as the client reads."""

    def may_send_diagnostic(self) -> bool:
        """Count a diagnostic; False if there have been too many."""

    def limit_packet_size(self, max_packet: int) -> None:
        """Send no packet longer than this many bytes."""

    def end(self, reason: Reason, text: str) -> None:
        """End the connection, and send the reason as far as the client's version allows."""

    def replace(self) -> Will | None:
        """End the connection in favor of a newer one of the same client; return its will."""


@attrs.define(eq=False)
class ClientState:
    """An authenticated client: its connection, if it has one, its MQTT session and its device sessions.

    Each login makes a new state, which may take over the MQTT session of an earlier one (see
    `connectors.mqtt.registry`).
    """

    hub: Hub
    key: ClientKey
    session: Session
    connection: ClientConnection | None = attrs.field(default=None, init=False)
    #: The session of the device that is the client; None for a gateway.
    device_session: MqttDeviceSession | None = attrs.field(default=None, init=False)
    #: The principal of an OAuth client that is a gateway, whose role decides which devices it may use.
    principal: Principal | None = None
    #: The device that is a gateway; it may use all devices of its organization.
    gateway: Device | None = None
    #: The token of the device or the gateway; "" for an OAuth client.
    token: str = attrs.field(default="", repr=False)
    #: A gateway's device sessions by the token of the device.
    gateway_sessions: dict[str, MqttDeviceSession] = attrs.field(factory=dict, init=False)

    @classmethod
    def of_device(cls, hub: Hub, device: Device, token: str, session: Session, address: str) -> ClientState:
        """Return the state of a client that is a device."""
        client = cls(hub, ("device", device.id, ""), session, token=token)
        client.device_session = MqttDeviceSession(client, device, token, address=address)
        return client

    @property
    def name(self) -> str:
        """The kind and name of the client, for log lines."""
        if self.device_session is not None:
            return f"device {self.device_session.device.name}"
        return f"gateway {self.gateway.name if self.gateway else self.principal.label if self.principal else ''}"

    def attach(self, connection: ClientConnection) -> None:
        """Send everything over a connection from now on."""
        self.connection = connection

    def detach(self) -> None:
        """Queue everything from now on: the connection has ended."""
        self.connection = None

    def resume(self, session: Session) -> None:
        """Continue the MQTT session of an earlier state of the same client, with its subscriptions."""
        self.session = session
        self.subscribe(session.subscriptions)

    def deliver(self, message: Message, device_session: MqttDeviceSession) -> None:
        """Send a message of a device session, or queue it if the client is not connected."""
        if self.connection is not None:
            self.connection.send(message, device_session)
        elif message.qos and message.tag is None:
            self.session.enqueue(message)

    def is_valid(self) -> bool:
        """Whether the credentials of the login are still valid."""
        hub = self.hub
        if self.principal is not None:
            return hub.is_allowed(self.principal, "org_devices.view", org=self.principal.org)
        device = self.device_session.device if self.device_session else self.gateway
        is_current = hub.tokens.device_for(self.token) is device
        return is_current and (self.device_session is not None or device.template.gateway)  # type: ignore[union-attr]

    # -- gateways -------------------------------------------------------------------------------------------------

    def may_use(self, device: Device, permission: str) -> bool:
        """Whether a gateway may act for a device.

        A gateway device may if the device is in its organization or below (docs.blynk.io, Gateway API), an OAuth client
        if it has the permission.
        """
        if self.principal is not None:
            return self.hub.is_allowed(self.principal, permission, device)
        return self.gateway is not None and self.hub.organizations.contains(self.gateway.org, device.org)

    def session_for(self, token: str, permission: str) -> MqttDeviceSession | None:
        """Return the gateway's session of the device with a token; None if the gateway may not use the device."""
        device = self.hub.tokens.device_for(token)
        # `of` ignores white space around a token, but here each spelling would make a device session of its own.
        if device is None or token != strip_padding(token) or not self.may_use(device, permission):
            return None
        current = self.gateway_sessions.get(token)
        if current is not None and current.device is device:
            return current
        # If another device had the token before, its subscriptions are now subscriptions to this device.
        filters = current.filters if current is not None and current.filters else set()
        new = self.gateway_sessions[token] = MqttDeviceSession(
            self, device, token, f"{GATEWAY_PREFIX}{token}/", filters
        )
        if current is not None and filters:
            self.hub.sessions.unfollow(current)
            self.hub.sessions.follow(new)
        return new

    def subscribe(self, filters: Iterable[str]) -> None:
        """Follow the devices that a gateway's topic filters name. A device's own filters have no effect."""
        for topic_filter in filters:
            parts = split_gateway_topic(topic_filter)
            device_session = self.session_for(parts[0], "org_devices.view") if parts else None
            if device_session is not None and device_session.filters is not None:
                if not device_session.filters:
                    self.hub.sessions.follow(device_session)
                device_session.filters.add(topic_filter)

    def unsubscribe(self, filters: Iterable[str] | None = None) -> None:
        """Stop following the devices that a gateway's topic filters name; None means all filters."""
        for device_session in self.gateway_sessions.values():
            if device_session.filters:
                device_session.filters.difference_update(device_session.filters.copy() if filters is None else filters)
                if not device_session.filters:
                    self.hub.sessions.unfollow(device_session)

    def resolve_topic(self, topic: str) -> tuple[MqttDeviceSession, str]:
        """Return the device session that a published topic belongs to, and the device's own topic.

        Raises `NotFound`, `Forbidden`.
        """
        if self.device_session is not None:
            return self.device_session, topic
        if not self.is_valid():
            raise Forbidden("its login is not valid any more")
        parts = split_gateway_topic(topic)
        if parts is None:
            raise NotFound("a gateway must publish on dev/{token}/…")
        token, rest = parts
        device_session = self.session_for(token, "org_devices.control")
        if device_session is None:
            may_view = self.session_for(token, "org_devices.view") is not None
            raise Forbidden(
                "its role has no permission to control devices"
                if may_view
                else "no device of the gateway's organization has this token"
            )
        return device_session, rest


@attrs.define(eq=False)
class MqttDeviceSession:
    """A device behind a client. `hub.sessions.Session` of a device that has a connection of its own."""

    client: ClientState
    device: Device
    token: str = attrs.field(repr=False)
    #: Prefix of the device's topics: ``dev/{token}/`` through a gateway.
    prefix: str = ""
    #: The gateway's topic filters for this device; None for a device's own session, to which all its filters apply.
    filters: set[str] | None = None
    address: str = ""
    via: str = "mqtt"
    hub: Hub = attrs.field(init=False)
    principal: Principal = attrs.field(init=False)
    #: The ping that awaits its answer or was answered last.
    _ping: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.hub = self.client.hub
        self.principal = self.device.as_principal()

    @property
    def pins(self) -> Mapping[str, int]:
        """The device's pins by the names of their datastreams."""
        return self.hub.uplinks.pins(self.device.template)

    @property
    def rtt(self) -> float | None:
        connection = self.client.connection
        return None if connection is None else connection.rtt

    def send(self, command: Command) -> None:
        match command:
            case SetDatastream(pin, text):
                if point := self.device.points.get(pin):
                    self.publish(f"ds/{point.datastream.name}", encode_values(text), key=pin)
            case SetMetadata(name, value):
                self.publish(f"meta/{name}", value.encode(), key=("meta", name))
            case Redirect(host, port):
                connection = self.client.connection
                scheme = "mqtts" if connection is not None and connection.tls else "mqtt"
                self.publish("redirect", f"{scheme}://{host}:{port}".encode())
            case Reboot():
                self.publish("reboot", key="reboot", lifetime=COMMAND_LIFETIME)
            case Reconfigure():
                self.publish("reconfigure", key="reconfigure", lifetime=COMMAND_LIFETIME)

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        key: Any = None,
        qos: int | None = None,
        lifetime: float | None = None,
        tag: Any = None,
    ) -> None:
        """Publish on a topic below ``downlink/``, if the device has subscribed to it.

        With ``qos``, publish also without a subscription. ``lifetime`` is in seconds; ``key`` and ``tag`` are those of
        `Message`.
        """
        client, topic = self.client, DOWNLINK_PREFIX + topic
        if not is_topic(topic) or "\0" in topic:
            self.hub.reject(
                self.address,
                f"device {self.device.name}: a message was not sent: {topic[:60]!r} is not a valid topic",
                self.device.id,
            )
            return
        if self.filters is not None and not self._is_permitted():
            return
        if topic in UNSUBSCRIBED_TOPICS and qos is None:
            qos = 0
        match = client.session.match_subscriptions(self.prefix + topic, self.filters)
        if match is None and qos is None:
            return
        subscribed_qos, identifiers = match or (0, [])
        client.deliver(
            Message(
                self.prefix + topic,
                payload,
                subscribed_qos if qos is None else qos,
                properties=subscription_ids(identifiers),
                key=None if key is None else (self.device.id, key),
                expires=None if lifetime is None else self.hub.clock.monotonic() + lifetime,
                tag=tag,
            ),
            self,
        )

    def _is_permitted(self) -> bool:
        """Whether the gateway may still view the device, and the device still has this token."""
        return self.hub.tokens.device_for(self.token) is self.device and self.client.may_use(
            self.device, "org_devices.view"
        )

    def send_diagnostic(self, text: str) -> None:
        """Publish a sentence for the developer of the firmware (docs.blynk.io, Server Diagnostics)."""
        connection = self.client.connection
        if connection is None or connection.may_send_diagnostic():
            self.publish("diag", printable(text).encode(), key="diag")

    async def ping(self) -> float | None:
        began, timeout = self.hub.clock.monotonic(), self.hub.timeouts.of(MqttTimeouts).ping
        inflight = self.client.session.inflight.values()
        if self._ping is None or not any(message is not None and message.tag is self._ping for message in inflight):
            # An earlier ping that was sent may still be answered: a second one would only fill the client's window.
            self._ping = trio.Event()
            self.publish("ping", qos=1, tag=self._ping, lifetime=timeout)
        assert self._ping is not None
        answered = self._ping
        with trio.move_on_after(timeout):
            await answered.wait()
        return (self.hub.clock.monotonic() - began) * 1000 if answered.is_set() else None

    def limit_packet_size(self, size: int) -> None:
        """Send no packet longer than the device's receive buffer, in bytes. Has no effect through a gateway."""
        if self.client.connection is not None and self.filters is None:
            self.client.connection.limit_packet_size(max(size, MIN_BUFFER))

    def close(self, reason: str) -> None:
        if self.client.connection is not None and self.client.device_session is self:
            replaced = self.hub.sessions.get(self.device.id) not in (None, self)
            self.client.connection.end(Reason.SESSION_TAKEN_OVER if replaced else Reason.ADMINISTRATIVE, reason)

    def trace(self, direction: str, text: str) -> None:
        """Emit a packet, "in" or "out", for users who watch the device's wire."""
        self.hub.emit(WireFrame(self.device, self.hub.clock.now(), direction, redact_token(text)))
