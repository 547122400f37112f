"""Routes of history: a datastream's values as a stream or in pages; import, erasure, and what they take on disk."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from hub import (
    LARGE_BODY,
    MAX_IMPORT,
    MAX_PROBLEMS,
    Device,
    DeviceDatastream,
    Rejected,
    Request,
    Route,
    Stream,
)
from hub.api import PAGE, VIEW_DEVICES, Page, PageNumber, PageSize
from hub.history import Bucket, Granularity, Point
from hub.parsing import spellings
from hub.values import Raw, to_json
from plugins.data.formats import CSV, NDJSON, csv_field, iso_time
from plugins.data.parameters import AGGREGATES, Aggregate, OpenTimeRange, TimeRange, aggregate_of, time_zone

if TYPE_CHECKING:
    from hub import Hub

#: Points that are checked before other tasks get their turn.
SLICE = 500
#: Points that are read for a page. Reading on costs as much as a stream of all values, which clients can have instead.
MAX_COUNTED = 100_000


@attrs.frozen(kw_only=True)
class TimedValue:
    """A value and its stamp, ``ts``, in ms UTC."""

    value: Any
    ts: float


@attrs.frozen(kw_only=True)
class ImportBatch:
    """Values of one datastream, which ``data_stream_id`` or ``pin`` ("v1") selects; all are imported, or none."""

    device_id: int
    values: list[TimedValue]
    data_stream_id: int | None = None
    pin: str | None = None


@attrs.frozen(kw_only=True)
class ImportRows:
    """``rows`` are [stamp in ms UTC, pin, value]; all are imported, or none. With ``check`` nothing is imported.

    ``line`` is the number of the first row in error messages.
    """

    device_id: int
    rows: list[list[Any]]
    line: int = 1
    check: bool = False


@attrs.frozen(kw_only=True)
class Imported:
    """The number of values that were imported."""

    imported: int


@attrs.frozen(kw_only=True)
class HistoryPoint:
    """A value and its stamp, ``created_at``, in ms UTC."""

    created_at: int
    value: Any


@attrs.frozen(kw_only=True)
class Cost:
    """The disk space that a datastream of a template takes in a month, for all devices together."""

    template: str
    pin: str
    name: str
    bytes_per_month: int


@attrs.frozen(kw_only=True)
class Erase:
    """All values of a device, or only those of the datastream on ``pin``."""

    device_id: int
    pin: str | None = None


class HistoryRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def stream(
        self,
        request: Request,
        device_id: int,
        pin: str,
        *,
        granularity: Granularity = "raw",
        aggregate: Aggregate | None = None,
        format_: Literal["json", "csv"] = "json",
        time_range: TimeRange,
        tz: str = "",
    ) -> Stream[str]:
        device = self._hub.access.device_for(request, device_id)
        series = device.find(pin).series
        if aggregate is not None and granularity == "raw":
            raise Rejected("aggregate needs a granularity of minute, hour or day")
        start, end = time_range.bounds(self._hub.clock.now())
        zone = time_zone(self._hub, device, tz)
        if granularity == "raw":
            lines = _point_lines(self._hub.history.points(series, start, end), format_)
        else:
            buckets = self._hub.history.buckets(series, start, end, granularity, zone)
            lines = _bucket_lines(buckets, format_, (aggregate,) if aggregate else AGGREGATES)
        return Stream(chunks=lines, type=CSV if format_ == "csv" else NDJSON)

    async def page(
        self,
        request: Request,
        device_id: int,
        pin: str,
        *,
        time_range: OpenTimeRange,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[HistoryPoint]:
        """Blynk's own form: values in pages, oldest first."""
        series = self._hub.access.device_for(request, device_id).find(pin).series
        start, end = time_range.bounds()
        if (page + 1) * size > MAX_COUNTED:
            raise Rejected(
                f"page * size must be at most {MAX_COUNTED}; narrow from and to, or use /api/v1/device/history"
            )
        content: list[HistoryPoint] = []
        total = 0
        async with aclosing(self._hub.history.points(series, start, end)) as slices:
            async for points in slices:
                first = max(0, page * size - total)
                on_page = points[first : first + size - len(content)] if total + len(points) > page * size else []
                content += [HistoryPoint(created_at=at, value=to_json(value)) for at, value in on_page]
                total += len(points)
                if total >= MAX_COUNTED:
                    break
        return Page(content=content, total_elements=min(total, MAX_COUNTED))

    async def import_batch(self, request: Request) -> None:
        body: ImportBatch = request.body
        device = self._hub.access.device_for(request, body.device_id)
        target = device.find(body.pin, body.data_stream_id)
        _check_count(body.values)
        points = [(target, spellings.stamp(timed.ts), timed.value) for timed in body.values]
        await self._import(request, device, points)

    async def import_rows(self, request: Request) -> Imported:
        body: ImportRows = request.body
        device = self._hub.access.device_for(request, body.device_id)
        _check_count(body.rows)
        points: list[tuple[DeviceDatastream, int, Raw]] = []
        problems: list[str] = []
        for line, row in enumerate(body.rows, body.line):
            if len(problems) == MAX_PROBLEMS:
                break
            if (line - body.line) % SLICE == 0:
                await trio.lowlevel.checkpoint()
            try:
                points.append(self._checked_row(device, row))
            except (Rejected, ValueError) as error:
                problems.append(f"line {line}: {error}")
        if problems:
            raise Rejected("\n".join(problems))
        if not body.check:
            await self._import(request, device, points)
        return Imported(imported=0 if body.check else len(points))

    def _checked_row(self, device: Device, row: list[Any]) -> tuple[DeviceDatastream, int, Raw]:
        """Return the datastream, stamp and value of a row. Raises `Rejected` or ValueError."""
        if len(row) != 3 or not isinstance(row[1], str):
            raise Rejected("must be a stamp in milliseconds, a pin and a value")
        target, at = device.find(row[1]), spellings.stamp(row[0])
        self._hub.writes.check(device, target, at, row[2])
        return target, at, row[2]

    async def _import(
        self, request: Request, device: Device, points: Sequence[tuple[DeviceDatastream, int, Raw]]
    ) -> None:
        """Import points, and count them against the device's daily quota; return after their commit."""
        hub = self._hub
        hub.take_quota(hub.imports, device, len(points), "imported values")
        values = [(target.datastream, at, value) for target, at, value in points]
        try:
            receipt = await hub.writes.import_points(device, values, "api", request.principal)
        except Rejected:
            hub.imports.give_back(device.id, len(points))
            raise
        if receipt is not None:
            await receipt.durable()

    async def erase(self, request: Request) -> None:
        body: Erase = request.body
        device = self._hub.access.device_for(request, body.device_id)
        targets = [device.find(body.pin)] if body.pin is not None else list(device.points.values())
        await self._hub.devices.erase(device, [target.datastream for target in targets], request.principal)

    async def clear(self, request: Request, device_id: int) -> None:
        device = self._hub.access.device_for(request, device_id)
        await self._hub.devices.erase(device, device.template.datastreams, request.principal)

    async def costs(self, _request: Request) -> list[Cost]:
        return [
            Cost(template=template, pin=f"v{pin}", name=name, bytes_per_month=size)
            for template, pin, name, size in await self._hub.storage_costs()
        ]


