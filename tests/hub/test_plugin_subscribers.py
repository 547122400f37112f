"""Facts that plugins subscribe to: failures of subscribers, and durability of the values in facts."""

from __future__ import annotations

import pytest
from support.alarms import alarm_texts
from support.meter import add_meter
from support.plugins import QUICK
from support.times import until
from support.values import current_value, write_value

from hub.errors import Rejected
from hub.facts import ValueSet, ValueWritten
from hub.model import SYSTEM
from hub.plugin import Failure, FailureKind


async def test_each_distinct_failure_of_a_plugin_is_logged_once_with_file_and_line(write_plugin, start_hub, caplog):
    write_plugin(
        "raises",
        "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n"
        "    raise [KeyError, TypeError][int(event.value) % 2]('boom')",
    )
    async with start_hub() as hub:
        device = await add_meter(hub)
        for number in range(20):
            await write_value(hub, device, 0, number).durable()
        assert 20 == hub.plugins["raises"].failures
    lines = [record for record in caplog.records if "hub_event failed" in record.message]
    assert [
        "hub_event failed: KeyError('boom') (raises.py line 6)",
        "hub_event failed: TypeError('boom') (raises.py line 6)",
    ] == [record.message.partition(") ")[2] for record in lines]
    assert "raise [KeyError, TypeError]" in caplog.text


async def test_number_of_remembered_failures_of_a_plugin_is_bounded(write_plugin, start_hub, caplog):
    write_plugin(
        "raises",
        "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n"
        "    raise ValueError(event.ts, event.value)",
    )
    async with start_hub() as hub:
        device = await add_meter(hub)
        for number in range(150):
            write_value(hub, device, 0, number)
        assert 100 == len(hub.plugins["raises"].quiet_until)


async def test_subscriber_that_raises_does_not_affect_other_subscribers(write_plugin, start_hub, caplog):
    write_plugin(
        "raises", "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n    1 / 0"
    )
    write_plugin(
        "zz_listens",
        "from hub.facts import ValueWritten\nreceived = []\n@hookimpl\ndef hub_event(event: ValueWritten):\n    received.append(event.value)",
    )
    async with start_hub() as hub:
        device = await add_meter(hub)
        for number in range(3):
            await write_value(hub, device, 0, number).durable()

        assert [0.0, 1.0, 2.0] == hub.plugins["zz_listens"].module.received
        assert 2.0 == current_value(hub, device, 0)
        raises = hub.plugins["raises"]
        assert (3, "hub_event failed: ZeroDivisionError('division by zero')") == (raises.failures, raises.problem)
    assert 1 == caplog.text.count("plugin raises")


async def test_alarm_of_a_plugin_lists_all_failures(write_plugin, start_hub):
    write_plugin(
        "broken",
        """
        from hub.facts import ValueWritten

        @hookimpl
        def hub_event(event: ValueWritten):
            raise RuntimeError("subscriber")

        @hookimpl
        def hub_filter_write(device, datastream, value):
            if value > 5:
                raise RuntimeError("filter")
            return value

        @hookimpl
        async def hub_start(hub, nursery):
            raise RuntimeError("start")
        """,
    )
    async with start_hub() as hub:
        broken, device = hub.plugins["broken"], await add_meter(hub)
        for value in ("1", "2"):
            write_value(hub, device, 0, value)
        with pytest.raises(Rejected):
            write_value(hub, device, 0, "9")
        reasons = (
            "died: RuntimeError('start'); "
            "hub_event failed: RuntimeError('subscriber'); "
            "hub_filter_write failed: RuntimeError('filter')"
        )
        assert f"plugin broken: {reasons}" == alarm_texts(hub)

        for number in range(20):
            broken.record(Failure(FailureKind.HOOK, f"hub_event failed: {number}"))
        assert [f"hub_event failed: {number}" for number in range(10, 20)] == [
            failure.reason for failure in broken.troubles
        ]


@pytest.mark.timeouts(QUICK)
async def test_alarm_of_a_restarted_plugin_omits_the_failed_start(write_plugin, start_hub):
    write_plugin(
        "recovers",
        """
        from hub.facts import ValueWritten
        failing = True

        @hookimpl
        def hub_event(event: ValueWritten):
            raise RuntimeError("subscriber")

        @hookimpl
        async def hub_start(hub, nursery):
            if failing:
                raise RuntimeError("start")
        """,
    )
    async with start_hub() as hub:
        recovers = hub.plugins["recovers"]
        write_value(hub, await add_meter(hub), 0, "1")
        assert "died" in alarm_texts(hub)
        recovers.module.failing = False
        await until(lambda: recovers.state == "running")
        assert "plugin recovers: hub_event failed: RuntimeError('subscriber')" == alarm_texts(hub)


async def test_subscriber_may_take_a_union_of_facts_and_a_plugin_may_have_several_subscribers(write_plugin, start_hub):
    write_plugin(
        "listens",
        """
        from hub.facts import DeviceAdded, TemplateChanged, ValueWritten
        received = []

        @hookimpl
        def hub_event(event: DeviceAdded | TemplateChanged):
            received.append(type(event).__name__)

        @hookimpl(specname="hub_event")
        def on_value(event: ValueWritten):
            received.append(event.value)
        """,
    )
    async with start_hub() as hub:
        write_value(hub, await add_meter(hub), 0, "5")
        assert ["TemplateChanged", "DeviceAdded", 5.0] == hub.plugins["listens"].module.received


@pytest.mark.parametrize("annotation", ["", ": int", ": Fact", ": Nowhere", ": 'ValueWriten'"])
async def test_hub_event_must_be_annotated_with_a_fact(write_plugin, start_hub, annotation):
    source = f"from hub.facts import Fact\n@hookimpl\ndef hub_event(event{annotation}): pass"
    write_plugin(
        "vague", source, "from __future__ import annotations\nfrom hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\n"
    )
    async with start_hub() as hub:
        assert "failed" == hub.plugins["vague"].state
        assert "hub_event" in hub.plugins["vague"].problem


async def test_plugin_may_define_emit_and_subscribe_to_its_own_fact(write_plugin, start_hub):
    source = """
        from hub.facts import Fact
        received = []

        class Sunset(Fact):
            pass

        @hookimpl
        def hub_event(event: Sunset):
            received.append("sunset")

        @hookimpl
        async def hub_start(hub, nursery):
            hub.emit(Sunset())
        """
    write_plugin("sun", source)
    async with start_hub() as hub:
        assert ["sunset"] == hub.plugins["sun"].module.received


# -- durability -------------------------------------------------------------------------------------------------------


async def test_subscriber_can_await_the_durability_of_a_value(start_hub):
    async with start_hub() as hub:
        device, facts = await add_meter(hub), []
        hub.subscribe(ValueWritten, facts.append)
        hub.subscribe(ValueSet, facts.append)
        write_value(hub, device, 0, "5")
        assert 2 == len(facts)
        assert 0 == hub.history.stored
        for fact in facts:
            await fact.receipt.durable()
        assert 1 == hub.history.stored


async def test_subscriber_can_await_the_durability_of_imported_values(start_hub):
    async with start_hub() as hub:
        device, facts = await add_meter(hub), []
        hub.subscribe(ValueWritten, facts.append)
        stream, now = device.points[0].datastream, hub.clock.now()
        await hub.writes.import_points(device, [(stream, now - 2000, 1), (stream, now - 1000, 2)], "test", SYSTEM)
        [newest] = facts
        await newest.receipt.durable()
        assert (2.0, 2) == (newest.value, hub.history.stored)
