"""Segments and device queries as plugins use them, without HTTP."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import attrs
import pytest
import trio
from support.raw_http import connected, local_key
from support.tenants import tenants

from hub import LOCAL, SYSTEM, Conflict, Credentials, NotFound, Rejected, hookimpl
from hub.config import parse
from hub.domain import DeviceQuery, Filter, Segment
from hub.run import running
from hub.testing import LOOPBACK
from plugins.fleet import Fleet
from plugins.fleet.tags import Tag
from plugins.users.model import USER

WITHOUT_FLEET = LOOPBACK + "[plugins.fleet]\nenabled = false\n"


class Watering:
    """A plugin that lists the devices of a segment, with the rights of the user who configured it."""

    __name__ = "watering"
    PINWHEEL_HOOKS = 1

    @hookimpl
    async def hub_start(self, hub):
        self._hub = hub

    async def names(self, principal, segment, **options):
        segment = self._hub.segments.segment_for(principal, segment.id)
        return [device.name for device in await self._hub.segments.devices(segment, principal, **options)]


@pytest.fixture
def watering():
    return Watering()


@pytest.fixture
def hub_plugins(watering):
    return (watering,)


@pytest.fixture
async def world(hub):
    world = await tenants(hub)
    await world.device(world.orgs["acme"], owner=world.users["uma"].id, name="Lamp")
    await world.device(world.orgs["works"], name="Pump")
    await world.device(world.orgs["beta"], name="Lamp of beta")
    return world


async def principal(world, name):
    return await world.hub.authenticate(Credentials("bearer", world.tokens[name]))


def query(*filters, text=""):
    return DeviceQuery(query=text, filters=list(filters))


async def save(world, name="Segment", org="acme", **fields):
    return await world.hub.segments.save(Segment(id=0, org=world.orgs[org], name=name, **fields))


# -- the devices of a segment -----------------------------------------------------------------------------------------


async def test_segment_of_a_query_has_devices_that_are_added_and_changed_later(hub, world, watering):
    dry = Filter(attribute="metadata", name="Room", values=["Garden"])
    segment = await save(world, find=query(dry))
    ada = await principal(world, "ada")
    assert [] == await watering.names(ada, segment)
    lamp, pump, _ = hub.devices.by_id.values()
    await hub.metadata.set(pump, "Room", "Garden", SYSTEM)
    assert ["Pump"] == await watering.names(ada, segment)
    sprinkler = await world.device(world.orgs["acme"], name="Sprinkler")
    await hub.metadata.set(sprinkler, "Room", "Garden", SYSTEM)
    await hub.metadata.set(lamp, "Room", "Garden", SYSTEM)
    assert ["Lamp", "Pump", "Sprinkler"] == await watering.names(ada, segment)
    await hub.devices.delete(pump, SYSTEM)
    await hub.metadata.set(lamp, "Room", "Hall", SYSTEM)
    assert ["Sprinkler"] == await watering.names(ada, segment)


async def test_segment_excludes_chosen_devices_of_a_query_and_devices_of_other_organizations(hub, world, watering):
    [lamp, *_] = hub.devices.by_id.values()
    assert ["Pump"] == await watering.names(
        LOCAL, await save(world, "Query", find=query(), chosen=frozenset([lamp.id]))
    )
    all_devices = frozenset(hub.devices.by_id)
    assert ["Lamp", "Pump"] == await watering.names(LOCAL, await save(world, "List", chosen=all_devices | {999}))
    assert ["Pump"] == await watering.names(LOCAL, await save(world, "Below", "works", chosen=all_devices))


async def test_segment_has_only_devices_that_the_principal_may_view_now(hub, world, watering):
    segment, uma, users = await save(world, find=query()), await principal(world, "uma"), world.service
    assert ["Lamp"] == [device.name for device in await hub.segments.devices(segment, uma)]
    await users.roles.switch(world.orgs["acme"], USER, [("org_devices.view", True)])
    assert ["Lamp"] == await watering.names(uma, segment)
    await users.roles.switch(world.orgs["acme"], USER, [("orgs.view", True)])
    assert ["Lamp", "Pump"] == await watering.names(uma, segment)
    assert [] == await watering.names(uma, segment, permission="org_devices.delete")
    await users.users.change(world.users["uma"], suspended=True)
    assert [] == await hub.segments.devices(segment, uma)
    with pytest.raises(NotFound, match=f"Segment with identifier {segment.id} is not found"):
        await watering.names(uma, segment)


async def test_segment_of_another_organization_is_not_found(hub, world, watering):
    segment = await save(world, find=query())
    with pytest.raises(NotFound, match=f"Segment with identifier {segment.id} is not found"):
        await watering.names(await principal(world, "bert"), segment)
    assert [] == await hub.segments.devices(segment, await principal(world, "bert"))


async def test_segment_by_tag_matches_only_tags_that_the_principal_may_see(hub, world, watering):
    [lamp, *_] = hub.devices.by_id.values()
    tags = hub.service(Fleet).tags
    hidden = await tags.add(Tag(id=0, org=world.orgs["root"], name="Hidden"))
    await tags.attach([lamp], hidden, SYSTEM)
    segment = await save(world, find=query(Filter(attribute="tag", values=["hidden"])))
    assert ["Lamp"] == await watering.names(await principal(world, "rita"), segment)
    assert [] == await watering.names(await principal(world, "ada"), segment)


# -- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "x" * 41}, "1 to 40"),
        ({"chosen": frozenset(range(10_001))}, "at most 10000"),
        ({"find": query(Filter(attribute="name", operator="less", values=["x"]))}, "filters.0"),
        ({"find": query(text="x" * 256)}, "at most 20 words"),
    ],
)
async def test_invalid_segment_is_rejected(world, fields, problem):
    with pytest.raises(Rejected, match=problem):
        await save(world, **fields)
    assert [] == world.hub.segments.of_org(world.orgs["acme"])


@pytest.mark.parametrize("position", [-1, 50])
async def test_position_of_a_segment_is_limited(hub, world, position):
    segment = await save(world)
    with pytest.raises(Rejected, match="position must be 0 to 49"):
        await hub.segments.save(segment, position)
    assert [segment] == hub.segments.of_org(segment.org)


async def test_concurrent_saves_of_segments_have_distinct_names_and_positions(hub, world):
    conflicts = []

    async def add(name):
        try:
            await save(world, name)
        except Conflict as error:
            conflicts.append(str(error))

    async with trio.open_nursery() as nursery:
        for name in ("A", "B", "C", "A"):
            nursery.start_soon(add, name)
    assert ["there is a segment named 'A' already"] == conflicts
    segments = hub.segments.of_org(world.orgs["acme"])
    assert [0, 1, 2] == [segment.position for segment in segments]
    rows = await hub.storage.configuration.fetch_all("SELECT name FROM segments ORDER BY position")
    assert [segment.name for segment in segments] == [name for (name,) in rows]


async def test_deleted_segment_cannot_be_saved(hub, world):
    segment = await save(world)
    await hub.segments.remove(segment)
    with pytest.raises(NotFound):
        await hub.segments.save(attrs.evolve(segment, name="New name"))
    assert {} == hub.segments.by_id


# -- without the plugin of tags and locations -------------------------------------------------------------------------


class Labels:
    """Tags of a plugin other than fleet."""

    def visible_names(self, device, _principal):
        return ["Outdoors"] if device.name == "Pump" else []

    def word_predicate(self, word, principal):
        return lambda device: any(word in name.lower() for name in self.visible_names(device, principal))


class Nowhere:
    """Locations of a plugin, of which no device has one."""

    def visible_name(self, _device, _principal):
        return None

    def word_predicate(self, _word, _principal):
        return lambda _device: False


@pytest.mark.parametrize("hub_toml", [WITHOUT_FLEET], ids=["without-fleet"])
@pytest.mark.parametrize(
    ("find", "expected"),
    [
        (query(Filter(attribute="tag", operator="notEmpty")), []),
        (query(Filter(attribute="tag", operator="empty")), ["Lamp", "Pump"]),
        (query(Filter(attribute="location", values=["Depot"])), []),
        (query(Filter(attribute="location", operator="notEquals", values=["Depot"])), ["Lamp", "Pump"]),
        (query(text="outdoors"), []),
        (query(text="pump works"), ["Pump"]),
    ],
)
async def test_without_the_plugin_devices_have_no_tags_and_no_locations(world, watering, find, expected):
    assert expected == await watering.names(LOCAL, await save(world, find=find))


@pytest.mark.parametrize("hub_toml", [WITHOUT_FLEET], ids=["without-fleet"])
@pytest.mark.parametrize("find", [query(text="outdoors"), query(Filter(attribute="tag", values=["Outdoors"]))])
async def test_another_plugin_can_provide_the_tags_of_queries(hub, world, watering, find):
    segment, labels = await save(world, find=find), Labels()
    labels.hub = hub
    hub.device_queries.install(labels, Nowhere())
    assert ["Pump"] == await watering.names(LOCAL, segment)


async def test_segments_survive_a_restart_with_and_without_the_plugin(hub_config):
    without = parse(WITHOUT_FLEET).with_data(str(hub_config.data))
    above_five = Filter(attribute="datastream", name="v0", operator="more", values=[5, 1.5, "7"])
    find = DeviceQuery(query="a b", match="any", filters=[above_five])
    async with running(without) as hub:
        world = await tenants(hub)
        await save(world, "First", chosen=frozenset([3, 1]))
        await save(world, "Second", find=find, chosen=frozenset([2]))
        before = dict(hub.segments.by_id)
    async with running(hub_config) as hub:
        assert before == hub.segments.by_id
        async with connected(hub) as http:
            response = await http.ask(
                "GET", f"/api/v1/organization/segments?orgId={world.orgs['acme']}", None, local_key(hub)
            )
        assert ["First", "Second"] == [segment["name"] for segment in response.json["content"]]
    async with running(without) as hub:
        assert before == hub.segments.by_id


# -- databases of earlier versions ------------------------------------------------------------------------------------


def restore_old_table(data, rows):
    """Give a database the segment table of earlier versions, with these rows (id, org, name, chosen, find)."""
    with closing(sqlite3.connect(data / "pinwheel.db", isolation_level=None)) as file:
        file.execute("ALTER TABLE segments RENAME TO fleet_segments")
        file.execute("DELETE FROM migrations WHERE owner = 'core' AND number = 12")
        sql = "INSERT INTO fleet_segments (id, org, name, position, chosen, find) VALUES (?, ?, ?, 0, ?, ?)"
        file.executemany(sql, rows)


@pytest.mark.parametrize("toml", [LOOPBACK, WITHOUT_FLEET], ids=["with-fleet", "without-fleet"])
async def test_segments_of_an_earlier_version_are_migrated(hub_config, toml):
    config = parse(toml).with_data(str(hub_config.data))
    async with running(config):
        pass
    find = '{"query": "pump", "match": "all", "filters": [{"attribute": "tag", "operator": "empty", "values": [], "name": ""}]}'
    restore_old_table(config.data, [(7, 1, "Pumps", "[4]", find)])
    async with running(config) as hub:
        expected = Segment(
            id=7,
            org=1,
            name="Pumps",
            chosen=frozenset([4]),
            find=query(Filter(attribute="tag", operator="empty"), text="pump"),
        )
        assert {7: expected} == hub.segments.by_id
        added = await hub.segments.save(Segment(id=0, org=1, name="New"))
        assert 8 == added.id
