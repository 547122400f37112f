"""Device queries: filters over attributes of devices (docs.blynk.io, Filters), and words to search for.

`QueryCompiler` turns a `DeviceQuery` into predicates, and a device matches the query when it satisfies all of them.
Predicates are applied to all devices in slices (`select`), between which devices may be changed, moved or deleted.
Tags and locations come from a plugin, behind the protocols `TagIndex` and `LocationIndex`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
import trio

from hub.errors import Rejected
from hub.facts import DeviceDeleted, MetadataChanged
from hub.model import REDACTED_NAME, Datastream, Device, IsAllowed, Principal, Template, Value
from hub.parsing.spellings import nfc
from hub.slices import SliceRunner, Steps, sort_in_steps

if TYPE_CHECKING:
    from hub.bus import Bus
    from hub.domain.connection_lifecycle import Lifecycles
    from hub.domain.devices import Devices
    from hub.domain.directory import Directory
    from hub.domain.organizations import Organizations
    from hub.domain.tokens import Tokens
    from hub.storage import Row, Storage

Predicate = Callable[[Device], bool]

#: Devices, or rows of metadata, that are examined in one step of a slice.
STEP = 256

#: docs.blynk.io, Filters: filters of a query, values of a filter, and characters of a value or of the words.
MAX_FILTERS, MAX_VALUES, MAX_LENGTH = 5, 10, 255
#: Words of a query; every device is checked for each of them.
MAX_WORDS = 20

#: Attributes that are compared as text, and as numbers (times are ms UTC). `metadata` and `datastream` need a ``name``.
TEXT_ATTRIBUTES = ("name", "owner", "activatedBy", "status", "organization", "template", "tag", "location", "metadata")
NUMBER_ATTRIBUTES = ("id", "createdAt", "activatedAt", "lastReported", "datastream")
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


class TagIndex(Protocol):
    """The tags of devices, as far as queries need them. All methods answer from memory."""

    def visible_names(self, device: Device, principal: Principal) -> Iterable[str]:
        """Return the names of the device's tags that the principal may see."""

    def word_predicate(self, word: str, principal: Principal) -> Predicate:
        """Return a predicate for a visible tag whose lower-case name contains ``word``."""


class LocationIndex(Protocol):
    """The locations of devices, as far as queries need them. All methods answer from memory."""

    def visible_name(self, device: Device, principal: Principal) -> str | None:
        """Return the name of the device's location; None if there is none, or none that the principal may see."""

    def word_predicate(self, word: str, principal: Principal) -> Predicate:
        """Return a predicate for a visible location whose lower-case name contains ``word``."""


class _NoTags:
    """Index of a hub without a plugin for tags."""

    def visible_names(self, _device: Device, _principal: Principal) -> Iterable[str]:
        return ()

    def word_predicate(self, _word: str, _principal: Principal) -> Predicate:
        return lambda _device: False


class _NoLocations:
    """Index of a hub without a plugin for locations."""

    def visible_name(self, _device: Device, _principal: Principal) -> str | None:
        return None

    def word_predicate(self, _word: str, _principal: Principal) -> Predicate:
        return lambda _device: False


@attrs.frozen(kw_only=True)
class Filter:
    """Condition on one attribute of a device: at least one of ``values`` matches, ignoring the case of text.

    ``name`` is the name of the metadata field, or the datastream's pin ("v1"), name, or tag ("tag:Humidity").
    """

    attribute: Attribute
    operator: Operator = "equals"
    values: list[str | float] = attrs.Factory(list)
    name: str = ""

    def problem(self) -> str | None:
        """Return why the filter is invalid, or None."""
        needs_name = self.attribute in ("metadata", "datastream")
        if needs_name != bool(self.name):
            return f"a filter of {self.attribute} {'needs' if needs_name else 'must not have'} a name"
        if self.operator in ("empty", "notEmpty"):
            return f"a filter with {self.operator} must have no values" if self.values else None
        if not 1 <= len(self.values) <= MAX_VALUES:
            return f"a filter must have 1 to {MAX_VALUES} values"
        if self.attribute in TEXT_ATTRIBUTES:
            if self.operator in ("less", "more"):
                return f"{self.attribute} is text: {self.operator} is for numbers"
            if not all(isinstance(value, str) and len(value) <= MAX_LENGTH for value in self.values):
                return f"values of {self.attribute} must be text of at most {MAX_LENGTH} characters"
        elif self.operator in ("contains", "notContains") and self.attribute != "datastream":
            return f"{self.attribute} is a number: {self.operator} is for text"
        elif self.attribute != "datastream" and not all(type(value) in (int, float) for value in self.values):
            return f"values of {self.attribute} must be numbers"
        elif self.operator in ("less", "more") and any(math.isnan(_to_number(value)) for value in self.values):
            return f"{self.operator} is for numbers"
        return None


