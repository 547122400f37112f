"""Templates as documents: TOML and JSON of the same keys, checked as a as_integer, compared.

Everything wrong with a template is said at once, each line with the place in the document.
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
from hub.domain.metadata import field_problems
from hub.domain.timeline import MAX_DESCRIPTION
from hub.errors import Rejected, WrongType, first_problems
from hub.model import Dashboard, Datastream, EventType, Lifecycle, MetadataField, Template
from hub.spellings import as_integer, is_name, is_printable
from hub.structuring import ValidationErrors, duration_problem, structure
from hub.templates import widgets
from hub.values import INT32, coerce, to_json

T = TypeVar("T")

#: Seconds: docs.blynk.io allows half an hour of waiting, and an answer is awaited by somebody who looks.
MAX_WAIT = 1800
MAX_CONFIRM = 3600
#: Statuses besides Online and Offline (docs.blynk.io, Connection lifecycle).
MAX_STATUSES = 2

#: What automations take a datastream for, and of which types it is then (docs.blynk.io, Automations).
EXPOSED: Mapping[str, Sequence[str]] = {
    "power_switch": ("integer",),
    "switch": ("integer",),
    "range": ("integer", "double"),
    "color": ("string",),
    "enum": ("enum",),
    "sensor": ("integer", "double", "string", "enum"),
    "brightness": ("integer", "double"),
    "temperature": ("integer", "double"),
}
#: What a datastream may mean, in words that panels and groups know (docs.blynk.io, Semantic tags); of the single ones
#: a template has one each.
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
#: Tags of one's own.
MAX_OWN_TAGS = 4

PINS = range(256)
_NAME = re.compile(r"[A-Za-z0-9 _-]{1,50}")
#: Characters of a datastream's name. It is a level of an MQTT topic (``ds/NAME``) and one of several in ``get/ds``.
MAX_NAME, NOT_IN_NAME = 50, "/ + # ,"
_NOT_IN_NAME = frozenset(NOT_IN_NAME) - {" "}
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_DECIMALS = re.compile(r"#?(\.[#0]{1,5})?")


#: The arrays of tables whose length is limited, and the keys of ``[limits]`` for them.
_LIMITED = {
    "datastream": "datastreams_per_template",
    "event": "events_per_template",
    "metadata": "metadata_per_template",
}
_TABLE = re.compile(rf"^[ \t]*\[\[[ \t]*({'|'.join(_LIMITED)})[ \t]*\]\]", re.MULTILINE)
_LIMITS = Limits()


class BadTemplate(Rejected):
    """Everything that is wrong with a template, a line each."""

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


def parse(text: str, source: str = "template", known: Mapping[str, Template] | None = None) -> Template:
    """A template from TOML; see `read`. Raises `BadTemplate`."""
    return read(from_toml(text, source), source, known)


def from_toml(text: str, source: str = "template", limits: Limits = _LIMITS) -> dict[str, Any]:
    """A document from TOML. Raises `BadTemplate`.

    Tables that are over the ``limits`` are counted before anything is parsed.
    """
    tables = Counter(_TABLE.findall(text))
    if problems := [problem for name, count in tables.items() if (problem := _too_many(name, count, limits))]:
        raise BadTemplate(f"{source}: {problem}" for problem in problems)
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise BadTemplate([f"{source}: {error}"]) from error


def _too_many(name: str, count: int, limits: Limits) -> str | None:
    """What is wrong with so many ``[[name]]`` tables in a template."""
    key = _LIMITED[name]
    most = getattr(limits, key)
    return f"more than {most} {key.replace('_', ' ')} ([limits] {key})" if count > most else None


def read(
    document: Mapping[str, Any],
    source: str = "template",
    known: Mapping[str, Template] | None = None,
    highest: Callable[[str], int] = lambda _template: 0,
    limits: Limits = _LIMITS,
) -> Template:
    """A template from a document; ``source`` is named in errors. Raises `BadTemplate`.

    Tables over the ``limits`` are not read. A missing id is made. Datastreams without an id get the one that their pin
    has in the template of that id among the ``known``, or one above the ``highest`` that any ever had.
    """
    document = dict(document)
    problems: list[str] = []
    table = document.pop("template", None)
    if not isinstance(table, dict):
        raise BadTemplate([f"{source}: there is no [template] table"])
    head = _structured(table, _Head, "template", problems)
    tables = [_pinned(raw, n, problems) for n, raw in enumerate(_tables(document, "datastream", limits, problems), 1)]
    _number(tables, (known or {}).get(head.id) if head else None, highest(head.id) if head else 0)
    streams = [_structured(table, Datastream, f"datastream {n}", problems) for n, table in enumerate(tables, 1)]
    events = [
        _structured(table, EventType, f"event {n}", problems)
        for n, table in enumerate(_tables(document, "event", limits, problems), 1)
    ]
    metadata = [
        _structured(table, MetadataField, f"metadata {n}", problems)
        for n, table in enumerate(_tables(document, "metadata", limits, problems), 1)
    ]
    lifecycle = _structured(document.pop("lifecycle", {}), Lifecycle, "lifecycle", problems)
    web = _structured(document.pop("web", {}), Dashboard, "web", problems)
    mobile = _structured(document.pop("mobile", {}), Dashboard, "mobile", problems)
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
        web=web or Dashboard(),
        mobile=mobile or Dashboard(),
    )
    problems += _check(template)
    if problems:
        raise BadTemplate(f"{source}: {problem}" for problem in problems)
    return attrs.evolve(template, datastreams=tuple(_with_default(d) for d in template.datastreams))


def shipped() -> dict[str, str]:
    """The templates that come with the hub, as TOML, by what they are called on the command line."""
    folder = resources.files("config") / "templates"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): (folder / name).read_text("utf-8") for name in files}


def _structured(raw: Any, cls: type[T], where: str, problems: list[str]) -> T | None:
    try:
        return structure(raw, cls)
    except ValidationErrors as error:
        problems += [f"{where}: {path} {text}".replace(":  ", ": ") for path, text in error.problems]
        return None


def _tables(document: dict[str, Any], name: str, limits: Limits, problems: list[str]) -> list[dict[str, Any]]:
    tables = document.pop(name, [])
    if isinstance(tables, list) and (problem := _too_many(name, len(tables), limits)):
        problems.append(problem)
        return []
    if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
        return tables
    problems.append(f"[[{name}]] must be an array of tables")
    return []


def _pinned(raw: dict[str, Any], number: int, problems: list[str]) -> dict[str, Any]:
    """A datastream's table with its pin and enum values as numbers."""
    table = dict(raw)
    pin = table.get("pin")
    found = re.fullmatch(r"[Vv]([0-9]{1,3})", pin) if isinstance(pin, str) else None
    if found is None or int(found[1]) not in PINS:
        problems.append(f"datastream {number}: pin must be V0 to V255, not {pin!r}")
        # Not a pin, and no other datastream's either.
        table["pin"] = -number
    else:
        table["pin"] = int(found[1])
    values = table.get("values")
    if isinstance(values, dict):
        bad = [key for key in values if re.fullmatch(r"-?[0-9]{1,9}", key) is None]
        problems += [f"datastream {number}: values: {key!r} is not a as_integer number" for key in bad]
        table["values"] = {int(key): value for key, value in values.items() if key not in bad}
    return table


