"""Widget properties that a device or a person set: kept per device and datastream until changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hub.errors import Rejected, UnknownPin
from hub.facts import PropertyChanged
from hub.values import is_text

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.model import Device, DeviceDatastream
    from hub.storage import Storage, Transaction

#: docs.blynk.io, Widget properties; the published names.
NAMES = frozenset(
    (
        "autoplay backColor color contentDesign icons isDisabled isHidden isMuted isOnPlay label labels loop max "
        "maximumFractionDigits min offBackColor offColor offImageUrl offLabel onBackColor onColor onImageUrl "
        "onLabel opacity page rotation scale sortType sound step suffix url urls valueFormatting "
    ).split()
)
MAX_VALUES = 100
MAX_LENGTH = 1000


class Properties:
    def __init__(self, storage: Storage, bus: Bus) -> None:
        self._storage = storage
        self._bus = bus
        #: Devices that may have some; most have none, and are not looked up.
        self._having: set[int] = set()

    async def load(self) -> None:
        rows = await self._storage.configuration.fetch_all("SELECT DISTINCT device FROM properties")
        self._having = {device for (device,) in rows}

    async def set(self, device: Device, pins: Sequence[int], properties: Mapping[str, Sequence[str]]) -> None:
        """Set properties of some pins, all or none, durably. ``url`` with an index replaces that entry of ``urls``.

        Raises `UnknownPin`, or `Rejected` when a property is unknown or a value is none.
        """
        for name, value in properties.items():
            if name not in NAMES:
                raise Rejected(f"There is no property {name[:40]!r}.")
            if not value or len(value) > MAX_VALUES or any(len(one) > MAX_LENGTH or not is_text(one) for one in value):
                raise Rejected(f"A property must have 1 to {MAX_VALUES} values of up to {MAX_LENGTH} characters.")
        known = [device.points[pin] for pin in pins if pin in device.points]
        if not pins or len(known) < len(pins):
            raise UnknownPin("No datastream setup for that pin.")

        async def write(tx: Transaction) -> list[tuple[DeviceDatastream, str, tuple[str, ...]]]:
            changed = []
            for point in known:
                for name, value in properties.items():
                    changed.append((point, *await _kept(tx, (device.id, point.datastream.id), name, tuple(value))))
            return changed

        self._having.add(device.id)
        for point, prop, values in await self._storage.transaction(write):
            self._bus.emit(PropertyChanged(device, point.datastream, prop, values))

    async def erase(self, device: Device, pin: int | None = None, name: str | None = None) -> int:
        """Erase one property of a pin, all of a pin, or all of a device; returns how many went. Raises `UnknownPin`."""
        chosen = device.points.values() if pin is None else [device.points[pin]] if pin in device.points else []
        if not chosen:
            raise UnknownPin("No datastream setup for that pin.")

        async def write(tx: Transaction) -> list[tuple[int, str]]:
            which, values = "device = ?", [device.id]
            if pin is not None:
                which, values = f"{which} AND datastream = ?", [*values, device.points[pin].datastream.id]
            more: list[str] = [] if name is None else [name]
            which += " AND property = ?" if more else ""
            gone = await tx.fetch_all(f"SELECT datastream, property FROM properties WHERE {which}", (*values, *more))
            await tx.execute(f"DELETE FROM properties WHERE {which}", (*values, *more))
            return gone

        gone = await self._storage.transaction(write)
        for datastream, prop in gone:
            if point := device.point(datastream):
                self._bus.emit(PropertyChanged(device, point.datastream, prop, ()))
        return len(gone)

    async def of(self, device: Device) -> dict[int, dict[str, tuple[str, ...]]]:
        """All properties of a device: datastream id, property, values."""
        if device.id not in self._having:
            return {}
        sql = "SELECT datastream, property, value FROM properties WHERE device = ?"
        found: dict[int, dict[str, tuple[str, ...]]] = {}
        for datastream, name, value in await self._storage.configuration.fetch_all(sql, (device.id,)):
            found.setdefault(datastream, {})[name] = tuple(json.loads(value))
        return found


async def _kept(
    tx: Transaction, key: tuple[int, int], name: str, value: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Write one property of (device, datastream); returns what was written."""
    if name == "url" and len(value) == 2 and value[0].isascii() and value[0].isdecimal():
        name, index, url = "urls", int(value[0][:9]), value[1]
        urls = await tx.fetch_one(
            "SELECT value FROM properties WHERE device = ? AND datastream = ? AND property = 'urls'", key
        )
        value = _replaced(json.loads(urls[0]) if urls else [], index, url)
    await tx.execute(
        "INSERT INTO properties (device, datastream, property, value) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = excluded.value",
        (*key, name, json.dumps(value)),
    )
    return name, value


def _replaced(urls: list[str], index: int, url: str) -> tuple[str, ...]:
    """``urls`` with entry ``index`` (from 1, as `setProperty` counts) replaced."""
    if not 1 <= index <= MAX_VALUES:
        raise Rejected(f"An index is 1 to {MAX_VALUES}.")
    urls += [""] * (index - len(urls))
    urls[index - 1] = url
    return tuple(urls)