@attrs.frozen(kw_only=True)
class DeviceQuery:
    """Query for devices: they match ``all`` or ``any`` of the filters, and contain every word of ``query``."""

    query: str = ""
    match: Literal["all", "any"] = "all"
    filters: list[Filter] = attrs.Factory(list)

    def check(self) -> None:
        """Raise `Rejected` with every problem of the query, if there are any."""
        problems = [f"filters: at most {MAX_FILTERS} are allowed"] if len(self.filters) > MAX_FILTERS else []
        if len(self.query) > MAX_LENGTH or len(self.query.split()) > MAX_WORDS:
            problems.append(f"query must have at most {MAX_WORDS} words and {MAX_LENGTH} characters")
        by_index = ((index, device_filter.problem()) for index, device_filter in enumerate(self.filters))
        problems += [f"filters.{index}: {problem}" for index, problem in by_index if problem]
        if problems:
            raise Rejected("; ".join(problems))


#: Keys of the firmware's info message that are searched for words: versions, types, build, and the board.
_FIRMWARE_KEYS = ("mcu", "ncp", "fw", "ver", "fw-type", "build", "dev")


class DeviceAttributes:
    """Attributes by which devices are filtered and sorted, and which are not fields of `Device`.

    ``name_of(actor_id, asker)`` is `Hub.name_of`, ``current(device, datastream)`` is `Writes.current`.
    """

    def __init__(
        self,
        directory: Directory,
        is_allowed: IsAllowed,
        name_of: Callable[[str, Principal], str],
        current: Callable[[Device, Datastream], Value | None],
    ) -> None:
        self._directory = directory
        self._is_allowed = is_allowed
        self._name_of = name_of
        self._current = current

    def owner_name(self, device: Device) -> str:
        """Return the e-mail address of the device's owner; "" without one."""
        owner = None if device.owner is None else self._directory.user(device.owner)
        return "" if owner is None else owner.email

    def activator_names(self, principal: Principal) -> Callable[[Device], str | None]:
        """Return a function from a device to the name of its activator.

        The function returns None before the device's first connection, and `REDACTED_NAME` where the principal may not
        see the activator. It caches the names, so use it for one list of devices only.
        """
        names: dict[tuple[str, int], str] = {}

        def activated_by(device: Device) -> str | None:
            activator, key = device.added_by, (device.added_by, device.org)
            if device.activated is None or not activator:
                return None
            if key not in names:
                is_visible = activator == principal.actor_id or self._is_allowed(
                    principal, "users.view", org=device.org
                )
                names[key] = self._name_of(activator, principal) if is_visible else REDACTED_NAME
            return names[key]

        return activated_by

    def datastream_values(self, name: str) -> Callable[[Device], Any]:
        """Return a function from a device to the current value of a datastream, given as in `Template.pin_of`.

        The function returns several values as JSON, and None without a value. It caches the pins of templates, so use
        it for one list of devices only.
        """
        # The templates are in the values because an id is reused when its object is gone.
        pins: dict[int, tuple[Template, int | None]] = {}
        current = self._current

        def value_of(device: Device) -> Any:
            template = device.template
            if (entry := pins.get(id(template))) is None:
                entry = pins[id(template)] = template, template.pin_of(name)
            if entry[1] is None or (point := device.points.get(entry[1])) is None:
                return None
            value = current(device, point.datastream)
            return json.dumps(value) if isinstance(value, tuple) else value

        return value_of


