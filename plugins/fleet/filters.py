"""Which devices are meant: filters over what is known of them (docs.blynk.io, Filters), and words to search for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub.errors import Rejected
from hub.model import Device

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.storage import Transaction
    from plugins.fleet.locations import Locations
    from plugins.fleet.tags import Tags

Test = Callable[[Device], bool]

#: docs.blynk.io, Filters: how many there are at once, and values in one.
MAX_FILTERS, MAX_VALUES, MAX_LENGTH = 5, 10, 255

#: What of a device is text, and what is a number; times are ms UTC. `metadata` and `datastream` need a ``name``.
TEXTS = ("name", "owner", "status", "organization", "template", "tag", "location", "metadata")
NUMBERS = ("id", "createdAt", "activatedAt", "lastReported", "datastream")
Attribute = Literal[
    "name",
    "owner",
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
            return f"a filter has 1 to {MAX_VALUES} values"
        if self.attribute in TEXTS:
            if self.operator in ("less", "more"):
                return f"{self.attribute} is text: {self.operator} is for numbers"
            if not all(isinstance(value, str) and len(value) <= MAX_LENGTH for value in self.values):
                return f"values of {self.attribute} are text of at most {MAX_LENGTH} characters"
        elif self.operator in ("contains", "notContains") and self.attribute != "datastream":
            return f"{self.attribute} is a number: {self.operator} is for text"
        elif self.attribute != "datastream" and not all(type(value) in (int, float) for value in self.values):
            return f"values of {self.attribute} are numbers"
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
        found = ((number, one.problem()) for number, one in enumerate(self.filters))
        problems += [f"filters.{number}: {problem}" for number, problem in found if problem]
        if problems:
            raise Rejected("; ".join(problems))


class Finder:
    """Turns what is looked for into a test of one device, so that many are tested quickly."""

    def __init__(self, hub: Hub, tags: Tags, locations: Locations) -> None:
        self._hub = hub
        self._tags = tags
        self._locations = locations

    async def test(self, find: Find) -> Test:
        """Raises `Rejected`."""
        find.check()
        tests = [await self._test(one) for one in find.filters]
        words = [await self._word(word) for word in find.query.lower().split()]
        if find.match == "any" and tests:
            filters = tests
            tests = [lambda device: any(test(device) for test in filters)]
        tests += words
        if len(tests) == 1:
            return tests[0]
        return lambda device: all(test(device) for test in tests)

    # -- words ----------------------------------------------------------------------------------------------------

    async def _word(self, word: str) -> Test:
        """Whether a word is in a device's name, id, tags, metadata, or the name of what it belongs to."""
        hub = self._hub
        templates = {t.id for t in hub.templates.by_id.values() if word in t.name.lower() or word in t.id.lower()}
        orgs = {org.id for org in hub.organizations.by_id.values() if word in org.name.lower()}
        owners = {d.owner for d in hub.devices.by_id.values() if d.owner is not None}
        owners = {owner for owner in owners if word in self._owner_name(owner).lower()}
        ids = self._tags.devices_with(tag.id for tag in self._tags.by_id.values() if word in tag.name.lower())
        for location in self._locations.by_id.values():
            if word in location.name.lower():
                ids |= {device.id for device in self._locations.devices(location)}
        ids |= await self._with_metadata("value LIKE ? ESCAPE '\\'", f"%{_like(word)}%")
        if word.isdecimal() and word.isascii():
            ids.add(int(word[:15]))
        return lambda d: (
            word in d.name.lower()
            or d.id in ids
            or d.template.id in templates
            or d.org in orgs
            or (d.owner is not None and d.owner in owners)
        )

    async def _with_metadata(self, where: str, *values: str) -> set[int]:
        async def read(tx: Transaction) -> list[tuple[int]]:
            return await tx.fetch_all(f"SELECT device FROM metadata WHERE {where}", values)

        return {device for (device,) in await self._hub.storage.read(read)}

    def _owner_name(self, owner: int) -> str:
        found = self._hub.names["user"](str(owner)) if "user" in self._hub.names else None
        return found[0] if found else ""

    # -- filters --------------------------------------------------------------------------------------------------

    async def _test(self, one: Filter) -> Test:
        values_of = await self._values(one)
        wanted = [_plain(value) for value in one.values]
        match one.operator:
            case "empty":
                return lambda device: not any(value not in (None, "") for value in values_of(device))
            case "notEmpty":
                return lambda device: any(value not in (None, "") for value in values_of(device))
            case "equals":
                return lambda device: any(_plain(value) in wanted for value in values_of(device))
            case "notEquals":
                return lambda device: all(_plain(value) not in wanted for value in values_of(device))
            case "contains":
                return lambda device: any(_contains(value, wanted) for value in values_of(device))
            case "notContains":
                return lambda device: not any(_contains(value, wanted) for value in values_of(device))
            case "less":
                most = max(_number(value) for value in one.values)
                return lambda device: any(_number(value) < most for value in values_of(device))
            case "more":
                least = min(_number(value) for value in one.values)
                return lambda device: any(_number(value) > least for value in values_of(device))

    async def _values(self, one: Filter) -> Callable[[Device], Sequence[Any]]:
        """What a filter's attribute is of a device; a device may have several tags."""
        hub = self._hub
        match one.attribute:
            case "metadata":
                return await self._metadata(one.name)
            case "datastream":
                return lambda device: self._latest(device, one.name)
            case "tag":
                return lambda device: [tag.name for tag in self._tags.of(device)]
            case "location":
                return lambda device: [place.name] if (place := self._locations.of(device)) else []
            case "owner":
                return lambda device: [] if device.owner is None else [self._owner_name(device.owner)]
            case "lastReported":
                return lambda device: [last_reported(hub, device)]
        simple: dict[str, Callable[[Device], Any]] = {
            "name": lambda device: device.name,
            "status": hub.lifecycle.name,
            "organization": lambda device: hub.organizations.get(device.org).name,
            "template": lambda device: device.template.name,
            "id": lambda device: device.id,
            "createdAt": lambda device: device.created,
            "activatedAt": lambda device: device.activated,
        }
        of = simple[one.attribute]
        return lambda device: [of(device)]

    async def _metadata(self, name: str) -> Callable[[Device], Sequence[str]]:
        async def read(tx: Transaction) -> list[tuple[int, str]]:
            return await tx.fetch_all("SELECT device, value FROM metadata WHERE name = ?", (name,))

        said = dict(await self._hub.storage.read(read))
        defaults = {
            template.id: field.default
            for template in self._hub.templates.by_id.values()
            for field in template.metadata
            if field.name == name
        }
        return lambda device: [said.get(device.id, defaults.get(device.template.id, ""))]

    def _latest(self, device: Device, name: str) -> Sequence[Any]:
        try:
            point = device.find(name)
        except Rejected:
            return []
        value = self._hub.writes.current(device, point.datastream)
        return [] if value is None else [json.dumps(value) if isinstance(value, tuple) else value]


def last_reported(hub: Hub, device: Device) -> int | None:
    """When the newest of a device's values was written, in ms UTC."""
    stamps = [found[0] for point in device.points.values() if (found := hub.history.latest.get(point.series))]
    return max(stamps, default=None)


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _contains(value: Any, wanted: Sequence[Any]) -> bool:
    text = str(value if value is not None else "").lower()
    return any(str(one) in text for one in wanted)


def _number(value: Any) -> float:
    """A value as a number; not a number where it is none, which is neither less nor more than anything."""
    try:
        return float("nan") if value is None else float(value)
    except ValueError:
        return float("nan")


def _like(text: str) -> str:
    """Text without a meaning for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
