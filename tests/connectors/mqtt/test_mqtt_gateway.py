"""Gateways: an MQTT connection that publishes and subscribes for the devices of its organization, and for no others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.mqtt_devices import persistent
from support.raw_mqtt import V5, online, open_connection
from support.rejections import rejection_reasons
from support.tenants import THERMOMETER, tenants
from support.times import until
from support.values import current_value, write_value

from connectors.mqtt.endpoint import Endpoint
from connectors.mqtt.packets import Ack, Kind, Will
from connectors.mqtt.timeouts import MqttTimeouts
from hub.domain.devices import NewDevice
from hub.model import ONLINE, SYSTEM, SetMetadata

GATEWAY = THERMOMETER.replace("TMPL0thermo", "TMPL0gateway").replace('"Thermometer"', '"Gateway"\ngateway = true')
REPORTING = THERMOMETER.replace("TMPL0thermo", "TMPL0reports").replace('"Thermometer"', '"Reports"')
REPORTING += "[lifecycle]\nreports_data = true\n"


@pytest.fixture
async def world(hub):
    """A device, and its token, in each organization, and a gateway in acme."""
    tenancy = await tenants(hub)
    world = SimpleNamespace(hub=hub, orgs=tenancy.orgs, service=tenancy.service)
    world.template, _ = await hub.templates.save(GATEWAY, SYSTEM)
    world.devices = {}
    thermometer = hub.templates.by_id["TMPL0thermo"]
    for name in ("acme", "works", "beta", "root"):
        new = NewDevice(name=f"in {name}", template=thermometer, org=world.orgs[name])
        [(device, token)] = await hub.devices.add([new], SYSTEM)
        world.devices[name] = device, token
    await hub.organizations.change(world.orgs["acme"], SYSTEM, templates=frozenset({"TMPL0thermo", "TMPL0gateway"}))
    new = NewDevice(name="gateway", template=world.template, org=world.orgs["acme"])
    [(world.gateway, world.token)] = await hub.devices.add([new], SYSTEM)
    return world


def temperature(world, org):
    return current_value(world.hub, world.devices[org][0], 0)


def gateway_login(world, **fields):
    """Return the fields of a CONNECT of the gateway device."""
    return {"username": "mgmt_device", "password": world.token.encode(), **fields}


async def add_oauth_client(world, org="acme", role=1):
    client, secret = await world.service.credentials.add_client("script", world.orgs[org], role, [])
    return client, {"username": client.id, "password": secret.encode()}


@pytest.fixture(params=["device", "oauth client"])
async def login(request, world):
    """The fields of a CONNECT for each kind of gateway of acme: a gateway device, and an OAuth client."""
    return gateway_login(world) if request.param == "device" else (await add_oauth_client(world))[1]


async def test_gateway_acts_for_the_devices_of_its_organization_and_below(world, login):
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        for name, value in (("acme", 1.0), ("works", 2.0)):
            token = world.devices[name][1]
            assert 0 == (await gateway.publish(f"dev/{token}/ds/Temperature", value)).reason
            assert value == temperature(world, name)
            assert [1] == await gateway.subscribe(f"dev/{token}/#")
            write_value(world.hub, world.devices[name][0], 0, 9)
            assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()
            await gateway.publish(f"dev/{token}/get/ds", "Temperature")
            assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()


async def test_gateway_cannot_act_for_devices_of_other_organizations(world, login):
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        for name in ("beta", "root"):
            token = world.devices[name][1]
            assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
            assert [0x87] == await gateway.subscribe(f"dev/{token}/downlink/#")
            write_value(world.hub, world.devices[name][0], 0, 9)
            assert [] == await gateway.received()
            assert 9 == temperature(world, name)
        assert 0x87 == (await gateway.publish(f"dev/{'x' * 32}/ds/Temperature", 1)).reason
        for topic in ("ds/Temperature", "dev", "dev/", f"dev/{world.devices['acme'][1]}"):
            assert 0x90 == (await gateway.publish(topic, 1)).reason
    recorded = " ".join(rejection_reasons(world.hub))
    assert not any(token in recorded for _, token in world.devices.values())


async def test_token_in_a_topic_may_not_contain_white_space(world, login):
    """A login strips white space around a token, but here each spelling would be another device."""
    token = world.devices["acme"][1]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        assert 0x87 == (await gateway.publish(f"dev/{token} /ds/Temperature", 1)).reason
        assert [0x87] == await gateway.subscribe(f"dev/ {token}/downlink/#")


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "dev/#", "dev/+/downlink/#", "dev/+/#", "downlink/#", "dev/{}/ds/#", "dev/{}/+/ds/#", "$SYS/#"],
)
async def test_gateway_may_subscribe_to_single_devices_only(world, topic_filter):
    topic_filter = topic_filter.format(world.devices["acme"][1])
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        assert [0x80] == await gateway.subscribe(topic_filter)


async def test_gateway_filter_selects_topics_of_a_device(world):
    device, token = world.devices["acme"]
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        assert [1] == await gateway.subscribe(f"dev/{token}/downlink/meta/#")
        write_value(world.hub, device, 0, 9)
        world.hub.command(device, SetMetadata("Room", "Hall"))
        assert [(f"dev/{token}/downlink/meta/Room", "Hall")] == await gateway.received()


async def test_device_and_gateway_receive_each_others_values_but_not_their_own(world):
    device, token = world.devices["acme"]
    async with (
        online(world.hub, token) as own,
        online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway,
    ):
        await gateway.subscribe(f"dev/{token}/downlink/#")
        write_value(world.hub, device, 0, 1)
        assert [("downlink/ds/Temperature", "1.0")] == await own.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", "1.0")] == await gateway.received()
        await gateway.publish(f"dev/{token}/ds/Temperature", "2")
        assert [("downlink/ds/Temperature", "2.0")] == await own.received()
        assert [] == await gateway.received()
        await own.publish("ds/Temperature", "3")
        assert [] == await own.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", "3.0")] == await gateway.received()
        await gateway.unsubscribe(f"dev/{token}/downlink/#")
        write_value(world.hub, device, 0, 4)
        assert [] == await gateway.received()


async def test_gateway_has_no_session_and_marks_no_device_online(world):
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        await gateway.publish(f"dev/{world.devices['acme'][1]}/ds/Temperature", 1)
        assert 0 == len(world.hub.sessions)
        assert "" == world.devices["acme"][0].status


async def test_data_reporting_device_is_online_when_its_gateway_publishes(world):
    template, _ = await world.hub.templates.save(REPORTING, SYSTEM)
    await world.hub.organizations.change(
        world.orgs["acme"], SYSTEM, templates=frozenset({"TMPL0thermo", "TMPL0gateway", template.id})
    )
    new = NewDevice(name="reports", template=template, org=world.orgs["acme"])
    [(device, token)] = await world.hub.devices.add([new], SYSTEM)
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        await gateway.publish(f"dev/{token}/ds/Temperature", 1)
        assert ONLINE == device.status


async def test_diagnostic_for_a_gateway_is_sent_on_the_topic_of_the_device(world):
    token = world.devices["acme"][1]
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        assert Ack(Kind.PUBACK, 1) == await gateway.publish(f"dev/{token}/ds/Temprature", 1)
        [(topic, diagnostic)] = await gateway.received()
        assert f"dev/{token}/downlink/diag" == topic
        assert "did you mean 'Temperature'?" in diagnostic


async def test_will_of_a_gateway_must_be_a_topic_of_a_permitted_device(world):
    device, token = world.devices["works"]
    will = Will(f"dev/{token}/ds/Temperature", b"-1")
    async with online(world.hub, "", subscribed=False, **gateway_login(world, will=will)):
        pass
    await until(lambda: temperature(world, "works") == -1)
    for topic in (f"dev/{world.devices['beta'][1]}/ds/Temperature", "ds/Temperature", f"dev/{token}/nonsense"):
        async with open_connection(world.hub, V5) as gateway:
            connack = await gateway.login("", **gateway_login(world, will=Will(topic, b"-1")))
            assert 0x90 == connack.reason


@pytest.mark.parametrize("cause", ["deletion", "rotation", "template change", "oauth client"])
async def test_gateway_is_disconnected_when_its_login_is_revoked(world, cause):
    client, oauth_login = await add_oauth_client(world)
    login = oauth_login if cause == "oauth client" else gateway_login(world)
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        match cause:
            case "deletion":
                await world.hub.devices.delete(world.gateway, SYSTEM)
            case "rotation":
                await world.hub.tokens.rotate(world.gateway, SYSTEM)
            case "template change":
                await world.hub.templates.save(GATEWAY.replace("gateway = true", ""), SYSTEM)
            case "oauth client":
                await world.service.credentials.remove_client(client)
        assert [0x87] == [packet.reason for packet in await gateway.read_to_end()]
    async with open_connection(world.hub, V5) as gateway:
        assert (await gateway.login("", **login)).reason in (0x86, 0x87)


async def test_gateway_loses_a_device_that_is_transferred_to_another_organization(world, login):
    device, token = world.devices["works"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.devices.transfer(device, world.orgs["beta"], None, SYSTEM)
        write_value(world.hub, device, 0, 9)
        assert [] == await gateway.received()
        assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason


async def test_gateway_receives_nothing_for_a_rotated_token(world, login):
    device, token = world.devices["works"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.tokens.rotate(device, SYSTEM)
        write_value(world.hub, device, 0, 9)
        assert [] == await gateway.received()


async def test_reassigned_token_refers_to_its_new_device(world, login):
    (old, token), (new, _) = world.devices["works"], world.devices["acme"]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.tokens.rotate(old, SYSTEM)
        await world.hub.tokens.rotate(new, SYSTEM, 0, token)
        assert 0 == (await gateway.publish(f"dev/{token}/get/ds", "Temperature")).reason
        write_value(world.hub, old, 0, 1)
        write_value(world.hub, new, 0, 2)
        assert [(f"dev/{token}/downlink/ds/Temperature", "2.0")] == await gateway.received()
    await until(lambda: not world.hub.sessions.recipients(new))
    write_value(world.hub, old, 0, 3)
    write_value(world.hub, new, 0, 3)


@pytest.mark.timeouts(MqttTimeouts(sweep=0.01))
async def test_gateway_is_disconnected_when_the_overlap_of_its_old_token_ends(world):
    device, token = world.devices["acme"]
    await world.hub.tokens.rotate(world.gateway, SYSTEM, 150)
    async with online(world.hub, "", V5, subscribed=False, **gateway_login(world)) as gateway:
        assert 0 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
        assert [0x87] == [packet.reason for packet in await gateway.read_to_end()]
    async with open_connection(world.hub, V5) as gateway:
        assert 0x86 == (await gateway.login("", **gateway_login(world))).reason
    assert 1 == temperature(world, "acme")


async def test_deleted_device_has_no_recipients(world):
    device, token = world.devices["acme"]
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await world.hub.devices.delete(device, SYSTEM)
        assert () == world.hub.sessions.recipients(device)
        assert [] == await gateway.received()


async def test_persistent_sessions_of_an_oauth_client_are_limited(world):
    _, login = await add_oauth_client(world)
    for number in range(60):
        async with online(world.hub, "", subscribed=False, clean=False, client_id=f"c{number}", **login) as gateway:
            await gateway.disconnect()
    registry = world.hub.service(Endpoint).registry
    await until(lambda: all(client.connection is None for client in registry.clients.values()))
    assert 50 == len(registry.clients)


async def test_oauth_client_has_the_permissions_of_its_role(world):
    role = await world.service.roles.add("Reader", 3)
    await world.service.roles.switch(
        world.orgs["acme"], role, [("org_devices.view", True), ("org_devices.control", False)]
    )
    _, login = await add_oauth_client(world, role=role)
    token = world.devices["acme"][1]
    async with online(world.hub, "", V5, subscribed=False, **login) as gateway:
        assert [1] == await gateway.subscribe(f"dev/{token}/#")
        assert 0x87 == (await gateway.publish(f"dev/{token}/ds/Temperature", 1)).reason
    await world.service.roles.switch(
        world.orgs["acme"], role, [("org_devices.view", False), ("own_devices.view", False)]
    )
    async with open_connection(world.hub, V5) as gateway:
        assert 0x87 == (await gateway.login("", **login)).reason


async def test_oauth_client_may_have_several_connections(world):
    _, login = await add_oauth_client(world)
    token = world.devices["acme"][1]
    async with (
        online(world.hub, "", subscribed=False, client_id="first", **login) as first,
        online(world.hub, "", subscribed=False, client_id="second", **login) as second,
    ):
        for gateway in (first, second):
            assert Ack(Kind.PUBACK, 1) == await gateway.publish(f"dev/{token}/ds/Temperature", 1)


async def test_persistent_session_of_a_gateway_delivers_the_newest_value(world, version):
    device, token = world.devices["acme"]
    login = gateway_login(world, **persistent(version, "gw"))
    async with online(world.hub, "", version, subscribed=False, **login) as gateway:
        await gateway.subscribe(f"dev/{token}/#")
        await gateway.disconnect()
    registry = world.hub.service(Endpoint).registry
    await until(lambda: all(client.connection is None for client in registry.clients.values()))
    write_value(world.hub, device, 0, 8)
    write_value(world.hub, device, 0, 9)
    async with online(world.hub, "", version, subscribed=False, **login) as gateway:
        assert gateway.present
        assert [(f"dev/{token}/downlink/ds/Temperature", "9.0")] == await gateway.received()
        write_value(world.hub, device, 0, 10)
        assert [(f"dev/{token}/downlink/ds/Temperature", "10.0")] == await gateway.received()


async def test_gateway_can_serve_hundreds_of_devices(world):
    thermometer = world.hub.templates.by_id["TMPL0thermo"]
    new = [NewDevice(name=f"D{n}", template=thermometer, org=world.orgs["acme"]) for n in range(300)]
    added = await world.hub.devices.add(new, SYSTEM)
    async with online(world.hub, "", subscribed=False, **gateway_login(world)) as gateway:
        granted = await gateway.subscribe(*(f"dev/{token}/#" for _, token in added), qos=0)
        assert {0} == set(granted)
        for number, (device, _) in enumerate(added):
            write_value(world.hub, device, 0, number)
        messages = await gateway.received()
        assert [(f"dev/{token}/downlink/ds/Temperature", f"{n}.0") for n, (_, token) in enumerate(added)] == messages
