"""The route for charts: many datastreams and devices in one answer, as columns of times and values or as CSV."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

import attrs

from hub import Datastream, Device, DeviceDatastream, NotFound, Rejected, Request, Route, Stream
from hub.api import VIEW_DEVICES
from hub.domain import Conversion, DeviceDisplay
from hub.history import HOUR_MS, MAX_SERIES_PER_QUERY, Granularity, Statistics, combine
from hub.history import Aggregate as Numeric
from hub.parsing import timezones
from hub.values import to_json
from plugins.data.formats import CSV, csv_field, iso_time
from plugins.data.parameters import Aggregate, TimeRange, aggregate_of, time_zone

if TYPE_CHECKING:
    from hub import Hub

#: Lines of one chart.
MAX_SERIES = 200
#: Points of one line; more of them are in the history of the datastream, which is streamed.
MAX_POINTS = 100_000
#: Hours of all lines that are read in one query, which takes some tens of milliseconds.
MAX_HOURS = 80_000
#: How the values that several devices have at a time become one value.
Across = Literal["avg", "min", "max", "sum", "count"]


class Series(TypedDict):
    """A line of a chart: times (ms UTC) and the value at each; ``more`` if the line was cut off.

    ``value * factor + offset`` of ``display`` is the value in the caller's units; ``display`` is null if the values
    cannot be converted. A line of one device has ``deviceId`` and ``device``, its name; a line of several devices has
    their ids, ``devices``.
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
    """Lines over the same time."""

    series: list[Series]


@attrs.frozen
class _Line:
    """A line of a chart: the values of one datastream, or of datastreams of several devices taken together.

    ``head`` has the fields of `Series` besides the columns; days are those of ``zone``.
    """

    head: dict[str, Any]
    sources: Sequence[DeviceDatastream]
    zone: str


class ChartRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def history(
        self,
        request: Request,
        device_ids: tuple[int, ...],
        pins: tuple[str, ...],
        *,
        granularity: Granularity = "hour",
        aggregate: Aggregate = "avg",
        across: Across | None = None,
        format_: Literal["json", "csv"] = "json",
        time_range: TimeRange,
        tz: str = "",
    ) -> Stream[Chart]:
        """``pins`` are pins ("V1") or names of datastreams; devices without such a datastream are skipped.

        With ``across`` the values that all devices have at a time become one line for each pin.
        """
        hub = self._hub
        devices = [hub.access.device_for(request, number) for number in dict.fromkeys(device_ids)]
        selected = list(dict.fromkeys(pins))
        if not devices or not selected:
            raise Rejected("deviceIds and pins must each have at least one entry")
        if across is not None and granularity == "raw":
            raise Rejected("across needs a granularity of minute, hour or day")
        start, end = time_range.bounds(hub.clock.now())
        displays = {device.id: await hub.display.for_device(device, request.principal) for device in devices}
        kind = "raw" if granularity == "raw" else across or aggregate
        lines = self._lines(devices, selected, tz, displays, kind, together=across is not None)
        if not lines:
            raise NotFound(f"None of the devices has a datastream {', '.join(selected)[:100]}.")
        if len(lines) > MAX_SERIES:
            raise Rejected(
                f"The chart would have {len(lines)} lines; select fewer devices or pins, for at most {MAX_SERIES}."
            )
        reader = _Reader(hub, granularity, across or aggregate, start, end)
        if format_ == "csv":
            return Stream(chunks=_csv(lines, reader), type=CSV)
        return Stream(chunks=_json(lines, reader), type="application/json")

    def _lines(
        self,
        devices: Sequence[Device],
        pins: Sequence[str],
        tz: str,
        displays: Mapping[int, DeviceDisplay],
        kind: str,
        *,
        together: bool,
    ) -> list[_Line]:
        """Return a line for each pin and device; if the devices are taken ``together``, one for each pin."""
        lines = []
        for pin in pins:
            sources = _sources(devices, pin)
            for line_sources in [sources] if together else [[source] for source in sources]:
                if line_sources:
                    head = _head(line_sources, together=together)
                    device, datastream = line_sources[0].device, line_sources[0].datastream
                    head["display"] = _display(displays[device.id], datastream, kind)
                    lines.append(_Line(head, line_sources, time_zone(self._hub, device, tz)))
        return lines


def routes(hub: Hub) -> Sequence[Route]:
    api = ChartRoutes(hub)
    summary, media = "The history of several datastreams and devices", ("application/json", CSV)
    return [Route("GET", "/api/v1/history", api.history, VIEW_DEVICES, summary, media=media)]


def _sources(devices: Sequence[Device], pin: str) -> list[DeviceDatastream]:
    """Return the datastream of each device that has one on this pin, or of this name."""
    sources = []
    for device in devices:
        try:
            sources.append(device.find(pin))
        except Rejected:
            continue
    return sources


def _head(sources: Sequence[DeviceDatastream], *, together: bool) -> dict[str, Any]:
    device, datastream = sources[0].device, sources[0].datastream
    about = {"pin": f"v{datastream.pin}", "name": datastream.name, "units": datastream.units}
    if together:
        return about | {"devices": [source.device.id for source in sources]}
    return {"deviceId": device.id, "device": device.name} | about


