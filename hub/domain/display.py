"""The display of values: conversion to the units that a user prefers (docs.blynk.io, Unit conversion), and as text.

The preferred unit comes from the first of these that defines one: a unit conversion switch in the device's metadata,
the user's profile, the user's organization, the organizations above it. Without any, the value is displayed in the unit
of its datastream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import attrs

from hub.domain import units
from hub.domain.units import Conversion
from hub.model import Datastream, Device, DeviceDatastream, MetadataField, Principal, Template, Value
from hub.slices import SliceRunner, Steps

if TYPE_CHECKING:
    from hub.domain.directory import Directory
    from hub.domain.metadata import Metadata
    from hub.domain.organizations import Organizations

SWITCH = "unit_conversion_switch"
#: Devices in one step of a slice.
STEP = 256


@attrs.frozen
class DisplayRule:
    """How to display a datastream: with ``conversion`` of its values, or, if ``pin`` is set, by the values of the
    datastream on that pin, which already has the preferred unit.
    """

    conversion: Conversion
    pin: int | None = None


@attrs.frozen
class DisplayedValue:
    """The latest value of a datastream as ``text`` for people, in the unit of ``conversion``.

    It is the value of the datastream on ``pin`` instead, if that is set (see `DisplayRule`).
    """

    text: str
    conversion: Conversion
    pin: int | None


class Display:
    def __init__(
        self, organizations: Organizations, metadata: Metadata, directory: Directory, slices: SliceRunner
    ) -> None:
        self._slices = slices
        self._organizations = organizations
        self._metadata = metadata
        self._directory = directory

    async def for_device(self, device: Device, principal: Principal) -> DeviceDisplay:
        """Return the display of a device for a principal. Raises `StorageError`."""
        values = await self._metadata.values_for(device) if _switches(device.template) else {}
        return DeviceDisplay(device, _switched(device, values), lambda base: self._preferred(base, principal))

    async def for_devices(self, devices: Sequence[Device], principal: Principal) -> list[DeviceDisplay]:
        """Return the display of each device, in their order, after one read at most. Raises `StorageError`."""
        with_switch = [device for device in devices if _switches(device.template)]
        values = await self._metadata.values_of(with_switch) if with_switch else {}
        preferred = cache(lambda base: self._preferred(base, principal))

        def displays() -> Steps[list[DeviceDisplay]]:
            displays = []
            for number, device in enumerate(devices):
                displays.append(DeviceDisplay(device, _switched(device, values.get(device.id, {})), preferred))
                if number % STEP == 0:
                    yield
            return displays

        return await self._slices.run(displays())

    def _preferred(self, base: str, principal: Principal) -> str:
        """Return the unit that a principal prefers for values in the unit ``base``."""
        if system := self._directory.unit_system_of(principal):
            return units.equivalent(base, system)
        unit = units.unit(base)
        for org in self._organizations.path(principal.org):
            if unit is not None and (override := org.unit_overrides.get(unit.group)):
                return override
            if org.units:
                return units.equivalent(base, org.units)
        return base


def _switches(template: Template) -> list[MetadataField]:
    """Return the unit conversion switches of a template."""
    return [field for field in template.metadata if field.type == SWITCH] if template.metadata else []


def _switched(device: Device, values: Mapping[str, str]) -> dict[str, str]:
    """Return the units selected by the switches of a device, by the unit that they replace, given its metadata."""
    return {
        units.canonical_name(option): values[field.name]
        for field in _switches(device.template)
        # The template may have changed its options since the value was set, or got the switch since the read.
        if values.get(field.name) in field.options
        for option in field.options
    }


@attrs.frozen
class DeviceDisplay:
    """How to display the values of a device.

    ``switched`` are the units selected by the device's unit conversion switches, by the unit that they replace.
    ``preferred`` returns the unit that the user prefers for another unit.
    """

    device: Device
    switched: Mapping[str, str]
    preferred: Callable[[str], str]

    def conversion_for(self, stream: Datastream) -> Conversion:
        """Return the conversion of a datastream's values to the preferred unit."""
        is_number = stream.type in ("integer", "double")
        return self.conversion_from(stream.units) if stream.convert and is_number else Conversion(stream.units)

    def rule_for(self, stream: Datastream) -> DisplayRule:
        """Choose how to display a datastream: convert its value, or use its paired datastream if that one already has
        the preferred unit.
        """
        conversion = self.conversion_for(stream)
        pair = self.device.points.get(int(stream.pair[1:])) if stream.pair else None
        preferred = units.canonical_name(conversion.units)
        is_converted = units.canonical_name(stream.units) != preferred
        if is_converted and pair is not None and units.canonical_name(pair.datastream.units) == preferred:
            return DisplayRule(Conversion(conversion.units), pair.datastream.pin)
        return DisplayRule(conversion)

    def displayed(
        self,
        stream: Datastream,
        current: Callable[[Device, Datastream], Value | None],
        expired_text: Callable[[DeviceDatastream], str | None],
    ) -> DisplayedValue:
        """Return the latest value as text; ``current`` is `Writes.current`, ``expired_text`` of `ValueTimeouts`."""
        device, rule = self.device, self.rule_for(stream)
        value, pin = current(device, stream), None
        if rule.pin is not None:
            pair = device.points[rule.pin].datastream
            if (paired := current(device, pair)) is not None:
                stream, value, pin = pair, paired, rule.pin
            else:
                # The paired datastream has no value yet: convert the value of this one.
                rule = DisplayRule(self.conversion_for(stream))
        expired = expired_text(device.points[stream.pin])
        text = format_value(stream, value, rule.conversion) if expired is None else expired
        return DisplayedValue(text, rule.conversion, pin)

    def field_text(self, field: MetadataField, value: str) -> str:
        """Return the value of a metadata field as text; a number with a unit is converted and followed by the unit."""
        if field.type != "number" or not field.unit or not value:
            return value
        conversion = self.conversion_from(field.unit)
        try:
            return units.text(conversion(float(value)), conversion.units)
        except ValueError:
            # The value was set before the template made the field a number.
            return value

    def conversion_from(self, base: str) -> Conversion:
        """Return the conversion of values in the unit ``base`` to the preferred unit."""
        unit = self.switched.get(units.canonical_name(base), "") if self.switched else ""
        unit = unit or self.preferred(base)
        if unit == base:
            return Conversion(base)
        return units.conversion(base, unit) or Conversion(base)


def format_value(stream: Datastream, value: Value | None, conversion: Conversion) -> str:
    """Return a value of a datastream as text for people."""
    if value is None:
        return ""
    if stream.type == "location":
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if isinstance(value, tuple):
        return ", ".join(format_value(stream, item, conversion) for item in value)
    if stream.type == "enum" and isinstance(value, int):
        return stream.values.get(value, str(value))
    if isinstance(value, str):
        return value
    return units.text(conversion(value), conversion.units, stream.decimals, scale=stream.scale)
