"""Uplinks: whatever a device reports or asks for except single values, the same for every transport.

A transport decodes a message, calls one method of `Uplinks` with plain values, and translates the errors that it raises
to its own statuses. Single values go to `hub.write` without a detour.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from hub.domain.metadata import AUTH_TOKEN, BY_DEVICE, LAT_LON, NAME, OWNER, WrongValue
from hub.errors import Rejected, UnknownPin
from hub.parsing.spellings import is_printable, nfc
from hub.rate_limits import DailyQuota, TokenBucket
from hub.writes import Write

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.domain.connection_lifecycle import Lifecycles
    from hub.domain.devices import Devices
    from hub.domain.metadata import Metadata
    from hub.domain.properties import Properties
    from hub.domain.timeline import Timeline
    from hub.history import Receipt
    from hub.model import Datastream, Device, Template, TimelineEvent, Value
    from hub.sessions import Session, Sessions
    from hub.values import Raw
    from hub.writes import Writes

#: Values of one import (docs.blynk.io, Upload set of data).
MAX_IMPORT = 10_000
#: Characters of a template id that a device reports, in error texts.
MAX_TEMPLATE_ID = 40
#: Template versions whose pins are cached.
MAX_CACHED_TEMPLATES = 1_000
#: Rate limit for "did you mean …?" lookups, each of which takes some milliseconds: sustained per second, and burst.
SUGGESTION_RATE, SUGGESTION_BURST = 2.0, 30


class Uplinks:
    """What devices report and ask for."""

    def __init__(
        self,
        clock: Clock,
        writes: Writes,
        sessions: Sessions,
        devices: Devices,
        lifecycle: Lifecycles,
        metadata: Metadata,
        properties: Properties,
        timeline: Timeline,
        imports: DailyQuota,
        take_quota: Callable[[DailyQuota, Device, int, str], None],
        reject: Callable[[str, str, int], None],
        reject_unknown_pin: Callable[[Device, int, str], None],
    ) -> None:
        self._clock = clock
        self._writes = writes
        self._sessions = sessions
        self._devices = devices
        self._lifecycle = lifecycle
        self._metadata = metadata
        self._properties = properties
        self._timeline = timeline
        self._imports = imports
        self._take_quota = take_quota
        self._reject = reject
        self._reject_unknown_pin = reject_unknown_pin
        self._pins: dict[tuple[str, int], tuple[Template, dict[str, int]]] = {}
        self._suggestions = TokenBucket(SUGGESTION_RATE, SUGGESTION_BURST, clock.monotonic())

    # -- names ----------------------------------------------------------------------------------------------------

    def pins(self, template: Template) -> Mapping[str, int]:
        """Return a template's pins by the names of its datastreams."""
        key = (template.id, template.version)
        if len(self._pins) > MAX_CACHED_TEMPLATES:
            self._pins.clear()
        cached = self._pins.get(key)
        if cached is None or cached[0] is not template:
            cached = self._pins[key] = template, {stream.name: stream.pin for stream in template.datastreams}
        return cached[1]

    def datastream(self, device: Device, name: str) -> Datastream:
        """Return a device's datastream by its name. Raises `UnknownPin`, with the most similar name."""
        pins = self.pins(device.template)
        # The template has names in NFC; the device may use another form.
        pin = pins.get(name)
        if pin is None:
            pin = pins.get(nfc(name))
        if pin is None:
            name_of_pin = next((stream for stream, number in pins.items() if f"v{number}" == name.lower()), None)
            raise UnknownPin(
                self.describe_unknown("datastream", name, pins)
                if name_of_pin is None
                else f"{name} is a pin; the datastream is named {name_of_pin!r}"
            )
        point = device.points.get(pin)
        if point is None:
            raise UnknownPin(f"the device has no {name} any more")
        return point.datastream

    def _pin(self, device: Device, key: int | str) -> int:
        """Return the pin that a key is, or whose datastream it names. Raises `UnknownPin` for an unknown name."""
        return key if isinstance(key, int) else self.datastream(device, key).pin

    def describe_unknown(self, noun: str, name: str, candidates: Iterable[str]) -> str:
        """Return the error text for an unknown name of a ``noun`` ("event"), with the most similar candidate."""
        suggestion = self.suggest(name, candidates)
        return f"there is no {noun} {name[:50]!r}" + (f"; did you mean {suggestion!r}?" if suggestion else "")

    def suggest(self, name: str, candidates: Iterable[str]) -> str:
        """Return the candidate most similar to a misspelt name; "" if there is none, or over the rate limit."""
        self._suggestions.refill(self._clock.monotonic())
        if not self._suggestions.take():
            return ""
        lower = {candidate.lower(): candidate for candidate in candidates}
        similar = difflib.get_close_matches(name[:50].lower(), lower, 1, 0.5)
        return lower[similar[0]] if similar else ""

    # -- values ---------------------------------------------------------------------------------------------------

    def write_values(
        self,
        device: Device,
        values: Sequence[tuple[int | str, Raw]],
        via: str,
        *,
        address: str = "",
        session: Session | None = None,
    ) -> Receipt | None:
        """Write values with one timestamp, all or none. Return one receipt for all of them; None without values.

        Each is a pin, or the name of a datastream, with its value. ``session`` is the device's own, to which the values
        are not sent back; without a connection, the values may make the device online (templates with
        ``reports_data``). Raises as `Writes.write` does; a pin that the device's template does not have is recorded as
        a rejection of ``address``.
        """
        if not values:
            return None
        now, principal = self._clock.now(), device.as_principal()
        writes = [
            Write(device, self._pin(device, key), raw, via, principal, now, session, shared=True) for key, raw in values
        ]
        try:
            receipt = self._writes.write_all(writes)
        except UnknownPin:
            unknown = next((write.pin for write in writes if write.pin not in device.points), None)
            if unknown is not None:
                self._reject_unknown_pin(device, unknown, address)
            raise
        if session is None and self._sessions.get(device.id) is None:
            self._lifecycle.on_data(device)
        return receipt

    async def import_values(
        self, device: Device, points: Sequence[tuple[Datastream, int, Raw]], via: str
    ) -> Receipt | None:
        """Import values of the past, all or none, each with its time in milliseconds UTC.

        They count against the device's daily quota unless they are rejected. Return one receipt for all of them; None
        without values. Raises `Rejected`, `TooMany`, `Conflict`; see `Writes.import_points`.
        """
        if len(points) > MAX_IMPORT:
            raise Rejected(f"a batch has at most {MAX_IMPORT} values, not {len(points)}")
        self._take_quota(self._imports, device, len(points), "imported values")
        try:
            return await self._writes.import_points(device, points, via, device.as_principal())
        except Rejected:
            self._imports.give_back(device.id, len(points))
            raise

    def current_values(self, device: Device, pins: Iterable[int] | None = None) -> list[tuple[Datastream, Value]]:
        """Return the datastreams on some pins that have a value, with it; by default those with ``sync = true``."""
        if pins is None:
            pins = [pin for pin, point in device.points.items() if point.datastream.sync]
        streams = [device.points[pin].datastream for pin in pins if pin in device.points]
        values = [(stream, self._writes.current(device, stream)) for stream in streams]
        return [(stream, value) for stream, value in values if value is not None]

    # -- information, metadata, properties, events ----------------------------------------------------------------

    async def report_info(
        self,
        device: Device,
        info: Mapping[str, str],
        address: str,
        on_mismatch: Callable[[str], None] | None = None,
    ) -> None:
        """Store what a device reports of its firmware, by the keys of `HARDWARE`; the first report activates it.

        What is not printable is left out. Firmware for another template is recorded as a rejection; ``on_mismatch`` is
        called with its text before anything is stored, for transports that can send it to the device.
        """
        template = info.get("tmpl", device.template.id)
        if template != device.template.id:
            text = f"runs firmware for template {template[:MAX_TEMPLATE_ID]}, not {device.template.id}"
            if on_mismatch is not None:
                on_mismatch(text)
            self._reject(address, f"device {device.name} {text}", device.id)
        printable = {key: value for key, value in info.items() if is_printable(key + value)}
        await self._devices.update_firmware_info(device, printable)

    async def metadata(self, device: Device, name: str | int, token: str | None = None) -> tuple[str, str]:
        """Return the type and the value of a metadata field, by its name, or its number in the template from 1.

        A device that logged in with ``token`` may ask for it as "Auth Token", unless its template has a field of that
        name. Raises `NotFound`.
        """
        if name in (LAT_LON, NAME, OWNER):
            return "text", await self._metadata.get(device, str(name))
        if name == AUTH_TOKEN and token is not None and all(f.name != AUTH_TOKEN for f in device.template.metadata):
            return "text", token
        field = self._metadata.field(device, name)
        return field.type, await self._metadata.get(device, field.name)

    async def set_metadata(
        self,
        device: Device,
        name: str | int,
        value: str,
        types: AbstractSet[str] = BY_DEVICE,
        protected: str = "metadata field {name} has the type {type}, which devices cannot change",
    ) -> None:
        """Set a metadata field, durably.

        Raises `NotFound`, and `WrongValue` for a value that does not fit, or with the text ``protected`` for a field
        whose type is not in ``types``.
        """
        field = self._metadata.field(device, name)
        if field.type not in types:
            raise WrongValue(protected.format(name=name, type=field.type))
        await self._metadata.set(device, field.name, value, device.as_principal())

    async def location(self, device: Device) -> str:
        """Return a device's position as ``latitude,longitude`` in degrees; "" if it is unknown."""
        return (await self._metadata.get(device, LAT_LON)).replace(" ", ",")

    async def set_properties(
        self, device: Device, keys: Iterable[int | str], properties: Mapping[str, Sequence[str]]
    ) -> None:
        """Set widget properties of datastreams, by pin or name, all or none, durably. Raises as `Properties.set`."""
        await self._properties.set(device, [self._pin(device, key) for key in keys], properties)

    async def log_event(self, device: Device, code: str, description: str = "") -> TimelineEvent:
        """Log an event, durably. Raises as `Timeline.log`."""
        return await self._timeline.log(device, code, description)

    async def resolve_event(self, device: Device, code: str, *, every: bool = False) -> int:
        """Resolve the newest open event of a code, or every one; return how many there were."""
        return await self._timeline.resolve(device, code, every)

    async def add_note(self, device: Device, name: str, text: str) -> TimelineEvent:
        """Log a note that is not an event of the template. Raises `TooMany`, `StorageError`."""
        return await self._timeline.add_note(device, name, text)
