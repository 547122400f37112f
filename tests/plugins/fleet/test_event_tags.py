"""Tags that events apply to their devices."""

from __future__ import annotations

import pytest
from support.templates import template
from support.times import until

from hub.domain.devices import NewDevice
from hub.model import ROOT_ORG, SYSTEM, Organization
from plugins.fleet import Fleet
from plugins.fleet.tags import Tag

TEMPLATE = template(
    key="TMPL0pump",
    name="Pump",
    tables="""
[[event]]
code = "leak"
name = "Leak"
type = "critical"
tag = "Broken"

[[event]]
code = "burnt"
name = "Burnt"
type = "critical"
tag = "Broken"

[[event]]
code = "on"
name = "On"
tag = "No such tag"
""",
)


@pytest.fixture
async def pump(hub):
    saved, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    org = await hub.organizations.add(
        Organization(id=0, name="Below", parent=ROOT_ORG, templates=frozenset({saved.id})), SYSTEM
    )
    [(device, _)] = await hub.devices.add([NewDevice(name="Pump", template=saved, org=org.id)], SYSTEM)
    return device


def tags_of(hub, device):
    return [(tag.name, tag.org) for tag in hub.service(Fleet).tags.of_device(device)]


async def add_tag(hub, org, name="Broken"):
    return await hub.service(Fleet).tags.add(Tag(id=0, org=org, name=name))


async def log(hub, device, code):
    return await hub.timeline.log(device, code)


async def test_device_has_the_tag_until_its_last_event_with_it_is_resolved(hub, pump):
    await add_tag(hub, ROOT_ORG)
    await log(hub, pump, "leak")
    await until(lambda: [("Broken", ROOT_ORG)] == tags_of(hub, pump))
    await log(hub, pump, "burnt")
    await hub.timeline.resolve(pump, "leak")
    # "On" is handled after "Leak": when its tag is there, that was looked at.
    await add_tag(hub, ROOT_ORG, "No such tag")
    await log(hub, pump, "on")
    await until(lambda: ("No such tag", ROOT_ORG) in tags_of(hub, pump))
    assert ("Broken", ROOT_ORG) in tags_of(hub, pump)
    await hub.timeline.resolve(pump, "burnt")
    await until(lambda: [("No such tag", ROOT_ORG)] == tags_of(hub, pump))


async def test_nearest_tag_of_the_name_counts(hub, pump):
    await add_tag(hub, ROOT_ORG)
    await add_tag(hub, pump.org)
    await log(hub, pump, "leak")
    await until(lambda: [("Broken", pump.org)] == tags_of(hub, pump))


async def test_event_without_an_existing_tag_is_logged_all_the_same(hub, pump):
    await log(hub, pump, "on")
    await log(hub, pump, "leak")
    await add_tag(hub, pump.org)
    await log(hub, pump, "burnt")
    await until(lambda: [("Broken", pump.org)] == tags_of(hub, pump))


async def test_device_with_too_many_tags_gets_no_other_one(hub, pump, caplog):
    tags = hub.service(Fleet).tags
    for number in range(5):
        await tags.attach([pump], await add_tag(hub, pump.org, f"Tag {number}"), SYSTEM)
    await add_tag(hub, pump.org)
    await log(hub, pump, "leak")
    await until(lambda: "does not get the tag Broken of its event" in caplog.text)
    assert 5 == len(tags_of(hub, pump))
