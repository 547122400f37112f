from __future__ import annotations

import importlib.metadata
import sys
from contextlib import asynccontextmanager
from textwrap import dedent

import pytest
import trio
from support.patience import patient

import hub.hooks
import hub.plugin_discovery
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.errors import ConfigError, Forbidden, NotAuthenticated, PluginError, Rejected, WrongType
from hub.facts import PluginFailed, ValueSet, ValueWritten
from hub.hooks import HookTimeouts
from hub.model import SYSTEM, Credentials, Principal
from hub.plugin import Failure, FailureKind
from hub.run import running
from hub.writes import Write

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
max = 100
"""
LOOPBACK = '[[listen]]\naddress = "127.0.0.1:0"\n'


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "plugins").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def plugin(data):
    """Writes a plugin's file: ``plugin(name, source)``."""

    def plugin(name, source, head="from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\n"):
        (data / "plugins" / f"{name}.py").write_text(head + dedent(source))

    return plugin


@pytest.fixture
def started(data, hub_timeouts):
    """Starts a hub without listeners, with what stands in the data directory."""

    @asynccontextmanager
    async def started(toml="", **more):
        async with running(
            parse(toml).with_data(str(data)), timeouts=hub_timeouts, **({"listen": False} | more)
        ) as hub:
            yield hub

    return started


async def until(condition):
    with trio.fail_after(patient(10)):
        while not condition():
            await trio.sleep(0.005)


async def meter(hub):
    template, _ = await hub.templates.save(METER, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name="Meter", template=template)], SYSTEM)
    return device


def write(hub, device, raw):
    return hub.write(Write(device, 0, raw, "test", SYSTEM))


def current(hub, device):
    return hub.writes.current(device, device.points[0].datastream)


def words(hub):
    return " / ".join(problem.text for problem in hub.active_alarms())


# -- loading ----------------------------------------------------------------------------------------------------------


async def test_a_file_in_the_data_directory_is_a_plugin(plugin, started, data):
    plugin(
        "hello",
        """
        from hub.facts import ValueWritten
        heard = []

        @hookimpl
        def hub_event(event: ValueWritten):
            heard.append(event.value)

        @hookimpl
        async def hub_start(hub, nursery):
            heard.append("started")
        """,
    )
    async with started() as hub:
        hello = hub.plugins["hello"]
        write(hub, await meter(hub), "5")

        assert ["started", 5.0] == hello.module.heard
        assert ("running", "") == (hello.state, hello.problem)
        assert ["hub_event", "hub_start"] == hello.hooks
        assert str(data / "plugins" / "hello.py") == hello.origin
        assert [] == hub.active_alarms()


async def test_built_in_plugins_are_there_without_being_asked_for(started):
    async with started() as hub:
        assert hub.plugins["native"].built_in
        hub._hooks.contribute_protocols(hub)
        assert "native" in {protocol.name for protocol in hub.protocols}


async def test_without_a_plugins_directory_there_is_none(tmp_path):
    async with running(parse("").with_data(str(tmp_path / "new")), listen=False) as hub:
        assert all(plugin.built_in for plugin in hub.plugins.values())


GOOD = """
@hookimpl
async def hub_start(hub, nursery):
    pass
"""