def _number(tables: list[dict[str, Any]], old: Template | None, highest: int) -> None:
    """Give datastreams without an id the one of their pin in ``old``, or one that was never used."""
    before = {stream.pin: stream.id for stream in old.datastreams} if old else {}
    own = {number for table in tables if (number := as_integer(table.get("id"))) is not None}
    for table in tables:
        if "id" not in table and before.get(table["pin"]) not in (None, *own):
            table["id"] = before[table["pin"]]
    taken = {*own, highest, *before.values()}
    free = count(max(taken, default=0) + 1)
    for table in tables:
        if "id" not in table:
            table["id"] = next(free)


#: What of datastreams is used once in a template.
_UNIQUE: tuple[tuple[str, Callable[[Datastream], str]], ...] = (
    ("pin", lambda stream: f"V{stream.pin}"),
    ("datastream id", lambda stream: str(stream.id)),
    ("datastream alias", lambda stream: stream.alias),
    ("combination of tags", lambda stream: ", ".join(sorted(stream.tags))),
)


def _check(template: Template) -> list[str]:
    """What is wrong with a template beyond its single datastreams, a line each."""
    problems = []
    if _ID.fullmatch(template.id) is None:
        problems.append(f"id: {template.id!r} must be 1-40 letters, digits, - and _")
    if not template.name.strip() or len(template.name) > 100:
        problems.append("name: must have 1-100 characters")
    for key, most in (("manufacturer", 128), ("description", 200)):
        if len(getattr(template, key)) > most:
            problems.append(f"{key}: must have at most {most} characters")
    for what, key_of in _UNIQUE:
        names: dict[str, list[str]] = {}
        for stream in template.datastreams:
            if key := key_of(stream):
                names.setdefault(key, []).append(stream.name)
        problems += [
            f"{what} {key} is used {len(found)} times, by {', '.join(found)}"
            for key, found in names.items()
            if len(found) > 1
        ]
    for what, keys in (
        ("datastream name", [d.name for d in template.datastreams]),
        ("event code", [e.code for e in template.events]),
        ("metadata name", [m.name for m in template.metadata]),
    ):
        problems += [f"{what} {key} is used {count} times" for key, count in Counter(keys).items() if count > 1]
    if sum(d.type == "location" for d in template.datastreams) > 1:
        problems.append("there is more than one location datastream")
    if sum(d.automation is not None and d.automation.type == "power_switch" for d in template.datastreams) > 1:
        problems.append("there is more than one power switch")
    problems += _check_units(template)
    tags = Counter(tag for d in template.datastreams for tag in d.tags)
    problems += [f"tag {tag} is used {tags[tag]} times, and may be once" for tag in SINGLE_TAGS if tags[tag] > 1]
    for number, event in enumerate(template.events, 1):
        problems += [f"event {number}: {problem}" for problem in _check_event(event)]
    for number, field in enumerate(template.metadata, 1):
        problems += [f"metadata {number} ({field.name}): {problem}" for problem in field_problems(field)]
    return [*problems, *_check_lifecycle(template.lifecycle), *widgets.problems(template)]


