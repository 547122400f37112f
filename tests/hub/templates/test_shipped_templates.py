"""The templates shipped with the hub: their dashboards, and simulated devices of each."""

from __future__ import annotations

import pytest
import trio
from support.raw_mqtt import until
from support.rejections import rejection_reasons

from connectors.simulator.devices import SimulatedDevice, datastreams_of
from hub.api import to_json
from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.templates.document import parse, shipped, to_toml
from hub.testing import LOOPBACK, address_of
from plugins.platform_api.template_schemas import template_object


@pytest.fixture
def hub_toml():
    return LOOPBACK + "[limits]\nmessages_per_second = 100000\nburst = 100000\n"


def test_shipped_templates_have_distinct_ids_and_names():
    templates = [parse(text, name) for name, text in shipped().items()]
    assert len(templates) >= 15
    assert len({template.id for template in templates}) == len({t.name for t in templates}) == len(templates)


@pytest.mark.parametrize("name", [*shipped()])
def test_shipped_template_has_a_description_and_widgets_for_every_datastream(name):
    template = parse(shipped()[name], name)
    assert template.description
    for dashboard in (template.web, template.mobile):
        assert dashboard.tab
        assert all(tab.widget for tab in dashboard.tab)
    assert template.mobile.tile.icon
    assert template.mobile.tile.pins or template.mobile.tile.control
    assert all(event.description and event.color and event.notifications.push for event in template.events)
    displayed = {pin for tab in template.web.tab for widget in tab.widget for pin in widget.pins}
    assert {f"V{stream.pin}" for stream in template.datastreams} == displayed
    # The file is formatted as an export.
    assert to_toml(template) == shipped()[name]


async def test_values_of_a_device_of_each_template_are_stored_without_a_rejection(hub):
    host, port = address_of(hub)
    devices = []
    async with trio.open_nursery() as nursery:
        for text in shipped().values():
            template, _ = await hub.templates.save(text, SYSTEM)
            [(device, token)] = await hub.devices.add([NewDevice(name=template.name, template=template)], SYSTEM)
            devices.append(device)
            simulated = SimulatedDevice(
                host=host,
                port=port,
                token=token,
                template=template.id,
                datastreams=datastreams_of(to_json(template_object(template))),
                rate=500,
            )
            nursery.start_soon(simulated.run)
        points = [point for device in devices for point in device.points.values()]
        await until(lambda: all(point.series in hub.history.latest for point in points))
        nursery.cancel_scope.cancel()
    assert [] == rejection_reasons(hub)
