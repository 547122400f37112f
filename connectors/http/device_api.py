"""The Device HTTPS API, ``/external/api/…``, byte for byte as docs.blynk.io documents it.

Every error is a 400 with ``{"error":{"message":…}}``, an invalid token too. A write is answered after its commit; by
then the value has been sent to the device if it is online.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub import (
    DEVICE,
    LARGE_BODY,
    MAX_IMPORT,
    ONLINE,
    Datastream,
    Device,
    NotFound,
    Rejected,
    Request,
    Response,
    Route,
    TooMany,
    Value,
    WrongType,
    hookimpl,
)
from hub.api import PUBLIC_BODY, Handler, parse_json
from hub.domain import BY_TOKEN, NAME, WrongValue, type_label
from hub.parsing.spellings import timed_values
from hub.values import texts_of, to_json

if TYPE_CHECKING:
    from hub import Hub

WRONG_PIN = "Wrong pin format."
NO_DATASTREAM = "No datastream setup for that pin."
MISMATCH = "Value doesn't match the Datastream data type."
#: The same sentence as some of the operations have it, without the full stop.
MISMATCH_WITHOUT_STOP = "Value doesn't match the Datastream data type"

#: The number of each pin, by its spellings in a query.
PIN_NUMBERS = {f"{letter}{pin}": pin for letter in "vV" for pin in range(256)}
EMPTY = Response()
OK = Response(body="OK")

Pairs = list[tuple[str, str | None]]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = DeviceApi(hub)
    return [
        _route("GET", "update", api.update, "Write a value"),
        _route("GET", "batch/update", api.batch_update, "Write several values with one timestamp"),
        _route("GET", "get", api.get, "Read one or several values"),
        _route("GET", "getAll", api.get_all, "Read every value"),
        _route("GET", "update/property", api.update_property, "Set a widget property"),
        _route("POST", "batch/update", api.import_points, "Import values with timestamps", LARGE_BODY),
        _route("GET", "device/meta", api.meta, "Read a metadata field"),
        _route("GET", "device/meta/update", api.update_meta, "Set a metadata field"),
        _route("GET", "isHardwareConnected", api.is_hardware_connected, "Whether the device is online"),
        _route("GET", "logEvent", api.log_event, "Log an event"),
        # As two of Blynk's tutorials spell it.
        _route("GET", "logevent", api.log_event, "Log an event, in small letters"),
    ]


def _route(method: str, path: str, handler: Handler, summary: str, max_body: int = PUBLIC_BODY) -> Route:
    return Route(
        method,
        f"/external/api/{path}",
        handler,
        DEVICE,
        summary,
        raw_query=True,
        media=("application/json",),
        max_body=max_body,
    )


class DeviceApi:
    """The operations. Each takes the device's token as ``token``, and counts against the device's rate ([limits])."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # -- writing --------------------------------------------------------------------------------------------------

    async def update(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        keys = {key for key, _ in pairs}
        if "dataStreamId" in keys or "pin" in keys:
            datastream = _find_datastream(device, pairs)
            values = [value for key, value in pairs if key == "value" and value is not None]
            if not values or keys - {"dataStreamId", "pin", "value"}:
                raise Rejected("Request with incorrect parameters")
            await self._write(request, device, {datastream.pin: values}, MISMATCH_WITHOUT_STOP)
        else:
            await self._write(request, device, _values_by_pin(pairs), MISMATCH)
        return EMPTY

    async def batch_update(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        await self._write(request, device, _values_by_pin(pairs), MISMATCH_WITHOUT_STOP)
        return OK

    async def _write(self, request: Request, device: Device, values: dict[int, list[str]], mismatch: str) -> None:
        """Write all values or none, with one timestamp, and return after the commit.

        Raises `Rejected`, with the text ``mismatch`` for a value of a wrong type.
        """
        hub = self._hub
        if any(pin in device.points and device.points[pin].datastream.hide_from_http for pin in values):
            raise Rejected(NO_DATASTREAM)
        try:
            receipt = hub.uplinks.write_values(device, list(values.items()), "https", address=request.address)
        except WrongType as error:
            types = ", ".join(f"V{pin} {device.points[pin].datastream.type}" for pin in values)
            hub.reject(request.address, f"device {device.name}: {types}: {error}", device.id)
            raise Rejected(mismatch if str(error).startswith(MISMATCH) else str(error)) from error
        assert receipt is not None
        await receipt.durable()

    async def import_points(self, request: Request) -> Response:
        """Import ``[[timestamp in ms, value], …]`` into one datastream: all values or none.

        Raises `Rejected`, naming the first invalid value.
        """
        hub = self._hub
        device, pairs = await hub.access.authenticate_device(request)
        datastream = _find_datastream(device, pairs)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Rejected("Unknown content type.")
        try:
            rows = await hub.bodies.decode(request.body, lambda body: parse_json(body, constants=True))
        except Rejected:
            hub.reject(request.address, f"device {device.name}: import to {datastream.name}: not JSON", device.id)
            raise Rejected("Request with incorrect parameters") from None
        try:
            if isinstance(rows, list) and len(rows) > MAX_IMPORT:
                raise Rejected(f"Too much data in batch. Maximum batch size is {MAX_IMPORT} points.")
            points = [(datastream, timestamp, value) for timestamp, value in timed_values(rows, MAX_IMPORT)]
        except (Rejected, ValueError) as error:
            hub.reject(request.address, f"device {device.name}: import to {datastream.name}: {error}", device.id)
            raise error if isinstance(error, Rejected) else Rejected("Request with incorrect parameters") from None
        try:
            receipt = await hub.uplinks.import_values(device, points, "https")
        except Rejected as error:
            hub.reject(request.address, f"device {device.name}: import of {len(rows)} values: {error}", device.id)
            raise Rejected(MISMATCH_WITHOUT_STOP if MISMATCH in str(error) else str(error)) from error
        if receipt is not None:
            await receipt.durable()
        return OK

    # -- metadata -------------------------------------------------------------------------------------------------

    async def meta(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        parameters = dict(pairs)
        name = parameters.get("metaFieldId") or parameters.get("metaFieldName")
        if not name:
            raise Rejected("Wrong metaField format.")
        try:
            kind, value = await self._hub.uplinks.metadata(device, int(name) if _is_id(name) else name)
        except NotFound as error:
            raise Rejected(str(error)) from error
        return _json({"type": type_label(kind), "value": value})

    async def update_meta(self, request: Request) -> Response:
        hub = self._hub
        device, pairs = await hub.access.authenticate_device(request)
        parameters = dict(pairs)
        field_id, name, value = parameters.get("metaFieldId"), parameters.get("metaFieldName"), parameters.get("value")
        if not (name or (field_id and _is_id(field_id))):
            raise Rejected("Wrong metaField format")
        if value is None:
            raise Rejected("Wrong value")
        if name == NAME:
            await hub.devices.rename(device, value, device.as_principal())
            return EMPTY
        key, protected = name or int(field_id or 0), "must not be changed with a token: it is a {type}"
        try:
            await hub.uplinks.set_metadata(device, key, value, BY_TOKEN, protected)
        except NotFound:
            raise Rejected("MetaField doesn't exist") from None
        except WrongValue as error:
            hub.reject(request.address, f"device {device.name}: metadata {name or field_id}: {error}", device.id)
            raise Rejected("Wrong value") from error
        return EMPTY

    async def update_property(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        pins = [value for key, value in pairs if key == "pin"]
        if not pins or any(pin not in PIN_NUMBERS for pin in pins):
            raise Rejected(WRONG_PIN)
        properties: dict[str, list[str]] = {}
        for key, value in pairs:
            if key != "pin":
                properties.setdefault(key, []).append(value or "")
        if not properties:
            raise Rejected("Request with incorrect parameters")
        datastreams = [_datastream_on(device, PIN_NUMBERS[pin]) for pin in pins if pin]
        await self._hub.uplinks.set_properties(device, [datastream.pin for datastream in datastreams], properties)
        return EMPTY

    async def log_event(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        parameters = dict(pairs)
        code = parameters.get("code")
        if not code:
            raise Rejected("Event code is not provided.")
        try:
            await self._hub.uplinks.log_event(device, code, parameters.get("description") or "")
        except (Rejected, TooMany) as error:
            self._hub.reject(request.address, f"device {device.name}: event {code[:50]!r}: {error}", device.id)
            raise
        return EMPTY

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: Request) -> Response:
        device, pairs = await self._hub.access.authenticate_device(request)
        if any(key in ("dataStreamId", "pin") for key, _ in pairs):
            datastream = _find_datastream(device, pairs, WRONG_PIN)
            return Response(body=_to_text(self._hub.writes.current(device, datastream)))
        if not pairs or any(key not in PIN_NUMBERS for key, _ in pairs):
            raise Rejected(WRONG_PIN)
        values = {}
        for key, _ in pairs:
            values[key.lower()] = self._hub.writes.current(device, _datastream_on(device, PIN_NUMBERS[key]))
        if len(values) == 1:
            return Response(body=_to_text(next(iter(values.values()))))
        return _json({key: to_json(value) for key, value in values.items() if value is not None})

    async def get_all(self, request: Request) -> Response:
        device, _ = await self._hub.access.authenticate_device(request)
        datastreams = (point.datastream for _, point in sorted(device.points.items()))
        visible = (datastream for datastream in datastreams if not datastream.hide_from_http)
        latest = ((datastream.pin, self._hub.writes.latest(device, datastream)) for datastream in visible)
        return _json({f"v{pin}": to_json(point[1]) for pin, point in latest if point is not None})

    async def is_hardware_connected(self, request: Request) -> Response:
        device, _ = await self._hub.access.authenticate_device(request)
        online = device.status == ONLINE
        return Response(body="true" if online else "false", type="application/json")


def _find_datastream(device: Device, pairs: Pairs, wrong_id: str = "Wrong dataStreamId format.") -> Datastream:
    """Return the datastream that ``dataStreamId`` or ``pin`` names.

    Raises `Rejected`, with the text ``wrong_id`` for an id that is no number.
    """
    parameters = dict(pairs)
    datastream_id, pin = parameters.get("dataStreamId"), parameters.get("pin")
    if datastream_id is not None:
        if not datastream_id.isascii() or not datastream_id.isdecimal():
            raise Rejected(wrong_id)
        point = device.point(int(datastream_id[:12]))
        if point is None or point.datastream.hide_from_http:
            raise Rejected(f"Requested dataStream doesn't exist in the product {device.template.name}")
        return point.datastream
    if pin not in PIN_NUMBERS:
        raise Rejected(WRONG_PIN)
    return _datastream_on(device, PIN_NUMBERS[pin])


def _datastream_on(device: Device, pin: int) -> Datastream:
    """Return the datastream on a pin. Raises `Rejected` if there is none, or it is hidden from HTTP."""
    point = device.points.get(pin)
    if point is None or point.datastream.hide_from_http:
        raise Rejected(NO_DATASTREAM)
    return point.datastream


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _values_by_pin(pairs: Pairs) -> dict[int, list[str]]:
    """Return the values of each pin, several of a repeated pin.

    Raises `Rejected` for any other parameter, and for a bare ``v1``, which is for reading.
    """
    values: dict[int, list[str]] = {}
    for key, value in pairs:
        if key not in PIN_NUMBERS:
            raise Rejected(WRONG_PIN)
        if value is None:
            raise Rejected("Request with incorrect parameters")
        values.setdefault(PIN_NUMBERS[key], []).append(value)
    if not values:
        raise Rejected("Request with incorrect parameters")
    return values


def _to_text(value: Value | None) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))
    return texts_of(value)[0]


def _json(fields: dict[str, object]) -> Response:
    return Response(body=json.dumps(fields, ensure_ascii=False, separators=(",", ":")), type="application/json")
