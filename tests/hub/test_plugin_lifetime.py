"""Starting, failing, restarting and stopping of plugins, and plugins that block the event loop."""

from __future__ import annotations

import pytest
import trio
from support.alarms import alarm_texts
from support.meter import add_meter
from support.patience import patient
from support.plugins import EMPTY_PLUGIN, QUICK
from support.times import until
from support.values import write_value

from hub.facts import PluginFailed


@pytest.mark.timeouts(QUICK)
async def test_plugin_that_fails_in_hub_start_is_restarted_and_others_keep_running(write_plugin, start_hub):
    write_plugin(
        "crashes",
        """
        starts = 0

        @hookimpl
        async def hub_start(hub, nursery):
            global starts
            starts += 1
            if starts < 4:
                raise RuntimeError("not yet")
        """,
    )
    write_plugin("good", EMPTY_PLUGIN)
    async with start_hub() as hub:
        crashes = hub.plugins["crashes"]
        assert "running" == hub.plugins["good"].state
        await until(lambda: crashes.state == "running")

        assert (4, 3) == (crashes.module.starts, crashes.failures)
        assert "not yet" in crashes.problem
        assert [] == hub.active_alarms()


@pytest.mark.timeouts(QUICK)
async def test_failed_task_restarts_its_own_plugin_only(write_plugin, start_hub):
    write_plugin(
        "dies",
        """
        import trio
        from hub.facts import ValueWritten
        starts = ended = 0
        send, receive = None, None

        @hookimpl
        async def hub_start(hub, nursery):
            global starts, send, receive
            starts += 1
            send, receive = trio.open_memory_channel(1)
            nursery.start_soon(work)
            nursery.start_soon(other)

        async def work():
            await receive.receive()
            raise RuntimeError("died at work")

        async def other():
            global ended
            try:
                await trio.sleep_forever()
            finally:
                ended += 1
        """,
    )
    write_plugin("good", EMPTY_PLUGIN)
    facts = []
    async with start_hub() as hub:
        hub.subscribe(PluginFailed, facts.append)
        dies = hub.plugins["dies"]
        dies.module.send.send_nowait(1)
        await until(lambda: dies.module.starts == 2 and dies.state == "running")

        assert 1 == dies.module.ended
        assert [PluginFailed("dies", "died: RuntimeError('died at work')")] == facts
        assert "running" == hub.plugins["good"].state
        await write_value(hub, await add_meter(hub), 0, "5").durable()


@pytest.mark.timeouts(QUICK)
async def test_repeated_failure_of_a_plugin_is_logged_once(write_plugin, start_hub, caplog):
    write_plugin("crashes", "@hookimpl\nasync def hub_start(hub, nursery):\n    raise RuntimeError('again')")
    async with start_hub() as hub:
        await until(lambda: hub.plugins["crashes"].failures > 5)
        assert "again" in alarm_texts(hub)
    assert 1 == caplog.text.count("died: RuntimeError('again')")


@pytest.mark.timeouts(QUICK)
async def test_hub_start_hook_that_hangs_is_timed_out_and_the_hub_runs(write_plugin, start_hub):
    write_plugin(
        "hangs",
        """
        import trio

        @hookimpl
        async def hub_start(hub, nursery):
            await trio.sleep_forever()
        """,
    )
    write_plugin("good", EMPTY_PLUGIN)
    with trio.fail_after(patient(5)):
        async with start_hub() as hub:
            assert "hub_start took more than" in hub.plugins["hangs"].problem
            assert "running" == hub.plugins["good"].state
            await write_value(hub, await add_meter(hub), 0, "5").durable()


async def test_failure_of_an_essential_plugin_stops_the_hub(write_plugin, start_hub):
    write_plugin(
        "vital", "ESSENTIAL = True\n@hookimpl\nasync def hub_start(hub, nursery):\n    raise RuntimeError('no')"
    )
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="no"), flatten_subgroups=True):
        async with start_hub():
            pass


async def test_stopping_the_hub_cancels_the_tasks_of_plugins(write_plugin, start_hub):
    write_plugin(
        "works",
        """
        import trio
        ended = []

        @hookimpl
        async def hub_start(hub, nursery):
            nursery.start_soon(work)

        async def work():
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)
        """,
    )
    async with start_hub() as hub:
        module = hub.plugins["works"].module
        assert [] == module.ended
    assert [True] == module.ended


# -- blocking the event loop ------------------------------------------------------------------------------------------


async def test_plugin_that_blocks_the_event_loop_is_named_in_problem_and_log(write_plugin, start_hub, caplog):
    write_plugin(
        "slow",
        """
        import time
        from hub.facts import ValueWritten

        @hookimpl
        def hub_event(event: ValueWritten):
            time.sleep(0.3)
        """,
    )
    async with start_hub() as hub:
        device, slow = await add_meter(hub), hub.plugins["slow"]
        with trio.fail_after(patient(10)):
            while not slow.held:
                write_value(hub, device, 0, "5")
                await trio.sleep(0)
        await until(lambda: slow.problem)

        assert slow.held >= 0.1
        assert "held the loop" in slow.problem
        assert "slow.py" in slow.problem
    assert "plugin slow held the loop" in caplog.text
