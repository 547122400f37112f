"""Device reports: values and events as CSV files in a zip, behind a link that cannot be guessed and that expires.

``GET /external/api/data/get`` has the parameters, answers and errors of docs.blynk.io, Get device report.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import zipfile
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import attrs
import trio

from hub import (
    DEVICE,
    OFFLINE,
    ONLINE,
    PUBLIC,
    Datastream,
    Device,
    DeviceDatastream,
    File,
    NotFound,
    Rejected,
    Request,
    Response,
    Route,
    TimelineEvent,
)
from hub.datadir import partial_of, publish
from hub.domain import MAX_PAGE, TimelineFilter
from hub.history import Granularity, Statistics
from hub.parsing import timezones
from hub.parsing.structuring import Duration, seconds
from plugins.data.formats import csv_field
from plugins.data.parameters import aggregate_of

if TYPE_CHECKING:
    from hub import Hub

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
#: The values of each parameter, and what they stand for.
PERIODS = {"HOUR": DAY_MS // 24, "DAY": DAY_MS, "WEEK": 7 * DAY_MS, "MONTH": 30 * DAY_MS, "THREE_MONTHS": 90 * DAY_MS}
GRANULARITIES: dict[str, Granularity] = {"RAW_DATA": "raw", "MINUTE": "minute", "HOURLY": "hour", "DAILY": "day"}
SOURCES = {"AVG": "avg", "MIN": "min", "MAX": "max", "SUM": "sum", "COUNT": "count"}
#: Formats of stamps for `strftime`; "" is milliseconds.
FORMATS = {"TS": "", "ISO_US": "%m/%d/%y %I:%M:%S %p", "ISO_SIMPLE": "%Y-%m-%d %H:%M:%S"}
#: Parameters of a fixed set of values: their default, and their name in Blynk's message about an unknown value, of
#: which only that for ``period`` is documented.
ENUMS: dict[str, tuple[str, str, Collection[str]]] = {
    "period": ("MONTH", "Period", PERIODS),
    "granularityType": ("RAW_DATA", "GraphGranularityType", GRANULARITIES),
    "sourceType": ("AVG", "SourceType", SOURCES),
    "format": ("TS", "Format", FORMATS),
}
ENUM_PACKAGE = "cc.blynk.server.core.model.widgets.outputs.graph"
PARAMETERS = {*ENUMS, "tzName", "sendEvents", "dataStreamId", "pin", "output"}
#: Values of ``output``, a parameter of older pages of docs.blynk.io. The answer is JSON with a link for all of them.
OUTPUTS = ("FILE", "JSON")
#: Types of datastreams whose values have averages and sums; reports have the last value of others.
NUMERIC = ("integer", "double")
#: Seconds between two searches for expired reports.
SWEEP_INTERVAL = 60.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.data]``: how long a report can be fetched."""

    keep_reports: Duration = "1d"


class BadReport(Rejected):
    """A request that docs.blynk.io answers with 500."""


@attrs.frozen(kw_only=True)
class Report:
    """The contents of a report: values (and ``events``) from ``start`` to before ``end``, in ms UTC.

    ``source`` is the aggregate of a minute, an hour or a day; ``time_format`` is one of `FORMATS`.
    """

    device: Device
    datastreams: Sequence[DeviceDatastream]
    start: int
    end: int
    granularity: Granularity
    source: str
    zone: str
    time_format: str
    events: bool


class ReportRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def make(self, request: Request) -> Response:
        try:
            path = await _write(self._hub, await _report(self._hub, request))
        except BadReport as error:
            return _compact({"error": {"message": str(error)}}, 500)
        return _compact({"link": self._hub.link(f"/reports/{path.parent.name}/{path.name}", request)})

    async def fetch(self, request: Request) -> File:
        _, _, key, name = request.path.split("/", 3)
        if re.fullmatch(r"[A-Za-z0-9_-]{20,64}", key) is None or re.fullmatch(r"[A-Za-z0-9_-]+\.zip", name) is None:
            raise NotFound("There is no such report.")
        path = _folder(self._hub) / key / name
        if not path.is_file() or _is_expired(self._hub, path):
            raise NotFound("There is no such report, or it has expired.")
        return File(path=path, type="application/zip", name=name)


