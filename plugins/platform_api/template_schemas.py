"""Templates as the API's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs

from hub import (
    GROUP,
    Dashboard,
    Datastream,
    DataType,
    EventType,
    Expire,
    Exposure,
    Guides,
    HistoryMode,
    Lifecycle,
    MetadataField,
    Template,
)
from hub.domain import type_label
from hub.values import to_json
from plugins.platform_api.event_schemas import API_EVENT_TYPES


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
    """A datastream of a template in Blynk's form: ``type`` is INT, DOUBLE, STRING, ENUM or LOCATION."""

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
    """An event type of a template in Blynk's form: ``type`` is INFORMATION, WARNING, CRITICAL or CONTENT."""

    id: int
    type: str
    name: str
    event_code: str
    description: str


@attrs.frozen(kw_only=True)
class MetaField:
    """A metadata field of a template; requests select it by ``id`` or name. ``type`` is a word such as "Text"."""

    id: int
    name: str
    type: str
    default: str
    description: str
    required: bool


@attrs.frozen(kw_only=True)
class GroupDatastream:
    """The datastream of a template that is in a property group."""

    template_id: str
    pin: str
    name: str
    type: DataType
    units: str


@attrs.frozen(kw_only=True)
class PropertyGroup:
    """The datastreams of several templates that have the same tags.

    ``name`` ("tag:Humidity") stands for each of them wherever a pin or name is expected: in searches and segments, to
    read and to write. Only templates that the organization of the caller has are considered.
    """

    name: str
    tags: list[str]
    datastreams: list[GroupDatastream]


def property_groups(templates: Iterable[Template]) -> list[PropertyGroup]:
    """Return the property groups of templates, by name."""
    groups: dict[str, PropertyGroup] = {}
    for template in templates:
        for datastream in template.datastreams:
            if tags := sorted(datastream.tags):
                name = GROUP + ";".join(tags)
                group = groups.setdefault(name, PropertyGroup(name=name, tags=tags, datastreams=[]))
                member = GroupDatastream(
                    template_id=template.id,
                    pin=f"v{datastream.pin}",
                    name=datastream.name,
                    type=datastream.type,
                    units=datastream.units,
                )
                group.datastreams.append(member)
    return [groups[name] for name in sorted(groups)]


@attrs.frozen(kw_only=True)
class TemplateObject:
    """A template. ``firmware_lines`` are for the top of its devices' firmware."""

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
    categories: list[str]
    hotspot_prefix: str
    broadcast_name: str
    logo: str
    firmware_lines: list[str]
    guides: Guides
    datastreams: list[DatastreamObject]
    events: list[EventType]
    metadata: list[MetadataField]
    lifecycle: Lifecycle
    web: Dashboard
    mobile: Dashboard


def template_object(template: Template) -> TemplateObject:
    fields = {field.name: getattr(template, field.name) for field in attrs.fields(Template)}
    renamed = {
        "org_id": fields.pop("org"),
        "template_ids": [template.id],
        "board_type": fields.pop("hardware"),
        "connection_type": fields.pop("connection"),
    }
    lists = {
        "categories": list(template.categories),
        "firmware_lines": _firmware_lines(template),
        "datastreams": [_datastream_object(datastream) for datastream in template.datastreams],
        "events": list(template.events),
        "metadata": list(template.metadata),
    }
    return TemplateObject(**fields | renamed | lists)


def _firmware_lines(template: Template) -> list[str]:
    """Return the lines of C that name the template (docs.blynk.io, Template: Firmware configuration)."""
    # Letters that end or escape a string are escaped as in JSON.
    name = json.dumps(template.name, ensure_ascii=False)
    return [f'#define BLYNK_TEMPLATE_ID "{template.id}"', f"#define BLYNK_TEMPLATE_NAME {name}"]


def _datastream_object(datastream: Datastream) -> DatastreamObject:
    return DatastreamObject(
        **attrs.asdict(datastream, recurse=False)
        | {
            "pin": f"v{datastream.pin}",
            "default": None if datastream.default is None else to_json(datastream.default),
            "values": {str(number): name for number, name in datastream.values.items()},
            "tags": list(datastream.tags),
        }
    )


def datastream_infos(template: Template) -> list[DatastreamInfo]:
    return [
        DatastreamInfo(
            id=datastream.id,
            label=datastream.name,
            alias=datastream.alias or datastream.name,
            units=datastream.units,
            type="INT" if datastream.type == "integer" else datastream.type.upper(),
            default_value=None if datastream.default is None else to_json(datastream.default),
            pin=datastream.pin,
            min=datastream.min,
            max=datastream.max,
        )
        for datastream in template.datastreams
    ]


def event_infos(template: Template) -> list[EventInfo]:
    return [
        EventInfo(
            id=number,
            type=API_EVENT_TYPES[event.type],
            name=event.name,
            event_code=event.code,
            description=event.description,
        )
        for number, event in enumerate(template.events, 1)
    ]


def meta_fields(template: Template) -> list[MetaField]:
    return [
        MetaField(
            id=number,
            name=field.name,
            type=type_label(field.type),
            default=field.default,
            description=field.description,
            required=field.required,
        )
        for number, field in enumerate(template.metadata, 1)
    ]
