"""Template documents, in TOML or JSON with the same keys: read, validated, written and compared.

Validation reports all problems of a template at once, a line each, with the place in the document.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from itertools import count
from typing import Any, TypeVar

import attrs
import tomli_w

from hub.config import Limits
from hub.domain import units
from hub.errors import Rejected, WrongType, first_problems
from hub.model import Dashboard, Datastream, EventType, Guides, Lifecycle, MetadataField, MobileDashboard, Template
from hub.parsing.spellings import as_integer, is_name
from hub.parsing.structuring import ValidationErrors, duration_problem, structure
from hub.templates import dashboards, settings
from hub.values import INT32, coerce, to_json

T = TypeVar("T")

#: Seconds until a device must confirm a write, for which a user is waiting.
MAX_CONFIRM = 3600

#: The roles of a datastream in automations, with the types that it must have (docs.blynk.io, Automations).
AUTOMATION_TYPES: Mapping[str, Sequence[str]] = {
    "power_switch": ("integer",),
    "switch": ("integer",),
    "range": ("integer", "double"),
    "color": ("string",),
    "enum": ("enum",),
    "sensor": ("integer", "double", "string", "enum"),
    "brightness": ("integer", "double"),
    "temperature": ("integer", "double"),
}
#: Tags with a meaning for panels and groups (docs.blynk.io, Semantic tags). A template uses each single tag once.
SINGLE_TAGS = (
    "Free Memory", "Uptime", "IP Address", "MAC Address", "SSID", "RSSI", "Wi-Fi Quality", "Cellular Quality",
    "Device Type", "Timezone", "Debug Commands",
)  # fmt: skip
TAGS = frozenset(SINGLE_TAGS) | {
    "Error Code", "Mode Display", "Operating State", "Status", "Temperature C", "Temperature F", "Humidity", "Pressure",
    "Battery Level", "Power", "Energy", "Voltage", "Current", "Light", "Air Quality", "Water Level", "Flow", "Motion",
    "Door", "Speed", "GPS Coordinates", "LTE Metrics", "Switch", "Power Switch", "Brightness", "Color", "Reboot",
    "Target Temperature", "Fan Speed", "Position", "Firmware Version",
}  # fmt: skip
#: Custom tags of a datastream.
MAX_CUSTOM_TAGS = 4

#: Characters of a value in a line of changes.
MAX_SHOWN = 200

PINS = range(256)
#: Characters of a datastream's name. A name is a level of an MQTT topic (``ds/NAME``) and part of a list in ``get/ds``.
MAX_NAME, NOT_IN_NAME = 50, "/ + # ,"
_NOT_IN_NAME = frozenset(NOT_IN_NAME) - {" "}
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_DECIMALS = re.compile(r"#?(\.[#0]{1,5})?")


#: The arrays of tables whose length is limited, with the keys of their limits in ``[limits]``.
_LIMITED = {
    "datastream": "datastreams_per_template",
    "event": "events_per_template",
    "metadata": "metadata_per_template",
}
_TABLE = re.compile(rf"^[ \t]*\[\[[ \t]*({'|'.join(_LIMITED)})[ \t]*\]\]", re.MULTILINE)
_LIMITS = Limits()


class BadTemplate(Rejected):
    """A template that is not valid, with all its problems, a line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = first_problems(problems)
        super().__init__("\n".join(self.problems))


@attrs.frozen(kw_only=True)
class _Head:
    """The table ``[template]``."""

    name: str
    id: str = attrs.Factory(lambda: "TMPL" + secrets.token_hex(4))
    hardware: str = ""
    connection: str = ""
    manufacturer: str = ""
    description: str = ""
    gateway: bool = False
    categories: tuple[str, ...] = ()
    hotspot_prefix: str = "Blynk"
    broadcast_name: str = ""
    logo: str = ""


def parse(text: str, source: str = "template", known: Mapping[str, Template] | None = None) -> Template:
    """Return a template from TOML; see `read`. Raises `BadTemplate`."""
    return read(from_toml(text, source), source, known)


