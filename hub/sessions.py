"""Who is connected. One session per device: the newest wins, without an offline flap in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hub.errors import Conflict
from hub.facts import DeviceConnected, DeviceDisconnected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.bus import Bus
    from hub.clock import Clock
    from hub.model import Command, Device


class Session(Protocol):
    """What a transport gives the core: a way to a device. Both methods are sync and never block."""

    device: Device
    via: str
    address: str
    #: What the device logged in with.
    token: str

    @property
    def rtt(self) -> float | None:
        """Milliseconds to the device and back; None where the transport does not know."""

    def send(self, command: Command) -> None:
        """Hand a command over, now or as soon as the device takes it; what it cannot say is dropped."""

    async def ping(self) -> float | None:
        """Milliseconds until the device has answered; None when it does not."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Sessions:
    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._of: dict[int, Session] = {}
        #: Who else gets what is sent to a device: gateways, and what is kept for one that is away.
        self._followers: dict[int, tuple[Session, ...]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._of.values()))

    def get(self, device: int) -> Session | None:
        return self._of.get(device)

    def follow(self, session: Session) -> None:
        """Let a session that is not the device's own get what is sent to the device."""
        device = session.device.id
        self._followers[device] = (*self._followers.get(device, ()), session)

    def unfollow(self, session: Session) -> None:
        left = tuple(one for one in self._followers.pop(session.device.id, ()) if one is not session)
        if left:
            self._followers[session.device.id] = left

    def recipients(self, device: Device, besides: Session | None = None) -> tuple[Session, ...]:
        """Everybody who gets what is sent to a device, ``besides`` whom it comes from."""
        session = self._of.get(device.id)
        own = () if session is None or session is besides else (session,)
        if not self._followers:
            return own
        return own + tuple(one for one in self._followers.get(device.id, ()) if one is not besides)

    def opened(self, session: Session) -> None:
        """A device logged in. An older session of the same device is closed."""
        device = session.device
        older = self._of.get(device.id)
        self._of[device.id] = session
        device.connected = self._clock.now()
        if older is not None:
            older.close("the device connected again")
        else:
            self._bus.emit(DeviceConnected(device, session.via, session.address))

    def closed(self, session: Session, reason: str, silent: float = 0.0) -> None:
        """A connection ended, ``silent`` seconds after anything came; nothing happens if it had been replaced."""
        device = session.device
        if self._of.get(device.id) is session:
            del self._of[device.id]
            device.disconnected = self._clock.now()
            self._bus.emit(DeviceDisconnected(device, reason, silent))

    def command(self, device: Device, command: Command) -> None:
        """Send ``command`` to a connected device. Raises `Conflict` when it is not."""
        hearing = self.recipients(device)
        if not hearing:
            raise Conflict(f"device {device.name} is offline")
        for session in hearing:
            session.send(command)

    async def ping(self, device: Device) -> float | None:
        """Milliseconds until a connected device has answered; None when it does not. Raises `Conflict`."""
        session = self._of.get(device.id)
        if session is None:
            raise Conflict(f"device {device.name} is offline")
        return await session.ping()

    def end(self, device: Device, reason: str) -> None:
        """Disconnect a device, if it is connected."""
        if session := self._of.get(device.id):
            session.close(reason)
