"""Which devices are meant: filters over what is known of them (docs.blynk.io, Filters), and words to search for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from hub.errors import Rejected
from hub.facts import DeviceDeleted, MetadataChanged
from hub.model import REDACTED_NAME, Device, Principal, Template
from hub.spellings import nfc

if TYPE_CHECKING:
    from hub.app import Hub
    from plugins.fleet.locations import Location, Locations
    from plugins.fleet.tags import Tags

Test = Callable[[Device], bool]

#: docs.blynk.io, Filters: how many there are at once, and values in one.
MAX_FILTERS, MAX_VALUES, MAX_LENGTH = 5, 10, 255
#: Words of a query, each of which every device is asked for.
MAX_WORDS = 20

#: What of a device is text, and what is a number; times are ms UTC. `metadata` and `datastream` need a ``name``.
TEXTS = ("name", "owner", "activatedBy", "status", "organization", "template", "tag", "location", "metadata")
NUMBERS = ("id", "createdAt", "activatedAt", "lastReported", "datastream")
Attribute = Literal[
    "name",
    "owner",
    "activatedBy",
    "status",
    "organization",
    "template",
    "tag",
    "location",
    "metadata",
    "id",
    "createdAt",
    "activatedAt",
    "lastReported",
    "datastream",
]
Operator = Literal["equals", "notEquals", "contains", "notContains", "less", "more", "empty", "notEmpty"]


@attrs.frozen(kw_only=True)
class Filter:
    """One of the ``values`` fits; text is compared without regard to case.

    ``name`` is the metadata field's, or the datastream's ("v1", or its name).
    """

    attribute: Attribute
    operator: Operator = "equals"
    values: list[str | float] = attrs.Factory(list)
    name: str = ""

    def problem(self) -> str | None:
        """What is wrong with it."""
        needs_name = self.attribute in ("metadata", "datastream")
        if needs_name != bool(self.name):
            return f"a filter of {self.attribute} {'needs a' if needs_name else 'has no'} name"
        if self.operator in ("empty", "notEmpty"):
            return "empty and notEmpty have no values" if self.values else None
        if not 1 <= len(self.values) <= MAX_VALUES:
            return f"a filter must have 1 to {MAX_VALUES} values"
        if self.attribute in TEXTS:
            if self.operator in ("less", "more"):
                return f"{self.attribute} is text: {self.operator} is for numbers"
            if not all(isinstance(value, str) and len(value) <= MAX_LENGTH for value in self.values):
                return f"values of {self.attribute} are text of at most {MAX_LENGTH} characters"
        elif self.operator in ("contains", "notContains") and self.attribute != "datastream":
            return f"{self.attribute} is a number: {self.operator} is for text"
        elif self.attribute != "datastream" and not all(type(value) in (int, float) for value in self.values):
            return f"values of {self.attribute} are numbers"
        elif self.operator in ("less", "more") and any(math.isnan(_number(value)) for value in self.values):
            return f"{self.operator} is for numbers"
        return None


@attrs.frozen(kw_only=True)
class Find:
    """Devices that ``all`` or ``any`` of the filters fit, and that have the words of ``query`` somewhere."""

    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)

    def check(self) -> None:
        """Raises `Rejected`, naming everything that is wrong."""
        problems = [f"filters: there are at most {MAX_FILTERS}"] if len(self.filters) > MAX_FILTERS else []
        if len(self.query) > MAX_LENGTH or len(self.query.split()) > MAX_WORDS:
            problems.append(f"query has at most {MAX_WORDS} words and {MAX_LENGTH} characters")
        found = ((number, one.problem()) for number, one in enumerate(self.filters))
        problems += [f"filters.{number}: {problem}" for number, problem in found if problem]
        if problems:
            raise Rejected("; ".join(problems))


#: What firmware says of itself that is looked for: its version, type and build, and the board.
_FIRMWARE = ("mcu", "ncp", "fw", "ver", "fw-type", "build", "dev")


class Finder:
    """Turns what is looked for into tests of one device, which are quick: there may be many."""

    def __init__(self, hub: Hub, tags: Tags, locations: Locations) -> None:
        self._hub = hub
        self._tags = tags
        self._locations = locations
        self._metadata = _Metadata(hub)

    async def tests(self, find: Find, principal: Principal) -> list[Test]:
        """All of which a device must pass, as far as what they look at is somebody's business. Raises `Rejected`."""
        find.check()
        await self._metadata.refresh()
        filters = [self._test(one, principal) for one in find.filters]
        words = [self._word(word, principal) for word in find.query.split()]
        if find.match == "any" and len(filters) > 1:
            return [_either(filters), *words]
        return filters + words

    # -- words ----------------------------------------------------------------------------------------------------

    def _word(self, word: str, principal: Principal) -> Test:
        """Whether a word is in a device's name, tags, metadata, firmware or the name of what it belongs to, or is its
        id or token.
        """
        hub = self._hub
        with_token = hub.tokens.device_for(word)
        word = nfc(word).lower()
        templates: dict[int, bool] = {}
        orgs = {org.id for org in hub.organizations.by_id.values() if word in org.name.lower()}
        tags = (tag for tag in self._tags.by_id.values() if word in tag.name.lower())
        ids = self._tags.devices_with(tag for tag in tags if self._tags.seen(principal, tag))
        ids |= self._metadata.devices_with(word)
        for location in self._locations.by_id.values():
            if word in location.name.lower() and hub.is_allowed(principal, "org_locations.view", location):
                ids |= {device.id for device in self._locations.devices(location)}
        if word.isdecimal() and word.isascii():
            ids.add(int(word[:15]))
        if with_token is not None:
            ids.add(with_token.id)
        owners: dict[int | None, bool] = {None: False}

        def owned(device: Device) -> bool:
            owner = device.owner
            if owner not in owners:
                owners[owner] = word in self.owner_name(device).lower()
            return owners[owner]

        def of_template(device: Device) -> bool:
            template = device.template
            if (found := templates.get(id(template))) is None:
                found = templates[id(template)] = word in template.name.lower() or word in template.id.lower()
            return found

        def of_firmware(device: Device) -> bool:
            said = device.firmware
            return any(word in said[key].lower() for key in _FIRMWARE if key in said)

        def test(device: Device) -> bool:
            found = word in device.name.lower() or device.id in ids or of_template(device) or device.org in orgs
            return found or owned(device) or (bool(device.firmware) and of_firmware(device))

        return test

    def owner_name(self, device: Device) -> str:
        if device.owner is None or "user" not in self._hub.names:
            return ""
        found = self._hub.names["user"](str(device.owner))
        return found[0] if found else ""

    def activators(self, principal: Principal) -> Callable[[Device], str | None]:
        """Says who added a device that has come by now, as far as that is somebody's business."""
        hub = self._hub
        known: dict[tuple[str, int], str] = {}

        def activated_by(device: Device) -> str | None:
            who, key = device.added_by, (device.added_by, device.org)
            if device.activated is None or not who:
                return None
            if key not in known:
                told = who == principal.actor_id or hub.is_allowed(principal, "users.view", org=device.org)
                known[key] = hub.name_of(who, principal) if told else REDACTED_NAME
            return known[key]

        return activated_by

    # -- filters --------------------------------------------------------------------------------------------------

    def _test(self, one: Filter, principal: Principal) -> Test:
        fits = _fits(one)
        negative = one.operator in ("notEquals", "notContains", "empty")
        if one.attribute == "tag":
            seen = self._tags.seen
            return lambda device: (
                any(fits(tag.name) for tag in self._tags.of(device) if seen(principal, tag)) != negative
            )
        of = self._value(one, principal)
        if negative:
            return lambda device: not fits(of(device))
        return lambda device: fits(of(device))

    def _value(self, one: Filter, principal: Principal) -> Callable[[Device], Any]:
        """What a filter's attribute is of a device; None where there is nothing."""
        hub = self._hub
        match one.attribute:
            case "metadata":
                return self._metadata.of(one.name)
            case "datastream":
                return lambda device: self._latest(device, one.name)
        simple: dict[str, Callable[[Device], Any]] = {
            "name": lambda device: device.name,
            "owner": self.owner_name,
            "activatedBy": self.activators(principal),
            "status": hub.lifecycle.status_name,
            "organization": lambda device: hub.organizations.get(device.org).name,
            "template": lambda device: device.template.name,
            "location": lambda device: place.name if (place := self.place_of(device, principal)) else None,
            "id": lambda device: device.id,
            "createdAt": lambda device: device.created,
            "activatedAt": lambda device: device.activated,
            "lastReported": hub.writes.last_reported,
        }
        return simple[one.attribute]

    def place_of(self, device: Device, principal: Principal) -> Location | None:
        """Where a device is, as far as that is somebody's business."""
        found = self._locations.of(device)
        return found if found is not None and self._hub.is_allowed(principal, "org_locations.view", found) else None

    def _latest(self, device: Device, name: str) -> Any:
        try:
            point = device.find(name)
        except Rejected:
            return None
        value = self._hub.writes.current(device, point.datastream)
        return json.dumps(value) if isinstance(value, tuple) else value