def permission_predicate(is_allowed: IsAllowed, principal: Principal, permission: str) -> Predicate:
    """Return a predicate for devices on which a principal has a permission.

    Devices with the same owner in the same organization are asked for once, so use it for one list of devices only.
    """
    answers: dict[tuple[int, int | None], bool] = {}

    def allowed(device: Device) -> bool:
        key = (device.org, device.owner)
        answer = answers.get(key)
        if answer is None:
            answer = answers[key] = is_allowed(principal, permission, device)
        return answer

    return allowed


class QueryCompiler:
    """Compiles device queries into predicates, which are cheap: a query may test tens of thousands of devices.

    ``last_reported(device)`` is `Writes.last_reported`, ``hidden_from`` is `Metadata.hidden_from`.
    """

    def __init__(
        self,
        storage: Storage,
        bus: Bus,
        devices: Devices,
        organizations: Organizations,
        tokens: Tokens,
        lifecycle: Lifecycles,
        attributes: DeviceAttributes,
        last_reported: Callable[[Device], int | None],
        hidden_from: Callable[[Principal], Callable[[Template], frozenset[str]]],
        slices: SliceRunner,
    ) -> None:
        self.attributes = attributes
        self._devices = devices
        self._slices = slices
        self._organizations = organizations
        self._tokens = tokens
        self._lifecycle = lifecycle
        self._last_reported = last_reported
        self._hidden_from = hidden_from
        self._metadata = _MetadataIndex(storage, bus, devices, slices)
        self._tags: TagIndex = _NoTags()
        self._locations: LocationIndex = _NoLocations()

    def install(self, tags: TagIndex, locations: LocationIndex) -> None:
        """Let queries see tags and locations. Until a plugin calls this, no device has any.

        Plugins start one after the other, so a query in another plugin's `hub_start` may come before that call.
        Predicates compiled before it do not see them.
        """
        self._tags = tags
        self._locations = locations

    async def compile(self, query: DeviceQuery, principal: Principal) -> list[Predicate]:
        """Return predicates, all of which a matching device satisfies. Raises `Rejected` for an invalid query.

        They look only at tags, locations and users that the principal may see. They are for immediate use: they cache
        parts of the result, so later changes of templates, tags or rights need another call. Predicates do not check
        whether the principal may view a device.
        """
        query.check()
        await self._metadata.load()
        filters = [self._compile_filter(device_filter, principal) for device_filter in query.filters]
        words = [await self._compile_word(word, principal) for word in query.query.split()]
        if query.match == "any" and len(filters) > 1:
            return [_any_of(filters), *words]
        return filters + words

    async def select(self, top: int, predicates: Sequence[Predicate]) -> list[Device]:
        """Return the devices of an organization and those below it that satisfy all predicates, by id.

        A device that is deleted meanwhile is in the list at most if it was examined before that.
        """
        return await self._slices.run(self._select(top, predicates))

    def _select(self, top: int, predicates: Sequence[Predicate]) -> Steps[list[Device]]:
        orgs, by_id = set(self._organizations.below(top)), self._devices.by_id
        candidates = [device for org in orgs for device in self._devices.by_org.get(org, {}).values()]
        selected: list[Device] = []
        for start in range(0, len(candidates), STEP):
            # Devices may have been deleted or moved since the last step.
            matches = [
                device
                for device in candidates[start : start + STEP]
                if device.org in orgs and by_id.get(device.id) is device
            ]
            for predicate in predicates:
                matches = [device for device in matches if predicate(device)]
            selected += matches
            yield
        ids = [device.id for device in selected]
        if ids == sorted(ids):
            # Always so in an organization into which no device was moved.
            return selected
        yield
        return (yield from sort_in_steps(selected, lambda device: device.id))

    # -- words ----------------------------------------------------------------------------------------------------

    async def _compile_word(self, word: str, principal: Principal) -> Predicate:
        """Return a predicate for a word in one of a device's texts, or for a device's id or token.

        The texts are the device's name, tags, metadata and firmware, and the names of its location, template,
        organization and owner.
        """
        device_with_token = self._tokens.device_for(word)
        word = nfc(word).lower()
        ids = await self._slices.run(self._metadata.devices_matching(word, self._hidden_from(principal)))
        if word.isdecimal() and word.isascii():
            ids.add(int(word[:15]))
        if device_with_token is not None:
            ids.add(device_with_token.id)
        owner_matches, template_matches = self._owner_predicate(word), _template_predicate(word)
        org_matches, tag_matches = self._organization_predicate(word), self._tags.word_predicate(word, principal)
        location_matches = self._locations.word_predicate(word, principal)

        def firmware_matches(device: Device) -> bool:
            firmware = device.firmware
            return any(word in firmware[key].lower() for key in _FIRMWARE_KEYS if key in firmware)

        def matches(device: Device) -> bool:
            return (
                word in device.name.lower()
                or device.id in ids
                or template_matches(device)
                or org_matches(device)
                or owner_matches(device)
                or tag_matches(device)
                or location_matches(device)
                or (bool(device.firmware) and firmware_matches(device))
            )

        return matches

    def _owner_predicate(self, word: str) -> Predicate:
        """Return a predicate for a word in the name of the device's owner, cached by owner."""
        results: dict[int | None, bool] = {None: False}

        def matches(device: Device) -> bool:
            owner = device.owner
            if owner not in results:
                results[owner] = word in self.attributes.owner_name(device).lower()
            return results[owner]

        return matches

    def _organization_predicate(self, word: str) -> Predicate:
        """Return a predicate for a word in the name of the device's organization, cached by organization."""
        results: dict[int, bool] = {}

        def matches(device: Device) -> bool:
            org = device.org
            if org not in results:
                results[org] = word in self._organizations.get(org).name.lower()
            return results[org]

        return matches

    # -- filters --------------------------------------------------------------------------------------------------

    def _compile_filter(self, device_filter: Filter, principal: Principal) -> Predicate:
        matches = _value_predicate(device_filter)
        is_negative = device_filter.operator in ("notEquals", "notContains", "empty")
        if device_filter.attribute == "tag":
            names_of = self._tags.visible_names
            return lambda device: any(matches(name) for name in names_of(device, principal)) != is_negative
        value_of = self._value_getter(device_filter, principal)
        if is_negative:
            return lambda device: not matches(value_of(device))
        return lambda device: matches(value_of(device))

    def metadata_values(self, name: str, principal: Principal) -> Callable[[Device], str]:
        """Return a function from a device to the lower-case value of a metadata field; see `compile`, which loads them.

        Without a value it returns the default of the device's template, or ""; so it does for a field that the
        principal does not see.
        """
        value_of, hidden, name = self._metadata.value_getter(name), self._hidden_from(principal), nfc(name)
        return lambda device: "" if name in hidden(device.template) else value_of(device)

    def _value_getter(self, device_filter: Filter, principal: Principal) -> Callable[[Device], Any]:
        """Return a function from a device to the value of the filter's attribute; None stands for no value."""
        attributes, organizations, locations = self.attributes, self._organizations, self._locations
        match device_filter.attribute:
            case "metadata":
                return self.metadata_values(device_filter.name, principal)
            case "datastream":
                return attributes.datastream_values(device_filter.name)
        getters: dict[str, Callable[[Device], Any]] = {
            "name": lambda device: device.name,
            "owner": attributes.owner_name,
            "activatedBy": attributes.activator_names(principal),
            "status": self._lifecycle.status_name,
            "organization": lambda device: organizations.get(device.org).name,
            "template": lambda device: device.template.name,
            "location": lambda device: locations.visible_name(device, principal),
            "id": lambda device: device.id,
            "createdAt": lambda device: device.created,
            "activatedAt": lambda device: device.activated,
            "lastReported": self._last_reported,
        }
        return getters[device_filter.attribute]


