"""A template's document, and variants of it."""

from __future__ import annotations

DOCUMENT = {
    "template": {"id": "TMPL0room", "name": "Room"},
    "datastream": [
        {"pin": "V0", "name": "Temperature", "type": "double", "tags": ["Temperature C"]},
        {"pin": "V1", "name": "Heating", "type": "integer", "min": 0, "max": 1},
        {"pin": "V2", "name": "Mode", "type": "enum", "values": {"0": "Off", "1": "On"}},
        {"pin": "V3", "name": "Words", "type": "string"},
        {"pin": "V4", "name": "Where", "type": "location"},
    ],
    "event": [{"code": "cold", "name": "Cold", "type": "warning"}],
    "metadata": [{"name": "Owner's note"}],
}


def with_changes(**changes):
    return DOCUMENT | changes


def without_datastream(pin):
    return with_changes(datastream=[stream for stream in DOCUMENT["datastream"] if stream["pin"] != pin])


def with_datastream(**stream):
    return with_changes(datastream=[*DOCUMENT["datastream"], stream])


def tab(*widgets, **attributes):
    """A tab of a dashboard with these widgets."""
    return {"name": "Now", "widget": list(widgets)} | attributes


def widget(kind, *pins, **attributes):
    return {"type": kind} | ({"pins": list(pins)} if pins else {}) | attributes
