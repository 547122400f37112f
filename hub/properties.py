"""Widget properties that a device or a person set: kept per device and datastream until changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.errors import Rejected, UnknownPin
from hub.facts import PropertyChanged
from hub.values import is_text

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.model import Device, Point
    from hub.storage import Storage, Transaction

#: docs.blynk.io, Widget properties; the published names.
NAMES = frozenset(
    [
        "autoplay",
        "backColor",
        "color",
        "contentDesign",
        "icons",
        "isDisabled",
        "isHidden",
        "isMuted",
        "isOnPlay",
        "label",
        "labels",
        "loop",
        "max",
        "maximumFractionDigits",
        "min",
        "offBackColor",
        "offColor",
        "offImageUrl",
        "offLabel",
        "onBackColor",
        "onColor",
        "onImageUrl",
        "onLabel",
        "opacity",
        "page",
        "rotation",
        "scale",
        "sortType",
        "sound",
        "step",
        "suffix",
        "url",
        "urls",
        "valueFormatting",
    ]
)
MAX_VALUES = 100
MAX_LENGTH = 1000


class Properties:
    def __init__(self, storage: Storage, bus: Bus) -> None:
        self._storage = storage
        self._bus = bus

    async def set(self, device: Device, pins: Sequence[int], name: str, value: Sequence[str]) -> None:
        """Set one property of some pins, durably. ``url`` with an index replaces that entry of ``urls``.

        Raises `UnknownPin`, or `Rejected` when the property is unknown or the value is none.
        """
        if name not in NAMES:
            raise Rejected(f"There is no property {name[:40]!r}.")
        if not value or len(value) > MAX_VALUES or any(len(one) > MAX_LENGTH or not is_text(one) for one in value):
            raise Rejected(f"A property has 1 to {MAX_VALUES} values of up to {MAX_LENGTH} characters.")
        points = [device.points.get(pin) for pin in pins]
        if not points or None in points:
            raise UnknownPin("No datastream setup for that pin.")
        known = [point for point in points if point is not None]

        async def write(tx: Transaction) -> list[tuple[Point, str, tuple[str, ...]]]:
            changed = []
            for point in known:
                key = (device.id, point.datastream.id)
                prop, values = name, tuple(value)
                if name == "url" and len(value) == 2 and value[0].isdecimal():
                    row = await tx.fetch_one(
                        "SELECT value FROM properties WHERE device = ? AND datastream = ? AND property = 'urls'", key
                    )
                    prop, values = "urls", _replaced(json.loads(row[0]) if row else [], int(value[0]), value[1])
                await tx.execute(
                    "INSERT INTO properties (device, datastream, property, value) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET value = excluded.value",
                    (*key, prop, json.dumps(values)),
                )
                changed.append((point, prop, values))
            return changed

        for point, prop, values in await self._storage.transaction(write):
            self._bus.emit(PropertyChanged(device, point.datastream, prop, values))

    async def of(self, device: Device) -> dict[int, dict[str, tuple[str, ...]]]:
        """All properties of a device: datastream id, property, values."""

        async def read(tx: Transaction) -> list[tuple[int, str, str]]:
            sql = "SELECT datastream, property, value FROM properties WHERE device = ?"
            return await tx.fetch_all(sql, (device.id,))

        found: dict[int, dict[str, tuple[str, ...]]] = {}
        for datastream, name, value in await self._storage.read(read):
            found.setdefault(datastream, {})[name] = tuple(json.loads(value))
        return found


def _replaced(urls: list[str], index: int, url: str) -> tuple[str, ...]:
    """``urls`` with entry ``index`` (from 1, as `setProperty` counts) replaced."""
    if not 1 <= index <= MAX_VALUES:
        raise Rejected(f"An index is 1 to {MAX_VALUES}.")
    urls += [""] * (index - len(urls))
    urls[index - 1] = url
    return tuple(urls)