class _MetadataIndex:
    """Metadata of all devices in lower case, by field: loaded for the first query, and kept up to date from then on."""

    def __init__(self, storage: Storage, bus: Bus, devices: Devices, slices: SliceRunner) -> None:
        self._storage = storage
        self._slices = slices
        self._devices = devices
        self._fields: dict[str, dict[int, str]] = {}
        self._is_loaded = False
        self._loading = trio.Lock()
        bus.subscribe(MetadataChanged, self._on_metadata_changed)
        bus.subscribe(DeviceDeleted, self._on_device_deleted)

    def _on_metadata_changed(self, fact: MetadataChanged) -> None:
        self._set(fact.device.id, fact.name, fact.value)

    def _on_device_deleted(self, fact: DeviceDeleted) -> None:
        for values in self._fields.values():
            values.pop(fact.device.id, None)

    def _set(self, device: int, name: str, value: str) -> None:
        self._fields.setdefault(nfc(name), {})[device] = nfc(value[:MAX_LENGTH]).lower()

    async def load(self) -> None:
        """Read all metadata from the database, unless that has been done."""
        async with self._loading:
            if self._is_loaded:
                return
            rows = await self._storage.configuration.fetch_all("SELECT device, name, value FROM metadata")
            await self._slices.run(self._add(rows))
            self._is_loaded = True

    def _add(self, rows: Sequence[Row]) -> Steps[None]:
        for number, (device, name, value) in enumerate(rows):
            # A value that changed since the read is newer than its row.
            if device not in self._fields.get(name, ()) and device in self._devices.by_id:
                self._set(device, name, value)
            if number % STEP == 0:
                yield

    def devices_matching(self, word: str, hidden: Callable[[Template], frozenset[str]]) -> Steps[set[int]]:
        """Return the ids of devices with a field that contains the word and is not ``hidden`` in their template."""
        devices, by_id = set[int](), self._devices.by_id
        for name, values in tuple(self._fields.items()):
            items = tuple(values.items())
            for start in range(0, len(items), STEP):
                matches = [device for device, value in items[start : start + STEP] if word in value]
                devices.update(id_ for id_ in matches if id_ in by_id and name not in hidden(by_id[id_].template))
                yield
        return devices

    def value_getter(self, name: str) -> Callable[[Device], str]:
        """Return a function from a device to the value of a field, by default the default of its template."""
        name = nfc(name)
        fields, none = self._fields, dict[int, str]()
        defaults: dict[int, tuple[Template, str]] = {}

        def default(template: Template) -> str:
            if (entry := defaults.get(id(template))) is None:
                texts = (nfc(field.default).lower() for field in template.metadata if field.name == name)
                entry = defaults[id(template)] = template, next(texts, "")
            return entry[1]

        def value_of(device: Device) -> str:
            # The field is looked up each time: the first device with a value may get it later.
            value = fields.get(name, none).get(device.id)
            return default(device.template) if value is None else value

        return value_of


