"""Who speaks for which device: a device for itself, or a gateway for many. The hub's way to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from connectors.mqtt.handlers import masked, printable, texts_payload
from connectors.mqtt.packets import Reason
from connectors.mqtt.session import Message, Session, is_topic
from connectors.mqtt.topics import DOWNLINK, GATEWAY, UNASKED, through_gateway
from hub.errors import Forbidden, NotFound
from hub.facts import WireFrame
from hub.model import Command, Device, Principal, Reboot, Reconfigure, Redirect, SetDatastream, SetMetadata
from hub.spellings import strip_padding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connectors.mqtt.connection import Link
    from connectors.mqtt.endpoint import Endpoint
    from hub.app import Hub

#: Usernames: a device for itself, and one that speaks for others.
DEVICE, GATEWAY_DEVICE = "device", "mgmt_device"
#: How ids of programs begin (docs.blynk.io, OAuth2 authorization).
PROGRAMS = "oa2-client-id_"
#: Seconds after which an order that a device did not take is not given any more.
ORDER_LASTS = 60.0
#: Seconds that a device has to answer a ping.
PING_PATIENCE = 5.0
#: The smallest receive buffer that a device may have told.
MIN_BUFFER = 128


@attrs.define(eq=False)
class Client:
    """Who logged in, and what is kept of them between their connections.

    ``key`` is whose session it is: a device's, whatever its client identifier, or a gateway's.
    """

    endpoint: Endpoint
    key: tuple[str, int | str, str]
    session: Session
    link: Link | None = None
    #: The device's own voice.
    own: Voice | None = None
    #: The program that is a gateway, with its own rights; None when a device is, with its organization's devices.
    principal: Principal | None = None
    #: The device that is a gateway, and the token that it logged in with.
    gateway: Device | None = None
    token: str = attrs.field(default="", repr=False)
    voices: dict[str, Voice] = attrs.Factory(dict)

    @property
    def name(self) -> str:
        """Who this is, for people."""
        if self.own is not None:
            return f"device {self.own.device.name}"
        return f"gateway {self.gateway.name if self.gateway else self.principal.label if self.principal else ''}"

    # -- gateways -------------------------------------------------------------------------------------------------

    def valid(self) -> bool:
        """Whether the login still holds."""
        hub = self.endpoint.hub
        if self.principal is not None:
            return hub.is_allowed(self.principal, "org_devices.view", org=self.principal.org)
        device = self.own.device if self.own else self.gateway
        return hub.tokens.device_for(self.token) is device and (self.own is not None or device.template.gateway)  # type: ignore[union-attr]

    def reaches(self, device: Device, permission: str) -> bool:
        """Whether a gateway speaks for a device: it is in its organization or below (docs.blynk.io, Gateway API)."""
        hub = self.endpoint.hub
        if self.principal is not None:
            return hub.is_allowed(self.principal, permission, device)
        return self.gateway is not None and hub.organizations.contains(self.gateway.org, device.org)

    def voice(self, token: str, permission: str) -> Voice | None:
        """The voice of the device with a token; None when it is none of the gateway's business."""
        device = self.endpoint.hub.tokens.device_for(token)
        # In a topic a token stands as it is: each spelling would be a voice of its own.
        if device is None or token != strip_padding(token) or not self.reaches(device, permission):
            return None
        voice = self.voices.get(token)
        if voice is None or voice.device is not device:
            new = self.voices[token] = Voice(self, device, token, f"{GATEWAY}{token}/", set())
            if voice is not None and voice.filters:
                # The token was given to another device: what was subscribed to is that one's.
                self.endpoint.hub.sessions.unfollow(voice)
                new.filters = voice.filters
                self.endpoint.hub.sessions.follow(new)
            return new
        return voice

    def listen(self, names: Iterable[str]) -> None:
        """Hear what goes to the devices that these filters are about."""
        for name in names:
            found = through_gateway(name)
            voice = self.voice(found[0], "org_devices.view") if found else None
            if voice is not None and voice.filters is not None:
                if not voice.filters:
                    self.endpoint.hub.sessions.follow(voice)
                voice.filters.add(name)

    def listen_no_more(self, names: Iterable[str] | None = None) -> None:
        """To these filters, or to all."""
        for voice in self.voices.values():
            if voice.filters:
                voice.filters.difference_update(voice.filters.copy() if names is None else names)
                if not voice.filters:
                    self.endpoint.hub.sessions.unfollow(voice)


