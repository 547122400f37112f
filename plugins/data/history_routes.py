"""Values over time, over HTTP: queries as a stream of lines, pages as Blynk has them, import and erasure."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs
import trio

from hub import spellings, timezones
from hub.api import LARGE_BODY, MAX_TIME, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, Request, Route, Stream, Time
from hub.errors import MAX_PROBLEMS, Rejected
from hub.history.chunks import Point, Statistics
from hub.history.query import Bucket, Granularity
from hub.model import Device
from hub.model import DeviceDatastream as Place
from hub.structuring import seconds
from hub.values import Raw, to_json
from hub.writes import IMPORT_SLICE

if TYPE_CHECKING:
    from hub.app import Hub

#: Points in one import (docs.blynk.io, Upload set of data).
MAX_BATCH = 10_000
#: Points counted for a page; whoever wants more asks for a stream.
MAX_COUNTED = 100_000
#: What of a bucket may be asked for.
Aggregate = Literal["avg", "min", "max", "sum", "count", "last"]
AGGREGATES = get_args(Aggregate)
LINES, CSV = "application/x-ndjson", "text/csv"


@attrs.frozen(kw_only=True)
class TimedValue:
    """``ts`` is in milliseconds UTC."""

    value: Any
    ts: float


@attrs.frozen(kw_only=True)
class ImportBatch:
    """Values with stamps in milliseconds UTC, of one datastream; all are taken, or none."""

    device_id: int
    values: list[TimedValue]
    data_stream_id: int | None = None
    pin: str | None = None


@attrs.frozen(kw_only=True)
class ImportRows:
    """``rows`` are [stamp in ms UTC, pin, value], from line ``line`` of a file on; ``check`` writes nothing."""

    device_id: int
    rows: list[list[Any]]
    line: int = 1
    check: bool = False


@attrs.frozen(kw_only=True)
class Imported:
    """How many values were taken."""

    imported: int


@attrs.frozen(kw_only=True)
class HistoryPoint:
    """One value and when it was, in ms UTC."""

    created_at: int
    value: Any


@attrs.frozen(kw_only=True)
class Cost:
    """What a datastream of all a template's devices takes on disk in a month, in bytes."""

    template: str
    pin: str
    name: str
    bytes_per_month: int


@attrs.frozen(kw_only=True)
class Erase:
    """Everything of a device, or of the datastream on ``pin``."""

    device_id: int
    pin: str | None = None


@attrs.frozen(kw_only=True)
class Span:
    """From when to when is asked: of what is left out, the end is now and the beginning a period before."""

    from_: Time | None = None
    to: Time | None = None
    period: str = "1d"

    def ends(self, now: int) -> tuple[int, int]:
        """Its beginning, and what it ends before, in ms UTC. Raises `Rejected`."""
        end = now + 1 if self.to is None else self.to
        start = self.from_
        if start is None:
            try:
                start = max(0, end - int(seconds(self.period) * 1000))
            except ValueError as error:
                raise Rejected(f"period {error}") from error
        if start >= end:
            raise Rejected("from must be before to")
        return start, end


@attrs.frozen(kw_only=True)
class Range:
    """From when to when is asked: of what is left out, all that there is."""

    from_: Time = 0
    to: Time = MAX_TIME


def zone_of(hub: Hub, device: Device, name: str | None) -> str:
    """Raises `Rejected` for a time zone that does not exist."""
    if not name:
        return hub.timezone_of(device)
    if not timezones.is_known(name):
        raise Rejected(f"there is no time zone {name[:50]!r}")
    return name


