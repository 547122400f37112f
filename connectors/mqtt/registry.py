"""The table of MQTT clients: logins, takeover, sessions without a connection, and wills.

Theory of operation. A `ClientState` is in the table, under its key, in one of two states:

    connected      from `resume` on, which `MqttConnection` calls before it accepts the CONNECT; ends with
                   `on_disconnect`
    disconnected   if its MQTT session has an expiry; messages are queued until the session expires

It is removed when it disconnects without an expiry, when its session expires while it is disconnected, when its login
becomes invalid, or when a new login with its key replaces it.

The key of a device or gateway contains no client identifier: of two connections with one token the newer wins, and one
client identifier may be used by many devices. A new login first waits in `takeover_delay` if connections keep replacing
each other, and then replaces the state in the table, connected or not. It continues the MQTT session if it has the same
client identifier and did not ask for a clean session.

A will is published when a connection ends without DISCONNECT, or ``WILL_DELAY`` seconds later, but no later than the
end of the session. A login that continues the session in time cancels a delayed will. All of this is in memory only.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import trio

from connectors.mqtt.device_session import ClientKey, ClientState, MqttDeviceSession
from connectors.mqtt.handlers import HANDLERS
from connectors.mqtt.packets import Connect, Property, Reason, Will
from connectors.mqtt.payloads import decode_text
from connectors.mqtt.session import MAX_SUBSCRIPTIONS, Session
from connectors.mqtt.timeouts import MqttTimeouts
from connectors.mqtt.topics import parse_uplink
from hub import (
    Credentials,
    DataErased,
    DeviceChanged,
    DeviceDeleted,
    Forbidden,
    OrganizationChanged,
    RequestError,
    RightsChanged,
    StorageError,
    TemplateChanged,
    Timers,
    ValueCleared,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub import Datastream, Device, Hello, Hub

#: Usernames of a device and of a device that is a gateway. Any other username is the id of an OAuth client.
DEVICE_USERNAME, GATEWAY_USERNAME = "device", "mgmt_device"
#: Topic filters of one device: all of them are matched for each message to it.
MAX_DEVICE_SUBSCRIPTIONS = 50
#: Takeovers of one key within a minute that need not wait; later ones wait longer and longer.
FREE_TAKEOVERS = 3
#: Keys whose takeovers are counted.
MAX_COUNTED_KEYS = 10_000
#: Disconnected states of one OAuth client.
MAX_DISCONNECTED = 50


class ClientRegistry:
    """All clients of a hub, connected or disconnected, by key."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.timeouts = hub.timeouts.of(MqttTimeouts)
        self.clients: dict[ClientKey, ClientState] = {}
        self._timers = Timers(self._on_timer, hub.clock.monotonic)
        self._delayed_wills: dict[ClientState, Will] = {}
        self._nursery: trio.Nursery | None = None
        #: Number of recent takeovers of a key, the time of the last one, and the client that made it.
        self._takeovers: dict[ClientKey, tuple[int, float, ClientState]] = {}
        self._pending_diagnostics: dict[ClientKey, str] = {}
        for fact in (RightsChanged, DeviceChanged, DeviceDeleted, OrganizationChanged, TemplateChanged):
            hub.subscribe(fact, self._revalidate)
        hub.subscribe(ValueCleared, lambda fact: self._drop_queued(fact.device, (fact.datastream,)))
        hub.subscribe(DataErased, lambda fact: self._drop_queued(fact.device, fact.datastreams))

    async def run(self) -> None:
        """Expire sessions and publish wills, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._timers.run()

    # -- logins ---------------------------------------------------------------------------------------------------

    async def find_new_device(self, connect: Connect, hello: Hello) -> bool:
        """Ask the plugins for the device of a token that no device has; return whether there is one now."""
        token = decode_text(connect.password or b"")
        return (
            connect.username in (DEVICE_USERNAME, GATEWAY_USERNAME)
            and self.hub.tokens.device_for(token) is None
            and await self.hub.login(token, hello) is not None
        )

    async def login(self, connect: Connect, address: str) -> ClientState | None:
        """Authenticate a client, and return its state, which is not in the table yet. None if the login fails.

        Raises `Forbidden` if the credentials are valid and may not be used with MQTT.
        """
        hub, username, password = self.hub, connect.username or "", decode_text(connect.password or b"")
        max_subscriptions = MAX_DEVICE_SUBSCRIPTIONS if username == DEVICE_USERNAME else MAX_SUBSCRIPTIONS
        session = Session(connect.client_id or f"pinwheel-{secrets.token_hex(8)}", max_subscriptions=max_subscriptions)
        if username not in (DEVICE_USERNAME, GATEWAY_USERNAME):
            credentials = Credentials("client", password, address, username)
            principal = await hub.find_principal(credentials) if username else None
            if principal is None:
                return None
            key = ("client", principal.id, session.client_id)
            client = ClientState(hub, key, session, principal=principal)
            if not client.is_valid():
                raise Forbidden(f"program {principal.label} has no permission to view devices")
            return client
        device = hub.tokens.device_for(password)
        if device is None:
            return None
        if username == DEVICE_USERNAME:
            return ClientState.of_device(hub, device, password, session, address)
        if not device.template.gateway:
            template = device.template.id
            raise Forbidden(f"device {device.name} cannot be a gateway: its template {template} needs gateway = true")
        return ClientState(hub, ("gateway", device.id, ""), session, gateway=device, token=password)

    async def takeover_delay(self, client: ClientState, address: str) -> str | None:
        """Wait before a takeover, if connections with the client's key keep replacing each other.

        Return why the client waited, for its developer; "" if it did not wait; None if another connection of the key
        logged in meanwhile, and the client must not.
        """
        old = self.clients.get(client.key)
        if old is None or old.connection is None:
            return ""
        if len(self._takeovers) >= MAX_COUNTED_KEYS:
            self._takeovers.clear()
        count, last, _ = self._takeovers.get(client.key, (0, 0.0, client))
        count = count + 1 if self.hub.clock.monotonic() - last < self.timeouts.takeover_window else 1
        self._takeovers[client.key] = count, self.hub.clock.monotonic(), client
        if count <= FREE_TAKEOVERS:
            return ""
        text = "keeps replacing another connection with the same token, and has to wait"
        self.hub.reject(address, f"{client.name} {text}")
        if old.device_session is not None:
            old.device_session.send_diagnostic(f"a connection from {address} {text}")
        diagnostic = f"this connection {text}; the other is from {old.connection.address}"
        await trio.sleep(min(self.timeouts.takeover_delay, 2.0 ** (count - FREE_TAKEOVERS - 1)))
        newest = self._takeovers.get(client.key, (0, 0.0, client))[2]
        return diagnostic if newest is client and self.clients.get(client.key) in (old, None) else None

    def resume(self, client: ClientState, connect: Connect) -> bool:
        """Put a client into the table in place of an earlier one; return whether it continues its session."""
        old = self.clients.get(client.key)
        self.clients[client.key] = client
        if old is None:
            return False
        is_same_client = bool(connect.client_id) and connect.client_id == old.session.client_id
        continues = is_same_client and not connect.clean and old.session.expiry > 0
        old.unsubscribe()
        self._timers.cancel(("session", old))
        if old.connection is not None:
            will = old.connection.replace()
            # The end of a session ends the delay of its will; a delayed will of a session that continues is dropped.
            if will is not None and not (continues and self._will_delay(old, will)):
                self._publish_will(old, will)
        else:
            if old.device_session is not None:
                self.hub.sessions.unfollow(old.device_session)
            if (will := self._delayed_wills.pop(old, None)) is not None:
                self._timers.cancel(("will", old))
                if not continues:
                    self._publish_will(old, will)
        if continues:
            client.resume(old.session)
        return continues

    def on_disconnect(self, client: ClientState, will: Will | None) -> None:
        """Publish or delay the will of a client whose connection ended, and keep its session or remove the client.

        Does nothing if a newer connection has replaced the client.
        """
        if self.clients.get(client.key) is not client:
            return
        if will is not None and (delay := self._will_delay(client, will)):
            self._delayed_wills[client] = will
            self._timers.set(("will", client), self.hub.clock.monotonic() + delay)
        elif will is not None:
            self._publish_will(client, will)
        session = client.session
        if not session.expiry:
            self._remove(client)
            return
        session.drop_queued_qos_0()
        if client.device_session is not None and any(sub.qos for sub, _ in session.subscriptions.values()):
            self.hub.sessions.follow(client.device_session)
        self._limit_disconnected(client)
        self._timers.set(("session", client), self.hub.clock.monotonic() + session.expiry)

    def _limit_disconnected(self, client: ClientState) -> None:
        """Remove the oldest disconnected states of an OAuth client, which may use any number of client identifiers."""
        disconnected = [
            other for key, other in self.clients.items() if key[:2] == client.key[:2] and other.connection is None
        ]
        for other in disconnected[: max(0, len(disconnected) - MAX_DISCONNECTED)]:
            self._remove(other)

    def _remove(self, client: ClientState) -> None:
        """Remove a client that is not connected, and publish its delayed will."""
        if self.clients.get(client.key) is client:
            del self.clients[client.key]
        client.unsubscribe()
        if client.device_session is not None:
            self.hub.sessions.unfollow(client.device_session)
        self._timers.cancel(("session", client))
        if (will := self._delayed_wills.pop(client, None)) is not None:
            self._timers.cancel(("will", client))
            self._publish_will(client, will)

    def _on_timer(self, key: Any) -> None:
        purpose, client = key
        if purpose == "will":
            if (will := self._delayed_wills.pop(client, None)) is not None:
                self._publish_will(client, will)
        else:
            self._remove(client)

    # -- wills ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _will_delay(client: ClientState, will: Will) -> int:
        """Return the delay of a will in seconds, at most the expiry of its session (5 §3.1.3.2.2)."""
        return min(int(will.properties.get(Property.WILL_DELAY, 0)), client.session.expiry)

    def _publish_will(self, client: ClientState, will: Will) -> None:
        if self._nursery is not None and client.is_valid():
            self._nursery.start_soon(self._handle_will, client, will)

    async def _handle_will(self, client: ClientState, will: Will) -> None:
        """Handle a will as a message that the client publishes; a rejection is recorded."""
        try:
            device_session, topic = client.resolve_topic(will.topic)
            uplink = parse_uplink(topic)
            assert uplink is not None
            receipt = await HANDLERS[uplink.kind](device_session, uplink, will.payload)
            if receipt is not None:
                await receipt.durable()
        except (RequestError, StorageError) as error:
            device = client.device_session.device.id if client.device_session else None
            self.hub.reject("will", f"{client.name}: its will was rejected: {error}", device)

    # -- diagnostics ----------------------------------------------------------------------------------------------

    def set_pending_diagnostic(self, client: ClientState, text: str) -> None:
        """Store a diagnostic for the client's next connection, because this one cannot deliver it."""
        self._pending_diagnostics[client.key] = text

    def take_pending_diagnostic(self, client: ClientState) -> str:
        """Return the diagnostic stored for a client, and forget it; "" if there is none."""
        return self._pending_diagnostics.pop(client.key, "")

    # -- changes in the hub ---------------------------------------------------------------------------------------

    def _revalidate(self, fact: Any) -> None:
        """End the connections, and remove the disconnected clients, whose login a change has made invalid."""
        if isinstance(fact, DeviceDeleted):
            for follower in self.hub.sessions.recipients(fact.device):
                self.hub.sessions.unfollow(follower)
        if isinstance(fact, DeviceChanged | DeviceDeleted):
            keys = (("device", fact.device.id, ""), ("gateway", fact.device.id, ""))
            affected = [self.clients[key] for key in keys if key in self.clients]
        else:
            affected = [client for key, client in self.clients.items() if key[0] != "device"]
        for client in affected:
            if not client.is_valid():
                if client.connection is not None:
                    client.connection.end(Reason.NOT_AUTHORIZED, "its login is not valid any more")
                else:
                    self._remove(client)

    def _drop_queued(self, device: Device, datastreams: Sequence[Datastream]) -> None:
        """Remove queued values that were cleared or erased."""
        recipients = self.hub.sessions.recipients(device)
        clients = [session.client for session in recipients if isinstance(session, MqttDeviceSession)]
        own_client = self.clients.get(("device", device.id, ""))
        for client in [*clients, *([own_client] if own_client else [])]:
            for stream in datastreams:
                client.session.drop_queued((device.id, stream.pin))
