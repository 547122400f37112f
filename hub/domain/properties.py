"""Widget properties that a device or a user has set, by device and datastream; they remain until they are changed."""

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

#: The names of properties (docs.blynk.io, Widget properties).
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
    """The widget properties of all devices; they are read from the database."""

    def __init__(self, storage: Storage, bus: Bus) -> None:
        self._storage = storage
        self._bus = bus
        #: The ids of devices that may have properties. Most have none, and cost no query.
        self._with_properties: set[int] = set()

    async def load(self) -> None:
        rows = await self._storage.configuration.fetch_all("SELECT DISTINCT device FROM properties")
        self._with_properties = {device for (device,) in rows}

    async def set(self, device: Device, pins: Sequence[int], properties: Mapping[str, Sequence[str]]) -> None:
        """Set properties of some pins, all or none, durably. ``url`` with an index replaces that entry of ``urls``.

        Raises `UnknownPin`, or `Rejected` when a property is unknown or has no valid values.
        """
        for name, value in properties.items():
            if name not in NAMES:
                raise Rejected(f"There is no property {name[:40]!r}.")
            is_valid = 0 < len(value) <= MAX_VALUES
            if not is_valid or any(len(text) > MAX_LENGTH or not is_text(text) for text in value):
                raise Rejected(f"A property must have 1 to {MAX_VALUES} values of up to {MAX_LENGTH} characters.")
        points = [device.points[pin] for pin in pins if pin in device.points]
        if not pins or len(points) < len(pins):
            raise UnknownPin("No datastream setup for that pin.")

        async def write(tx: Transaction) -> list[tuple[DeviceDatastream, str, tuple[str, ...]]]:
            changed = []
            for point in points:
                for name, value in properties.items():
                    changed.append((point, *await _write(tx, (device.id, point.datastream.id), name, tuple(value))))
            return changed

        self._with_properties.add(device.id)
        for point, prop, values in await self._storage.transaction(write):
            self._bus.emit(PropertyChanged(device, point.datastream, prop, values))

    async def erase(self, device: Device, pin: int | None = None, name: str | None = None) -> int:
        """Erase one property of a pin, all of a pin, or all of a device; return how many. Raises `UnknownPin`."""
        points = device.points.values() if pin is None else [device.points[pin]] if pin in device.points else []
        if not points:
            raise UnknownPin("No datastream setup for that pin.")

        async def write(tx: Transaction) -> list[tuple[int, str]]:
            where = "device = ?"
            values: list[object] = [device.id]
            if pin is not None:
                where += " AND datastream = ?"
                values.append(device.points[pin].datastream.id)
            if name is not None:
                where += " AND property = ?"
                values.append(name)
            erased = await tx.fetch_all(f"SELECT datastream, property FROM properties WHERE {where}", values)
            await tx.execute(f"DELETE FROM properties WHERE {where}", values)
            return erased

        erased = await self._storage.transaction(write)
        for datastream, prop in erased:
            if point := device.point(datastream):
                self._bus.emit(PropertyChanged(device, point.datastream, prop, ()))
        return len(erased)

    async def values_for(self, device: Device) -> dict[int, dict[str, tuple[str, ...]]]:
        """Return all properties of a device: values by name, by the id of the datastream."""
        if device.id not in self._with_properties:
            return {}
        sql = "SELECT datastream, property, value FROM properties WHERE device = ?"
        by_datastream: dict[int, dict[str, tuple[str, ...]]] = {}
        for datastream, name, value in await self._storage.configuration.fetch_all(sql, (device.id,)):
            by_datastream.setdefault(datastream, {})[name] = tuple(json.loads(value))
        return by_datastream


async def _write(
    tx: Transaction, key: tuple[int, int], name: str, value: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Write one property of (device, datastream); return its name and values as written."""
    if name == "url" and len(value) == 2 and value[0].isascii() and value[0].isdecimal():
        name, index, url = "urls", int(value[0][:9]), value[1]
        urls = await tx.fetch_one(
            "SELECT value FROM properties WHERE device = ? AND datastream = ? AND property = 'urls'", key
        )
        value = _replace_url(json.loads(urls[0]) if urls else [], index, url)
    await tx.execute(
        "INSERT INTO properties (device, datastream, property, value) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = excluded.value",
        (*key, name, json.dumps(value)),
    )
    return name, value


def _replace_url(urls: list[str], index: int, url: str) -> tuple[str, ...]:
    """Return ``urls`` with the entry ``index`` (from 1, as `setProperty` counts) replaced. Raises `Rejected`."""
    if not 1 <= index <= MAX_VALUES:
        raise Rejected(f"An index must be 1 to {MAX_VALUES}.")
    urls += [""] * (index - len(urls))
    urls[index - 1] = url
    return tuple(urls)
