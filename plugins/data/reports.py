"""Reports: what a device told, as CSV files in a zip behind a link that nobody can guess and that ends after a while.

``GET /external/api/data/get`` with the parameters, answers and mistakes of docs.blynk.io, Get device report.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import zipfile
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import attrs
import trio

from hub import timezones
from hub.api import DEVICE, PUBLIC, File, Request, Response, Route
from hub.datadir import partial_of, publish
from hub.domain.timeline import MAX_PAGE, TimelineFilter
from hub.errors import NotFound, Rejected
from hub.history.chunks import Statistics
from hub.history.query import Granularity
from hub.model import Datastream, Device
from hub.model import DeviceDatastream as Place
from hub.structuring import Duration, seconds
from plugins.data.history_routes import aggregated, csv_field

if TYPE_CHECKING:
    from hub.app import Hub

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
PERIODS = {"HOUR": DAY_MS // 24, "DAY": DAY_MS, "WEEK": 7 * DAY_MS, "MONTH": 30 * DAY_MS, "THREE_MONTHS": 90 * DAY_MS}
GRANULARITIES: dict[str, Granularity] = {"RAW_DATA": "raw", "MINUTE": "minute", "HOURLY": "hour", "DAILY": "day"}
SOURCES = ("AVG", "MIN", "MAX", "SUM", "COUNT")
#: How a stamp is written: milliseconds, or as `strftime` does.
FORMATS = {"TS": "", "ISO_US": "%m/%d/%y %I:%M:%S %p", "ISO_SIMPLE": "%Y-%m-%d %H:%M:%S"}
#: What the parameters are called in Blynk's words for a value that is none; only that of ``period`` is documented.
ENUMS: dict[str, tuple[str, Iterable[str]]] = {
    "period": ("Period", PERIODS),
    "granularityType": ("GraphGranularityType", GRANULARITIES),
    "sourceType": ("SourceType", SOURCES),
    "format": ("Format", FORMATS),
}
ENUM_PACKAGE = "cc.blynk.server.core.model.widgets.outputs.graph"
#: Values of ``output``, which older pages of docs.blynk.io have: what is answered is JSON with a link to a file anyway.
OUTPUTS = ("FILE", "JSON")
#: Types whose values have averages and sums; of others a report has the last one of each minute, hour or day.
MEASURES = ("integer", "double")
#: Seconds between two looks for reports whose time is over.
LOOK_EVERY = 60.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.data]``: how long a report can be fetched."""

    keep_reports: Duration = "1d"


class BadReport(Rejected):
    """What docs.blynk.io answers with 500."""


@attrs.frozen
class Report:
    """What goes into a zip."""

    device: Device
    places: Sequence[Place]
    start: int
    end: int
    granularity: Granularity
    source: str
    zone: str
    form: str
    events: bool


def routes(hub: Hub) -> Sequence[Route]:
    async def get(request: Request) -> Response:
        try:
            report = _report(hub, request)
            path = await _write(hub, report)
        except BadReport as error:
            return _compact({"error": {"message": str(error)}}, 500)
        return _compact({"link": hub.link(f"/reports/{path.parent.name}/{path.name}", request)})

    async def fetch(request: Request) -> File:
        _, _, key, name = request.path.split("/", 3)
        if re.fullmatch(r"[A-Za-z0-9_-]{20,64}", key) is None or re.fullmatch(r"[A-Za-z0-9_-]+\.zip", name) is None:
            raise NotFound("There is no such report.")
        path = folder(hub) / key / name
        if not path.is_file() or _is_over(hub, path):
            raise NotFound("There is no such report, or its time is over.")
        return File(path=path, type="application/zip", name=name)

    return [
        Route(
            method="GET",
            path="/external/api/data/get",
            handler=get,
            permission=DEVICE,
            summary="Make a report of values and events",
            raw_query=True,
        ),
        Route(
            method="GET",
            path="/reports/{key}/{name}",
            handler=fetch,
            permission=PUBLIC,
            summary="Fetch a report by its link",
            media=("application/zip",),
        ),
    ]


