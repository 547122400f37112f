"""The Device HTTPS API: ``/external/api/…``, as docs.blynk.io documents it, to the byte.

Every error is a 400 with ``{"error":{"message":…}}``, a bad token too. A write is answered after its commit, and has
by then been handed to the device if that is online.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.errors import Rejected, TooMany, UnknownPin, WrongType
from hub.hookspecs import hookimpl
from hub.model import ONLINE, Datastream, Device, Principal, Value
from hub.routes import PUBLIC, Request, Response, Route
from hub.values import texts_of, to_json
from hub.writes import Write

if TYPE_CHECKING:
    from hub.app import Hub

WRONG_PIN = "Wrong pin format."
MISMATCH = "Value doesn't match the Datastream data type."
#: The same sentence without its dot, as some of the operations have it.
MISMATCH_UNDOTTED = "Value doesn't match the Datastream data type"

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
        ("GET", "isHardwareConnected", api.is_hardware_connected, "Whether the device is online"),
        ("GET", "logEvent", api.log_event, "Log an event"),
    )
    return [
        Route(method=method, path=f"/external/api/{path}", handler=handler, permission=PUBLIC, summary=summary)
        for method, path, handler, summary in operations
    ]


class DeviceApi:
    """The operations. Each takes the device's token as ``token``; its budget is that of [limits]."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _device(self, request: Request) -> tuple[Device, Pairs]:
        """Whose token it is, and the other parameters. Raises `Rejected`, `TooMany`."""
        pairs = request.pairs
        tokens = [value for key, value in pairs if key == "token"]
        if not tokens or not tokens[0]:
            raise Rejected("No token provided.")
        device = self._hub.devices.of_token(tokens[0])
        if device is None:
            ending = ascii(tokens[0][-2:])[1:-1]
            self._hub.refuse(request.address, f"unknown token ending …{ending} over HTTP")
            raise Rejected("Invalid token.")
        budget = self._hub.budget(device, time.monotonic())
        if not budget.take():
            message = f"device {device.name} sends more than {self._hub.config.limits.messages_per_second} requests/s"
            self._hub.refuse(request.address, message, device.id)
            raise TooMany("Too many requests for this device.", budget.wait)
        return device, [(key, value) for key, value in pairs if key != "token"]

    # -- writing --------------------------------------------------------------------------------------------------

    async def update(self, request: Request) -> Response:
        device, pairs = self._device(request)
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
        device, pairs = self._device(request)
        await self._write(request, device, _by_pin(pairs), MISMATCH_UNDOTTED)
        return OK

    async def _write(self, request: Request, device: Device, values: dict[int, list[str]], mismatch: str) -> None:
        """Write all or nothing, with one stamp, and return after the commit."""
        hub, principal = self._hub, Principal("device", device.id, device.org, device.name)
        at = hub.clock.now()
        writes = [Write(device, pin, raw, "https", principal, at, shared=True) for pin, raw in values.items()]
        try:
            receipt = hub.writes.write_all(writes)
        except UnknownPin:
            hub.unknown_pin(device, next(pin for pin in values if pin not in device.points), request.address)
            raise
        except WrongType as error:
            raise Rejected(mismatch if str(error) == MISMATCH else str(error)) from error
        await receipt.durable()

    async def update_property(self, request: Request) -> Response:
        device, pairs = self._device(request)
        pins = [value for key, value in pairs if key == "pin"]
        if not pins or any(pin not in PINS for pin in pins):
            raise Rejected(WRONG_PIN)
        properties: dict[str, list[str]] = {}
        for key, value in pairs:
            if key != "pin":
                properties.setdefault(key, []).append(value or "")
        if not properties:
            raise Rejected("Request with incorrect parameters")
        await self._hub.properties.set(device, [PINS[pin] for pin in pins if pin], properties)
        return EMPTY

    async def log_event(self, request: Request) -> Response:
        device, pairs = self._device(request)
        given = dict(pairs)
        code = given.get("code")
        if not code:
            raise Rejected("Event code is not provided.")
        await self._hub.timeline.log(device, code, given.get("description") or "")
        return EMPTY

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: Request) -> Response:
        device, pairs = self._device(request)
        if any(key in ("dataStreamId", "pin") for key, _ in pairs):
            return Response(body=_text(self._current(device, self._named(device, pairs, WRONG_PIN))))
        if not pairs or any(key not in PINS for key, _ in pairs):
            raise Rejected(WRONG_PIN)
        found = {}
        for key, _ in pairs:
            point = device.points.get(PINS[key])
            if point is None:
                raise Rejected("No datastream setup for that pin.")
            found[key.lower()] = self._current(device, point.datastream)
        if len(found) == 1:
            return Response(body=_text(next(iter(found.values()))))
        return _json({key: to_json(value) for key, value in found.items() if value is not None})

    async def get_all(self, request: Request) -> Response:
        device, _ = self._device(request)
        latest = (
            (pin, self._hub.writes.latest(device, point.datastream)) for pin, point in sorted(device.points.items())
        )
        return _json({f"v{pin}": to_json(found[1]) for pin, found in latest if found is not None})

    async def is_hardware_connected(self, request: Request) -> Response:
        device, _ = self._device(request)
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
            if point is None:
                raise Rejected(f"Requested dataStream doesn't exist in the product {device.template.name}")
            return point.datastream
        if pin not in PINS:
            raise Rejected(WRONG_PIN)
        point = device.points.get(PINS[pin])
        if point is None:
            raise Rejected("No datastream setup for that pin.")
        return point.datastream


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
