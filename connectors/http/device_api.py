"""The Device HTTPS API: ``/external/api/…``, as docs.blynk.io documents it, to the byte.

Every error is a 400 with ``{"error":{"message":…}}``, a bad token too. A write is answered after its commit, and has
by then been handed to the device if that is online.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.api import DEVICE, LARGE_BODY, PUBLIC_BODY, Request, Response, Route, parse_json
from hub.domain.metadata import BY_TOKEN, LAT_LON, NAME, OWNER, WrongValue, type_label
from hub.errors import NotFound, Rejected, TooMany, UnknownPin, WrongType
from hub.hookspecs import hookimpl
from hub.model import ONLINE, Datastream, Device, Principal, Value
from hub.spellings import timed_values
from hub.values import texts_of, to_json
from hub.writes import Write

if TYPE_CHECKING:
    from hub.app import Hub

WRONG_PIN = "Wrong pin format."
NO_DATASTREAM = "No datastream setup for that pin."
MISMATCH = "Value doesn't match the Datastream data type."
#: The same sentence without its dot, as some of the operations have it.
MISMATCH_UNDOTTED = "Value doesn't match the Datastream data type"

#: Points in one import (docs.blynk.io, Upload set of data).
MAX_BATCH = 10_000

#: How pins are written.
PINS = {f"{letter}{pin}": pin for letter in "vV" for pin in range(256)}
EMPTY = Response()
OK = Response(body="OK")

Pairs = list[tuple[str, str | None]]


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    api = DeviceApi(hub)
    operations = (
        ("GET", "update", api.update, "Write a value"),
        ("GET", "batch/update", api.batch_update, "Write several values with one timestamp"),
        ("GET", "get", api.get, "Read one or several values"),
        ("GET", "getAll", api.get_all, "Read every value"),
        ("GET", "update/property", api.update_property, "Set a widget property"),
        ("POST", "batch/update", api.import_points, "Import values with timestamps"),
        ("GET", "device/meta", api.meta, "Read a metadata field"),
        ("GET", "device/meta/update", api.update_meta, "Set a metadata field"),
        ("GET", "isHardwareConnected", api.is_hardware_connected, "Whether the device is online"),
        ("GET", "logEvent", api.log_event, "Log an event"),
        # As two of Blynk's tutorials spell it.
        ("GET", "logevent", api.log_event, "Log an event, in small letters"),
    )
    return [
        Route(
            method,
            f"/external/api/{path}",
            handler,
            DEVICE,
            summary,
            raw_query=True,
            media=("application/json",),
            max_body=LARGE_BODY if method == "POST" else PUBLIC_BODY,
        )
        for method, path, handler, summary in operations
    ]


class DeviceApi:
    """The operations. Each takes the device's token as ``token``; its budget is that of [limits]."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # -- writing --------------------------------------------------------------------------------------------------

    async def update(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        keys = {key for key, _ in pairs}
        by_id = "dataStreamId" in keys
        if by_id or "pin" in keys:
            datastream = self._named(device, pairs)
            values = [value for key, value in pairs if key == "value" and value is not None]
            if not values or keys - {"dataStreamId", "pin", "value"}:
                raise Rejected("Request with incorrect parameters")
            await self._write(request, device, {datastream.pin: values}, MISMATCH_UNDOTTED)
        else:
            await self._write(request, device, _by_pin(pairs), MISMATCH)
        return EMPTY

    async def batch_update(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        await self._write(request, device, _by_pin(pairs), MISMATCH_UNDOTTED)
        return OK

    async def _write(self, request: Request, device: Device, values: dict[int, list[str]], mismatch: str) -> None:
        """Write all or nothing, with one stamp, and return after the commit."""
        hub, principal = self._hub, principal_of(device)
        if any(pin in device.points and device.points[pin].datastream.hide_from_http for pin in values):
            raise Rejected(NO_DATASTREAM)
        at = hub.clock.now()
        writes = [Write(device, pin, raw, "https", principal, at, shared=True) for pin, raw in values.items()]
        try:
            receipt = hub.writes.write_all(writes)
        except UnknownPin:
            hub.reject_unknown_pin(device, next(pin for pin in values if pin not in device.points), request.address)
            raise
        except WrongType as error:
            wanted = ", ".join(f"V{pin} {device.points[pin].datastream.type}" for pin in values)
            hub.reject(request.address, f"device {device.name}: {wanted}: {error}", device.id)
            raise Rejected(mismatch if str(error).startswith(MISMATCH) else str(error)) from error
        if hub.sessions.get(device.id) is None:
            hub.lifecycle.on_data(device)
        await receipt.durable()

    async def import_points(self, request: Request) -> Response:
        """``[[stamp in ms, value], …]`` of one datastream: all, or none with the first that is wrong."""
        hub = self._hub
        device, pairs = hub.access.authenticate_device(request)
        datastream = self._named(device, pairs)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Rejected("Unknown content type.")
        try:
            rows = await hub.bodies.decoded(request.body, lambda body: parse_json(body, constants=True))
        except Rejected:
            hub.reject(request.address, f"device {device.name}: import to {datastream.name}: not JSON", device.id)
            raise Rejected("Request with incorrect parameters") from None
        try:
            if isinstance(rows, list) and len(rows) > MAX_BATCH:
                raise Rejected(f"Too much data in batch. Maximum batch size is {MAX_BATCH} points.")
            points = [(datastream, at, value) for at, value in timed_values(rows, MAX_BATCH)]
        except (Rejected, ValueError) as error:
            hub.reject(request.address, f"device {device.name}: import to {datastream.name}: {error}", device.id)
            raise error if isinstance(error, Rejected) else Rejected("Request with incorrect parameters") from None
        hub.take_quota(hub.imports, device, len(points), "imported values")
        try:
            receipt = await hub.writes.import_points(device, points, "https", principal_of(device))
        except Rejected as error:
            hub.imports.give_back(device.id, len(rows))
            hub.reject(request.address, f"device {device.name}: import of {len(rows)} values: {error}", device.id)
            raise Rejected(MISMATCH_UNDOTTED if MISMATCH in str(error) else str(error)) from error
        if receipt is not None:
            await receipt.durable()
        return OK

    # -- metadata -------------------------------------------------------------------------------------------------

    async def meta(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        given = dict(pairs)
        name = given.get("metaFieldId") or given.get("metaFieldName")
        if not name:
            raise Rejected("Wrong metaField format.")
        if name == LAT_LON:
            return _json({"type": "Text", "value": await self._hub.metadata.get(device, LAT_LON)})
        if name in (NAME, OWNER):
            return _json({"type": "Text", "value": await self._hub.metadata.get(device, name)})
        try:
            number = name.isascii() and name.isdecimal() and len(name) < 10
            field = self._hub.metadata.field(device, int(name) if number else name)
        except NotFound as error:
            raise Rejected(str(error)) from error
        return _json({"type": type_label(field.type), "value": await self._hub.metadata.get(device, field.name)})

    async def update_meta(self, request: Request) -> Response:
        hub = self._hub
        device, pairs = hub.access.authenticate_device(request)
        given = dict(pairs)
        number, name, value = given.get("metaFieldId"), given.get("metaFieldName"), given.get("value")
        if not (name or (number and number.isascii() and number.isdecimal() and len(number) < 10)):
            raise Rejected("Wrong metaField format")
        if value is None:
            raise Rejected("Wrong value")
        if name == NAME:
            await hub.devices.rename(device, value, principal_of(device))
            return EMPTY
        try:
            field = hub.metadata.field(device, name or int(number or 0))
            if field.type not in BY_TOKEN:
                raise WrongValue(f"must not be changed with a token: it is a {field.type}")
            await hub.metadata.set(device, field.name, value, principal_of(device))
        except NotFound:
            raise Rejected("MetaField doesn't exist") from None
        except WrongValue as error:
            hub.reject(request.address, f"device {device.name}: metadata {name or number}: {error}", device.id)
            raise Rejected("Wrong value") from error
        return EMPTY

    async def update_property(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        pins = [value for key, value in pairs if key == "pin"]
        if not pins or any(pin not in PINS for pin in pins):
            raise Rejected(WRONG_PIN)
        properties: dict[str, list[str]] = {}
        for key, value in pairs:
            if key != "pin":
                properties.setdefault(key, []).append(value or "")
        if not properties:
            raise Rejected("Request with incorrect parameters")
        streams = [_on_pin(device, PINS[pin]) for pin in pins if pin]
        await self._hub.properties.set(device, [stream.pin for stream in streams], properties)
        return EMPTY

    async def log_event(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        given = dict(pairs)
        code = given.get("code")
        if not code:
            raise Rejected("Event code is not provided.")
        try:
            await self._hub.timeline.log(device, code, given.get("description") or "")
        except (Rejected, TooMany) as error:
            self._hub.reject(request.address, f"device {device.name}: event {code[:50]!r}: {error}", device.id)
            raise
        return EMPTY

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: Request) -> Response:
        device, pairs = self._hub.access.authenticate_device(request)
        if any(key in ("dataStreamId", "pin") for key, _ in pairs):
            return Response(body=_text(self._current(device, self._named(device, pairs, WRONG_PIN))))
        if not pairs or any(key not in PINS for key, _ in pairs):
            raise Rejected(WRONG_PIN)
        found = {}
        for key, _ in pairs:
            found[key.lower()] = self._current(device, _on_pin(device, PINS[key]))
        if len(found) == 1:
            return Response(body=_text(next(iter(found.values()))))
        return _json({key: to_json(value) for key, value in found.items() if value is not None})

    async def get_all(self, request: Request) -> Response:
        device, _ = self._hub.access.authenticate_device(request)
        streams = (point.datastream for _, point in sorted(device.points.items()))
        latest = ((one.pin, self._hub.writes.latest(device, one)) for one in streams if not one.hide_from_http)
        return _json({f"v{pin}": to_json(found[1]) for pin, found in latest if found is not None})

    async def is_hardware_connected(self, request: Request) -> Response:
        device, _ = self._hub.access.authenticate_device(request)
        online = device.status == ONLINE
        return Response(body="true" if online else "false", type="application/json")

    def _current(self, device: Device, datastream: Datastream) -> Value | None:
        return self._hub.writes.current(device, datastream)

    @staticmethod
    def _named(device: Device, pairs: Pairs, wrong_id: str = "Wrong dataStreamId format.") -> Datastream:
        """The datastream that ``dataStreamId`` or ``pin`` names. Raises `Rejected`."""
        given = dict(pairs)
        number, pin = given.get("dataStreamId"), given.get("pin")
        if number is not None:
            if not number.isascii() or not number.isdecimal():
                raise Rejected(wrong_id)
            point = device.point(int(number[:12]))
            if point is None or point.datastream.hide_from_http:
                raise Rejected(f"Requested dataStream doesn't exist in the product {device.template.name}")
            return point.datastream
        if pin not in PINS:
            raise Rejected(WRONG_PIN)
        return _on_pin(device, PINS[pin])


def _on_pin(device: Device, pin: int) -> Datastream:
    """The datastream on a pin. Raises `Rejected`, also for one that is hidden here."""
    point = device.points.get(pin)
    if point is None or point.datastream.hide_from_http:
        raise Rejected(NO_DATASTREAM)
    return point.datastream


def principal_of(device: Device) -> Principal:
    return Principal("device", device.id, device.org, device.name)


def _by_pin(pairs: Pairs) -> dict[int, list[str]]:
    """The values of each pin; a repeated pin has several. A bare ``v1`` reads, so it is no write."""
    values: dict[int, list[str]] = {}
    for key, value in pairs:
        if key not in PINS:
            raise Rejected(WRONG_PIN)
        if value is None:
            raise Rejected("Request with incorrect parameters")
        values.setdefault(PINS[key], []).append(value)
    if not values:
        raise Rejected("Request with incorrect parameters")
    return values


def _text(value: Value | None) -> str:
    if value is None:
        return ""
    return (
        json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, tuple)
        else texts_of(value)[0]
    )


def _json(found: dict[str, object]) -> Response:
    return Response(body=json.dumps(found, ensure_ascii=False, separators=(",", ":")), type="application/json")
