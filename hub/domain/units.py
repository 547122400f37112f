"""Units of measurement: their conversions, and the formatting of values. Pure functions.

Values are stored and exported in the unit that the device sends, the base unit; conversion is a matter of display only
(docs.blynk.io, Unit conversion). `hub.domain.display` chooses the unit for a user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import attrs

from hub.model import System

#: Digits after the point by default; of values below 0.1, significant digits.
DIGITS = 2
MAX_DIGITS = 10
#: The smallest value that is formatted with an exponent.
LARGEST = 1e15


@attrs.frozen
class Unit:
    """A unit: ``value * factor + offset`` is the value in the first unit of its group.

    ``other`` is its counterpart in the other system, or "".
    """

    name: str
    group: str
    factor: float
    offset: float = 0.0
    system: System | None = None
    other: str = ""


@attrs.frozen
class Conversion:
    """A conversion: ``value * factor + offset`` is the value in ``units``."""

    units: str
    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, value: float) -> float:
        """Return the converted value; an unchanged whole number stays an int."""
        return value if self.factor == 1 and not self.offset else value * self.factor + self.offset


def _of(group: str, system: System | None, *units: tuple[str, float, str]) -> list[Unit]:
    return [Unit(name, group, factor, system=system, other=other) for name, factor, other in units]


_ALL = [
    Unit("°C", "temperature", 1.0, system="metric", other="°F"),
    Unit("°F", "temperature", 5 / 9, -160 / 9, system="imperial", other="°C"),
    Unit("K", "temperature", 1.0, -273.15, system="metric", other="°F"),
    *_of("length", "metric", ("m", 1, "ft"), ("mm", 0.001, "in"), ("cm", 0.01, "in"), ("km", 1000, "mi")),
    *_of("length", "imperial", ("in", 0.0254, "cm"), ("ft", 0.3048, "m"), ("yd", 0.9144, "m"), ("mi", 1609.344, "km")),
    *_of("speed", "metric", ("m/s", 1, "mph"), ("km/h", 1 / 3.6, "mph")),
    *_of("speed", "imperial", ("mph", 0.44704, "km/h"), ("ft/s", 0.3048, "m/s")),
    *_of("speed", None, ("kn", 1852 / 3600, "")),
    *_of("mass", "metric", ("kg", 1, "lb"), ("mg", 1e-6, "oz"), ("g", 0.001, "oz"), ("t", 1000, "lb")),
    *_of("mass", "imperial", ("oz", 0.028349523125, "g"), ("lb", 0.45359237, "kg")),
    *_of("volume", "metric", ("m³", 1, "ft³"), ("ml", 1e-6, "fl oz"), ("l", 0.001, "gal")),
    *_of("volume", "imperial", ("fl oz", 29.5735295625e-6, "ml"), ("gal", 3.785411784e-3, "l")),
    *_of("volume", "imperial", ("ft³", 0.3048**3, "m³")),
    *_of("flow", "metric", ("m³/h", 1, "CFM"), ("l/min", 0.06, "gal/min"), ("l/h", 0.001, "gal/h")),
    *_of("flow", "imperial", ("CFM", 0.3048**3 * 60, "m³/h"), ("gal/min", 3.785411784e-3 * 60, "l/min")),
    *_of("flow", "imperial", ("gal/h", 3.785411784e-3, "l/h")),
    *_of("pressure", "metric", ("Pa", 1, "psi"), ("hPa", 100, "inHg"), ("kPa", 1000, "psi"), ("MPa", 1e6, "psi")),
    *_of("pressure", "metric", ("mbar", 100, "inHg"), ("bar", 1e5, "psi")),
    *_of("pressure", "imperial", ("psi", 6894.757293168, "kPa"), ("inHg", 3386.389, "hPa")),
    *_of("area", "metric", ("m²", 1, "ft²"), ("cm²", 1e-4, "in²"), ("ha", 1e4, "acre"), ("km²", 1e6, "acre")),
    *_of("area", "imperial", ("in²", 0.0254**2, "cm²"), ("ft²", 0.3048**2, "m²"), ("acre", 4046.8564224, "ha")),
    *_of("rainfall", "metric", ("mm/h", 1, "in/h")),
    *_of("rainfall", "imperial", ("in/h", 25.4, "mm/h")),
    *_of("power", None, ("W", 1, ""), ("mW", 0.001, ""), ("kW", 1000, ""), ("MW", 1e6, "")),
    *_of("energy", None, ("Wh", 1, ""), ("kWh", 1000, ""), ("MWh", 1e6, "")),
    *_of("voltage", None, ("V", 1, ""), ("mV", 0.001, ""), ("kV", 1000, "")),
    *_of("current", None, ("A", 1, ""), ("mA", 0.001, "")),
    *_of("frequency", None, ("Hz", 1, ""), ("kHz", 1000, ""), ("MHz", 1e6, "")),
    *_of("data", None, ("B", 1, ""), ("KB", 1024, ""), ("MB", 1024**2, ""), ("GB", 1024**3, "")),
    *_of("time", None, ("s", 1, ""), ("ms", 0.001, ""), ("min", 60, ""), ("h", 3600, ""), ("d", 86_400, "")),
]
UNITS: Mapping[str, Unit] = {unit.name: unit for unit in _ALL}
#: Groups whose units differ between the systems.
GROUPS = tuple(dict.fromkeys(unit.group for unit in _ALL if unit.other))
#: Other spellings.
_ALIASES = {
    "L": "l", "mL": "ml", "L/min": "l/min", "L/h": "l/h", "lpm": "l/min", "gpm": "gal/min", "m3": "m³", "m2": "m²",
    "m3/h": "m³/h", "ft2": "ft²", "ft3": "ft³", "km/hr": "km/h", "lbs": "lb", "inch": "in", "sec": "s", "hr": "h",
    "min.": "min", "℃": "°C", "℉": "°F",
}  # fmt: skip

#: Units to which values are scaled, from small to large, and units that are formatted as two parts.
_SCALES: Sequence[Sequence[str]] = (
    ("mm", "m", "km"), ("mg", "g", "kg", "t"), ("ml", "l"), ("Pa", "kPa", "MPa"), ("mW", "W", "kW", "MW"),
    ("Wh", "kWh", "MWh"), ("mV", "V", "kV"), ("mA", "A"), ("Hz", "kHz", "MHz"), ("B", "KB", "MB", "GB"),
)  # fmt: skip
_PARTS: Mapping[str, Sequence[tuple[str, int]]] = {
    "time": (("day", 86_400), ("hr", 3600), ("min", 60), ("s", 1)),
    "in": (("ft", 12), ("in", 1)),
    "ft": (("ft", 12), ("in", 1)),
    "oz": (("lb", 16), ("oz", 1)),
    "lb": (("lb", 16), ("oz", 1)),
}
#: The smaller part of units that are not times.
_SMALL = {"in": "in", "ft": "in", "oz": "oz", "lb": "oz"}


def unit(name: str) -> Unit | None:
    """Return the unit with a name, in any spelling, or None."""
    return UNITS.get(canonical_name(name))


def canonical_name(name: str) -> str:
    """Return the canonical spelling of a unit."""
    return _ALIASES.get(name, name)


@lru_cache(1024)
def conversion(base: str, wanted: str) -> Conversion | None:
    """Return the conversion between two units; None unless both are known and of one group."""
    source, target = unit(base), unit(wanted)
    if source is None or target is None or source.group != target.group:
        return None
    if source is target:
        return Conversion(base)
    factor, offset = source.factor / target.factor, (source.offset - target.offset) / target.factor
    # 1.8 and not 1.7999999999999998.
    return Conversion(target.name, float(f"{factor:.15g}"), float(f"{offset:.15g}"))


def equivalent(base: str, system: System) -> str:
    """Return the equivalent of a unit in a system; unchanged if it belongs to it or has no counterpart."""
    known = unit(base)
    return base if known is None or not known.other or known.system == system else known.other


def text(value: float, units: str, decimals: str = "", *, scale: bool = True) -> str:
    """Format a value for users, such as ``2.5 kg`` for 2500 g, ``2 days 19 hr`` for seconds, ``5 ft 8 in``.

    ``decimals`` is a datastream's: ``#.##`` is at most two digits after the point, ``#.00`` always two.
    """
    known = unit(units)
    if scale and known is not None and value and abs(value * known.factor) < LARGEST:
        if parts := _PARTS.get(known.group) or _PARTS.get(known.name):
            small = value * known.factor if known.group == "time" else _small(value, known)
            if composed := _in_parts(small, parts):
                return composed
        value, scaled = _scaled(value, known)
        if scaled != known.name:
            # The number of decimals is meant for the unscaled unit.
            units, decimals = scaled, ""
    digits = number(value, decimals)
    return f"{digits} {units}" if units and units != "%" else f"{digits}{units}"


def _small(value: float, source: Unit) -> float:
    return value * source.factor / UNITS[_SMALL[source.name]].factor


def _in_parts(value: float, parts: Sequence[tuple[str, int]]) -> str:
    """Format a value as two consecutive parts, of which the first is not 0; "" when only the last part is not 0."""
    sign, value = "-" if value < 0 else "", abs(value)
    for (name, size), (smaller, fraction) in pairwise(parts):
        whole, rest = divmod(round(value / fraction), size // fraction)
        if whole:
            first = f"{sign}{whole} {name}{'s' if name == 'day' and whole > 1 else ''}"
            return f"{first} {rest} {smaller}" if rest else first
    return ""


def _scaled(value: float, source: Unit) -> tuple[float, str]:
    """Return a value in the largest unit of its scale in which it is at least 1, and that unit."""
    scale = next((scale for scale in _SCALES if source.name in scale), ())
    for name in reversed(scale):
        # A value that rounds to 1000 of the smaller unit is 1 of this one.
        if round(abs(scaled := value * source.factor / UNITS[name].factor), 4) >= 1:
            return scaled, name
    return (value * source.factor / UNITS[scale[0]].factor, scale[0]) if scale else (value, source.name)


def number(value: float, decimals: str = "") -> str:
    """Format a number with the digits after the point of ``decimals``, else with two, or two significant ones."""
    _, _, after = decimals.partition(".")
    if isinstance(value, int):
        return f"{value}.{'0' * after.count('0')}" if "0" in after else str(value)
    if abs(value) >= LARGEST:
        return f"{value:g}"
    digits = len(after)
    if not decimals:
        zeros = 0 if abs(value) >= 0.1 or not value else -1 - math.floor(math.log10(abs(value)))
        digits = min(DIGITS + zeros, MAX_DIGITS)
    text = f"{value:.{digits}f}"
    if "0" not in after and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if float(text) else text.removeprefix("-")
