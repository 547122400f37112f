"""Sessions of connected devices: one per device, of which the newest wins, without an offline flap in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hub.bus import Bus
from hub.clock import Clock
from hub.errors import Conflict
from hub.facts import DeviceConnected, DeviceDisconnected
from hub.model import Command, Device


class Session(Protocol):
    """A transport's way to a connected device. ``send`` and ``close`` are sync and never block."""

    device: Device
    via: str
    address: str
    #: The token that the device logged in with.
    token: str

    @property
    def rtt(self) -> float | None:
        """The round-trip time in milliseconds; None when the transport has not measured it."""

    def send(self, command: Command) -> None:
        """Send a command now or as soon as the device takes it; drop it if the transport cannot express it."""

    async def ping(self) -> float | None:
        """Ping the device; return the milliseconds until its answer, or None when there is none."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Sessions:
    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._by_device: dict[int, Session] = {}
        #: Other sessions that get what is sent to a device: of gateways, and queues for a device that is offline.
        self._followers: dict[int, tuple[Session, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_device)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_device.values()))

    def get(self, device: int) -> Session | None:
        return self._by_device.get(device)

    def follow(self, session: Session) -> None:
        """Send what is sent to a session's device also to this session, which is not the device's own."""
        device = session.device.id
        self._followers[device] = (*self._followers.get(device, ()), session)

    def unfollow(self, session: Session) -> None:
        rest = tuple(other for other in self._followers.pop(session.device.id, ()) if other is not session)
        if rest:
            self._followers[session.device.id] = rest

    def recipients(self, device: Device, sender: Session | None = None) -> tuple[Session, ...]:
        """Return the sessions that get what is sent to a device, without the one that sent it."""
        session = self._by_device.get(device.id)
        own = () if session is None or session is sender else (session,)
        if not self._followers:
            return own
        return own + tuple(other for other in self._followers.get(device.id, ()) if other is not sender)

    def connected(self, session: Session) -> None:
        """Add the session of a device that logged in, and close an older one of the same device."""
        device = session.device
        older = self._by_device.get(device.id)
        self._by_device[device.id] = session
        device.connected = self._clock.now()
        if older is not None:
            older.close("the device connected again")
        else:
            self._bus.emit(DeviceConnected(device, session.via, session.address))

    def disconnected(self, session: Session, reason: str, silent: float = 0.0) -> None:
        """Remove a session that ended ``silent`` seconds after its last message, unless it had been replaced."""
        device = session.device
        if self._by_device.get(device.id) is session:
            del self._by_device[device.id]
            device.disconnected = self._clock.now()
            self._bus.emit(DeviceDisconnected(device, reason, silent))

    def command(self, device: Device, command: Command) -> None:
        """Send ``command`` to a device. Raises `Conflict` when it is offline."""
        recipients = self.recipients(device)
        if not recipients:
            raise Conflict(f"device {device.name} is offline")
        for session in recipients:
            session.send(command)

    async def ping(self, device: Device) -> float | None:
        """Ping a device; return the milliseconds until its answer, or None. Raises `Conflict` when it is offline."""
        session = self._by_device.get(device.id)
        if session is None:
            raise Conflict(f"device {device.name} is offline")
        return await session.ping()

    def disconnect(self, device: Device, reason: str) -> None:
        """Close a device's session, if it has one."""
        if session := self._by_device.get(device.id):
            session.close(reason)