def _compact(body: dict[str, Any], status: int = 200) -> Response:
    """JSON without spaces, to the byte as docs.blynk.io has it: sketches search for ``{"link":"``."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(body=text, status=status, type="application/json")


def folder(hub: Hub) -> Path:
    return hub.config.data / "reports"


def _is_over(hub: Hub, path: Path) -> bool:
    keep = seconds(hub.settings(Settings).keep_reports)
    return path.stat().st_mtime + keep < hub.clock.now() / 1000


async def expire(hub: Hub) -> None:
    """Delete reports whose time is over, and what a stop left unfinished; until cancelled."""
    for path in folder(hub).glob("*/*.partial"):
        path.unlink()
    while True:
        for path in folder(hub).glob("*/*.zip"):
            if _is_over(hub, path):
                path.unlink()
                path.parent.rmdir()
        await trio.sleep(LOOK_EVERY)


def _report(hub: Hub, request: Request) -> Report:
    """What a request asks for. Raises `Rejected`, `BadReport`, `TooMany`."""
    device, pairs = hub.access.authenticate_device(request)
    given = {key: value or "" for key, value in pairs}
    known = {*ENUMS, "tzName", "sendEvents", "dataStreamId", "pin", "output"}
    if given.keys() - known or given.get("output", "FILE") not in OUTPUTS:
        raise Rejected("Request with incorrect parameters")
    chosen = {}
    for name, (kind, values) in ENUMS.items():
        usual = {"period": "MONTH", "granularityType": "RAW_DATA", "sourceType": "AVG", "format": "TS"}[name]
        chosen[name] = given.get(name, usual)
        if chosen[name] not in tuple(values):
            raise BadReport(f"No enum constant {ENUM_PACKAGE}.{kind}.{chosen[name][:40]}")
    if chosen["period"] == "THREE_MONTHS" and chosen["granularityType"] == "RAW_DATA":
        raise Rejected("Request with incorrect parameters")
    zone = given.get("tzName", "UTC")
    if not timezones.is_known(zone) or given.get("sendEvents", "false") not in ("true", "false"):
        raise Rejected("Request with incorrect parameters")
    places = _places(device, given)
    hub.take_quota(hub.exports, device, 1, "reports")
    end = hub.clock.now() + 1
    return Report(
        device,
        places,
        end - PERIODS[chosen["period"]],
        end,
        GRANULARITIES[chosen["granularityType"]],
        chosen["sourceType"].lower(),
        zone,
        FORMATS[chosen["format"]],
        given.get("sendEvents") == "true",
    )


def _places(device: Device, given: dict[str, str]) -> Sequence[Place]:
    if number := given.get("dataStreamId"):
        place = device.point(int(number[:12])) if number.isascii() and number.isdecimal() else None
        if place is None:
            raise Rejected(f"Requested dataStream doesn't exist in the product {device.template.name}")
        return [place]
    if pin := given.get("pin"):
        if re.fullmatch(r"[vV][0-9]{1,3}", pin) is None or int(pin[1:]) not in device.points:
            raise BadReport("Wrong pin format.")
        return [device.points[int(pin[1:])]]
    return [device.points[pin] for pin in sorted(device.points)]


async def _write(hub: Hub, report: Report) -> Path:
    """Write a report; returns its file. Raises `BadReport` when there is nothing to report."""
    stamp = datetime.fromtimestamp(report.end / 1000, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H-%M-%S")
    path = folder(hub) / secrets.token_urlsafe(24) / f"device_data_{report.device.id}_{stamp}.zip"
    path.parent.mkdir(parents=True, mode=0o700)
    partial = partial_of(path)
    count = 0
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for place in report.places:
                stream = place.datastream
                name = re.sub(r"[^A-Za-z0-9_-]+", "_", stream.name)
                with archive.open(f"v{stream.pin}_{name}.csv", "w", force_zip64=True) as member:
                    count += await _fill(member, report, _rows(hub, report, place), ("time", "value"))
            if report.events:
                with archive.open("events.csv", "w") as member:
                    columns = ("time", "code", "type", "name", "description", "resolved")
                    count += await _fill(member, report, _events(hub, report), columns)
        if not count:
            raise BadReport("No data")
        await trio.to_thread.run_sync(publish, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        path.parent.rmdir()
        raise
    return path


async def _fill(
    member: IO[bytes],
    report: Report,
    pieces: AsyncIterator[Iterable[tuple[int, Sequence[Any]]]],
    columns: Sequence[str],
) -> int:
    """Write rows of (stamp, values) as CSV; returns how many. Deflating is a thread's work: others get their turn."""
    zone = timezones.zone(report.zone)
    text = TextIOWrapper(member, "utf-8", newline="", write_through=True)
    text.write(",".join(columns) + "\n")
    count = 0
    async for piece in pieces:
        lines = []
        for at, values in piece:
            when = datetime.fromtimestamp(at / 1000, zone).strftime(report.form) if report.form else str(at)
            lines.append(",".join((csv_field(when), *map(csv_field, values))))
        count += len(lines)
        if lines:
            await trio.to_thread.run_sync(text.write, "\n".join(lines) + "\n")
    text.detach()
    return count


async def _rows(hub: Hub, report: Report, place: Place) -> AsyncIterator[list[tuple[int, tuple[Any]]]]:
    if report.granularity == "raw":
        async for points in hub.history.points(place.series, report.start, report.end):
            yield [(at, (value,)) for at, value in points]
        return
    found = hub.history.buckets(place.series, report.start, report.end, report.granularity, report.zone)
    async for buckets in found:
        yield [(start, (_summary(one, report.source, place.datastream),)) for start, one in buckets]


def _summary(one: Statistics, source: str, datastream: Datastream) -> Any:
    """What a report has of a minute, an hour or a day: the last value where there is no average, sum and so on."""
    if source == "count":
        return one.count
    found = aggregated(one, source) if datastream.type in MEASURES else None
    return one.last if found is None else found


async def _events(hub: Hub, report: Report) -> AsyncIterator[list[tuple[int, tuple[Any, ...]]]]:
    wanted = TimelineFilter(devices=[report.device.id], archived=None, start=report.start, end=report.end)
    page, total = 0, 1
    while page * MAX_PAGE < total:
        events, total = await hub.timeline.find(wanted, page, MAX_PAGE)
        yield [(e.ts, (e.code, e.type, e.name, e.description, cast("Any", e.resolved))) for e in events]
        page += 1
