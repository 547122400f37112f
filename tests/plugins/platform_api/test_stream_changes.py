"""The live stream tells of devices that are added, changed and deleted."""

from __future__ import annotations

import pytest
from support.api_templates import METER

from hub.domain.devices import NewDevice
from hub.model import SYSTEM


@pytest.mark.parametrize("topic", ["device", "devices"])
async def test_changes_of_a_device_are_sent(hub, device, subscriber, topic):
    options = {"device": device.id} if topic == "device" else {}
    await subscriber.subscribe(1, topic, **options)

    await hub.devices.rename(device, "Cellar", SYSTEM)
    changed = {"name": "Cellar", "orgId": device.org, "ownerUserId": None, "templateVersion": 1}
    assert {"id": 1, "device": device.id, "changed": changed} == await subscriber.receive()

    await hub.metadata.set(device, "Time Zone", "Europe/Kyiv", SYSTEM)
    assert {"id": 1, "device": device.id, "metadata": {"Time Zone": "Europe/Kyiv"}} == await subscriber.receive()

    await hub.devices.delete(device, SYSTEM)
    messages = [await subscriber.receive()]
    while "deleted" not in messages[-1]:
        messages.append(await subscriber.receive())
    assert {"id": 1, "device": device.id, "deleted": True} == messages[-1]


async def test_new_device_is_sent_to_those_who_watch_all_devices(hub, device, subscriber):
    await subscriber.subscribe(1, "devices")
    [(added, _)] = await hub.devices.add([NewDevice(name="New", template=device.template)], SYSTEM)
    assert {"id": 1, "device": added.id, "added": True} == await subscriber.receive()


async def test_new_version_of_its_template_is_sent_to_those_who_watch_a_device(hub, device, subscriber):
    await subscriber.subscribe(1, "device", device=device.id)
    await hub.templates.save(METER.replace('name = "Meter"', 'name = "Power meter"'), SYSTEM)
    message = await subscriber.receive()
    assert {"id": 1, "device": device.id, "template": device.template.id, "version": device.template.version} == message
    assert 2 == device.template.version
