"""Several datastreams and devices at once, for charts: columns of times and values, or rows as CSV."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

import attrs
from hub.domain.units import Conversion

from hub import timezones
from hub.api import VIEW_DEVICES, Request, Route, Stream
from hub.domain.display import DeviceDisplay
from hub.errors import NotFound, Rejected
from hub.history.chunks import HOUR_MS, Statistics, combine
from hub.history.query import MAX_SERIES_PER_QUERY, Granularity
from hub.history.query import Aggregate as Numeric
from hub.model import Datastream, Device
from hub.model import DeviceDatastream as Place
from hub.values import to_json
from plugins.data.history_routes import CSV, Aggregate, Span, aggregated, csv_field, iso, zone_of

if TYPE_CHECKING:
    from hub.app import Hub

#: Lines of a chart, and points of one of them that are not asked for as a stream of their own.
MAX_SERIES, MAX_POINTS = 200, 100_000
#: Hours of all lines that are read at once: some tens of milliseconds.
MAX_HOURS = 80_000
#: How what several devices have at a time becomes one value.
Across = Literal["avg", "min", "max", "sum", "count"]


class Series(TypedDict):
    """A line of a chart: times (ms UTC) and what there is at each; ``more`` when there is more than is told.

    How the asker sees a value is ``value * factor + offset`` in the units of ``display``, which is null where that
    makes no sense. Of one device it has ``deviceId`` and ``device``, its name; of several the ids, ``devices``.
    """

    deviceId: NotRequired[int]
    device: NotRequired[str]
    devices: NotRequired[list[int]]
    pin: str
    name: str
    units: str
    display: Conversion | None
    ts: list[int]
    values: list[Any]
    more: bool


class Chart(TypedDict):
    """Several lines over the same time."""

    series: list[Series]


@attrs.frozen
class _Line:
    """One line of a chart: a datastream of one device, or of several whose values become one."""

    about: dict[str, Any]
    places: Sequence[Place]
    zone: str


def routes(hub: Hub) -> Sequence[Route]:
    async def history(
        request: Request,
        device_ids: tuple[int, ...],
        pins: tuple[str, ...],
        *,
        granularity: Granularity = "hour",
        aggregate: Aggregate = "avg",
        across: Across | None = None,
        format_: Literal["json", "csv"] = "json",
        span: Span,
        tz: str = "",
    ) -> Stream[Chart]:
        """``pins`` are pins ("V1") or datastreams' names; devices without one of them are passed over.

        With ``across`` what all devices have at a time becomes one line for each pin.
        """
        devices = [hub.access.device_for(request, number) for number in dict.fromkeys(device_ids)]
        wanted = list(dict.fromkeys(pins))
        if not devices or not wanted:
            raise Rejected("deviceIds and pins must name at least one each")
        if across is not None and granularity == "raw":
            raise Rejected("across needs a granularity of minute, hour or day")
        start, end = span.ends(hub.clock.now())
        viewers = {device.id: await hub.display.for_device(device, request.principal) for device in devices}
        kind = "raw" if granularity == "raw" else across or aggregate
        found = _lines(hub, devices, wanted, tz, across)
        for line in found:
            line.about["display"] = _display(viewers[line.places[0].device.id], line.places[0].datastream, kind)
        if not found:
            raise NotFound(f"None of the devices has a datastream {', '.join(wanted)[:100]}.")
        if len(found) > MAX_SERIES:
            raise Rejected(f"{len(found)} lines are meant, and at most {MAX_SERIES} can be")
        reader = _Reader(hub, granularity, across or aggregate, start, end)
        if format_ == "csv":
            return Stream(chunks=_csv(found, reader), type=CSV)
        return Stream(chunks=_json(found, reader), type="application/json")

    about = "What several datastreams and devices held"
    media = ("application/json", CSV)
    return [Route("GET", "/api/v1/history", history, VIEW_DEVICES, about, media=media)]


def _lines(hub: Hub, devices: Sequence[Device], pins: Sequence[str], tz: str, across: Across | None) -> list[_Line]:
    lines = []
    for pin in pins:
        places = []
        for device in devices:
            try:
                places.append(device.find(pin))
            except Rejected:
                continue
        if across is not None and places:
            zone = zone_of(hub, places[0].device, tz)
            about = _about(places[0]) | {"devices": [place.device.id for place in places]}
            lines.append(_Line(about, places, zone))
        elif across is None:
            lines += [
                _Line({"deviceId": place.device.id, "device": place.device.name} | _about(place), [place], zone)
                for place in places
                for zone in [zone_of(hub, place.device, tz)]
            ]
    return lines


def _about(place: Place) -> dict[str, Any]:
    stream = place.datastream
    return {"pin": f"v{stream.pin}", "name": stream.name, "units": stream.units}


def _display(viewer: DeviceDisplay, stream: Datastream, kind: str) -> dict[str, Any] | None:
    """How somebody sees values of a ``kind``; None where the unit is no longer that of the values."""
    found = viewer.conversion_for(stream)
    if stream.type not in ("integer", "double"):
        return None
    if kind == "count" or (kind == "sum" and found.offset):
        return None
    return attrs.asdict(found)


class _Reader:
    """Reads a line of a chart: its times, and what there is at each."""

    def __init__(self, hub: Hub, granularity: Granularity, aggregate: str, start: int, end: int) -> None:
        self._hub = hub
        self._granularity = granularity
        self._aggregate = aggregate
        self._start = start
        self._end = end
        #: Lines that are read at once: others read between them.
        self.together = max(1, min(MAX_SERIES_PER_QUERY, MAX_HOURS * HOUR_MS // max(1, end - start)))

    async def read(self, line: _Line, start: int | None = None) -> tuple[list[int], list[Any], bool]:
        """Times (ms UTC) from ``start`` on, values, and whether there are more than are given."""
        start = self._start if start is None else start
        if start >= self._end:
            return [], [], False
        if self._granularity == "raw":
            return await self._points(line.places[0], start)
        if len(line.places) == 1:
            found = [bucket async for bucket in self._buckets(line.places[0], line.zone, start)]
        else:
            by_time: dict[int, list[Statistics]] = {}
            for place in line.places:
                async for at, one in self._buckets(place, line.zone, start):
                    by_time.setdefault(at, []).append(one)
            found = [(at, combine(several)) for at, several in sorted(by_time.items())]
        name = self._aggregate
        return [at for at, _ in found], [to_json(aggregated(one, name)) for _, one in found], False

    async def as_json(self, lines: Sequence[_Line]) -> list[bytes]:
        """Some lines as JSON; years of hours as the database itself writes them."""
        quick = [line.places[0].series for line in lines if self._is_quick(line)]
        early: dict[int, tuple[str, str, int]] = {}
        if quick:
            what = cast("Numeric", self._aggregate)
            found = await self._hub.history.hours_as_json(quick, self._start, self._end, what)
            early = dict(zip(quick, found, strict=True))
        nothing = ("[]", "[]", self._start)
        return [await self._as_json(line, early.get(line.places[0].series, nothing)) for line in lines]

    def _is_quick(self, line: _Line) -> bool:
        if self._granularity != "hour" or len(line.places) > 1 or self._aggregate == "last":
            return False
        return timezones.has_whole_hours(line.zone, self._start, self._end)

    async def _as_json(self, line: _Line, early: tuple[str, str, int]) -> bytes:
        """A line, of which ``early`` are times and values, and up to when they go."""
        times, values, more = await self.read(line, early[2])
        ts, found = _joined(early[0], json.dumps(times)), _joined(early[1], json.dumps(values))
        head = json.dumps(line.about, ensure_ascii=False)[:-1]
        return f'{head}, "ts": {ts}, "values": {found}, "more": {json.dumps(more)}}}'.encode()

    async def _points(self, place: Place, start: int) -> tuple[list[int], list[Any], bool]:
        times: list[int] = []
        values: list[Any] = []
        async with aclosing(self._hub.history.points(place.series, start, self._end)) as pieces:
            async for piece in pieces:
                room = MAX_POINTS - len(times)
                times += [at for at, _ in piece[:room]]
                values += [to_json(value) for _, value in piece[:room]]
                if len(piece) > room:
                    return times, values, True
        return times, values, False

    async def _buckets(self, place: Place, zone: str, start: int) -> AsyncIterator[tuple[int, Statistics]]:
        async for piece in self._hub.history.buckets(place.series, start, self._end, self._granularity, zone):
            for bucket in piece:
                yield bucket


async def _json(lines: Sequence[_Line], reader: _Reader) -> AsyncGenerator[bytes, None]:
    before = b'{"series":['
    for first in range(0, len(lines), reader.together):
        for line in await reader.as_json(lines[first : first + reader.together]):
            yield before + line
            before = b","
    yield b"]}"


def _joined(first: str, then: str) -> str:
    """Two arrays of JSON as one."""
    if first == "[]":
        return then
    return first if then == "[]" else f"{first[:-1]},{then[1:]}"


async def _csv(lines: Sequence[_Line], reader: _Reader) -> AsyncGenerator[bytes, None]:
    yield b"time,device,name,value\n"
    for line in lines:
        times, values, _ = await reader.read(line)
        head = f"{csv_field(line.about.get('device', 'all'))},{csv_field(line.about['name'])}"
        rows = (f"{iso(at)},{head},{csv_field(value)}\n" for at, value in zip(times, values, strict=True))
        yield "".join(rows).encode()
