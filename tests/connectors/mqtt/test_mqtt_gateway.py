"""Gateways: one MQTT connection that speaks for many devices, and for no others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.raw_mqtt import V5, V311, online, open_connection
from support.rejections import rejection_reasons
from support.tenants import THERMOMETER, tenants
from support.times import until

from connectors.mqtt.endpoint import Endpoint
from connectors.mqtt.packets import Ack, Kind, Property, Will
from connectors.mqtt.timeouts import MqttTimeouts
from hub.domain.devices import NewDevice
from hub.model import ONLINE, SYSTEM, SetMetadata
from hub.writes import Write

GATEWAY = THERMOMETER.replace("TMPL0thermo", "TMPL0gateway").replace('"Thermometer"', '"Gateway"\ngateway = true')
REPORTING = THERMOMETER.replace("TMPL0thermo", "TMPL0reports").replace('"Thermometer"', '"Reports"')
REPORTING += "[lifecycle]\nreports_data = true\n"


@pytest.fixture
async def world(hub):
    """Devices with their tokens in each organization, and a gateway in acme."""
    people = await tenants(hub)
    made = SimpleNamespace(hub=hub, orgs=people.orgs, service=people.service)
    made.template, _ = await hub.templates.save(GATEWAY, SYSTEM)
    made.tokens_of = {}
    thermo = hub.templates.by_id["TMPL0thermo"]
    for name in ("acme", "works", "beta", "root"):
        new = NewDevice(name=f"in {name}", template=thermo, org=made.orgs[name])
        [(device, token)] = await hub.devices.add([new], SYSTEM)
        made.tokens_of[name] = device, token
    await hub.organizations.change(made.orgs["acme"], SYSTEM, templates=frozenset({"TMPL0thermo", "TMPL0gateway"}))
    new = NewDevice(name="gateway", template=made.template, org=made.orgs["acme"])
    [(made.gateway, made.token)] = await hub.devices.add([new], SYSTEM)
    return made


def held(world, name):
    device, _ = world.tokens_of[name]
    return world.hub.writes.current(device, device.points[0].datastream)


def as_gateway(world, **more):
    return {"username": "mgmt_device", "password": world.token.encode(), **more}


async def program(world, org="acme", role=1):
    client, secret = await world.service.credentials.add_client("script", world.orgs[org], role, [])
    return client, {"username": client.id, "password": secret.encode()}


@pytest.fixture(params=["device", "program"])
async def login(request, world):
    """Both ways to be a gateway of acme."""
    return as_gateway(world) if request.param == "device" else (await program(world))[1]


async def test_a_gateway_speaks_for_the_devices_of_its_organization_and_below(world, login):
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        for name, temperature in (("acme", 1.0), ("works", 2.0)):
            token = world.tokens_of[name][1]
            assert 0 == (await gateway.publish(f"dev/{token}/ds/Temperature", temperature)).reason
            assert temperature == held(world, name)
            assert [1] == await gateway.subscribe(f"dev/{token}/#")
            world.hub.write(Write(world.tokens_of[name][0], 0, 9, "test", SYSTEM))
            assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()
            await gateway.publish(f"dev/{token}/get/ds", "Temperature")
            assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()


async def test_a_gateway_does_not_speak_for_others(world, login):
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        for name in ("beta", "root"):
            token = world.tokens_of[name][1]
            assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
            assert [0x87] == await gateway.subscribe(f"dev/{token}/downlink/#")
            world.hub.write(Write(world.tokens_of[name][0], 0, 9, "test", SYSTEM))
            assert [] == await gateway.received()
            assert 9 == held(world, name)
        assert 0x87 == (await gateway.publish(f"dev/{'x' * 32}/ds/Temperature", 1)).reason
        for topic in ("ds/Temperature", "dev", "dev/", f"dev/{world.tokens_of['acme'][1]}"):
            assert 0x90 == (await gateway.publish(topic, 1)).reason
    told = " ".join(rejection_reasons(world.hub))
    assert not any(token in told for _, token in world.tokens_of.values())


async def test_token_in_a_topic_has_one_spelling(world, login):
    """White space around it does not count at a login, but each spelling would be a device of its own here."""
    token = world.tokens_of["acme"][1]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        assert 0x87 == (await gateway.publish(f"dev/{token} /ds/Temperature", 1)).reason
        assert [0x87] == await gateway.subscribe(f"dev/ {token}/downlink/#")


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "dev/#", "dev/+/downlink/#", "dev/+/#", "downlink/#", "dev/{}/ds/#", "dev/{}/+/ds/#", "$SYS/#"],
)
async def test_a_gateway_subscribes_to_named_devices_only(world, topic_filter):
    topic_filter = topic_filter.format(world.tokens_of["acme"][1])
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        assert [0x80] == await gateway.subscribe(topic_filter)


async def test_a_subscription_for_a_device_is_as_fine_as_its_own(world):
    device, token = world.tokens_of["acme"]
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        assert [1] == await gateway.subscribe(f"dev/{token}/downlink/meta/#")
        world.hub.write(Write(device, 0, 9, "test", SYSTEM))
        world.hub.command(device, SetMetadata("Room", "Hall"))
        assert [(f"dev/{token}/downlink/meta/Room", "Hall")] == await gateway.received()


async def test_a_device_and_its_gateway_both_hear_but_not_themselves(world):
    device, token = world.tokens_of["acme"]
    async with (
        online(world.hub, token) as own,
        online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway,
    ):
        await gateway.subscribe(f"dev/{token}/downlink/#")
        world.hub.write(Write(device, 0, 1, "test", SYSTEM))
        assert [("downlink/ds/Temperature", "1.0")] == await own.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", "1.0")] == await gateway.received()
        await gateway.publish(f"dev/{token}/ds/Temperature", "2")
        assert [("downlink/ds/Temperature", "2.0")] == await own.received()
        assert [] == await gateway.received()
        await own.publish("ds/Temperature", "3")
        assert [] == await own.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", "3.0")] == await gateway.received()
        await gateway.unsubscribe(f"dev/{token}/downlink/#")
        world.hub.write(Write(device, 0, 4, "test", SYSTEM))
        assert [] == await gateway.received()


async def test_a_gateway_is_no_device_itself_and_marks_none_online(world):
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        await gateway.publish(f"dev/{world.tokens_of['acme'][1]}/ds/Temperature", 1)
        assert 0 == len(world.hub.sessions)
        assert "" == world.tokens_of["acme"][0].status


async def test_a_device_that_only_reports_data_is_online_by_what_its_gateway_says(world):
    template, _ = await world.hub.templates.save(REPORTING, SYSTEM)
    await world.hub.organizations.change(
        world.orgs["acme"], SYSTEM, templates=frozenset({"TMPL0thermo", "TMPL0gateway", template.id})
    )
    new = NewDevice(name="reports", template=template, org=world.orgs["acme"])
    [(device, token)] = await world.hub.devices.add([new], SYSTEM)
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        await gateway.publish(f"dev/{token}/ds/Temperature", 1)
        assert ONLINE == device.status


async def test_what_a_gateway_gets_wrong_is_said_for_the_device(world):
    token = world.tokens_of["acme"][1]
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        assert Ack(Kind.PUBACK, 1) == await gateway.publish(f"dev/{token}/ds/Temprature", 1)
        [(topic, said)] = await gateway.received()
        assert f"dev/{token}/downlink/diag" == topic
        assert "did you mean 'Temperature'?" in said


async def test_a_gateways_will_is_a_devices_topic(world):
    device, token = world.tokens_of["works"]
    will = Will(f"dev/{token}/ds/Temperature", b"-1")
    async with online(world.hub, "", subscribed=False, **as_gateway(world, will=will)):
        pass
    await until(lambda: held(world, "works") == -1)
    for topic in (f"dev/{world.tokens_of['beta'][1]}/ds/Temperature", "ds/Temperature", f"dev/{token}/nonsense"):
        async with open_connection(world.hub, V5) as gateway:
            connack = await gateway.login("", **as_gateway(world, will=Will(topic, b"-1")))
            assert 0x90 == connack.reason


@pytest.mark.parametrize("how", ["deleted", "replaced", "template", "program"])
async def test_a_gateway_whose_login_ends_is_thrown_out(world, how):
    client, program_login = await program(world)
    login = program_login if how == "program" else as_gateway(world)
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        match how:
            case "deleted":
                await world.hub.devices.delete(world.gateway, SYSTEM)
            case "replaced":
                await world.hub.tokens.rotate(world.gateway, SYSTEM)
            case "template":
                await world.hub.templates.save(GATEWAY.replace("gateway = true", ""), SYSTEM)
            case "program":
                await world.service.credentials.remove_client(client)
        assert [0x87] == [packet.reason for packet in await gateway.read_to_end()]
    async with open_connection(world.hub, V5) as gateway:
        assert (await gateway.login("", **login)).reason in (0x86, 0x87)


async def test_a_device_that_leaves_the_organization_leaves_the_gateway(world, login):
    device, token = world.tokens_of["works"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
        world.hub.write(Write(device, 0, 9, "test", SYSTEM))
        assert [] == await gateway.received()
        assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason


async def test_with_a_devices_old_token_a_gateway_hears_nothing_more(world, login):
    device, token = world.tokens_of["works"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.tokens.rotate(device, SYSTEM)
        world.hub.write(Write(device, 0, 9, "test", SYSTEM))
        assert [] == await gateway.received()


async def test_a_token_given_to_another_device_leads_there(world, login):
    (old, token), (new, _) = world.tokens_of["works"], world.tokens_of["acme"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.tokens.rotate(old, SYSTEM)
        await world.hub.tokens.rotate(new, SYSTEM, 0, token)
        assert 0 == (await gateway.publish(f"dev/{token}/get/ds", "Temperature")).reason
        world.hub.write(Write(old, 0, 1, "test", SYSTEM))
        world.hub.write(Write(new, 0, 2, "test", SYSTEM))
        assert [(f"dev/{token}/downlink/ds/Temperature", "2.0")] == await gateway.received()
    await until(lambda: not world.hub.sessions.recipients(new))
    world.hub.write(Write(old, 0, 3, "test", SYSTEM))
    world.hub.write(Write(new, 0, 3, "test", SYSTEM))


@pytest.mark.timeouts(MqttTimeouts(sweep=0.01))
async def test_a_gateway_whose_token_ends_with_its_overlap_is_thrown_out(world):
    device, token = world.tokens_of["acme"]
    await world.hub.tokens.rotate(world.gateway, SYSTEM, 150)
    async with online(world.hub, "", V5, subscribed=False, **as_gateway(world)) as gateway:
        assert 0 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
        assert [0x87] == [packet.reason for packet in await gateway.read_to_end()]
    async with open_connection(world.hub, V5) as gateway:
        assert 0x86 == (await gateway.login("", **as_gateway(world))).reason
    assert 1 == held(world, "acme")


async def test_nobody_follows_a_device_that_was_deleted(world):
    device, token = world.tokens_of["acme"]
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.devices.delete(device, SYSTEM)
        assert () == world.hub.sessions.recipients(device)
        assert [] == await gateway.received()


async def test_a_program_leaves_no_more_sessions_than_are_bounded(world):
    _, login = await program(world)
    for number in range(60):
        async with online(world.hub, "", subscribed=False, clean=False, client_id=f"c{number}", **login) as gateway:
            await gateway.disconnect()
    registry = world.hub.service(Endpoint).registry
    await until(lambda: all(client.connection is None for client in registry.clients.values()))
    assert 50 == len(registry.clients)


async def test_a_program_may_what_its_role_may(world):
    role = await world.service.roles.add("Reader", 3)
    await world.service.roles.switch(
        world.orgs["acme"], role, [("org_devices.view", True), ("org_devices.control", False)]
    )
    _, login = await program(world, role=role)
    token = world.tokens_of["acme"][1]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        assert [1] == await gateway.subscribe(f"dev/{token}/#")
        assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
    await world.service.roles.switch(
        world.orgs["acme"], role, [("org_devices.view", False), ("own_devices.view", False)]
    )
    async with open_connection(world.hub, V5) as gateway:
        assert 0x87 == (await gateway.login("", **login)).reason


async def test_several_connections_of_one_program(world):
    _, login = await program(world)
    token = world.tokens_of["acme"][1]
    async with (
        online(world.hub, "", subscribed=False, client_id="one", **login) as one,
        online(world.hub, "", subscribed=False, client_id="two", **login) as two,
    ):
        for gateway in (one, two):
            assert Ack(Kind.PUBACK, 1) == await gateway.publish(f"dev/{token}/ds/Temperature", 1)


@pytest.mark.parametrize("version", [V311, V5])
async def test_a_gateway_that_asks_for_it_gets_what_came_meanwhile(world, version):
    device, token = world.tokens_of["acme"]
    more = {"properties": {Property.SESSION_EXPIRY: 600}} if version == V5 else {}
    login = as_gateway(world, clean=False, client_id="gw", **more)
    async with online(world.hub, "", version, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await gateway.disconnect()
    registry = world.hub.service(Endpoint).registry
    await until(lambda: all(client.connection is None for client in registry.clients.values()))
    world.hub.write(Write(device, 0, 8, "test", SYSTEM))
    world.hub.write(Write(device, 0, 9, "test", SYSTEM))
    async with online(world.hub, "", version, subscribed=False, **login) as gateway:
        assert gateway.present
        assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()
        world.hub.write(Write(device, 0, 10, "test", SYSTEM))
        assert [(f"dev/{token}/downlink/ds/Temperature", "10.0")] == await gateway.received()


async def test_a_gateway_with_hundreds_of_devices(world):
    thermo = world.hub.templates.by_id["TMPL0thermo"]
    new = [NewDevice(name=f"D{n}", template=thermo, org=world.orgs["acme"]) for n in range(300)]
    made = await world.hub.devices.add(new, SYSTEM)
    async with online(world.hub, "", subscribed=False, **as_gateway(world)) as gateway:
        granted = await gateway.subscribe(*(f"dev/{token}/#" for _, token in made), qos=0)
        assert {0} == set(granted)
        for number, (device, _) in enumerate(made):
            world.hub.write(Write(device, 0, number, "test", SYSTEM))
        heard = await gateway.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", f"{n}.0") for n, (_, token) in enumerate(made)] == heard
