"""What the cells of a board display and answer, as plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from tui.text import Marks, clean, number

#: The places of a number without a setting.
_DECIMALS = re.compile(r"#(?:\.(#*))?$")
_FORMAT = re.compile(r"/value(?:\.(#+))?/")
_NUL = "\0"


class State(Enum):
    """How true a value is. A stale one ends in ``~``; the others have words in the frame of their cell.

    LIVE → PENDING when the user writes; PENDING → LIVE when the device or the hub accepts, → REFUSED when not;
    REFUSED → LIVE with the next value. All → STALE when the connection is lost.
    """

    LIVE = "live"
    STALE = "stale"
    PENDING = "pending"
    REFUSED = "refused"


@attrs.frozen(kw_only=True)
class Datastream:
    """What a cell needs of a datastream; the fields are those of the API's dashboards."""

    pin: str
    name: str = ""
    type: str = "double"
    units: str = ""
    min: float | None = None
    max: float | None = None
    decimals: str = ""
    values: Mapping[str, str] = attrs.Factory(dict)

    @property
    def is_number(self) -> bool:
        return self.type in {"integer", "double"}

    @property
    def places(self) -> int | None:
        """The decimal places to display; None is as many as the number has."""
        if self.type == "integer":
            return 0
        match = _DECIMALS.search(self.decimals)
        return len(match[1] or "") if match else None


@attrs.frozen(kw_only=True)
class CellWidget:
    """A widget of a dashboard: its place in the grid, its options by name, and its datastreams.

    A ``disabled`` one displays its value only; a ``hidden`` one is not drawn.
    """

    id: str
    type: str
    title: str = ""
    x: int = 0
    y: int = 0
    width: int = 4
    height: int = 3
    options: Mapping[str, Any] = attrs.Factory(dict)
    datastreams: tuple[Datastream, ...] = ()
    disabled: bool = False
    hidden: bool = False

    @property
    def first(self) -> Datastream | None:
        return self.datastreams[0] if self.datastreams else None

    @property
    def name(self) -> str:
        return self.title or (self.datastreams[0].name or self.datastreams[0].pin if self.datastreams else "")

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the scale: of the options, else of the datastream, else 0 and 100."""
        datastream = self.first or Datastream(pin="")
        low = _finite(self.options.get("min"), _finite(datastream.min, 0.0))
        high = _finite(self.options.get("max"), _finite(datastream.max, 100.0))
        return (low, high) if low < high else (low, low + 1)

    @property
    def step(self) -> float:
        """The difference of two values: the option, else 1 for integers, and a hundredth of the scale."""
        step = _finite(self.options.get("step"), 0.0)
        if step > 0:
            return step
        low, high = self.limits
        if self.first is None or self.first.type == "integer":
            return max(1.0, round((high - low) / 100))
        return 10.0 ** math.floor(math.log10((high - low) / 100)) if high > low else 1.0


@attrs.frozen(kw_only=True)
class CellValue:
    """The values of a widget's datastreams, in their order; None is one without a value.

    ``note`` are the words for the states PENDING and REFUSED. ``history`` are values over time, where None is a gap;
    ``log`` the lines of a terminal.
    """

    values: tuple[Any, ...] = ()
    state: State = State.LIVE
    note: str = ""
    history: tuple[float | None, ...] = ()
    log: tuple[str, ...] = ()

    @property
    def first(self) -> Any:
        return self.values[0] if self.values else None


@attrs.frozen
class Write:
    """Values to write, by pin. ``release`` are those to write when a push button is released."""

    values: Mapping[str, Any]
    release: Mapping[str, Any] | None = None


@attrs.frozen
class OpenChart:
    """Display the values over time."""


@attrs.frozen
class OpenLink:
    """Open an address outside of the console. It comes from a template or a device: ask the user first."""

    url: str


@attrs.frozen
class Redraw:
    """The cell has changed, for example its draft."""


Action = Write | OpenChart | OpenLink | Redraw


def _finite(value: Any, default: float) -> float:
    found = as_number(value)
    return default if found is None else found


def as_number(value: Any) -> float | None:
    """Return a value as a finite number, or None."""
    if isinstance(value, bool | int | float):
        result = float(value)
    elif isinstance(value, str):
        try:
            result = float(value)
        except ValueError:
            return None
    else:
        return None
    return result if math.isfinite(result) else None


def plain(value: float, datastream: Datastream) -> float | int:
    """Return a number as it is written: an integer for datastreams of integers, else without the noise of sums."""
    return round(value) if datastream.type in {"integer", "enum"} else round(value, 9)


def display(value: Any, datastream: Datastream, marks: Marks, form: str = "") -> tuple[str, str]:
    """Return a value and its unit as clean text. ``form`` is a widget's format, as ``/value.#/ bar``."""
    if value is None:
        return "-" if marks.opening == "<" else "–", ""  # noqa: RUF001
    text, unit = _text(value, datastream), datastream.units
    if form and form != "/value/":
        text, unit = _FORMAT.sub(lambda match: _with_places(value, match[1], text), form), ""
    return clean(text, marks), clean(unit, marks)


def _text(value: Any, datastream: Datastream) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(part, datastream) for part in value)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if label := datastream.values.get(str(whole)):
        return label
    found = as_number(value) if datastream.is_number else None
    return str(value).replace(_NUL, ", ") if found is None else number(found, datastream.places)


def _with_places(value: Any, places: str | None, text: str) -> str:
    found = as_number(value)
    return text if places is None or found is None else number(found, len(places))