@attrs.define(eq=False)
class Voice:
    """A device that somebody speaks for. `hub.sessions.Session` of a device that has a connection of its own."""

    client: Client
    device: Device
    token: str = attrs.field(repr=False)
    #: What stands before the device's own topics.
    prefix: str = ""
    #: A gateway's subscriptions to the device; of the device itself, None for all that its session has.
    filters: set[str] | None = None
    address: str = ""
    via: str = "mqtt"
    principal: Principal = attrs.field(init=False)
    _ping: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.principal = Principal("device", self.device.id, self.device.org, self.device.name)

    @property
    def hub(self) -> Hub:
        return self.client.endpoint.hub

    @property
    def pins(self) -> Mapping[str, int]:
        """The device's pins by the names of their datastreams."""
        return self.client.endpoint.pins(self.device.template)

    @property
    def rtt(self) -> float | None:
        link = self.client.link
        return None if link is None else link.wire.rtt

    # -- to the device --------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        match command:
            case SetDatastream(pin, text):
                if point := self.device.points.get(pin):
                    self.say(f"ds/{point.datastream.name}", texts_payload(text), key=pin)
            case SetMetadata(name, value):
                self.say(f"meta/{name}", value.encode(), key=("meta", name))
            case Redirect(host, port):
                scheme = "mqtts" if self.client.link is not None and self.client.link.peer.tls else "mqtt"
                self.say("redirect", f"{scheme}://{host}:{port}".encode())
            case Reboot():
                self.say("reboot", key="reboot", lasts=ORDER_LASTS)
            case Reconfigure():
                self.say("reconfigure", key="reconfigure", lasts=ORDER_LASTS)

    def say(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        key: Any = None,
        qos: int | None = None,
        lasts: float | None = None,
        tag: Any = None,
    ) -> None:
        """Publish below ``downlink/``, if the device has subscribed; with a ``qos`` of its own in any case."""
        client, topic = self.client, DOWNLINK + topic
        if not is_topic(topic) or "\0" in topic:
            self._lost(f"{topic[:60]!r} cannot be a topic")
            return
        if self.filters is not None and not self._reached():
            return
        if topic in UNASKED and qos is None:
            qos = 0
        granted = client.session.granted(self.prefix + topic, self.filters)
        if granted is None and qos is None:
            return
        of_subscription, numbers = granted or (0, [])
        client.endpoint.deliver(
            client,
            Message(
                self.prefix + topic,
                payload,
                of_subscription if qos is None else qos,
                properties=client.endpoint.numbered(numbers),
                key=None if key is None else (self.device.id, key),
                expires=None if lasts is None else client.endpoint.now() + lasts,
                tag=tag,
            ),
            self,
        )

    def _reached(self) -> bool:
        """Whether the gateway still speaks for the device, and with this token."""
        hub = self.hub
        return hub.tokens.device_for(self.token) is self.device and self.client.reaches(self.device, "org_devices.view")

    def diag(self, text: str) -> None:
        """A sentence for whoever writes the firmware (docs.blynk.io, Server Diagnostics)."""
        link = self.client.link
        if link is None or link.may_diag():
            self.say("diag", printable(text).encode(), key="diag")

    async def ping(self) -> float | None:
        began = trio.current_time()
        sent = self.client.session.inflight.values()
        if self._ping is None or not any(m is not None and m.tag is self._ping for m in sent):
            # Of one that was sent the answer may still come: another one would only take room.
            self._ping = trio.Event()
            self.say("ping", qos=1, tag=self._ping, lasts=PING_PATIENCE)
        assert self._ping is not None
        answered = self._ping
        with trio.move_on_after(PING_PATIENCE):
            await answered.wait()
        return (trio.current_time() - began) * 1000 if answered.is_set() else None

    def limit(self, size: int) -> None:
        """The device's receive buffer, in bytes."""
        if self.client.link is not None and self.filters is None:
            self.client.link.connection.limit(max(size, MIN_BUFFER))

    def close(self, reason: str) -> None:
        if self.client.link is not None and self.client.own is self:
            replaced = self.hub.sessions.get(self.device.id) not in (None, self)
            self.client.link.end(Reason.SESSION_TAKEN_OVER if replaced else Reason.ADMINISTRATIVE, reason)

    def _lost(self, why: str) -> None:
        self.hub.reject(self.address, f"device {self.device.name}: not sent: {why}", self.device.id)

    def show(self, direction: str, text: str) -> None:
        """Tell whoever watches the device's wire."""
        self.hub.emit(WireFrame(self.device, self.hub.clock.now(), direction, masked(text)))


def addressed(client: Client, topic: str) -> tuple[Voice, str]:
    """Whose topic it is that a client publishes on, and the rest of it. Raises `NotFound`, `Forbidden`."""
    if client.own is not None:
        return client.own, topic
    if not client.valid():
        raise Forbidden("its login has ended")
    found = through_gateway(topic)
    if found is None:
        raise NotFound("a gateway publishes on dev/{token}/…")
    voice = client.voice(found[0], "org_devices.control")
    if voice is None:
        seen = client.voice(found[0], "org_devices.view")
        raise Forbidden(
            "its role may not control devices" if seen else "no device of the gateway's organization has this token"
        )
    return voice, found[1]