class _Metadata:
    """What devices' metadata says, in lower case, field by field: read when first asked for, and kept up to date."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._fields: dict[str, dict[int, str]] = {}
        self._read = False
        self._reading = trio.Lock()
        hub.subscribe(MetadataChanged, self._changed)
        hub.subscribe(DeviceDeleted, self._deleted)

    def _changed(self, fact: MetadataChanged) -> None:
        self._keep(fact.device.id, fact.name, fact.value)

    def _deleted(self, fact: DeviceDeleted) -> None:
        for values in self._fields.values():
            values.pop(fact.device.id, None)

    def _keep(self, device: int, name: str, value: str) -> None:
        self._fields.setdefault(nfc(name), {})[device] = nfc(value[:MAX_LENGTH]).lower()

    async def refresh(self) -> None:
        """Read what is not known yet."""
        async with self._reading:
            if self._read:
                return
            rows = await self._hub.storage.configuration.fetch_all("SELECT device, name, value FROM metadata")
            for device, name, value in rows:
                # What has changed meanwhile is newer.
                if device not in self._fields.get(name, ()) and device in self._hub.devices.by_id:
                    self._keep(device, name, value)
            self._read = True

    def devices_with(self, word: str) -> set[int]:
        """The ids of devices where some field has a word."""
        return {device for values in self._fields.values() for device, value in values.items() if word in value}

    def of(self, name: str) -> Callable[[Device], str]:
        """What a field says of a device: what was set, else its template's default."""
        name = nfc(name)
        said, defaults = self._fields.get(name, {}), dict[int, str]()

        def default(template: Template) -> str:
            found = defaults.get(id(template))
            if found is None:
                fields = (nfc(field.default).lower() for field in template.metadata if field.name == name)
                found = defaults[id(template)] = next(fields, "")
            return found

        return lambda device: text if (text := said.get(device.id)) is not None else default(device.template)