def routes(hub: Hub) -> Sequence[Route]:
    async def history(
        request: Request,
        device_id: int,
        pin: str,
        *,
        granularity: Granularity = "raw",
        aggregate: Aggregate | None = None,
        format_: Literal["json", "csv"] = "json",
        span: Span,
        tz: str = "",
    ) -> Stream[str]:
        device = hub.access.device_for(request, device_id)
        place = device.find(pin)
        if aggregate is not None and granularity == "raw":
            raise Rejected("aggregate needs a granularity of minute, hour or day")
        start, end = span.ends(hub.clock.now())
        zone, kind = zone_of(hub, device, tz), format_
        if granularity == "raw":
            lines = _raw(hub.history.points(place.series, start, end), kind)
        else:
            found = hub.history.buckets(place.series, start, end, granularity, zone)
            lines = _buckets(found, kind, aggregate)
        return Stream(chunks=lines, type=CSV if kind == "csv" else LINES)

    async def page(
        request: Request,
        device_id: int,
        pin: str,
        *,
        range_: Range,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[HistoryPoint]:
        """Blynk's own form: values in pages, oldest first."""
        place = hub.access.device_for(request, device_id).find(pin)
        start, end = range_.from_, range_.to
        if start >= end:
            raise Rejected("from must be before to")
        if (page + 1) * size > MAX_COUNTED:
            raise Rejected(f"page * size must be at most {MAX_COUNTED}; narrow from and to")
        content: list[HistoryPoint] = []
        total = 0
        async with aclosing(hub.history.points(place.series, start, end)) as pieces:
            async for piece in pieces:
                first = max(0, page * size - total)
                wanted = piece[first : first + size - len(content)] if total + len(piece) > page * size else []
                content += [HistoryPoint(created_at=at, value=to_json(value)) for at, value in wanted]
                total += len(piece)
                if total >= MAX_COUNTED:
                    break
        return Page(content=content, total_elements=min(total, MAX_COUNTED))

    async def import_batch(request: Request) -> None:
        body: ImportBatch = request.body
        device = hub.access.device_for(request, body.device_id)
        place = device.find(body.pin, body.data_stream_id)
        _check_count(body.values)
        await _import(request, device, [(place, spellings.stamp(one.ts), one.value) for one in body.values])

    async def import_rows(request: Request) -> Imported:
        body: ImportRows = request.body
        device = hub.access.device_for(request, body.device_id)
        _check_count(body.rows)
        found: list[tuple[Place, int, Raw]] = []
        problems: list[str] = []
        for line, row in enumerate(body.rows, body.line):
            if len(problems) == MAX_PROBLEMS:
                break
            if (line - body.line) % IMPORT_SLICE == 0:
                await trio.lowlevel.checkpoint()
            try:
                if len(row) != 3 or not isinstance(row[1], str):
                    raise Rejected("must be a stamp in milliseconds, a pin and a value")
                place, at = device.find(row[1]), spellings.stamp(row[0])
                hub.writes.check(device, place, at, row[2])
                found.append((place, at, row[2]))
            except (Rejected, ValueError) as error:
                problems.append(f"line {line}: {error}")
        if problems:
            raise Rejected("\n".join(problems))
        if not body.check:
            await _import(request, device, found)
        return Imported(imported=0 if body.check else len(found))

    async def _import(request: Request, device: Device, rows: Sequence[tuple[Place, int, Raw]]) -> None:
        hub.take_quota(hub.imports, device, len(rows), "imported values")
        points = [(place.datastream, at, value) for place, at, value in rows]
        try:
            receipt = await hub.writes.import_points(device, points, "api", request.principal)
        except Rejected:
            hub.imports.give_back(device.id, len(rows))
            raise
        if receipt is not None:
            await receipt.durable()

    async def erase(request: Request) -> None:
        body: Erase = request.body
        device = hub.access.device_for(request, body.device_id)
        chosen = [device.find(body.pin)] if body.pin is not None else list(device.points.values())
        await hub.devices.erase(device, [place.datastream for place in chosen], request.principal)

    async def clear(request: Request, device_id: int) -> None:
        device = hub.access.device_for(request, device_id)
        await hub.devices.erase(device, device.template.datastreams, request.principal)

    async def costs(_request: Request) -> list[Cost]:
        return [
            Cost(template=template, pin=f"v{pin}", name=name, bytes_per_month=size)
            for template, pin, name, size in await hub.storage_costs()
        ]

    org, ours = "/api/v1/organization/device", "/api/v1/device"
    view, control, delete = VIEW_DEVICES, "org_devices.control", "org_devices.delete_data"
    batch, rows = "Import values of a datastream", "Import values of a device, or check them"
    erased, cost = "Erase what a device or a datastream held", "What each datastream takes on disk in a month"
    return [
        Route("GET", f"{ours}/history", history, view, "The history of a datastream, line by line", media=(LINES, CSV)),
        Route("GET", f"{org}/datastream/history", page, view, "The history of a datastream, in pages"),
        Route("POST", f"{org}/import/batch", import_batch, control, batch, ImportBatch, max_body=LARGE_BODY),
        Route("POST", f"{ours}/import-rows", import_rows, control, rows, ImportRows, max_body=LARGE_BODY),
        Route("POST", f"{ours}/erase", erase, delete, erased, Erase),
        Route("DELETE", f"{org}/clear", clear, delete, "Erase values of a device"),
        Route("GET", "/api/v1/history/costs", costs, "hub.view", cost),
    ]


def _check_count(rows: Sequence[Any]) -> None:
    if len(rows) > MAX_BATCH:
        raise Rejected(f"Too much data in batch. Maximum batch size is {MAX_BATCH} points.")


async def _raw(found: AsyncIterator[list[Point]], kind: str) -> AsyncGenerator[bytes, None]:
    if kind == "csv":
        yield b"time,value\n"
    async for piece in found:
        if kind == "csv":
            lines = [f"{iso(at)},{csv_field(value)}\n" for at, value in piece]
        else:
            lines = [json.dumps({"ts": at, "value": to_json(value)}, ensure_ascii=False) + "\n" for at, value in piece]
        yield "".join(lines).encode()


async def _buckets(found: AsyncIterator[list[Bucket]], kind: str, aggregate: str | None) -> AsyncGenerator[bytes, None]:
    names = (aggregate,) if aggregate else AGGREGATES
    if kind == "csv":
        yield ",".join(("time", *names)).encode() + b"\n"
    async for piece in found:
        lines = []
        for start, one in piece:
            values = [aggregated(one, name) for name in names]
            if kind == "csv":
                lines.append(",".join((iso(start), *(csv_field(value) for value in values))))
            else:
                shown = {name: to_json(value) for name, value in zip(names, values, strict=True)}
                lines.append(json.dumps({"ts": start, **shown}, ensure_ascii=False))
        yield ("\n".join(lines) + "\n").encode() if lines else b""


def aggregated(one: Statistics, name: str) -> Any:
    """What of a bucket is called ``name``; None where values are no numbers."""
    return getattr(one, name)


def iso(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def csv_field(value: Any) -> str:
    """A value as a field of CSV, quoted; see `hub.spellings.csv_field`."""
    if value is None:
        return ""
    text = spellings.csv_field(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
