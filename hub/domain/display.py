"""In which units somebody sees what devices measure (docs.blynk.io, Unit conversion), and what they read.

The first that says something counts: a switch among the device's metadata, the user, their organization or one above
it; else the value is shown as the device sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from hub.domain import units
from hub.domain.units import Conversion
from hub.model import Datastream, Device, MetadataField, Principal, System, Value

if TYPE_CHECKING:
    from hub.domain.metadata import Metadata
    from hub.domain.organizations import Organizations

SWITCH = "unit_conversion_switch"


@attrs.frozen
class Shown:
    """How somebody sees a datastream: ``conversion`` of its values, or the values of the datastream on ``pin``, which
    are in those units already.
    """

    conversion: Conversion
    pin: int | None = None


class Display:
    def __init__(self, organizations: Organizations, metadata: Metadata) -> None:
        self._organizations = organizations
        self._metadata = metadata
        #: The system that somebody has chosen for themselves: set by the plugin that knows.
        self.system_of: Callable[[Principal], System | None] = lambda _: None

    async def of(self, device: Device, principal: Principal) -> DeviceDisplay:
        """How somebody sees a device. Raises `StorageError`."""
        switched: dict[str, str] = {}
        if fields := [field for field in device.template.metadata if field.type == SWITCH]:
            said = await self._metadata.of(device)
            switched = {
                units.canonical_name(option): said[field.name]
                for field in fields
                # What it says may be older than what it may say.
                if said[field.name] in field.options
                for option in field.options
            }
        return DeviceDisplay(device, switched, lambda base: self._preferred(base, principal))

    def _preferred(self, base: str, principal: Principal) -> str:
        """The unit in which somebody wants values of a base unit."""
        if system := self.system_of(principal):
            return units.equivalent(base, system)
        found = units.unit(base)
        for org in self._organizations.path(principal.org):
            if found is not None and (own := org.unit_overrides.get(found.group)):
                return own
            if org.units:
                return units.equivalent(base, org.units)
        return base


@attrs.frozen
class DeviceDisplay:
    """How somebody sees a device's values; ``switched`` is what the device's own switches say, by unit."""

    device: Device
    switched: Mapping[str, str]
    preferred: Callable[[str], str]

    def formula(self, stream: Datastream) -> Conversion:
        """How they see the values of a datastream."""
        is_number = stream.type in ("integer", "double")
        return self.conversion(stream.units) if stream.convert and is_number else Conversion(stream.units)

    def shown(self, stream: Datastream) -> Shown:
        """How they see a datastream now: another one may have its values as they want them."""
        found = self.conversion_for(stream)
        pair = self.device.points.get(int(stream.pair[1:])) if stream.pair else None
        wanted = units.canonical_name(found.units)
        if pair is not None and units.canonical_name(stream.units) != wanted == units.canonical_name(
            pair.datastream.units
        ):
            return DisplayRule(Conversion(found.units), pair.datastream.pin)
        return DisplayRule(found)

    def field(self, field: MetadataField, value: str) -> str:
        """What a field of the metadata says, with its unit if it is a number with one."""
        if field.type != "number" or not field.unit or not value:
            return value
        found = self.conversion(field.unit)
        try:
            return units.text(found(float(value)), found.units)
        except ValueError:
            # It was set before the template called it a number.
            return value

    def conversion(self, base: str) -> Conversion:
        """How they see values in a unit."""
        wanted = self.switched.get(units.canonical_name(base), "") if self.switched else ""
        wanted = wanted or self.preferred(base)
        if wanted == base:
            return Conversion(base)
        return units.conversion(base, wanted) or Conversion(base)


def text(stream: Datastream, value: Value | None, conversion: Conversion) -> str:
    """A value of a datastream as people read it."""
    if value is None:
        return ""
    if stream.type == "location":
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if isinstance(value, tuple):
        return ", ".join(text(stream, one, conversion) for one in value)
    if stream.type == "enum" and isinstance(value, int):
        return stream.values.get(value, str(value))
    if isinstance(value, str):
        return value
    return units.text(conversion(value), conversion.units, stream.decimals, scale=stream.scale)