def routes(hub: Hub) -> Sequence[Route]:
    api = HistoryRoutes(hub)
    org, ours = "/api/v1/organization/device", "/api/v1/device"
    view, control, delete = VIEW_DEVICES, "org_devices.control", "org_devices.delete_data"
    stream, media = "The history of a datastream, line by line", (NDJSON, CSV)
    batch, rows = "Import values of a datastream", "Import values of a device, or check them"
    erase, costs = (
        "Erase the values of a device or a datastream",
        "The disk space that each datastream takes in a month",
    )
    return [
        Route("GET", f"{ours}/history", api.stream, view, stream, media=media),
        Route("GET", f"{org}/datastream/history", api.page, view, "The history of a datastream, in pages"),
        Route("POST", f"{org}/import/batch", api.import_batch, control, batch, ImportBatch, max_body=LARGE_BODY),
        Route("POST", f"{ours}/import-rows", api.import_rows, control, rows, ImportRows, max_body=LARGE_BODY),
        Route("POST", f"{ours}/erase", api.erase, delete, erase, Erase),
        Route("DELETE", f"{org}/clear", api.clear, delete, "Erase values of a device"),
        Route("GET", "/api/v1/history/costs", api.costs, "hub.view", costs),
    ]


def _check_count(rows: Sequence[Any]) -> None:
    if len(rows) > MAX_IMPORT:
        raise Rejected(f"Too much data in batch. Maximum batch size is {MAX_IMPORT} points.")


async def _point_lines(slices: AsyncIterator[list[Point]], format_: str) -> AsyncGenerator[bytes, None]:
    """Yield points as lines of CSV or JSON, one chunk for each slice."""
    if format_ == "csv":
        yield b"time,value\n"
    async for points in slices:
        if format_ == "csv":
            lines = [f"{iso_time(at)},{csv_field(value)}\n" for at, value in points]
        else:
            lines = [json.dumps({"ts": at, "value": to_json(value)}, ensure_ascii=False) + "\n" for at, value in points]
        yield "".join(lines).encode()


async def _bucket_lines(
    slices: AsyncIterator[list[Bucket]], format_: str, aggregates: Sequence[str]
) -> AsyncGenerator[bytes, None]:
    """Yield the aggregates of buckets as lines of CSV or JSON, one chunk for each slice."""
    if format_ == "csv":
        yield ",".join(("time", *aggregates)).encode() + b"\n"
    async for buckets in slices:
        lines = []
        for start, statistics in buckets:
            values = [aggregate_of(statistics, aggregate) for aggregate in aggregates]
            if format_ == "csv":
                lines.append(",".join((iso_time(start), *map(csv_field, values))))
            else:
                fields = {name: to_json(value) for name, value in zip(aggregates, values, strict=True)}
                lines.append(json.dumps({"ts": start, **fields}, ensure_ascii=False))
        yield ("\n".join(lines) + "\n").encode() if lines else b""