@pytest.mark.parametrize(
    ("source", "head", "expected"),
    [
        ("1 / 0", None, "could not be loaded: ZeroDivisionError"),
        ("import nothing_of_that_name", None, "could not be loaded: ModuleNotFoundError"),
        ("def (", None, "could not be loaded: broken.py line 3: "),
        (GOOD, "from hub.hookspecs import hookimpl\n", "does not say which hooks it was written for"),
        (GOOD, "from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 99\n", "was written for hooks 99"),
        ("@hookimpl\ndef hub_nothing(): pass", None, "hub_nothing"),
        ("@hookimpl\ndef hub_event(event, nonsense): pass", None, "nonsense"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_is_kept_out_and_said(plugin, started, source, head, expected, caplog):
    if head is None:
        plugin("broken", source)
    else:
        plugin("broken", source, head)
    plugin("good", GOOD)
    async with started() as hub:
        assert ("failed", 1) == (hub.plugins["broken"].state, hub.plugins["broken"].failures)
        assert expected in hub.plugins["broken"].problem
        assert "plugin broken" in words(hub)
        assert "running" == hub.plugins["good"].state
        write(hub, await meter(hub), "5")
    assert "broken" in caplog.text


async def test_safe_loads_none_of_a_third_party(plugin, started):
    plugin("broken", "1 / 0")
    plugin("good", GOOD)
    async with started("[plugins.good]\nsomething = 1", safe=True) as hub:
        assert not {"broken", "good"} & set(hub.plugins)
        assert "native" in hub.plugins
        assert [] == hub.active_alarms()


async def test_a_plugin_can_be_turned_off(plugin, started):
    plugin("broken", "1 / 0")
    async with started("[plugins.broken]\nenabled = false") as hub:
        assert "off" == hub.plugins["broken"].state
        assert [] == hub.active_alarms()


async def test_a_plugin_with_the_name_of_one_of_ours_is_left_out(plugin, started, data):
    plugin("native", GOOD)
    async with started() as hub:
        assert "running" != hub.plugins["native"].state != "failed"
        left_out = hub.plugins[str(data / "plugins" / "native.py")]
        assert ("failed", True) == (left_out.state, "two plugins are named native" in left_out.problem)


async def test_two_plugins_of_one_name_are_both_left_out(plugin, started, data, tmp_path, monkeypatch):
    (tmp_path / "twin_package.py").write_text(
        "from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\nheard = []\n@hookimpl\n"
        "async def hub_start(hub, nursery):\n    heard.append(hub)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("twin", "twin_package", "pinwheel")
    installed = hub.plugin_discovery.installed()
    monkeypatch.setattr(hub.plugin_discovery, "installed", lambda: [*installed, (entry, "twin-package", "1.0")])
    plugin("twin", GOOD)
    async with started() as running_hub:
        found = [one for one in running_hub.plugins.values() if one.name == "twin"]
        assert ["failed", "failed"] == [one.state for one in found]
        assert all("two plugins are named twin: twin-package and" in one.problem for one in found)
        assert [] == sys.modules["twin_package"].heard
        assert 2 == sum("two plugins are named twin" in alarm.text for alarm in running_hub.active_alarms())


# -- settings ---------------------------------------------------------------------------------------------------------

CONFIGURED = """
import attrs

@attrs.frozen
class Settings:
    city: str = "Kyiv"
    every: int = 60

@hookimpl
def hub_config():
    return Settings

@hookimpl
async def hub_start(hub, nursery):
    global settings
    settings = hub.settings(Settings)
"""


async def test_a_plugin_gets_its_table(plugin, started):
    plugin("weather", CONFIGURED)
    async with started("[plugins.weather]\nenabled = true\ncity = 'Lviv'") as hub:
        settings = hub.plugins["weather"].module.settings

        assert ("Lviv", 60) == (settings.city, settings.every)


async def test_a_plugin_without_a_table_gets_its_defaults(plugin, started):
    plugin("weather", CONFIGURED)
    async with started() as hub:
        assert "Kyiv" == hub.plugins["weather"].module.settings.city


async def test_every_mistake_in_plugin_tables_is_said_with_its_key(plugin, started):
    plugin("weather", CONFIGURED)
    plugin("plain", GOOD)
    with pytest.raises(ConfigError) as refused:
        async with started("[plugins.weather]\nevery = 'day'\n[plugins.plain]\nx = 1\n[plugins.nothing]\ny = 1"):
            pass

    assert 3 == len(refused.value.problems)
    for words in (
        "plugins.weather.every: must be a whole number",
        "plugins.plain: ",
        "plugins.nothing: there is no such plugin",
    ):
        assert any(words in problem for problem in refused.value.problems), words


async def test_an_unknown_key_in_a_plugins_table_is_an_error(plugin, started):
    plugin("weather", CONFIGURED)
    with pytest.raises(ConfigError, match="unknown key town"):
        async with started("[plugins.weather]\ntown = 'Lviv'"):
            pass


# -- starting ---------------------------------------------------------------------------------------------------------


#: Restarts after milliseconds, and a short deadline.
QUICK = HookTimeouts(hook=0.2, restart=(0.01, 0.04))


@pytest.mark.timeouts(QUICK)
async def test_a_plugin_that_crashes_at_the_start_is_started_again_and_disturbs_nobody(plugin, started):
    plugin(
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
    plugin("good", GOOD)
    async with started() as hub:
        crashes = hub.plugins["crashes"]
        assert "running" == hub.plugins["good"].state
        await until(lambda: crashes.state == "running")

        assert (4, 3) == (crashes.module.starts, crashes.failures)
        assert "not yet" in crashes.problem
        assert [] == hub.active_alarms()


@pytest.mark.timeouts(QUICK)
async def test_a_task_that_dies_later_takes_down_its_own_plugin_only(plugin, started):
    plugin(
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
    plugin("good", GOOD)
    told = []
    async with started() as hub:
        hub.subscribe(PluginFailed, told.append)
        dies = hub.plugins["dies"]
        dies.module.send.send_nowait(1)
        await until(lambda: dies.module.starts == 2 and dies.state == "running")

        assert 1 == dies.module.ended
        assert [PluginFailed("dies", "died: RuntimeError('died at work')")] == told
        assert "running" == hub.plugins["good"].state
        await write(hub, await meter(hub), "5").durable()


@pytest.mark.timeouts(QUICK)
async def test_a_plugin_that_keeps_crashing_is_said_once_in_the_log(plugin, started, caplog):
    plugin("crashes", "@hookimpl\nasync def hub_start(hub, nursery):\n    raise RuntimeError('again')")
    async with started() as hub:
        await until(lambda: hub.plugins["crashes"].failures > 5)
        assert "again" in words(hub)
    assert 1 == caplog.text.count("died: RuntimeError('again')")


@pytest.mark.timeouts(QUICK)
async def test_a_start_that_hangs_does_not_hang_the_hub(plugin, started):
    plugin(
        "hangs",
        """
        import trio

        @hookimpl
        async def hub_start(hub, nursery):
            await trio.sleep_forever()
        """,
    )
    plugin("good", GOOD)
    with trio.fail_after(patient(5)):
        async with started() as hub:
            assert "hub_start took more than" in hub.plugins["hangs"].problem
            assert "running" == hub.plugins["good"].state
            await write(hub, await meter(hub), "5").durable()


async def test_an_essential_plugin_takes_the_hub_down_with_it(plugin, started):
    plugin("vital", "ESSENTIAL = True\n@hookimpl\nasync def hub_start(hub, nursery):\n    raise RuntimeError('no')")
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="no"), flatten_subgroups=True):
        async with started():
            pass


async def test_stopping_the_hub_cancels_what_plugins_run(plugin, started):
    plugin(
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
    async with started() as hub:
        module = hub.plugins["works"].module
        assert [] == module.ended
    assert [True] == module.ended


# -- hearing ----------------------------------------------------------------------------------------------------------


async def test_each_failure_of_a_plugin_is_logged_once_with_its_place(plugin, started, caplog):
    plugin(
        "raises",
        "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n"
        "    raise [KeyError, TypeError][int(event.value) % 2]('boom')",
    )
    async with started() as hub:
        device = await meter(hub)
        for number in range(20):
            await write(hub, device, number).durable()
        assert 20 == hub.plugins["raises"].failures
    lines = [record for record in caplog.records if "hub_event failed" in record.message]
    assert [
        "hub_event failed: KeyError('boom') (raises.py line 6)",
        "hub_event failed: TypeError('boom') (raises.py line 6)",
    ] == [record.message.partition(") ")[2] for record in lines]
    assert "raise [KeyError, TypeError]" in caplog.text


async def test_failures_that_are_remembered_of_a_plugin_are_bounded(plugin, started, caplog):
    plugin(
        "raises",
        "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n"
        "    raise ValueError(event.ts, event.value)",
    )
    async with started() as hub:
        device = await meter(hub)
        for number in range(150):
            write(hub, device, number)
        assert 100 == len(hub.plugins["raises"].quiet_until)


async def test_a_subscriber_that_raises_disturbs_nobody(plugin, started, caplog):
    plugin("raises", "from hub.facts import ValueWritten\n@hookimpl\ndef hub_event(event: ValueWritten):\n    1 / 0")
    plugin(
        "zz_hears",
        "from hub.facts import ValueWritten\nheard = []\n@hookimpl\ndef hub_event(event: ValueWritten):\n    heard.append(event.value)",
    )
    async with started() as hub:
        device = await meter(hub)
        for number in range(3):
            await write(hub, device, number).durable()

        assert [0.0, 1.0, 2.0] == hub.plugins["zz_hears"].module.heard
        assert 2.0 == current(hub, device)
        raises = hub.plugins["raises"]
        assert (3, "hub_event failed: ZeroDivisionError('division by zero')") == (raises.failures, raises.problem)
    assert 1 == caplog.text.count("plugin raises")


async def test_alarm_of_a_plugin_lists_every_reason(plugin, started):
    plugin(
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
    async with started() as hub:
        broken, device = hub.plugins["broken"], await meter(hub)
        for value in ("1", "2"):
            write(hub, device, value)
        with pytest.raises(Rejected):
            write(hub, device, "9")
        reasons = (
            "died: RuntimeError('start'); "
            "hub_event failed: RuntimeError('subscriber'); "
            "hub_filter_write failed: RuntimeError('filter')"
        )
        assert f"plugin broken: {reasons}" == words(hub)

        for number in range(20):
            broken.record(Failure(FailureKind.HOOK, f"hub_event failed: {number}"))
        assert [f"hub_event failed: {number}" for number in range(10, 20)] == [
            failure.reason for failure in broken.troubles
        ]


@pytest.mark.timeouts(QUICK)
async def test_alarm_of_a_plugin_that_runs_again_has_no_reason_of_the_start(plugin, started):
    plugin(
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
    async with started() as hub:
        recovers = hub.plugins["recovers"]
        write(hub, await meter(hub), "1")
        assert "died" in words(hub)
        recovers.module.failing = False
        await until(lambda: recovers.state == "running")
        assert "plugin recovers: hub_event failed: RuntimeError('subscriber')" == words(hub)


async def test_one_function_may_hear_of_several_facts_and_several_functions_of_one(plugin, started):
    plugin(
        "hears",
        """
        from hub.facts import DeviceAdded, TemplateChanged, ValueWritten
        heard = []

        @hookimpl
        def hub_event(event: DeviceAdded | TemplateChanged):
            heard.append(type(event).__name__)

        @hookimpl(specname="hub_event")
        def on_value(event: ValueWritten):
            heard.append(event.value)
        """,
    )
    async with started() as hub:
        write(hub, await meter(hub), "5")
        assert ["TemplateChanged", "DeviceAdded", 5.0] == hub.plugins["hears"].module.heard


@pytest.mark.parametrize("annotation", ["", ": int", ": Fact", ": Nowhere", ": 'ValueWriten'"])
async def test_hub_event_must_be_annotated_with_a_fact(plugin, started, annotation):
    source = f"from hub.facts import Fact\n@hookimpl\ndef hub_event(event{annotation}): pass"
    plugin(
        "vague", source, "from __future__ import annotations\nfrom hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\n"
    )
    async with started() as hub:
        assert "failed" == hub.plugins["vague"].state
        assert "hub_event" in hub.plugins["vague"].problem


async def test_plugins_may_be_told_of_each_others_facts(plugin, started):
    source = """
        from hub.facts import Fact
        heard = []

        class Sunset(Fact):
            pass

        @hookimpl
        def hub_event(event: Sunset):
            heard.append("sunset")

        @hookimpl
        async def hub_start(hub, nursery):
            hub.emit(Sunset())
        """
    plugin("sun", source)
    async with started() as hub:
        assert ["sunset"] == hub.plugins["sun"].module.heard


# -- filtering --------------------------------------------------------------------------------------------------------


async def test_the_filtered_value_is_the_one_everywhere(plugin, started):
    plugin("offset", "@hookimpl\ndef hub_filter_write(device, datastream, value):\n    return value + 0.5")
    told = []
    async with started() as hub:
        hub.subscribe(ValueWritten, lambda fact: told.append(fact.value))
        device = await meter(hub)
        write(hub, device, "20")

        assert 20.5 == current(hub, device)
        assert [20.5] == told


async def test_filters_run_in_the_order_of_their_plugins_names(plugin, started):
    plugin("b_doubles", "@hookimpl\ndef hub_filter_write(value):\n    return value * 2")
    plugin("a_adds", "@hookimpl\ndef hub_filter_write(value, device):\n    return value + 1")
    async with started() as hub:
        device = await meter(hub)
        write(hub, device, "20")
        assert 42.0 == current(hub, device)


async def test_what_a_filter_returns_is_held_to_the_datastream(plugin, started):
    plugin("huge", "@hookimpl\ndef hub_filter_write(value):\n    return value * 1000")
    async with started() as hub:
        device = await meter(hub)
        write(hub, device, "20")
        assert 100.0 == current(hub, device)


@pytest.mark.parametrize("answer", ["'warm'", "None", "float('nan')"])
async def test_a_filter_cannot_write_what_does_not_fit(plugin, started, answer):
    plugin("wrong", f"@hookimpl\ndef hub_filter_write(value):\n    return {answer}")
    async with started() as hub:
        device = await meter(hub)
        with pytest.raises(WrongType):
            write(hub, device, "20")
        assert current(hub, device) is None


async def test_a_filter_may_veto_with_a_reason(plugin, started):
    plugin(
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
    told = []
    async with started() as hub:
        hub.subscribe(ValueWritten, lambda fact: told.append(fact.value))
        device = await meter(hub)
        write(hub, device, "20")
        with pytest.raises(Rejected, match="too much for this house"):
            write(hub, device, "60")

        assert 20.0 == current(hub, device)
        assert [20.0] == told
        assert 1 == hub.writes.count


async def test_a_filter_that_fails_rejects_the_write(plugin, started):
    plugin("fails", "@hookimpl\ndef hub_filter_write(value):\n    return 1 / 0")
    async with started() as hub:
        device = await meter(hub)
        with pytest.raises(Rejected, match="division by zero"):
            write(hub, device, "20")
        assert current(hub, device) is None


async def test_a_filter_that_fails_is_said_of_its_plugin(plugin, started):
    plugin("fails", "@hookimpl\ndef hub_filter_write(value):\n    return 1 / 0")
    async with started() as hub:
        with pytest.raises(Rejected):
            write(hub, await meter(hub), "20")
        assert "division by zero" in hub.plugins["fails"].problem


# -- contributing -----------------------------------------------------------------------------------------------------

ROUTE = """
from hub.api.routes import PUBLIC, Route

async def hello(request):
    return None

@hookimpl
def hub_routes(hub):
    return [Route(method="GET", path="/hello", handler=hello, permission=PUBLIC)]
"""


async def test_a_plugin_adds_a_route(plugin, started):
    plugin("hello", ROUTE)
    async with started() as hub:
        assert "/hello" in {route.path for route in hub.routes}


async def test_two_plugins_with_one_route_are_both_named(plugin, started):
    plugin("hello", ROUTE)
    plugin("hallo", ROUTE)
    with pytest.raises(PluginError, match=r"GET /hello.*hallo.*hello"):
        async with started():
            pass


async def test_two_plugins_with_one_protocol_are_both_named(plugin, started):
    source = """
        from hub.net.wire import WireProtocol

        @hookimpl
        def hub_protocols(hub):
            return [WireProtocol(name="telnet", sniff=lambda first: False, serve=None)]
        """
    plugin("one", source)
    plugin("two", source)
    with pytest.raises(PluginError, match=r"telnet.*one.*two"):
        async with started(LOOPBACK, listen=True):
            pass


@pytest.mark.parametrize("body", ["1 / 0", "pass", "return ['/hello']", "yield 1 / 0"])
@pytest.mark.parametrize("hook", ["hub_routes(hub)", "hub_permissions()", "hub_protocols(hub)", "hub_migrations()"])
async def test_a_contribution_that_is_none_keeps_its_plugin_out_and_the_hub_serves(plugin, started, hook, body):
    plugin("broken", f"@hookimpl\ndef {hook}:\n    {body}")
    async with started(LOOPBACK, listen=True) as hub:
        assert "failed" == hub.plugins["broken"].state
        assert "plugin broken" in words(hub)
        await write(hub, await meter(hub), "5").durable()


async def test_a_plugin_has_tables_of_its_own(plugin, started):
    plugin(
        "notes",
        """
        from hub.storage import Migration

        @hookimpl
        def hub_migrations():
            return [Migration(1, "CREATE TABLE notes_pages (text TEXT)")]

        async def write(hub, text):
            async def fn(tx):
                await tx.execute("INSERT INTO notes_pages VALUES (?)", (text,))
                return await tx.fetch_all("SELECT text FROM notes_pages")
            return await hub.storage.transaction(fn)
        """,
    )
    for expected in ([("a",)], [("a",), ("a",)]):
        async with started() as hub:
            assert expected == await hub.plugins["notes"].module.write(hub, "a")


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.timeouts(QUICK)
async def test_the_first_plugin_that_knows_somebody_says_who_it_is(plugin, started):
    plugin("a_nobody", "@hookimpl\nasync def hub_authenticate(credentials):\n    return None")
    plugin("b_crashes", "@hookimpl\nasync def hub_authenticate(credentials):\n    1 / 0")
    plugin(
        "c_hangs", "import trio\n@hookimpl\nasync def hub_authenticate(credentials):\n    await trio.sleep_forever()"
    )
    plugin(
        "d_knows",
        """
        from hub.model import Principal

        @hookimpl
        async def hub_authenticate(credentials):
            return Principal("user", 7) if credentials.secret == "open sesame" else None
        """,
    )
    async with started() as hub:
        assert Principal("user", 7) == await hub.authenticate(Credentials("bearer", "open sesame"))
        with pytest.raises(NotAuthenticated):
            await hub.authenticate(Credentials("bearer", "wrong"))
        assert "b_crashes" in words(hub)
        assert "c_hangs" in words(hub)


async def test_a_secret_that_is_no_text_is_nobody(started):
    async with started() as hub:
        for secret in ("", "\udcff", "ä"):
            with pytest.raises(NotAuthenticated):
                await hub.authenticate(Credentials("bearer", secret))


@pytest.mark.parametrize(
    ("answers", "allowed"),
    [
        ([], False),
        (["None"], False),
        (["True"], True),
        (["None", "True"], True),
        (["True", "False"], False),
        (["False", "True"], False),
        (["True", "1 / 0"], False),
        (["1"], False),
    ],
)
async def test_any_false_denies_and_else_any_true_allows(plugin, started, answers, allowed):
    for number, answer in enumerate(answers):
        plugin(f"judge{number}", f"@hookimpl\ndef hub_authorize(permission):\n    return {answer}")
    async with started() as hub:
        try:
            hub.authorize(Principal("guest", 7), "device.view")
        except Forbidden:
            assert not allowed
        else:
            assert allowed


# -- holding the loop -------------------------------------------------------------------------------------------------


async def test_a_plugin_that_holds_the_loop_is_named(plugin, started, caplog):
    plugin(
        "slow",
        """
        import time
        from hub.facts import ValueWritten

        @hookimpl
        def hub_event(event: ValueWritten):
            time.sleep(0.3)
        """,
    )
    async with started() as hub:
        device, slow = await meter(hub), hub.plugins["slow"]
        with trio.fail_after(patient(10)):
            while not slow.held:
                write(hub, device, "5")
                await trio.sleep(0)
        await until(lambda: slow.problem)

        assert slow.held >= 0.1
        assert "held the loop" in slow.problem
        assert "slow.py" in slow.problem
    assert "plugin slow held the loop" in caplog.text


# -- receipts ---------------------------------------------------------------------------------------------------------


async def test_receipt_of_a_value_tells_a_subscriber_when_it_is_on_disk(started):
    async with started() as hub:
        device, facts = await meter(hub), []
        hub.subscribe(ValueWritten, facts.append)
        hub.subscribe(ValueSet, facts.append)
        write(hub, device, "5")
        assert 2 == len(facts)
        assert 0 == hub.history.stored
        for fact in facts:
            await fact.receipt.durable()
        assert 1 == hub.history.stored


async def test_receipt_of_imported_values_tells_a_subscriber_when_they_are_on_disk(started):
    async with started() as hub:
        device, facts = await meter(hub), []
        hub.subscribe(ValueWritten, facts.append)
        stream, now = device.points[0].datastream, hub.clock.now()
        await hub.writes.import_points(device, [(stream, now - 2000, 1), (stream, now - 1000, 2)], "test", SYSTEM)
        [newest] = facts
        await newest.receipt.durable()
        assert (2.0, 2) == (newest.value, hub.history.stored)
