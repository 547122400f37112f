"""Property groups: datastreams of several templates with the same tags, in searches, segments, reads and writes."""

from __future__ import annotations

import pytest
from support.api import ApiClient
from support.raw_http import connected, local_key
from support.templates import stream, template

from hub.domain.devices import NewDevice
from hub.model import SYSTEM, Datastream, Template
from hub.writes import Write

INDOOR = template(
    stream(0, "Air", type="double", tags=["Humidity"]), stream(1, "T", type="double"), key="TMPL0in", name="Indoor"
)
OUTDOOR = template(
    stream(3, "Rain", type="double"),
    stream(7, "RH", type="double", tags=["Humidity", "Outside"]),
    key="TMPL0out",
    name="Outdoor",
)


@pytest.fixture
async def ask(hub):
    async with connected(hub) as http:
        yield ApiClient(http, local_key(hub))


@pytest.fixture
async def devices(hub):
    """A device of each template, with a humidity of 40 and 80 percent, and one without a value."""
    added = []
    for text, pin, value in ((INDOOR, 0, 40), (OUTDOOR, 7, 80), (INDOOR, None, None)):
        saved, _ = await hub.templates.save(text, SYSTEM)
        [(device, _)] = await hub.devices.add([NewDevice(name=f"{saved.name} {pin}", template=saved)], SYSTEM)
        if pin is not None:
            await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()
        added.append(device)
    return added


async def test_search_filters_sorts_and_lists_by_the_datastreams_of_a_group(ask, devices):
    found = await ask(
        "POST",
        "devices/search",
        {"sortBy": "datastream", "sortName": "tag:Humidity", "sortOrder": "DESC", "values": ["tag:Humidity"]},
    )
    values = [row["values"].get("tag:Humidity", {}).get("value") for row in found["content"]]
    assert [80, 40, None] == values
    damp = {"attribute": "datastream", "name": "tag:Humidity", "operator": "more", "values": [50]}
    found = await ask("POST", "devices/search", {"filters": [damp]})
    assert ["Outdoor 7"] == [row["name"] for row in found["content"]]
    outside = damp | {"name": "tag:Outside;Humidity", "values": [0]}
    found = await ask("POST", "devices/search", {"filters": [outside]})
    assert ["Outdoor 7"] == [row["name"] for row in found["content"]]


async def test_value_is_written_by_the_group(hub, ask, devices):
    body = {"deviceId": devices[1].id, "pin": "tag:Humidity", "value": 55}
    await ask("POST", "organization/device/datastream", body)
    assert 55 == hub.writes.current(devices[1], devices[1].points[7].datastream)
    answer = await ask("POST", "organization/device/datastream", body | {"pin": "tag:Pressure"})
    assert answer.status in (400, 404)


async def test_groups_are_listed_with_their_datastreams(ask, devices):
    groups = await ask("GET", "template/groups")
    assert ["tag:Humidity", "tag:Humidity;Outside"] == [group["name"] for group in groups]
    member = {"templateId": "TMPL0in", "pin": "v0", "name": "Air", "type": "double", "units": ""}
    assert (["Humidity"], [member]) == (groups[0]["tags"], groups[0]["datastreams"])


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("V1", 1),
        ("v1", 1),
        ("Plain", 1),
        ("tag:A", 2),
        ("tag:A;B", 3),
        ("tag:B; A", 3),
        ("tag:A;C", None),
        ("tag:", None),
        ("tag:;", None),
        ("V9", None),
        ("", None),
        # A datastream may be named like a group.
        ("tag:C", 5),
    ],
)
def test_datastream_is_named_by_pin_name_or_group(name, pin):
    streams = (
        Datastream(id=1, pin=1, name="Plain"),
        Datastream(id=2, pin=3, name="Both", tags=("A", "B")),
        Datastream(id=3, pin=2, name="One", tags=("A",)),
        Datastream(id=4, pin=4, name="Last", tags=("A",)),
        Datastream(id=5, pin=5, name="tag:C"),
        Datastream(id=6, pin=6, name="C", tags=("C", "D")),
    )
    assert pin == Template(id="T", name="T", datastreams=streams).pin_of(name)