def _either(tests: Sequence[Test]) -> Test:
    def test(device: Device) -> bool:
        for one in tests:  # noqa: SIM110 - any() takes twice as long, and there may be many devices
            if one(device):
                return True
        return False

    return test


def _fits(one: Filter) -> Callable[[Any], bool]:
    """Whether a value fits a filter; of one that says what must not be, whether it is that."""
    wanted = [nfc(value).lower() if isinstance(value, str) else value for value in one.values]
    match one.operator:
        case "empty" | "notEmpty":
            return lambda value: value not in (None, "")
        case "equals" | "notEquals":
            return lambda value: (value.lower() if isinstance(value, str) else value) in wanted
        case "contains" | "notContains":
            parts = [str(value) for value in wanted]
            if len(parts) == 1:
                # The usual case, and much quicker than a loop.
                [part] = parts
                return lambda value: part in _text(value)

            def contains(value: Any) -> bool:
                text = _text(value)
                return any(part in text for part in parts)

            return contains
        case "less":
            most = max(_number(value) for value in one.values)
            return lambda value: _number(value) < most
        case "more":
            least = min(_number(value) for value in one.values)
            return lambda value: _number(value) > least


def _text(value: Any) -> str:
    """A value as text, in lower case; nothing is empty text."""
    return value.lower() if type(value) is str else "" if value is None else str(value).lower()


def _number(value: Any) -> float:
    """A value as a number; not a number where it is none, which is neither less nor more than anything."""
    try:
        return float("nan") if value is None else float(value)
    except ValueError:
        return float("nan")