def routes(hub: Hub) -> Sequence[Route]:
    api = ReportRoutes(hub)
    zipped = ("application/zip",)
    return [
        Route("GET", "/external/api/data/get", api.make, DEVICE, "Make a report of values and events", raw_query=True),
        Route("GET", "/reports/{key}/{name}", api.fetch, PUBLIC, "Fetch a report by its link", media=zipped),
    ]


def _compact(body: dict[str, Any], status: int = 200) -> Response:
    """Return JSON without spaces, to the byte as docs.blynk.io has it: sketches search for ``{"link":"``."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(body=text, status=status, type="application/json")


def _folder(hub: Hub) -> Path:
    return hub.config.data / "reports"


def _is_expired(hub: Hub, path: Path) -> bool:
    keep = seconds(hub.settings(Settings).keep_reports)
    return path.stat().st_mtime + keep < hub.clock.now() / 1000


async def expire(hub: Hub) -> None:
    """Delete expired reports, and at first those that a stop left unfinished; until cancelled."""
    for path in _folder(hub).glob("*/*.partial"):
        path.unlink()
    while True:
        for path in _folder(hub).glob("*/*.zip"):
            if _is_expired(hub, path):
                path.unlink()
                path.parent.rmdir()
        await trio.sleep(SWEEP_INTERVAL)


async def _report(hub: Hub, request: Request) -> Report:
    """Return the report that a request is for. Raises `Rejected`, `BadReport`, `TooMany`."""
    device, pairs = await hub.access.authenticate_device(request)
    given = {key: value or "" for key, value in pairs}
    if given.keys() - PARAMETERS or given.get("output", "FILE") not in OUTPUTS:
        raise Rejected("Request with incorrect parameters")
    chosen = {}
    for name, (default, enum, values) in ENUMS.items():
        chosen[name] = given.get(name, default)
        if chosen[name] not in values:
            raise BadReport(f"No enum constant {ENUM_PACKAGE}.{enum}.{chosen[name][:40]}")
    if chosen["period"] == "THREE_MONTHS" and chosen["granularityType"] == "RAW_DATA":
        raise Rejected("Request with incorrect parameters")
    zone, events = given.get("tzName", "UTC"), given.get("sendEvents", "false")
    if not timezones.is_known(zone) or events not in ("true", "false"):
        raise Rejected("Request with incorrect parameters")
    datastreams = _datastreams(device, given)
    hub.take_quota(hub.exports, device, 1, "reports")
    end = hub.clock.now() + 1
    return Report(
        device=device,
        datastreams=datastreams,
        start=end - PERIODS[chosen["period"]],
        end=end,
        granularity=GRANULARITIES[chosen["granularityType"]],
        source=SOURCES[chosen["sourceType"]],
        zone=zone,
        time_format=FORMATS[chosen["format"]],
        events=events == "true",
    )


def _datastreams(device: Device, given: dict[str, str]) -> Sequence[DeviceDatastream]:
    """Return the datastreams that the parameters select: one, or all in the order of their pins."""
    if number := given.get("dataStreamId"):
        datastream = device.point(int(number[:12])) if number.isascii() and number.isdecimal() else None
        if datastream is None:
            raise Rejected(f"Requested dataStream doesn't exist in the product {device.template.name}")
        return [datastream]
    if pin := given.get("pin"):
        if re.fullmatch(r"[vV][0-9]{1,3}", pin) is None or int(pin[1:]) not in device.points:
            raise BadReport("Wrong pin format.")
        return [device.points[int(pin[1:])]]
    return [device.points[pin] for pin in sorted(device.points)]


async def _write(hub: Hub, report: Report) -> Path:
    """Write a report; return its file. Raises `BadReport` when there is nothing to report."""
    stamp = datetime.fromtimestamp(report.end / 1000, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H-%M-%S")
    path = _folder(hub) / secrets.token_urlsafe(24) / f"device_data_{report.device.id}_{stamp}.zip"
    path.parent.mkdir(parents=True, mode=0o700)
    partial = partial_of(path)
    count = 0
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for source in report.datastreams:
                name = re.sub(r"[^A-Za-z0-9_-]+", "_", source.datastream.name)
                with archive.open(f"v{source.datastream.pin}_{name}.csv", "w", force_zip64=True) as member:
                    count += await _write_csv(member, report, ("time", "value"), _value_rows(hub, report, source))
            if report.events:
                with archive.open("events.csv", "w") as member:
                    columns = ("time", "code", "type", "name", "description", "resolved")
                    count += await _write_csv(member, report, columns, _event_rows(hub, report))
        if not count:
            raise BadReport("No data")
        await trio.to_thread.run_sync(publish, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        path.parent.rmdir()
        raise
    return path


async def _write_csv(
    member: IO[bytes],
    report: Report,
    columns: Sequence[str],
    slices: AsyncIterator[Iterable[tuple[int, Sequence[Any]]]],
) -> int:
    """Write rows of (stamp, other cells) into a file of the zip; return how many. A thread compresses them."""
    zone, time_format = timezones.zone(report.zone), report.time_format
    text = TextIOWrapper(member, "utf-8", newline="", write_through=True)
    text.write(",".join(columns) + "\n")
    count = 0
    async for rows in slices:
        lines = []
        for at, cells in rows:
            time = datetime.fromtimestamp(at / 1000, zone).strftime(time_format) if time_format else str(at)
            lines.append(",".join((csv_field(time), *map(csv_field, cells))))
        count += len(lines)
        if lines:
            await trio.to_thread.run_sync(text.write, "\n".join(lines) + "\n")
    text.detach()
    return count


async def _value_rows(
    hub: Hub, report: Report, source: DeviceDatastream
) -> AsyncIterator[list[tuple[int, tuple[Any]]]]:
    if report.granularity == "raw":
        async for points in hub.history.points(source.series, report.start, report.end):
            yield [(at, (value,)) for at, value in points]
        return
    slices = hub.history.buckets(source.series, report.start, report.end, report.granularity, report.zone)
    async for buckets in slices:
        yield [(start, (_summary(statistics, report.source, source.datastream),)) for start, statistics in buckets]


def _summary(statistics: Statistics, source: str, datastream: Datastream) -> Any:
    """Return the value of a minute, an hour or a day: its aggregate, or the last value if that does not exist."""
    if source == "count":
        return statistics.count
    value = aggregate_of(statistics, source) if datastream.type in NUMERIC else None
    return statistics.last if value is None else value


async def _event_rows(hub: Hub, report: Report) -> AsyncIterator[list[tuple[int, tuple[Any, ...]]]]:
    event_filter = TimelineFilter(devices=[report.device.id], archived=None, start=report.start, end=report.end)
    page, total = 0, 1
    while page * MAX_PAGE < total:
        events, total = await hub.timeline.find(event_filter, page, MAX_PAGE)
        yield [
            (e.ts, (e.code, e.type, e.name, e.description, cast("Any", e.resolved)))
            for e in events
            if _is_reported(e, report.device)
        ]
        page += 1


def _is_reported(event: TimelineEvent, device: Device) -> bool:
    """Whether a report contains an event; the template may leave out changes of status."""
    if event.type not in (ONLINE, OFFLINE, "status"):
        return True
    settings = device.template.lifecycle.settings(event.code)
    return settings is None or settings.include_in_reports
