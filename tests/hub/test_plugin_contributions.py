"""Routes, protocols, permissions and tables of plugins."""

from __future__ import annotations

import pytest
from support.alarms import alarm_texts
from support.meter import add_meter
from support.values import write_value

from hub.errors import PluginError
from hub.testing import LOOPBACK

ROUTE = """
from hub.api.routes import PUBLIC, Route

async def hello(request):
    return None

@hookimpl
def hub_routes(hub):
    return [Route(method="GET", path="/hello", handler=hello, permission=PUBLIC)]
"""


async def test_plugin_may_add_a_route(write_plugin, start_hub):
    write_plugin("hello", ROUTE)
    async with start_hub() as hub:
        assert "/hello" in {route.path for route in hub.routes}


async def test_error_for_a_route_of_two_plugins_names_both(write_plugin, start_hub):
    write_plugin("hello", ROUTE)
    write_plugin("hallo", ROUTE)
    with pytest.raises(PluginError, match=r"GET /hello.*hallo.*hello"):
        async with start_hub():
            pass


async def test_error_for_a_protocol_of_two_plugins_names_both(write_plugin, start_hub):
    source = """
        from hub.net.wire import WireProtocol

        @hookimpl
        def hub_protocols(hub):
            return [WireProtocol(name="telnet", sniff=lambda first: False, serve=None)]
        """
    write_plugin("one", source)
    write_plugin("two", source)
    with pytest.raises(PluginError, match=r"telnet.*one.*two"):
        async with start_hub(LOOPBACK, listen=True):
            pass


@pytest.mark.parametrize("body", ["1 / 0", "pass", "return ['/hello']", "yield 1 / 0"])
@pytest.mark.parametrize("hook", ["hub_routes(hub)", "hub_permissions()", "hub_protocols(hub)", "hub_migrations()"])
async def test_invalid_contribution_disables_its_plugin_and_the_hub_starts(write_plugin, start_hub, hook, body):
    write_plugin("broken", f"@hookimpl\ndef {hook}:\n    {body}")
    async with start_hub(LOOPBACK, listen=True) as hub:
        assert "failed" == hub.plugins["broken"].state
        assert "plugin broken" in alarm_texts(hub)
        await write_value(hub, await add_meter(hub), 0, "5").durable()


async def test_plugin_may_create_tables_that_survive_a_restart(write_plugin, start_hub):
    write_plugin(
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
        async with start_hub() as hub:
            assert expected == await hub.plugins["notes"].module.write(hub, "a")
