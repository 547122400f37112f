"""Metadata: the fields of a device that its template defines, and those that every device has, such as its location.

Values are validated and change seldom. A value is text whatever the type of its field: a number as digits, a table as
CSV, a contact as a JSON object. The types, and who may change them, are those of docs.blynk.io, Metadata.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.domain import units
from hub.errors import Forbidden, NotFound, Rejected
from hub.facts import MetadataChanged
from hub.model import Device, MetadataField, Principal, SetMetadata, Template
from hub.parsing import timezones
from hub.parsing.spellings import is_name, nfc
from hub.storage import among
from hub.values import is_text

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.domain.directory import Directory
    from hub.sessions import Sessions
    from hub.storage import Storage, Transaction

#: Fields that every device has, whatever its template defines.
NAME, OWNER, LOCATION, TIME_ZONE = "Device Name", "Device Owner", "Location", "Time Zone"
BUILT_IN = {"Hotspot Name": "hotspot", "Device UID": "text", TIME_ZONE: "time_zone", LOCATION: "location"}
#: Blynk's names of these fields where ours differ (docs.blynk.io, Metadata); a template's own field has priority.
SYNONYMS = {"Device Timezone": TIME_ZONE}
#: Names that do not belong to a stored field, unless a template has a field of this name: the device's token, and its
#: position. The token is not known here; the protocols answer it.
AUTH_TOKEN, LAT_LON = "Auth Token", "loc.latlon"
RESERVED = frozenset({NAME, OWNER, *BUILT_IN, LAT_LON})
MAX_LENGTH, MAX_LONG = 255, 10_000
#: Types that the firmware may change, and a client of the HTTPS API with the device's token (docs.blynk.io: Device
#: metadata; HTTPS API; Unit Conversion Switch metadata).
BY_DEVICE = frozenset({"hotspot", "time_zone", "text", "number", "table", "imei", "iccid", "unit_conversion_switch"})
BY_TOKEN = frozenset({"text", "number", "hotspot", "list", "imei", "iccid", "unit_conversion_switch"})

#: Devices whose fields are cached.
MAX_CACHED = 1_000

NO_FIELD = "MetaField doesn't exist."


class WrongValue(Rejected):
    """A value that does not fit the type of its field."""


def _pattern(pattern: str, form: str) -> Callable[[MetadataField, str], None]:
    def check(_field: MetadataField, value: str) -> None:
        if re.fullmatch(pattern, value) is None:
            raise WrongValue(f"must be {form}")

    return check


def _text(_field: MetadataField, value: str) -> None:
    if len(value) > MAX_LENGTH:
        raise WrongValue(f"must be text of at most {MAX_LENGTH} characters")


def _number(field: MetadataField, value: str) -> None:
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", value, re.ASCII) is None or sum(map(str.isdigit, value)) > 15:
        raise WrongValue("must be a number of at most 15 digits")
    number = float(value)
    if field.min is not None and number < field.min:
        raise WrongValue(f"must be at least {field.min:g}")
    if field.max is not None and number > field.max:
        raise WrongValue(f"must be at most {field.max:g}")


def _option(field: MetadataField, value: str) -> None:
    if value not in field.options:
        raise WrongValue(f"must be one of {', '.join(field.options)}")


def _imei(_field: MetadataField, value: str) -> None:
    if re.fullmatch(r"[0-9]{15}", value) is None or _luhn(value):
        raise WrongValue("must be an IMEI of 15 digits with a correct check digit")


def _luhn(digits: str) -> int:
    """Return 0 if the last digit is the check digit of the others (ISO/IEC 7812-1, Annex B)."""
    doubled = [int(d) * (2 if n % 2 else 1) for n, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10


def _table(_field: MetadataField, value: str) -> None:
    try:
        rows = list(csv.reader(io.StringIO(value), strict=True))
    except csv.Error as error:
        raise WrongValue(f"must be a table as CSV ({error})") from error
    if len(value) > MAX_LONG or len({len(row) for row in rows}) > 1:
        raise WrongValue(
            f"must be a table as CSV with the same number of columns in each row and at most {MAX_LONG} characters"
        )


def _object(keys: frozenset[str], description: str) -> Callable[[MetadataField, str], None]:
    def check(_field: MetadataField, value: str) -> None:
        if unknown := _parse_object(value, description).keys() - keys:
            raise WrongValue(f"has unknown keys: {', '.join(sorted(unknown))}")

    return check


def _parse_object(value: str, description: str) -> dict[str, Any]:
    """Return a JSON object of strings and numbers; ``description`` names it in errors. Raises `WrongValue`."""
    try:
        parsed = json.loads(value) if len(value) <= MAX_LONG else None
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or not all(isinstance(item, (str, int, float)) for item in parsed.values()):
        raise WrongValue(f"must be {description} as a JSON object")
    return parsed


def _cost(field: MetadataField, value: str) -> None:
    _object(frozenset({"currency", "price", "per", "unit"}), "a cost")(field, value)
    cost = json.loads(value)
    if cost.get("currency", "USD") not in ("USD", "EUR", "GBP", "CNY", "RUB"):
        raise WrongValue("must have a currency of USD, EUR, GBP, CNY, RUB")
    _number(field, str(cost.get("price", "")))


def _coordinates(_field: MetadataField, value: str) -> None:
    if parse_coordinates(value) is None:
        raise WrongValue("must be latitude,longitude")


#: The keys of a location; ``locationId`` is the id of a location of the device's organization.
_LOCATION_KEYS = frozenset("address lat lon timezone building floor unit room zone locationId".split())


def _location(_field: MetadataField, value: str) -> None:
    if not value.startswith("{"):
        if len(value) > MAX_LENGTH:
            raise WrongValue(f"must be an address of at most {MAX_LENGTH} characters, or a JSON object")
        return
    location = _parse_object(value, "a place")
    if unknown := location.keys() - _LOCATION_KEYS:
        raise WrongValue(f"has unknown keys: {', '.join(sorted(unknown))}")
    has_coordinates = "lat" in location or "lon" in location
    if has_coordinates and parse_coordinates(f"{location.get('lat')},{location.get('lon')}") is None:
        raise WrongValue("must have lat and lon in degrees")
    if not timezones.is_known(location.get("timezone", "UTC")):
        raise WrongValue(f"names the time zone {location['timezone']!r}, which does not exist")


def _time_zone(_field: MetadataField, value: str) -> None:
    if not timezones.is_known(value):
        raise WrongValue(f"there is no time zone {value[:50]!r}")


_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_EUI = _pattern(r"[0-9A-Fa-f]{16}", "16 hexadecimal digits")
_CONTACT = "firstName lastName email phone street1 street2 city state zip country"

#: The validators of values, by type of field. Each raises `WrongValue` with the end of a sentence.
TYPES: Mapping[str, Callable[[MetadataField, str], None]] = {
    "text": _text,
    "hotspot": _text,
    "number": _number,
    "time": _pattern(_TIME, "a time such as 07:30"),
    "time_range": _pattern(f"{_TIME}-{_TIME}", "a range such as 07:30-18:00"),
    "contact": _object(frozenset(_CONTACT.split()), "a contact"),
    "cost": _cost,
    "coordinates": _coordinates,
    "location": _location,
    "time_zone": _time_zone,
    "switch": _option,
    "list": _option,
    "unit_conversion_switch": _option,
    "firmware_update_control": _pattern("on|off", "on or off"),
    "device_reference": _pattern(r"[0-9]{1,15}", "a device's id"),
    "table": _table,
    "imei": _imei,
    "iccid": _pattern(r"[0-9]{18,22}", "an ICCID of 18 to 22 digits"),
    "email": _pattern(r"[^@\s]{1,64}@[^@\s]{1,190}", "an e-mail address"),
    "image": _pattern(r"https?://\S{1,240}", "the address of an image"),
    "device_eui": _EUI,
    "join_eui": _EUI,
    "application_key": _pattern(r"[0-9A-Fa-f]{32}", "32 hexadecimal digits"),
    "blues_device": _text,
    "myriota_terminal_id": _text,
    "ttn_device_id": _text,
    "thing_name": _text,
}
#: Names of types in answers of the HTTPS API that are not derived from the type itself.
LABELS = {"imei": "IMEI", "iccid": "ICCID", "device_eui": "Device EUI", "join_eui": "Join EUI"}


def type_label(kind: str) -> str:
    return LABELS.get(kind, kind.replace("_", " ").title())


def parse_coordinates(text: str) -> tuple[float, float] | None:
    """Return (latitude, longitude) of ``lat,lon`` or ``lat lon``; None if the text is not a position on Earth."""
    try:
        latitude, longitude = map(float, text.replace(",", " ").split())
    except ValueError:
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def field_problems(field: MetadataField) -> list[str]:
    """Return what is wrong with a metadata field of a template, a line each."""
    problems = []
    if not is_name(field.name, 50):
        problems.append("name must have 1-50 printable characters")
    if field.name in RESERVED:
        problems.append("this name is reserved for a field that every device has")
    if field.type not in TYPES:
        return [*problems, f"type {field.type!r} must be one of {', '.join(TYPES)}"]
    if field.type == "unit_conversion_switch" and len(field.options) == 2:
        first, second = field.options
        if first == second or units.conversion(first, second) is None:
            problems.append(f"{first} and {second} are not two units that can be converted into each other")
    required = {"switch": 2, "unit_conversion_switch": 2, "list": 1}.get(field.type, 0)
    if len(field.options) < required or (required == 2 and len(field.options) != 2):
        problems.append(f"a {field.type} must have {required if required == 2 else 'at least 1'} options")
    if field.options and not required:
        problems.append(f"a {field.type} cannot have options")
    numbers = [number for number in (field.min, field.max, field.step) if number is not None]
    if numbers and field.type not in ("number", "cost"):
        problems.append(f"a {field.type} cannot have min, max and step")
    if field.default and not problems:
        try:
            TYPES[field.type](field, field.default)
        except WrongValue as error:
            problems.append(f"default {field.default!r} {error}")
    return problems


def _position(device: Device, values: Mapping[str, str], hidden: Collection[str] = ()) -> tuple[float, float] | None:
    """Return (latitude, longitude) of a device's Location, else of its first field with coordinates, else None.

    Fields with names in ``hidden`` do not count.
    """
    location = values.get(LOCATION, "")
    if location.startswith("{") and "lat" in (parsed := json.loads(location)):
        return parsed["lat"], parsed["lon"]
    fields = (field for field in device.template.metadata if field.type == "coordinates" and field.name not in hidden)
    coordinates = (parse_coordinates(values.get(field.name, "")) for field in fields)
    return next((position for position in coordinates if position is not None), None)


def check_value(field: MetadataField, value: str, *, any_text: bool = False) -> None:
    """Raise `WrongValue` for a value that does not fit the type of a field, or with ``any_text`` only its length."""
    if len(value) > MAX_LONG or not is_text(value):
        raise WrongValue(f"must be text of at most {MAX_LONG} characters")
    if value and not any_text:
        TYPES[field.type](field, value)


class Metadata:
    """The metadata of all devices; they are read from the database, with a cache of recent devices."""

    def __init__(self, storage: Storage, bus: Bus, sessions: Sessions, clock: Clock, directory: Directory) -> None:
        self._directory = directory
        self._storage = storage
        self._bus = bus
        self._sessions = sessions
        self._clock = clock
        #: Values by device id, for recently used devices; and the number of changes, by which a read finds that its
        #: result is outdated.
        self._cache: dict[int, dict[str, str]] = {}
        self._changes = 0

    async def load(self, devices: Mapping[int, Device]) -> None:
        """Set the time zones of devices from their metadata."""

        async def read(tx: Transaction) -> list[tuple[int, str, str]]:
            sql = "SELECT device, name, value FROM metadata WHERE name IN (?, ?) ORDER BY name DESC"
            return await tx.fetch_all(sql, (LOCATION, TIME_ZONE))

        for device, name, value in await self._storage.read(read):
            self._set_timezone(devices[device], name, value)

    @staticmethod
    def _set_timezone(device: Device, name: str, value: str) -> None:
        """Set the device's time zones from a field (docs.blynk.io, Timezone / Location: the location has priority)."""
        if name == LOCATION:
            location = json.loads(value) if value.startswith("{") else {}
            device.place_timezone = location.get("timezone", "")
        else:
            # Firmware may set any text; an unknown time zone counts as none.
            device.own_timezone = value if timezones.is_known(value) else ""

    async def get(self, device: Device, name: str) -> str:
        """Return the value of a field, "" if it has none. Raises `NotFound`."""
        if name == LAT_LON and all(field.name != LAT_LON for field in device.template.metadata):
            return await self._latlon(device)
        if name == NAME:
            return device.name
        if name == OWNER:
            return ""
        field = self.field(device, name)
        values = await self.values_for(device)
        return values.get(field.name, field.default)

    async def _latlon(self, device: Device) -> str:
        """Return ``lat lon`` of the device's Location, else of its first field with coordinates, else ""."""
        position = _position(device, await self.values_for(device))
        return "" if position is None else f"{position[0]} {position[1]}"

    async def positions(self, devices: Sequence[Device], principal: Principal) -> dict[int, tuple[float, float]]:
        """Return (latitude, longitude) of those devices that have a position in their metadata, by id.

        Fields that the principal does not see do not count.
        """
        values, hidden = await self.values_of(devices), self.hidden_from(principal)
        found = ((device.id, _position(device, values[device.id], hidden(device.template))) for device in devices)
        return {id_: (float(position[0]), float(position[1])) for id_, position in found if position is not None}

    async def set(self, device: Device, name: str, value: str, by: Principal) -> bool:
        """Set a field, durably; return False when it had that value. Raises as `check`."""
        name = self.check(device, name, value, by).name
        if value == await self.get(device, name):
            return False
        now = self._clock.now()

        async def write(tx: Transaction) -> None:
            await tx.execute(
                "INSERT INTO metadata (device, name, value, updated, by) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value, updated = excluded.updated, by = excluded.by",
                (device.id, name, value, now, by.label or by.kind),
            )

        await self._storage.transaction(write)
        self._changes += 1
        self._cache.pop(device.id, None)
        if name in (LOCATION, TIME_ZONE):
            self._set_timezone(device, name, value)
        self._bus.emit(MetadataChanged(device, name, value, by))
        if by.kind != "device":
            for session in self._sessions.recipients(device):
                session.send(SetMetadata(name, value))
        return True

    def check(self, device: Device, name: str, value: str, by: Principal) -> MetadataField:
        """Check that a principal may set a field to a value, and return the field.

        Raises `NotFound`, also for a field that the role of the principal does not see; `Forbidden` for one that it
        does not edit; `WrongValue`.
        """
        field = self.field(device, name)
        if by.kind != "device":
            self._check_roles(field, by)
        check_value(field, value, any_text=by.kind == "device" and field.type == "time_zone")
        if not field.editable and by.kind != "device":
            raise WrongValue("can be set by the device only")
        if field.required and not value:
            raise WrongValue("must have a value")
        return field

    def _check_roles(self, field: MetadataField, by: Principal) -> None:
        if not self._directory.sees(by, field.view_roles):
            raise NotFound(NO_FIELD)
        if not self._directory.sees(by, field.edit_roles):
            raise Forbidden(f"{field.name} is set by the roles {', '.join(field.edit_roles)} only.")

    def hidden_from(self, principal: Principal) -> Callable[[Template], frozenset[str]]:
        """Return a function from a template to the names of its fields that a principal does not see.

        The function caches them, so use it for one list of devices only.
        """
        # The templates are in the values because an id is reused when its object is gone.
        hidden: dict[int, tuple[Template, frozenset[str]]] = {}

        def names(template: Template) -> frozenset[str]:
            if (entry := hidden.get(id(template))) is None:
                fields = (f for f in template.metadata if not self._directory.sees(principal, f.view_roles))
                entry = hidden[id(template)] = template, frozenset(field.name for field in fields)
            return entry[1]

        return names

    @staticmethod
    def has_view_roles(template: Template, name: str) -> bool:
        """Whether a template has a field of this name that only some roles see."""
        name = nfc(name)
        return any(field.name == name and field.view_roles for field in template.metadata)

    @staticmethod
    def field(device: Device, name: str | int) -> MetadataField:
        """Return a field by its name or synonym, or by its number in the template, from 1. Raises `NotFound`."""
        fields = device.template.metadata
        if isinstance(name, int):
            if 1 <= name <= len(fields):
                return fields[name - 1]
            raise NotFound(NO_FIELD)
        name = nfc(name)
        for field in fields:
            if field.name == name:
                return field
        name = SYNONYMS.get(name, name)
        if kind := BUILT_IN.get(name):
            return MetadataField(name=name, type=kind)
        raise NotFound(NO_FIELD)

    async def values_of(self, devices: Sequence[Device]) -> dict[int, dict[str, str]]:
        """Return `values_for` of each device, by its id; one read for all that are not in memory."""
        values = {device.id: self._cache.get(device.id) for device in devices}
        missing: dict[int, dict[str, str]] = {id_: {} for id_, cached in values.items() if cached is None}
        if missing:
            condition, ids = among("device", missing)
            sql = f"SELECT device, name, value FROM metadata WHERE {condition}"
            for id_, name, value in await self._storage.configuration.fetch_all(sql, (ids,)):
                missing[id_][name] = value
        return {
            device.id: {field.name: field.default for field in device.template.metadata}
            | (values[device.id] or missing.get(device.id, {}))
            for device in devices
        }

    async def visible_values(self, device: Device, principal: Principal) -> dict[str, str]:
        """Return `values_for` without the fields that a principal does not see."""
        hidden = self.hidden_from(principal)(device.template)
        return {name: value for name, value in (await self.values_for(device)).items() if name not in hidden}

    async def values_for(self, device: Device) -> dict[str, str]:
        """Return the values of all fields that the template defines or that were set, by name."""
        values = self._cache.get(device.id)
        if values is None:
            before, sql = self._changes, "SELECT name, value FROM metadata WHERE device = ?"
            values = dict(await self._storage.configuration.fetch_all(sql, (device.id,)))
            if before == self._changes:
                if len(self._cache) >= MAX_CACHED:
                    del self._cache[next(iter(self._cache))]
                self._cache[device.id] = values
        return {field.name: field.default for field in device.template.metadata} | values