def _check_units(template: Template) -> list[str]:
    """What is wrong with pairs of datastreams, and with switches of units."""
    problems = []
    by_pin = {f"V{stream.pin}": stream for stream in template.datastreams}
    for stream in template.datastreams:
        if stream.pair:
            pair = by_pin.get(stream.pair)
            if pair is None or pair is stream:
                problems.append(f"V{stream.pin} {stream.name}: pair {stream.pair!r} must be another datastream's pin")
            elif units.conversion(stream.units, pair.units) is None or stream.units == pair.units:
                problems.append(f"V{stream.pin} {stream.name}: {pair.units!r} is not {stream.units!r} in another unit")
    pairs = Counter(frozenset(m.options) for m in template.metadata if m.type == "unit_conversion_switch")
    problems += [f"there are {n} switches of {' and '.join(sorted(pair))}" for pair, n in pairs.items() if n > 1]
    return problems


def _check_event(event: EventType) -> list[str]:
    problems = []
    if _NAME.fullmatch(event.code) is None:
        problems.append("code must be 1-50 letters, digits, space, _ and -")
    if len(event.description) > MAX_DESCRIPTION:
        problems.append(f"description has more than {MAX_DESCRIPTION} characters")
    if event.every < 1:
        problems.append("every must be at least 1")
    if problem := duration_problem(event.period):
        problems.append(f"period {problem}")
    if event.type != "content" and (event.subtitle or event.image or event.action_title or event.action_url):
        problems.append("only an event of type content has a subtitle, an image and an action")
    return problems


def _check_lifecycle(lifecycle: Lifecycle) -> list[str]:
    problems = []
    if not lifecycle.wait or (problem := duration_problem(lifecycle.wait, 0, MAX_WAIT)):
        problems.append(f"lifecycle: wait {problem if lifecycle.wait else 'is missing'}")
    if len(lifecycle.status) > MAX_STATUSES:
        problems.append(f"lifecycle: there are at most {MAX_STATUSES} statuses of your own")
    names = [lifecycle.online, lifecycle.offline, *(status.name for status in lifecycle.status)]
    problems += [f"lifecycle: name {name!r} must have 1-50 characters" for name in names if not 0 < len(name) <= 50]
    problems += [f"lifecycle: {name!r} is used {n} times" for name, n in Counter(names).items() if n > 1]
    for status in lifecycle.status:
        if not status.after or (problem := duration_problem(status.after)):
            problems.append(f"lifecycle: {status.name}: after {problem if status.after else 'is missing'}")
    return problems


