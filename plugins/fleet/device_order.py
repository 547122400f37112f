"""The order of devices in a list: by an attribute, a datastream or a metadata field; and cursors, for the next page.

A cursor has the sort key and the id of the last device of a page, so that the next page begins after it however many
devices are added, changed or deleted in between.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import Device, Principal, Rejected
from hub.slices import Steps, sort_in_steps

if TYPE_CHECKING:
    from hub import Hub

SortBy = Literal[
    "id",
    "name",
    "owner",
    "status",
    "organization",
    "orgId",
    "template",
    "templateId",
    "model",
    "firmware",
    "createdAt",
    "activatedAt",
    "activatedBy",
    "lastReported",
    "datastream",
    "metadata",
]
#: Sort columns that need a name: of a datastream (or its pin), or of a metadata field.
NAMED = frozenset({"datastream", "metadata"})
MAX_NAME = 255
#: Characters of a cursor.
MAX_CURSOR = 8_000
NO_CURSOR = "after must be the next of an earlier page"

#: Value of a device that it is sorted by, as a cursor stores it.
Position = str | int | float | None


@attrs.frozen(kw_only=True)
class DeviceOrder:
    """Order of devices; devices with equal keys are in the order of their ids.

    ``position`` returns the value by which a device is sorted, one of ``types``, and ``key`` its sort key; devices
    with the key None come last, whether the order is reversed or not. ``label`` distinguishes orders in cursors.
    """

    label: str
    position: Callable[[Device], Position]
    key: Callable[[Any], Any]
    types: tuple[type, ...]
    is_reversed: bool = False

    def sort(
        self, devices: Sequence[Device], limit: int, after: Cursor | None = None, exact_name: str = ""
    ) -> Steps[list[tuple[Position, Device]]]:
        """Return the first ``limit`` devices that come after a cursor; ``devices`` are sorted by id.

        Without a cursor, devices whose lower-case name is ``exact_name`` come before all others. Devices that are
        deleted between two steps may be among the result.
        """
        key, is_reversed = self.key, self.is_reversed
        positioned = ((self.position(device), device) for device in devices)
        if after is not None:
            return sort_in_steps(
                positioned,
                lambda pair: key(pair[0]),
                accept=lambda pair: self._is_after(pair, after),
                reverse=is_reversed,
                limit=limit,
            )
        if exact_name:
            # The larger of two booleans comes first in reverse.
            return sort_in_steps(
                positioned,
                lambda pair: ((pair[1].name.lower() == exact_name) == is_reversed, key(pair[0])),
                reverse=is_reversed,
                limit=limit,
            )
        return sort_in_steps(positioned, lambda pair: key(pair[0]), reverse=is_reversed, limit=limit)

    def _is_after(self, pair: tuple[Position, Device], cursor: Cursor) -> bool:
        key, last = self.key(pair[0]), self.key(cursor.position)
        if key == last:
            return pair[1].id > cursor.device_id
        if key is None or last is None:
            return key is None
        return bool(key < last if self.is_reversed else key > last)

    def cursor(self, position: Position, device: Device) -> str:
        """Return the cursor after a device, which `parse_cursor` parses."""
        parts = json.dumps([self.label, position, device.id], ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(parts.encode("utf-8", "surrogatepass")).decode().rstrip("=")

    def parse_cursor(self, text: str) -> Cursor:
        """Parse a cursor of this order. Raises `Rejected`."""
        try:
            if len(text) > MAX_CURSOR:
                raise ValueError(text)
            decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            label, position, device_id = json.loads(decoded.decode("utf-8", "surrogatepass"), parse_constant=_reject)
        except (ValueError, TypeError, RecursionError) as error:
            raise Rejected(NO_CURSOR) from error
        if label != self.label:
            raise Rejected("after is of a list in another order; keep sortBy, sortName and sortOrder, or begin anew")
        if type(device_id) is not int or type(position) not in self.types:
            raise Rejected(NO_CURSOR)
        return Cursor(position, device_id)


@attrs.frozen
class Cursor:
    """Place in a list of devices: after the device with this position and id, whether it still exists or not."""

    position: Position
    device_id: int


def _reject(constant: str) -> float:
    raise ValueError(constant)


class DeviceOrders:
    """The orders of devices for clients."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def order(self, by: SortBy, name: str, direction: str, principal: Principal) -> DeviceOrder:
        """Return an order in a ``direction`` of "asc" or "desc" (in any case), for one list. Raises `Rejected`.

        ``name`` is the pin or name of the datastream, or the name of the metadata field, that devices are sorted by.
        For metadata, `QueryCompiler.compile` must have been called before.
        """
        if (by in NAMED) != bool(name):
            raise Rejected(f"sortBy {by} {'needs' if by in NAMED else 'must not have'} a sortName")
        if len(name) > MAX_NAME:
            raise Rejected(f"sortName must have at most {MAX_NAME} characters")
        position, key, types = self._column(by, name, principal)
        is_reversed = direction.lower() == "desc"
        label = f"{by}{' desc' if is_reversed else ''} {name}".rstrip()
        return DeviceOrder(label=label, position=position, key=key, types=types, is_reversed=is_reversed)

    def _column(
        self, by: SortBy, name: str, principal: Principal
    ) -> tuple[Callable[[Device], Position], Callable[[Any], Any], tuple[type, ...]]:
        """Return the position, the key and the types of an order (see `DeviceOrder`)."""
        hub = self._hub
        queries = hub.device_queries
        match by:
            case "datastream":
                return queries.attributes.datastream_values(name), _value_key, (str, int, float, NoneType)
            case "metadata":
                return queries.metadata_values(name, principal), _value_key, (str,)
            case "owner":
                # A cursor has the owner's id: the client may not see the address by which devices are sorted.
                return lambda d: d.owner or 0, self._address_of, (int,)
        activated_by = queries.attributes.activator_names(principal)
        numbers: Mapping[str, Callable[[Device], Position]] = {
            "id": lambda d: d.id,
            "orgId": lambda d: d.org,
            "createdAt": lambda d: d.created,
            "activatedAt": lambda d: d.activated or 0,
            "lastReported": lambda d: hub.writes.last_reported(d) or 0,
        }
        texts: Mapping[str, Callable[[Device], str]] = {
            "name": lambda d: d.name,
            "status": hub.lifecycle.status_name,
            "organization": lambda d: hub.organizations.get(d.org).name,
            "template": lambda d: d.template.name,
            "templateId": lambda d: d.template.id,
            "model": lambda d: d.hardware.get("boardType", ""),
            "firmware": lambda d: d.hardware.get("version", ""),
            "activatedBy": lambda d: activated_by(d) or "",
        }
        if by in numbers:
            return numbers[by], lambda number: number, (int,)
        return texts[by], _version_key if by == "firmware" else str if by == "templateId" else str.lower, (str,)

    def _address_of(self, owner_id: int) -> str:
        owner = self._hub.directory.user(owner_id) if owner_id else None
        return "" if owner is None else owner.email.lower()


def _version_key(text: str) -> list[tuple[int, str]]:
    """Return the sort key of a version: 1.10 comes after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,15})", text) if part]


def _value_key(value: Position) -> tuple[int, str | float] | None:
    """Return the sort key of a value: numbers, also as text, come before text; None without a value."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return (1, value.lower())
        return (0, number) if math.isfinite(number) else (1, value.lower())
    return (0, value)
