"""Which plugins a hub loads, and their settings."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest
from support.alarms import alarm_texts
from support.meter import add_meter
from support.plugins import EMPTY_PLUGIN
from support.values import write_value

import hub.hooks
import hub.plugin_discovery
from hub.config import parse
from hub.errors import ConfigError
from hub.run import running

# -- loading ----------------------------------------------------------------------------------------------------------


async def test_python_file_in_the_data_directory_is_loaded_as_a_plugin(write_plugin, start_hub, data_dir):
    write_plugin(
        "hello",
        """
        from hub.facts import ValueWritten
        received = []

        @hookimpl
        def hub_event(event: ValueWritten):
            received.append(event.value)

        @hookimpl
        async def hub_start(hub, nursery):
            received.append("started")
        """,
    )
    async with start_hub() as hub:
        hello = hub.plugins["hello"]
        write_value(hub, await add_meter(hub), 0, "5")

        assert ["started", 5.0] == hello.module.received
        assert ("running", "") == (hello.state, hello.problem)
        assert ["hub_event", "hub_start"] == hello.hooks
        assert str(data_dir / "plugins" / "hello.py") == hello.origin
        assert [] == hub.active_alarms()


async def test_built_in_plugins_are_loaded_without_configuration(start_hub):
    async with start_hub() as hub:
        assert hub.plugins["native"].built_in
        hub._hooks.contribute_protocols(hub)
        assert "native" in {protocol.name for protocol in hub.protocols}


async def test_hub_without_a_plugins_directory_has_built_in_plugins_only(tmp_path):
    async with running(parse("").with_data(str(tmp_path / "new")), listen=False) as hub:
        assert all(plugin.built_in for plugin in hub.plugins.values())


@pytest.mark.parametrize(
    ("source", "head", "expected"),
    [
        ("1 / 0", None, "could not be loaded: ZeroDivisionError"),
        ("import nothing_of_that_name", None, "could not be loaded: ModuleNotFoundError"),
        ("def (", None, "could not be loaded: broken.py line 3: "),
        (EMPTY_PLUGIN, "from hub.hookspecs import hookimpl\n", "does not say which hooks it was written for"),
        (EMPTY_PLUGIN, "from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 99\n", "was written for hooks 99"),
        ("@hookimpl\ndef hub_nothing(): pass", None, "hub_nothing"),
        ("@hookimpl\ndef hub_event(event, nonsense): pass", None, "nonsense"),
    ],
)
async def test_plugin_that_cannot_be_loaded_fails_with_an_alarm_and_the_hub_runs(
    write_plugin, start_hub, source, head, expected, caplog
):
    if head is None:
        write_plugin("broken", source)
    else:
        write_plugin("broken", source, head)
    write_plugin("good", EMPTY_PLUGIN)
    async with start_hub() as hub:
        assert ("failed", 1) == (hub.plugins["broken"].state, hub.plugins["broken"].failures)
        assert expected in hub.plugins["broken"].problem
        assert "plugin broken" in alarm_texts(hub)
        assert "running" == hub.plugins["good"].state
        write_value(hub, await add_meter(hub), 0, "5")
    assert "broken" in caplog.text


async def test_safe_mode_loads_no_third_party_plugin(write_plugin, start_hub):
    write_plugin("broken", "1 / 0")
    write_plugin("good", EMPTY_PLUGIN)
    async with start_hub("[plugins.good]\nsomething = 1", safe=True) as hub:
        assert not {"broken", "good"} & set(hub.plugins)
        assert "native" in hub.plugins
        assert [] == hub.active_alarms()


async def test_plugin_can_be_disabled_in_the_configuration(write_plugin, start_hub):
    write_plugin("broken", "1 / 0")
    async with start_hub("[plugins.broken]\nenabled = false") as hub:
        assert "off" == hub.plugins["broken"].state
        assert [] == hub.active_alarms()


async def test_plugin_with_the_name_of_a_built_in_plugin_is_not_loaded(write_plugin, start_hub, data_dir):
    write_plugin("native", EMPTY_PLUGIN)
    async with start_hub() as hub:
        assert "running" != hub.plugins["native"].state != "failed"
        duplicate = hub.plugins[str(data_dir / "plugins" / "native.py")]
        assert ("failed", True) == (duplicate.state, "two plugins are named native" in duplicate.problem)


async def test_two_third_party_plugins_with_the_same_name_are_both_rejected(
    write_plugin, start_hub, data_dir, tmp_path, monkeypatch
):
    (tmp_path / "twin_package.py").write_text(
        "from hub.hookspecs import hookimpl\nPINWHEEL_HOOKS = 1\nreceived = []\n@hookimpl\n"
        "async def hub_start(hub, nursery):\n    received.append(hub)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("twin", "twin_package", "pinwheel")
    installed = hub.plugin_discovery.installed()
    monkeypatch.setattr(hub.plugin_discovery, "installed", lambda: [*installed, (entry, "twin-package", "1.0")])
    write_plugin("twin", EMPTY_PLUGIN)
    async with start_hub() as running_hub:
        twins = [plugin for plugin in running_hub.plugins.values() if plugin.name == "twin"]
        assert ["failed", "failed"] == [plugin.state for plugin in twins]
        assert all("two plugins are named twin: twin-package and" in plugin.problem for plugin in twins)
        assert [] == sys.modules["twin_package"].received
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


async def test_plugin_gets_its_settings_from_its_table(write_plugin, start_hub):
    write_plugin("weather", CONFIGURED)
    async with start_hub("[plugins.weather]\nenabled = true\ncity = 'Lviv'") as hub:
        settings = hub.plugins["weather"].module.settings

        assert ("Lviv", 60) == (settings.city, settings.every)


async def test_plugin_without_a_table_gets_its_default_settings(write_plugin, start_hub):
    write_plugin("weather", CONFIGURED)
    async with start_hub() as hub:
        assert "Kyiv" == hub.plugins["weather"].module.settings.city


async def test_all_errors_in_plugin_tables_are_reported_with_their_keys(write_plugin, start_hub):
    write_plugin("weather", CONFIGURED)
    write_plugin("plain", EMPTY_PLUGIN)
    with pytest.raises(ConfigError) as error:
        async with start_hub("[plugins.weather]\nevery = 'day'\n[plugins.plain]\nx = 1\n[plugins.nothing]\ny = 1"):
            pass

    assert 3 == len(error.value.problems)
    for text in (
        "plugins.weather.every: must be a whole number",
        "plugins.plain: ",
        "plugins.nothing: there is no such plugin",
    ):
        assert any(text in problem for problem in error.value.problems), text


async def test_unknown_key_in_a_plugin_table_is_an_error(write_plugin, start_hub):
    write_plugin("weather", CONFIGURED)
    with pytest.raises(ConfigError, match="unknown key town"):
        async with start_hub("[plugins.weather]\ntown = 'Lviv'"):
            pass