def _template_predicate(word: str) -> Predicate:
    """Return a predicate for a word in the name or id of the device's template, cached by template."""
    # The templates are in the values because an id is reused when its object is gone.
    results: dict[int, tuple[Template, bool]] = {}

    def matches(device: Device) -> bool:
        template = device.template
        if (entry := results.get(id(template))) is None:
            entry = results[id(template)] = template, word in template.name.lower() or word in template.id.lower()
        return entry[1]

    return matches


def _any_of(predicates: Sequence[Predicate]) -> Predicate:
    def matches(device: Device) -> bool:
        for predicate in predicates:  # noqa: SIM110 - any() takes twice as long, and there may be many devices
            if predicate(device):
                return True
        return False

    return matches


def _value_predicate(device_filter: Filter) -> Callable[[Any], bool]:
    """Return a predicate for the filter's positive form.

    The caller inverts it for notEquals, notContains and empty.
    """
    wanted = [nfc(value).lower() if isinstance(value, str) else value for value in device_filter.values]
    match device_filter.operator:
        case "empty" | "notEmpty":
            return lambda value: value not in (None, "")
        case "equals" | "notEquals":
            return lambda value: (value.lower() if isinstance(value, str) else value) in wanted
        case "contains" | "notContains":
            parts = [str(value) for value in wanted]
            if len(parts) == 1:
                # The usual case, and much quicker than a loop.
                [part] = parts
                return lambda value: part in _to_text(value)

            def contains(value: Any) -> bool:
                text = _to_text(value)
                return any(part in text for part in parts)

            return contains
        case "less":
            upper = max(_to_number(value) for value in device_filter.values)
            return lambda value: _to_number(value) < upper
        case "more":
            lower = min(_to_number(value) for value in device_filter.values)
            return lambda value: _to_number(value) > lower


def _to_text(value: Any) -> str:
    """Convert a value to lower-case text; None becomes ""."""
    return value.lower() if type(value) is str else "" if value is None else str(value).lower()


def _to_number(value: Any) -> float:
    """Convert a value to a number; NaN, which no comparison matches, if it is none."""
    try:
        return float("nan") if value is None else float(value)
    except ValueError:
        return float("nan")
