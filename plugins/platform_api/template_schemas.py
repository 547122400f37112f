"""What templates look like to clients of the API."""

from __future__ import annotations

from typing import Any

import attrs

from hub.domain.metadata import type_label
from hub.model import (
    Dashboard,
    DataType,
    EventType,
    Expire,
    Exposure,
    HistoryMode,
    Lifecycle,
    MetadataField,
    Template,
)
from hub.values import to_json
from plugins.platform_api.events import NAMES


@attrs.frozen(kw_only=True)
class DatastreamObject:
    id: int
    pin: str
    name: str
    alias: str
    type: DataType
    units: str
    convert: bool
    scale: bool
    pair: str
    min: float | None
    max: float | None
    decimals: str
    default: Any
    history: HistoryMode
    retain_raw: str
    sync: bool
    confirm: str
    expire: Expire | None
    values: dict[str, str]
    fallback: int | None
    hide_from_http: bool
    automation: Exposure | None
    tags: list[str]
    icon: str
    color: str


@attrs.frozen(kw_only=True)
class DatastreamInfo:
    """A datastream as Blynk's API has it: ``type`` is INT, DOUBLE, STRING, ENUM or LOCATION, ``pin`` a number."""

    id: int
    label: str
    alias: str
    units: str
    type: str
    default_value: Any
    pin: int
    pin_type: str = "VIRTUAL"
    min: float | None
    max: float | None


@attrs.frozen(kw_only=True)
class EventInfo:
    """An event of a template as Blynk's API has it: ``type`` is INFORMATION, WARNING, CRITICAL or CONTENT."""

    id: int
    type: str
    name: str
    event_code: str
    description: str


@attrs.frozen(kw_only=True)
class MetaField:
    """A field of a template; it is called by its ``id`` or its name. ``type`` is such as "Text"."""

    id: int
    name: str
    type: str
    default: str
    description: str
    required: bool


@attrs.frozen(kw_only=True)
class TemplateObject:
    id: str
    org_id: int
    version: int
    template_ids: list[str]
    name: str
    board_type: str
    connection_type: str
    manufacturer: str
    description: str
    gateway: bool
    datastreams: list[DatastreamObject]
    events: list[EventType]
    metadata: list[MetadataField]
    lifecycle: Lifecycle
    web: Dashboard
    mobile: Dashboard


def template_shown(template: Template) -> TemplateObject:
    plain = {field.name: getattr(template, field.name) for field in attrs.fields(Template)}
    streams = [
        DatastreamObject(
            **attrs.asdict(stream, recurse=False)
            | {
                "pin": f"v{stream.pin}",
                "default": None if stream.default is None else to_json(stream.default),
                "values": {str(number): text for number, text in stream.values.items()},
                "tags": list(stream.tags),
            }
        )
        for stream in template.datastreams
    ]
    lists = {"events": list(template.events), "metadata": list(template.metadata), "datastreams": streams}
    named = {
        "org_id": plain.pop("org"),
        "template_ids": [template.id],
        "board_type": plain.pop("hardware"),
        "connection_type": plain.pop("connection"),
    }
    return TemplateObject(**plain | named | lists)


def datastreams_shown(template: Template) -> list[DatastreamInfo]:
    return [
        DatastreamInfo(
            id=stream.id,
            label=stream.name,
            alias=stream.alias or stream.name,
            units=stream.units,
            type="INT" if stream.type == "integer" else stream.type.upper(),
            default_value=None if stream.default is None else to_json(stream.default),
            pin=stream.pin,
            min=stream.min,
            max=stream.max,
        )
        for stream in template.datastreams
    ]


def events_shown(template: Template) -> list[EventInfo]:
    return [
        EventInfo(id=number, type=NAMES[kind.type], name=kind.name, event_code=kind.code, description=kind.description)
        for number, kind in enumerate(template.events, 1)
    ]


def fields_shown(template: Template) -> list[MetaField]:
    fields = enumerate(template.metadata, 1)
    return [
        MetaField(
            id=number,
            name=field.name,
            type=type_label(field.type),
            default=field.default,
            description=field.description,
            required=field.required,
        )
        for number, field in fields
    ]