def _check_datastream(stream: Datastream) -> list[str]:
    problems = []
    if stream.id not in range(1, 2**31):
        problems.append("id must be positive")
    if not is_name(stream.name, MAX_NAME) or _NOT_IN_NAME.intersection(stream.name):
        problems.append(f"name must be 1-{MAX_NAME} printable characters, and none of {NOT_IN_NAME}")
    bounds = [bound for bound in (stream.min, stream.max) if bound is not None]
    if bounds and stream.type not in ("integer", "double"):
        problems.append(f"a datastream of type {stream.type} has no min and max")
    elif len(bounds) == 2 and bounds[0] > bounds[1]:
        problems.append(f"min {stream.min} is above max {stream.max}")
    elif stream.type == "integer":
        if any(int(bound) not in INT32 for bound in bounds):
            problems.append("min and max of an integer must fit 32 bits")
        if len(bounds) == 2 and math.ceil(bounds[0]) > math.floor(bounds[1]):
            problems.append("there is no as_integer number between min and max")
    if stream.alias and re.fullmatch(r"[\w .-]{1,50}", stream.alias) is None:
        problems.append("alias must be 1-50 letters, digits, spaces, . _ and -")
    if stream.color and re.fullmatch(r"#[0-9A-Fa-f]{6}", stream.color) is None:
        problems.append("color must be like #24a0ed")
    if len(stream.icon) > 50 or not is_printable(stream.icon):
        problems.append("icon must have at most 50 printable characters")
    system = [tag for tag in stream.tags if tag in TAGS]
    if len(system) > 1 or len(stream.tags) - len(system) > MAX_OWN_TAGS:
        problems.append(f"tags: at most one of the hub's and {MAX_OWN_TAGS} of your own")
    if not all(is_name(tag, 40) for tag in stream.tags):
        problems.append("tags: each must have 1 to 40 printable characters")
    if stream.automation is not None and stream.type not in EXPOSED[stream.automation.type]:
        wanted = " or ".join(EXPOSED[stream.automation.type])
        problems.append(f"automation: a {stream.automation.type} is of type {wanted}")
    if stream.decimals and _DECIMALS.fullmatch(stream.decimals) is None:
        problems.append(f"decimals {stream.decimals!r} must be like #.## or #.00")
    for key, text, most in (
        ("retain_raw", stream.retain_raw, math.inf),
        ("confirm", stream.confirm, MAX_CONFIRM),
        ("expire.after", stream.expire.after if stream.expire else "", math.inf),
    ):
        if problem := duration_problem(text, 0, most):
            problems.append(f"{key} {problem}")
    if stream.expire is not None and not stream.expire.after:
        problems.append("expire.after is missing")
    if stream.type == "enum":
        if not stream.values:
            problems.append("an enum needs values")
        if stream.fallback is not None and stream.fallback not in stream.values:
            problems.append(f"fallback {stream.fallback} is not one of its values")
    elif stream.values or stream.fallback is not None:
        problems.append("only an enum has values and a fallback")
    if not problems and stream.default is not None:
        try:
            fits = coerce(stream, stream.default) == stream.default
        except WrongType:
            problems.append(f"default {stream.default!r} is not of type {stream.type}")
        else:
            if stream.type in ("integer", "double") and not fits and not isinstance(stream.default, (str, list, tuple)):
                problems.append(f"default {stream.default!r} is not between min and max")
    return problems


def _with_default(stream: Datastream) -> Datastream:
    return stream if stream.default is None else attrs.evolve(stream, default=coerce(stream, stream.default))


