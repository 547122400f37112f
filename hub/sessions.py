"""Who is connected. One session per device: the newest wins, without an offline flap in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hub.errors import Unavailable
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

    def close(self, reason: str) -> None:
        """End the connection."""


class Sessions:
    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._of: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._of.values()))

    def get(self, device: int) -> Session | None:
        return self._of.get(device)

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
        """Send ``command`` to a connected device. Raises `Unavailable` when it is not."""
        session = self._of.get(device.id)
        if session is None:
            raise Unavailable(f"device {device.name} is offline")
        session.send(command)

    def end(self, device: Device, reason: str) -> None:
        """Disconnect a device, if it is connected."""
        if session := self._of.get(device.id):
            session.close(reason)