def from_toml(text: str, source: str = "template", limits: Limits = _LIMITS) -> dict[str, Any]:
    """Return a document from TOML. Raises `BadTemplate`.

    The tables are counted, and compared with the ``limits``, before the text is parsed.
    """
    tables = Counter(_TABLE.findall(text))
    if problems := [problem for name, count in tables.items() if (problem := _limit_problem(name, count, limits))]:
        raise BadTemplate(f"{source}: {problem}" for problem in problems)
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise BadTemplate([f"{source}: {error}"]) from error


def _limit_problem(name: str, count: int, limits: Limits) -> str | None:
    """Return what is wrong with ``count`` tables ``[[name]]`` in a template, or None."""
    key = _LIMITED[name]
    limit = getattr(limits, key)
    return f"more than {limit} {key.replace('_', ' ')} ([limits] {key})" if count > limit else None


def read(
    document: Mapping[str, Any],
    source: str = "template",
    known: Mapping[str, Template] | None = None,
    highest: Callable[[str], int] = lambda _template: 0,
    limits: Limits = _LIMITS,
) -> Template:
    """Return a template from a document; ``source`` is its name in errors. Raises `BadTemplate`.

    Tables over the ``limits`` are not read. A missing id of the template is generated. A datastream without an id gets
    the id of the datastream on the same pin, in the template with the same id among the ``known`` ones; otherwise an id
    above the ``highest`` of the template, which was never used.
    """
    document = dict(document)
    head_table = document.pop("template", None)
    if not isinstance(head_table, dict):
        raise BadTemplate([f"{source}: there is no [template] table"])
    reader = _Reader(document, limits)
    head = reader.structure(head_table, _Head, "template")
    streams = reader.datastreams((known or {}).get(head.id) if head else None, highest(head.id) if head else 0)
    events = reader.array("event", EventType)
    metadata = reader.array("metadata", MetadataField)
    lifecycle = reader.table("lifecycle", Lifecycle)
    guides = reader.table("guides", Guides)
    web = reader.table("web", Dashboard)
    mobile = reader.table("mobile", MobileDashboard)
    problems = reader.problems
    problems += [f"unknown key {key}" for key in first_problems(document)]
    for number, stream in enumerate(streams, 1):
        if stream is not None:
            problems += [f"datastream {number} ({stream.name}): {problem}" for problem in _check_datastream(stream)]
    template = Template(
        id=head.id if head else "TMPL",
        **attrs.asdict(head or _Head(name="?"), filter=lambda field, _: field.name != "id"),
        datastreams=tuple(stream for stream in streams if stream is not None),
        events=tuple(event for event in events if event is not None),
        metadata=tuple(field for field in metadata if field is not None),
        lifecycle=lifecycle or Lifecycle(),
        guides=guides or Guides(),
        web=web or Dashboard(),
        mobile=mobile or MobileDashboard(),
    )
    problems += _check(template)
    if problems:
        raise BadTemplate(f"{source}: {problem}" for problem in problems)
    return attrs.evolve(template, datastreams=tuple(_coerce_default(d) for d in template.datastreams))


def shipped() -> dict[str, str]:
    """Return the templates that come with the hub, as TOML, by their names on the command line."""
    folder = resources.files("config") / "templates"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): (folder / name).read_text("utf-8") for name in files}