def to_document(template: Template) -> dict[str, Any]:
    """The template as a document, with ids, so that reading it elsewhere gives the same."""
    head: dict[str, Any] = {"id": template.id} | {
        field.name: getattr(template, field.name)
        for field in attrs.fields(_Head)
        if field.name != "id" and _said(field, getattr(template, field.name))
    }
    streams = []
    for stream in template.datastreams:
        plain = _plain(stream) | {"id": stream.id, "pin": f"V{stream.pin}", "type": stream.type}
        if stream.default is not None:
            plain["default"] = to_json(stream.default)
        if stream.values:
            plain["values"] = {str(number): text for number, text in stream.values.items()}
        streams.append(plain)
    document = {
        "template": head,
        "datastream": streams,
        "event": [_plain(event) for event in template.events],
        "metadata": [_plain(field) for field in template.metadata],
        "lifecycle": _plain(template.lifecycle),
        "web": _plain(template.web),
        "mobile": _plain(template.mobile),
    }
    return {key: value for key, value in document.items() if value}


def to_toml(template: Template) -> str:
    """The template as TOML, with ids, so that importing it elsewhere gives the same."""
    return tomli_w.dumps(to_document(template))


def _plain(thing: Any) -> dict[str, Any]:
    """What of a part of a template is not as it is anyway."""
    plain: dict[str, Any] = json.loads(json.dumps(attrs.asdict(thing, filter=_said)))
    return plain


def _said(field: attrs.Attribute[Any], value: Any) -> bool:
    """Whether a field says something: it has no default, or another value."""
    factory = getattr(field.default, "factory", None)
    default = field.default if factory is None else factory()
    return bool(value != default)


def difference(old: Template | None, new: Template) -> tuple[list[str], list[Datastream]]:
    """What changes from ``old`` to ``new``, a line each (``+ ~ -``), and the datastreams whose values that drops."""
    if old is None:
        return [f"+ template {new.id} {new.name}", *(f"+ V{d.pin} {d.name}" for d in new.datastreams)], []
    lines = [
        f"~ {field} {getattr(old, field)!r} -> {getattr(new, field)!r}"
        for field in ("name", "hardware", "connection", "manufacturer", "description", "gateway")
        if getattr(old, field) != getattr(new, field)
    ]
    lines += [f"~ {part}" for part in ("lifecycle", "web", "mobile") if getattr(old, part) != getattr(new, part)]
    before = {d.id: d for d in old.datastreams}
    dropped = []
    for stream in new.datastreams:
        was = before.pop(stream.id, None)
        if was is None:
            lines.append(f"+ V{stream.pin} {stream.name}")
            continue
        changes = [
            f"{a.name} {getattr(was, a.name)!r} -> {getattr(stream, a.name)!r}"
            for a in attrs.fields(Datastream)
            if getattr(was, a.name) != getattr(stream, a.name)
        ]
        if changes:
            lines.append(f"~ V{stream.pin} {stream.name}: {', '.join(changes)}")
        if was.type != stream.type and (was.type, stream.type) != ("integer", "double"):
            dropped.append(was)
    lines += [f"- V{d.pin} {d.name}" for d in before.values()]
    for what, were, are in (
        ("event", {e.code: e for e in old.events}, {e.code: e for e in new.events}),
        ("metadata", {m.name: m for m in old.metadata}, {m.name: m for m in new.metadata}),
    ):
        if sorted(were) == sorted(are) and list(were) != list(are):
            lines.append(f"~ order of {what}s" if what == "event" else "~ order of metadata")
        lines += [f"+ {what} {key}" for key in are if key not in were]
        lines += [f"~ {what} {key}" for key in are if key in were and were[key] != are[key]]
        lines += [f"- {what} {key}" for key in were if key not in are]
    return lines, [*dropped, *before.values()]


def to_row(template: Template) -> str:
    """How a template is kept."""
    document = attrs.asdict(template)
    for stream in document["datastreams"]:
        stream["default"] = None if stream["default"] is None else to_json(stream["default"])
    for key in ("org", "version"):
        document.pop(key)
    return json.dumps(document)


def from_row(text: str, org: int, version: int) -> Template:
    """What `to_row` has made."""
    document = json.loads(text)
    for stream in document["datastreams"]:
        stream["values"] = {int(k): v for k, v in stream["values"].items()}
    return attrs.evolve(structure(document, Template), org=org, version=version)