def _display(display: DeviceDisplay, datastream: Datastream, kind: str) -> dict[str, Any] | None:
    """Return the conversion of values of a ``kind`` (an aggregate, or "raw") to the caller's units, as JSON.

    None for values that are not numbers in the datastream's unit; and for sums if zero is not the same in both units.
    """
    conversion = display.conversion_for(datastream)
    if datastream.type not in ("integer", "double"):
        return None
    if kind == "count" or (kind == "sum" and conversion.offset):
        return None
    return attrs.asdict(conversion)


class _Reader:
    """Reads the columns of lines: their times, and the value at each."""

    def __init__(self, hub: Hub, granularity: Granularity, aggregate: str, start: int, end: int) -> None:
        self._hub = hub
        self._granularity = granularity
        self._aggregate = aggregate
        self._start = start
        self._end = end
        #: Lines that one query reads; between two queries other tasks can read.
        self.lines_per_query = max(1, min(MAX_SERIES_PER_QUERY, MAX_HOURS * HOUR_MS // max(1, end - start)))

    async def read(self, line: _Line, start: int | None = None) -> tuple[list[int], list[Any], bool]:
        """Return the times (ms UTC) from ``start`` on, the values, and whether the line was cut off."""
        start = self._start if start is None else start
        if start >= self._end:
            return [], [], False
        if self._granularity == "raw":
            return await self._points(line.sources[0], start)
        if len(line.sources) == 1:
            buckets = [bucket async for bucket in self._buckets(line.sources[0], line.zone, start)]
        else:
            by_time: dict[int, list[Statistics]] = {}
            for source in line.sources:
                async for at, statistics in self._buckets(source, line.zone, start):
                    by_time.setdefault(at, []).append(statistics)
            buckets = [(at, combine(several)) for at, several in sorted(by_time.items())]
        values = [to_json(aggregate_of(statistics, self._aggregate)) for _, statistics in buckets]
        return [at for at, _ in buckets], values, False

    async def as_json(self, lines: Sequence[_Line]) -> list[bytes]:
        """Return lines as JSON. Hours of the past come as JSON from the database: years of them are fast that way."""
        series = [line.sources[0].series for line in lines if self._can_read_json(line)]
        columns: dict[int, tuple[str, str, int]] = {}
        if series:
            aggregate = cast("Numeric", self._aggregate)
            json_columns = await self._hub.history.hours_as_json(series, self._start, self._end, aggregate)
            columns = dict(zip(series, json_columns, strict=True))
        none = ("[]", "[]", self._start)
        return [await self._line_as_json(line, *columns.get(line.sources[0].series, none)) for line in lines]

    def _can_read_json(self, line: _Line) -> bool:
        """Return whether `History.hours_as_json` can read the line."""
        if self._granularity != "hour" or len(line.sources) > 1 or self._aggregate == "last":
            return False
        return timezones.has_whole_hours(line.zone, self._start, self._end)

    async def _line_as_json(self, line: _Line, times: str, values: str, start: int) -> bytes:
        """Return a line as JSON, given its columns up to ``start``; the rest is read."""
        late_times, late_values, more = await self.read(line, start)
        times, values = _joined(times, json.dumps(late_times)), _joined(values, json.dumps(late_values))
        head = json.dumps(line.head, ensure_ascii=False)[:-1]
        return f'{head}, "ts": {times}, "values": {values}, "more": {json.dumps(more)}}}'.encode()

    async def _points(self, source: DeviceDatastream, start: int) -> tuple[list[int], list[Any], bool]:
        times: list[int] = []
        values: list[Any] = []
        async with aclosing(self._hub.history.points(source.series, start, self._end)) as slices:
            async for points in slices:
                space = MAX_POINTS - len(times)
                times += [at for at, _ in points[:space]]
                values += [to_json(value) for _, value in points[:space]]
                if len(points) > space:
                    return times, values, True
        return times, values, False

    async def _buckets(self, source: DeviceDatastream, zone: str, start: int) -> AsyncIterator[tuple[int, Statistics]]:
        async for buckets in self._hub.history.buckets(source.series, start, self._end, self._granularity, zone):
            for bucket in buckets:
                yield bucket


async def _json(lines: Sequence[_Line], reader: _Reader) -> AsyncGenerator[bytes, None]:
    separator = b'{"series":['
    for first in range(0, len(lines), reader.lines_per_query):
        for line in await reader.as_json(lines[first : first + reader.lines_per_query]):
            yield separator + line
            separator = b","
    yield b"]}"


def _joined(first: str, second: str) -> str:
    """Return two JSON arrays as one."""
    if first == "[]":
        return second
    return first if second == "[]" else f"{first[:-1]},{second[1:]}"


async def _csv(lines: Sequence[_Line], reader: _Reader) -> AsyncGenerator[bytes, None]:
    yield b"time,device,name,value\n"
    for line in lines:
        times, values, _ = await reader.read(line)
        head = f"{csv_field(line.head.get('device', 'all'))},{csv_field(line.head['name'])}"
        rows = (f"{iso_time(at)},{head},{csv_field(value)}\n" for at, value in zip(times, values, strict=True))
        yield "".join(rows).encode()