@attrs.define
class _Reader:
    """Takes the parts of a template out of a ``document``, one by one, and collects the problems."""

    document: dict[str, Any]
    limits: Limits
    problems: list[str] = attrs.Factory(list)

    def structure(self, raw: Any, cls: type[T], where: str) -> T | None:
        """Return an object of a class, or None with its problems."""
        try:
            return structure(raw, cls)
        except ValidationErrors as error:
            self.problems += [f"{where}: {path} {text}".replace(":  ", ": ") for path, text in error.problems]
            return None

    def table(self, name: str, cls: type[T]) -> T | None:
        """Take the table ``[name]``."""
        return self.structure(self.document.pop(name, {}), cls, name)

    def array(self, name: str, cls: type[T]) -> list[T | None]:
        """Take the array of tables ``[[name]]``."""
        return [self.structure(table, cls, f"{name} {n}") for n, table in enumerate(self._tables(name), 1)]

    def datastreams(self, old: Template | None, highest: int) -> list[Datastream | None]:
        """Take the datastreams, with ids for those without; see `_assign_ids`."""
        tables = [self._convert_keys(raw, n) for n, raw in enumerate(self._tables("datastream"), 1)]
        _assign_ids(tables, old, highest)
        return [self.structure(table, Datastream, f"datastream {n}") for n, table in enumerate(tables, 1)]

    def _tables(self, name: str) -> list[dict[str, Any]]:
        tables = self.document.pop(name, [])
        if isinstance(tables, list) and (problem := _limit_problem(name, len(tables), self.limits)):
            self.problems.append(problem)
            return []
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return tables
        self.problems.append(f"[[{name}]] must be an array of tables")
        return []

    def _convert_keys(self, raw: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the table of a datastream with its pin and the keys of its enum values as numbers."""
        table = dict(raw)
        pin = table.get("pin")
        match = re.fullmatch(r"[Vv]([0-9]{1,3})", pin) if isinstance(pin, str) else None
        if match is None or int(match[1]) not in PINS:
            self.problems.append(f"datastream {number}: pin must be V0 to V255, not {pin!r}")
            # Not a pin, and unique among the datastreams.
            table["pin"] = -number
        else:
            table["pin"] = int(match[1])
        values = table.get("values")
        if isinstance(values, dict):
            bad = [key for key in values if re.fullmatch(r"-?[0-9]{1,9}", key) is None]
            self.problems += [f"datastream {number}: values: {key!r} is not a whole number" for key in bad]
            table["values"] = {int(key): value for key, value in values.items() if key not in bad}
        return table


def _assign_ids(tables: list[dict[str, Any]], old: Template | None, highest: int) -> None:
    """Give datastreams without an id the id of their pin in ``old``, or one that was never used."""
    old_ids = {stream.pin: stream.id for stream in old.datastreams} if old else {}
    given = {number for table in tables if (number := as_integer(table.get("id"))) is not None}
    for table in tables:
        if "id" not in table and old_ids.get(table["pin"]) not in (None, *given):
            table["id"] = old_ids[table["pin"]]
    unused = count(max((*given, highest, *old_ids.values())) + 1)
    for table in tables:
        if "id" not in table:
            table["id"] = next(unused)


#: Attributes of datastreams that are unique in a template.
_UNIQUE: tuple[tuple[str, Callable[[Datastream], str]], ...] = (
    ("pin", lambda stream: f"V{stream.pin}"),
    ("datastream id", lambda stream: str(stream.id)),
    ("datastream alias", lambda stream: stream.alias),
    ("combination of tags", lambda stream: ", ".join(sorted(stream.tags))),
)


def _check(template: Template) -> list[str]:
    """Return the problems of a template, except those of its single datastreams, a line each."""
    problems = []
    if _ID.fullmatch(template.id) is None:
        problems.append(f"id: {template.id!r} must be 1-40 letters, digits, - and _")
    if not template.name.strip() or len(template.name) > 100:
        problems.append("name: must have 1-100 characters")
    problems += _check_unique(template)
    if sum(d.type == "location" for d in template.datastreams) > 1:
        problems.append("there is more than one location datastream")
    if sum(d.automation is not None and d.automation.type == "power_switch" for d in template.datastreams) > 1:
        problems.append("there is more than one power switch")
    problems += _check_units(template)
    tags = Counter(tag for d in template.datastreams for tag in d.tags)
    problems += [
        f"tag {tag} is used {tags[tag]} times; a template can use it once" for tag in SINGLE_TAGS if tags[tag] > 1
    ]
    return [*problems, *settings.problems(template), *dashboards.problems(template)]


def _check_unique(template: Template) -> list[str]:
    """Return the names and other attributes that are used more than once in a template."""
    problems = []
    for attribute, key_of in _UNIQUE:
        names: dict[str, list[str]] = {}
        for stream in template.datastreams:
            if key := key_of(stream):
                names.setdefault(key, []).append(stream.name)
        problems += [
            f"{attribute} {key} is used {len(streams)} times, by {', '.join(streams)}"
            for key, streams in names.items()
            if len(streams) > 1
        ]
    for attribute, keys in (
        ("datastream name", [d.name for d in template.datastreams]),
        ("event code", [e.code for e in template.events]),
        ("metadata name", [m.name for m in template.metadata]),
    ):
        problems += [f"{attribute} {key} is used {count} times" for key, count in Counter(keys).items() if count > 1]
    return problems


def _check_units(template: Template) -> list[str]:
    """Return the problems of paired datastreams and of unit conversion switches."""
    problems = []
    by_pin = {f"V{stream.pin}": stream for stream in template.datastreams}
    for stream in template.datastreams:
        if stream.pair:
            where, pair = f"V{stream.pin} {stream.name}", by_pin.get(stream.pair)
            if pair is None or pair is stream:
                problems.append(f"{where}: pair {stream.pair!r} must be another datastream's pin")
            elif units.conversion(stream.units, pair.units) is None or stream.units == pair.units:
                problems.append(f"{where}: {pair.units!r} must be another unit of the same kind as {stream.units!r}")
    pairs = Counter(frozenset(m.options) for m in template.metadata if m.type == "unit_conversion_switch")
    problems += [
        f"there are {n} unit conversion switches for {' and '.join(sorted(pair))}" for pair, n in pairs.items() if n > 1
    ]
    return problems


def _check_datastream(stream: Datastream) -> list[str]:
    """Return the problems of a datastream; its default is checked only if there are no others."""
    problems = []
    if stream.id not in range(1, 2**31):
        problems.append("id must be positive")
    if not is_name(stream.name, MAX_NAME) or _NOT_IN_NAME.intersection(stream.name):
        problems.append(f"name must be 1-{MAX_NAME} printable characters, and none of {NOT_IN_NAME}")
    problems += _check_bounds(stream)
    problems += _check_appearance(stream)
    if stream.automation is not None and stream.type not in AUTOMATION_TYPES[stream.automation.type]:
        types = " or ".join(AUTOMATION_TYPES[stream.automation.type])
        problems.append(f"automation: a {stream.automation.type} must be of type {types}")
    if stream.decimals and _DECIMALS.fullmatch(stream.decimals) is None:
        problems.append(f"decimals {stream.decimals!r} must be like #.## or #.00")
    problems += _check_durations(stream)
    if stream.type == "enum":
        if not stream.values:
            problems.append("an enum must have values")
        if stream.fallback is not None and stream.fallback not in stream.values:
            problems.append(f"fallback {stream.fallback} is not one of its values")
    elif stream.values or stream.fallback is not None:
        problems.append("only an enum can have values and a fallback")
    return problems or _check_default(stream)


def _check_bounds(stream: Datastream) -> list[str]:
    problems = []
    bounds = [bound for bound in (stream.min, stream.max) if bound is not None]
    if bounds and stream.type not in ("integer", "double"):
        problems.append(f"a datastream of type {stream.type} cannot have min and max")
    elif len(bounds) == 2 and bounds[0] > bounds[1]:
        problems.append(f"min {stream.min} is above max {stream.max}")
    elif stream.type == "integer":
        if any(int(bound) not in INT32 for bound in bounds):
            problems.append("min and max of an integer must fit 32 bits")
        if len(bounds) == 2 and math.ceil(bounds[0]) > math.floor(bounds[1]):
            problems.append("there is no whole number between min and max")
    return problems


def _check_appearance(stream: Datastream) -> list[str]:
    """Return the problems of the alias, the color, the icon and the tags."""
    problems = []
    if stream.alias and re.fullmatch(r"[\w .-]{1,50}", stream.alias) is None:
        problems.append("alias must be 1-50 letters, digits, spaces, . _ and -")
    problems += settings.appearance_problems(stream.color, stream.icon)
    semantic = [tag for tag in stream.tags if tag in TAGS]
    if len(semantic) > 1 or len(stream.tags) - len(semantic) > MAX_CUSTOM_TAGS:
        problems.append(f"tags: at most one semantic tag and {MAX_CUSTOM_TAGS} custom tags are allowed")
    if not all(is_name(tag, 40) for tag in stream.tags):
        problems.append("tags: each must have 1 to 40 printable characters")
    return problems


def _check_durations(stream: Datastream) -> list[str]:
    problems = []
    for key, text, limit in (
        ("retain_raw", stream.retain_raw, math.inf),
        ("confirm", stream.confirm, MAX_CONFIRM),
        ("expire.after", stream.expire.after if stream.expire else "", math.inf),
    ):
        if problem := duration_problem(text, 0, limit):
            problems.append(f"{key} {problem}")
    if stream.expire is not None and not stream.expire.after:
        problems.append("expire.after is missing")
    return problems


def _check_default(stream: Datastream) -> list[str]:
    default = stream.default
    if default is None:
        return []
    try:
        is_unchanged = coerce(stream, default) == default
    except WrongType:
        return [f"default {default!r} is not of type {stream.type}"]
    if stream.type in ("integer", "double") and not is_unchanged and not isinstance(default, (str, list, tuple)):
        return [f"default {default!r} is not between min and max"]
    return []


def _coerce_default(stream: Datastream) -> Datastream:
    return stream if stream.default is None else attrs.evolve(stream, default=coerce(stream, stream.default))


def to_document(template: Template) -> dict[str, Any]:
    """Return the template as a document with ids, so that another hub reads the same template from it."""
    head = {"id": template.id} | {
        field.name: _to_plain(getattr(template, field.name))
        for field in attrs.fields(_Head)
        if field.name != "id" and _is_not_default(field, getattr(template, field.name))
    }
    streams = []
    for stream in template.datastreams:
        table = _to_table(stream) | {"id": stream.id, "pin": f"V{stream.pin}", "type": stream.type}
        if stream.default is not None:
            table["default"] = to_json(stream.default)
        if stream.values:
            table["values"] = {str(number): text for number, text in stream.values.items()}
        streams.append(table)
    document = {
        "template": head,
        "datastream": streams,
        "event": [_to_table(event) for event in template.events],
        "metadata": [_to_table(field) for field in template.metadata],
        "lifecycle": _to_table(template.lifecycle),
        "guides": _to_table(template.guides),
        "web": _to_table(template.web),
        "mobile": _to_table(template.mobile),
    }
    return {key: value for key, value in document.items() if value}


def to_toml(template: Template) -> str:
    """Return the template as TOML with ids, so that another hub imports the same template."""
    return tomli_w.dumps(to_document(template))


def _to_table(part: Any) -> dict[str, Any]:
    """Return the fields of a part of a template that do not have their default values; those without one come first."""
    fields = sorted(attrs.fields(type(part)), key=lambda field: field.default is not attrs.NOTHING)
    values = [(field, getattr(part, field.name)) for field in fields]
    return {field.name: _to_plain(value) for field, value in values if _is_not_default(field, value)}


def _to_plain(value: Any) -> Any:
    """Return a value of a template as JSON types."""
    if attrs.has(type(value)):
        return _to_table(value)
    return [_to_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _is_not_default(field: attrs.Attribute[Any], value: Any) -> bool:
    """Whether a field has no default, or another value than its default."""
    factory = getattr(field.default, "factory", None)
    default = field.default if factory is None else factory()
    return bool(value != default)


def difference(old: Template | None, new: Template) -> tuple[list[str], list[Datastream]]:
    """Return the changes from ``old`` to ``new``, a line each (``+ ~ -``), and the datastreams that lose their values.

    The datastreams are those of ``old``.
    """
    if old is None:
        return [f"+ template {new.id} {new.name}", *(f"+ V{d.pin} {d.name}" for d in new.datastreams)], []
    lines = _part_changes(old, new)
    removed = {d.id: d for d in old.datastreams}
    dropped = []
    for stream in new.datastreams:
        before = removed.pop(stream.id, None)
        if before is None:
            lines.append(f"+ V{stream.pin} {stream.name}")
            continue
        if changes := _field_changes(before, stream):
            lines.append(f"~ V{stream.pin} {stream.name}: {', '.join(changes)}")
        if before.type != stream.type and (before.type, stream.type) != ("integer", "double"):
            dropped.append(before)
    lines += [f"- V{d.pin} {d.name}" for d in removed.values()]
    lines += _keyed_changes("event", "events", {e.code: e for e in old.events}, {e.code: e for e in new.events})
    lines += _keyed_changes(
        "metadata", "metadata", {m.name: m for m in old.metadata}, {m.name: m for m in new.metadata}
    )
    return lines, [*dropped, *removed.values()]


def _part_changes(old: Template, new: Template) -> list[str]:
    """Return the changes of the table ``[template]``, the lifecycle, the guides and the dashboards."""
    lines = [f"~ {change}" for change in _field_changes(_head_of(old), _head_of(new))]
    old_lifecycle, new_lifecycle = (attrs.evolve(template.lifecycle, status=()) for template in (old, new))
    for part, before, after in (("lifecycle", old_lifecycle, new_lifecycle), ("guides", old.guides, new.guides)):
        if changes := _field_changes(before, after):
            lines.append(f"~ {part}: {', '.join(changes)}")
    old_statuses, new_statuses = ({s.name: s for s in template.lifecycle.status} for template in (old, new))
    lines += _keyed_changes("status", "statuses", old_statuses, new_statuses)
    changed = {"web": _dashboard_changes(old.web, new.web), "mobile": _dashboard_changes(old.mobile, new.mobile)}
    return [*lines, *(f"~ {kind}: {', '.join(changes)}" for kind, changes in changed.items() if changes)]


def _dashboard_changes(old: Dashboard | MobileDashboard, new: Dashboard | MobileDashboard) -> list[str]:
    """Return the parts that differ between two dashboards, such as ``+ tab Service`` or ``~ tile``."""
    changes = _named_changes("tab", {tab.name: tab for tab in old.tab}, {tab.name: tab for tab in new.tab})
    if isinstance(old, MobileDashboard) and isinstance(new, MobileDashboard):
        changes += _named_changes("page", {page.id: page for page in old.page}, {page.id: page for page in new.page})
        changes += [f"~ {part}" for part in ("tile", "header") if getattr(old, part) != getattr(new, part)]
    return changes


def _named_changes(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return which of the named parts are new, changed or removed."""
    is_reordered = sorted(old) == sorted(new) and list(old) != list(new)
    return [
        *([f"~ order of {what}s"] if is_reordered else []),
        *(f"+ {what} {name}" for name in new if name not in old),
        *(f"~ {what} {name}" for name in new if name in old and old[name] != new[name]),
        *(f"- {what} {name}" for name in old if name not in new),
    ]


def _head_of(template: Template) -> _Head:
    """Return the fields of the table ``[template]``; the id is not compared."""
    fields = {field.name: getattr(template, field.name) for field in attrs.fields(_Head)}
    return _Head(**fields | {"id": ""})


def _field_changes(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the fields that differ between two parts of a template, such as ``notifications.alert False -> True``."""
    changes = []
    for field in attrs.fields(type(new)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if attrs.has(type(before)) and type(before) is type(after):
            changes += _field_changes(before, after, f"{path}{field.name}.")
        elif before != after:
            changes.append(f"{path}{field.name} {_shorten(repr(before))} -> {_shorten(repr(after))}")
    return changes


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _keyed_changes(name: str, plural: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the changes of events, metadata fields or statuses, given by their keys."""
    is_reordered = sorted(old) == sorted(new) and list(old) != list(new)
    return [
        *([f"~ order of {plural}"] if is_reordered else []),
        *(f"+ {name} {key}" for key in new if key not in old),
        *(
            f"~ {name} {key}: {', '.join(_field_changes(old[key], new[key]))}"
            for key in new
            if key in old and old[key] != new[key]
        ),
        *(f"- {name} {key}" for key in old if key not in new),
    ]


def to_row(template: Template) -> str:
    """Return the template as JSON for the database."""
    document = attrs.asdict(template)
    for stream in document["datastreams"]:
        stream["default"] = None if stream["default"] is None else to_json(stream["default"])
    for key in ("org", "version"):
        document.pop(key)
    return json.dumps(document)


def from_row(text: str, org: int, version: int) -> Template:
    """Return the template that `to_row` encoded."""
    document = json.loads(text)
    for stream in document["datastreams"]:
        stream["values"] = {int(k): v for k, v in stream["values"].items()}
    return attrs.evolve(structure(document, Template), org=org, version=version)
