"""Plugins that change or reject values before they are stored."""

from __future__ import annotations

import pytest
from support.meter import add_meter
from support.values import current_value, write_value

from hub.errors import Rejected, WrongType
from hub.facts import ValueWritten


async def test_filtered_value_is_stored_and_emitted(write_plugin, start_hub):
    write_plugin("offset", "@hookimpl\ndef hub_filter_write(device, datastream, value):\n    return value + 0.5")
    values = []
    async with start_hub() as hub:
        hub.subscribe(ValueWritten, lambda fact: values.append(fact.value))
        device = await add_meter(hub)
        write_value(hub, device, 0, "20")

        assert 20.5 == current_value(hub, device, 0)
        assert [20.5] == values


async def test_write_filters_run_in_the_order_of_plugin_names(write_plugin, start_hub):
    write_plugin("b_doubles", "@hookimpl\ndef hub_filter_write(value):\n    return value * 2")
    write_plugin("a_adds", "@hookimpl\ndef hub_filter_write(value, device):\n    return value + 1")
    async with start_hub() as hub:
        device = await add_meter(hub)
        write_value(hub, device, 0, "20")
        assert 42.0 == current_value(hub, device, 0)


async def test_filtered_value_is_clamped_to_the_range_of_the_datastream(write_plugin, start_hub):
    write_plugin("huge", "@hookimpl\ndef hub_filter_write(value):\n    return value * 1000")
    async with start_hub() as hub:
        device = await add_meter(hub)
        write_value(hub, device, 0, "20")
        assert 100.0 == current_value(hub, device, 0)


@pytest.mark.parametrize("result", ["'warm'", "None", "float('nan')"])
async def test_filtered_value_of_the_wrong_type_is_rejected(write_plugin, start_hub, result):
    write_plugin("wrong", f"@hookimpl\ndef hub_filter_write(value):\n    return {result}")
    async with start_hub() as hub:
        device = await add_meter(hub)
        with pytest.raises(WrongType):
            write_value(hub, device, 0, "20")
        assert current_value(hub, device, 0) is None


async def test_filter_may_reject_a_write_with_a_reason(write_plugin, start_hub):
    write_plugin(
        "veto",
        """
        from hub.errors import Rejected

        @hookimpl
        def hub_filter_write(value):
            if value > 50:
                raise Rejected("too much for this house")
            return value
        """,
    )
    values = []
    async with start_hub() as hub:
        hub.subscribe(ValueWritten, lambda fact: values.append(fact.value))
        device = await add_meter(hub)
        write_value(hub, device, 0, "20")
        with pytest.raises(Rejected, match="too much for this house"):
            write_value(hub, device, 0, "60")

        assert 20.0 == current_value(hub, device, 0)
        assert [20.0] == values
        assert 1 == hub.writes.count


async def test_write_is_rejected_when_a_filter_raises(write_plugin, start_hub):
    write_plugin("fails", "@hookimpl\ndef hub_filter_write(value):\n    return 1 / 0")
    async with start_hub() as hub:
        device = await add_meter(hub)
        with pytest.raises(Rejected, match="division by zero"):
            write_value(hub, device, 0, "20")
        assert current_value(hub, device, 0) is None


async def test_failure_of_a_filter_is_recorded_as_a_problem_of_its_plugin(write_plugin, start_hub):
    write_plugin("fails", "@hookimpl\ndef hub_filter_write(value):\n    return 1 / 0")
    async with start_hub() as hub:
        with pytest.raises(Rejected):
            write_value(hub, await add_meter(hub), 0, "20")
        assert "division by zero" in hub.plugins["fails"].problem
