"""Values over time, over HTTP: queries as a stream of lines, pages as Blynk has them, import and erasure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, get_args

import attrs

from hub import timezones
from hub.errors import Rejected
from hub.history.chunks import Point, Statistics
from hub.history.query import Bucket, Granularity
from hub.model import Device
from hub.model import Point as Place
from hub.routes import Request, Route, Stream
from hub.structure import seconds
from hub.values import Raw, to_json

if TYPE_CHECKING:
    from hub.app import Hub

#: Points in one import (docs.blynk.io, Upload set of data), and on one page.
MAX_BATCH, MAX_PAGE = 10_000, 1_000
#: Points counted for a page; whoever wants more asks for a stream.
MAX_COUNTED = 100_000
#: What of a bucket may be asked for.
AGGREGATES = ("avg", "min", "max", "sum", "count", "last")
GRANULARITIES = get_args(Granularity)


@attrs.frozen(kw_only=True)
class TimedValue:
    value: Any
    ts: int


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
class Erase:
    """Everything of a device, or of the datastream on ``pin``."""

    device_id: int
    pin: str | None = None


def moment(text: str, name: str) -> int:
    """A parameter that is a time, as milliseconds UTC: a number of them, or ISO 8601. Raises `Rejected`."""
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text)
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{name} must be milliseconds since 1970 or a time such as 2026-11-24T12:00:00Z") from None
    return int((then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() * 1000)


def span_of(hub: Hub, request: Request) -> tuple[int, int]:
    """``from`` and ``to``, or the last ``period``. Raises `Rejected`."""
    params = request.params
    end = moment(params["to"], "to") if "to" in params else hub.clock.now() + 1
    if "from" in params:
        start = moment(params["from"], "from")
    else:
        try:
            start = end - int(seconds(params.get("period", "1d")) * 1000)
        except ValueError as error:
            raise Rejected(f"period {error}") from error
    if not 0 <= start < end < 2**42:
        raise Rejected("from must be before to, and both between 1970 and 2109")
    return start, end


def zone_of(hub: Hub, device: Device, name: str | None) -> str:
    """Raises `Rejected` for a time zone that does not exist."""
    if not name:
        return hub.timezone_of(device)
    if name not in timezones.names():
        raise Rejected(f"there is no time zone {name[:50]!r}")
    return name


def routes(hub: Hub) -> Sequence[Route]:
    async def history(request: Request) -> Stream:
        device = hub.device_for(request, request.int_param("deviceId"))
        place = device.find(request.params.get("pin"))
        granularity = request.params.get("granularity", "raw")
        if granularity not in GRANULARITIES:
            raise Rejected(f"granularity must be one of {', '.join(GRANULARITIES)}")
        kind = request.params.get("format", "json")
        if kind not in ("json", "csv"):
            raise Rejected("format must be json or csv")
        aggregate = request.params.get("aggregate")
        if aggregate is not None and aggregate not in AGGREGATES:
            raise Rejected(f"aggregate must be one of {', '.join(AGGREGATES)}")
        if aggregate is not None and granularity == "raw":
            raise Rejected("aggregate needs a granularity of minute, hour or day")
        start, end = span_of(hub, request)
        zone = zone_of(hub, device, request.params.get("tz"))
        if granularity == "raw":
            lines = _raw(hub.history.points(place.series, start, end), kind)
        else:
            found = hub.history.buckets(place.series, start, end, cast("Granularity", granularity), zone)
            lines = _buckets(found, kind, aggregate)
        return Stream(chunks=lines, type="text/csv" if kind == "csv" else "application/x-ndjson")

    async def page(request: Request) -> dict[str, Any]:
        """Blynk's own form: values in pages, oldest first."""
        device = hub.device_for(request, request.int_param("deviceId"))
        place = device.find(request.params.get("pin"))
        start, end = span_of(hub, request)
        number, size = request.int_param("page", 0), request.int_param("size", 20)
        if not 1 <= size <= MAX_PAGE or (number + 1) * size > MAX_COUNTED:
            raise Rejected(f"size must be 1 to {MAX_PAGE}, and page * size at most {MAX_COUNTED}; narrow from and to")
        content: list[dict[str, Any]] = []
        total = 0
        async for piece in hub.history.points(place.series, start, end):
            first = max(0, number * size - total)
            wanted = piece[first : first + size - len(content)] if total + len(piece) > number * size else []
            content += [{"createdAt": at, "value": to_json(value)} for at, value in wanted]
            total += len(piece)
            if total >= MAX_COUNTED:
                break
        return {"content": content, "totalElements": min(total, MAX_COUNTED)}

    async def import_batch(request: Request) -> None:
        body: ImportBatch = request.body
        device = hub.device_for(request, body.device_id)
        place = device.find(body.pin, body.data_stream_id)
        await _import(request, device, [(place, one.ts, one.value) for one in body.values])

    async def import_rows(request: Request) -> dict[str, int]:
        body: ImportRows = request.body
        device = hub.device_for(request, body.device_id)
        found: list[tuple[Place, int, Raw]] = []
        problems = []
        for line, row in enumerate(body.rows, body.line):
            try:
                if len(row) != 3 or type(row[0]) is not int or not isinstance(row[1], str):
                    raise Rejected("must be a stamp in milliseconds, a pin and a value")
                place = device.find(row[1])
                hub.writes.check(device, place, row[0], row[2])
                found.append((place, row[0], row[2]))
            except Rejected as error:
                problems.append(f"line {line}: {error}")
        if problems:
            raise Rejected("\n".join(problems[:100]))
        if not body.check:
            await _import(request, device, found)
        return {"imported": 0 if body.check else len(found)}

    async def _import(request: Request, device: Device, rows: Sequence[tuple[Place, int, Raw]]) -> None:
        if len(rows) > MAX_BATCH:
            raise Rejected(f"Too much data in batch. Maximum batch size is {MAX_BATCH} points.")
        hub.take(hub.imports, device, len(rows), "imported values")
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
        device = hub.device_for(request, body.device_id)
        chosen = [device.find(body.pin)] if body.pin is not None else list(device.points.values())
        await hub.devices.erase(device, [place.datastream for place in chosen], request.principal)

    async def clear(request: Request) -> None:
        device = hub.device_for(request, request.int_param("deviceId"))
        await hub.devices.erase(device, device.template.datastreams, request.principal)

    async def costs(_request: Request) -> list[dict[str, Any]]:
        return [
            {"template": template, "pin": f"v{pin}", "name": name, "bytesPerMonth": size}
            for template, pin, name, size in await hub.storage_costs()
        ]

    org, ours = "/api/v1/organization/device", "/api/v1/device"
    view, control, delete = "org_devices.view", "org_devices.control", "org_devices.delete_data"
    table: tuple[tuple[str, str, Callable[..., Any], str, type | None, str], ...] = (
        ("GET", f"{ours}/history", history, view, None, "What a datastream held, line by line"),
        ("GET", f"{org}/datastream/history", page, view, None, "What a datastream held, in pages"),
        ("POST", f"{org}/import/batch", import_batch, control, ImportBatch, "Import values of a datastream"),
        ("POST", f"{ours}/import-rows", import_rows, control, ImportRows, "Import values of a device, or check them"),
        ("POST", f"{ours}/erase", erase, delete, Erase, "Erase what a device or a datastream held"),
        ("DELETE", f"{org}/clear", clear, delete, None, "Erase what a device held"),
        ("GET", "/api/v1/history/costs", costs, "hub.view", None, "What each datastream takes on disk in a month"),
    )
    return [
        Route(method=method, path=path, handler=handler, permission=permission, body=body, summary=summary)
        for method, path, handler, permission, body, summary in table
    ]


async def _raw(found: AsyncIterator[list[Point]], kind: str) -> AsyncIterator[bytes]:
    if kind == "csv":
        yield b"time,value\n"
    async for piece in found:
        if kind == "csv":
            lines = [f"{iso(at)},{csv_field(value)}\n" for at, value in piece]
        else:
            lines = [json.dumps({"ts": at, "value": to_json(value)}, ensure_ascii=False) + "\n" for at, value in piece]
        yield "".join(lines).encode()


async def _buckets(found: AsyncIterator[list[Bucket]], kind: str, aggregate: str | None) -> AsyncIterator[bytes]:
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
    """A value as a field of CSV: text as it is, an array as JSON."""
    if value is None:
        return ""
    text = json.dumps(to_json(value), ensure_ascii=False) if isinstance(value, tuple) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
