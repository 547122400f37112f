"""Panels: screens that plugins describe; which roles see them, and how invalid ones are rejected."""

from __future__ import annotations

import sys
from textwrap import dedent, indent

import pytest
from support.paths import ROOT
from support.raw_http import ask, connected, local_key
from support.tenants import tenants

from client.operations import get_panels
from hub.api import AUTHENTICATED, Panel, PanelAction, PanelColumn, Route
from hub.api.panels import problem_of
from hub.errors import PluginError
from hub.hookspecs import hookimpl
from hub.run import running

PANELS = "/api/v1/panels"


class Tags:
    """A plugin with panels about routes of other plugins, one of which needs a permission."""

    __name__ = "tags"
    PINWHEEL_HOOKS = 1

    @hookimpl
    def hub_panels(self):
        columns = [PanelColumn("name", "Name"), PanelColumn("id", "Number", "number")]
        delete = PanelAction(
            "Delete",
            "DELETE",
            "/api/v1/organization/tag",
            confirmation="Delete this tag?",
            parameters={"tagId": "id"},
        )
        return [
            Panel("tags", "Tags", "TABLE", "/api/v1/organization/tags", columns, [delete]),
            Panel("units", "Units", "TABLE", "/api/v1/units", columns),
            Panel("mine", "Status", "FORM", "/api/v1/units", columns, permission="org_devices.edit"),
        ]


@pytest.fixture
def hub_plugins():
    return (Tags(),)


async def panels_of(hub, key):
    response = await ask(hub, "GET", PANELS, key=key)
    assert 200 == response.status
    return {panel["id"]: panel for panel in response.json}


# -- by role ----------------------------------------------------------------------------------------------------------


async def test_local_key_sees_all_panels_with_all_actions(hub):
    panels = await panels_of(hub, local_key(hub))
    assert {"refusals", "audit", "mails", "tags", "units", "mine"} == set(panels)
    assert {
        "id": "tags",
        "title": "Tags",
        "kind": "TABLE",
        "source": "/api/v1/organization/tags",
        "permission": "org_devices.view",
        "columns": [
            {"field": "name", "label": "Name", "format": "text"},
            {"field": "id", "label": "Number", "format": "number"},
        ],
        "actions": [
            {
                "label": "Delete",
                "method": "DELETE",
                "path": "/api/v1/organization/tag",
                "permission": "tags.edit",
                "confirmation": "Delete this tag?",
                "parameters": {"tagId": "id"},
            }
        ],
    } == panels["tags"]


async def test_roles_see_the_panels_of_their_permissions(hub):
    world = await tenants(hub)
    role = await world.service.roles.add("Nobody")
    visible = {}
    for name in ("ada", "stan", "uma"):
        visible[name] = set(await panels_of(hub, world.tokens[name]))
    await world.user("nick", world.orgs["acme"], role)
    visible["nick"] = set(await panels_of(hub, world.tokens["nick"]))
    for name, panels in visible.items():
        for panel in hub.panels:
            response = await ask(hub, "GET", panel.source, key=world.tokens[name])
            allowed = response.status != 403 and (panel.id != "mine" or name in ("ada", "stan"))
            assert (panel.id in panels) == allowed, (name, panel.id)
    assert {"units"} == visible["nick"]
    assert {"audit", "units", "mine", "tags"} <= visible["ada"]
    # The panel of rejections is about the whole hub.
    assert not any("refusals" in panels for panels in visible.values())


async def test_actions_without_the_permission_are_omitted(hub):
    world = await tenants(hub)
    panels = await panels_of(hub, world.tokens["uma"])
    assert {"tags", "units"} == set(panels)
    assert [] == panels["tags"]["actions"]
    assert ["Delete"] == [action["label"] for action in (await panels_of(hub, world.tokens["ada"]))["tags"]["actions"]]


async def test_panels_need_a_login(hub):
    assert 401 == (await ask(hub, "GET", PANELS)).status


async def test_built_in_panels_have_columns_of_their_sources(hub):
    key = local_key(hub)
    async with connected(hub) as http:
        await http.get("/api/v1/status", "wrong")
        await http.get("/external/api/get?token=wrong&v0", key)
        await http.ask("PUT", "/api/v1/profile", {}, key)
        await http.ask("POST", "/api/v1/organization/tag/create", {"name": "Roof"}, key)
        for id_ in ("refusals", "audit"):
            panel = (await panels_of(hub, key))[id_]
            rows = (await http.get(panel["source"], key)).json
            rows = rows["content"] if isinstance(rows, dict) else rows
            assert rows
            assert {column["field"] for column in panel["columns"]} <= set(rows[0])


def test_client_has_the_operation():
    assert ("GET", PANELS) == (get_panels().method, get_panels().path)


# -- validation -------------------------------------------------------------------------------------------------------


async def list_items(_request, name: str = "") -> None:
    pass


async def act_on_device(_request, device_id: int) -> None:
    pass


ROUTES = {
    (route.method, route.path): route
    for route in (
        Route("GET", "/api/v1/x", list_items, AUTHENTICATED),
        Route("GET", "/x", list_items, AUTHENTICATED),
        Route("GET", "/api/v1/needs", act_on_device, AUTHENTICATED),
        Route("POST", "/api/v1/do", act_on_device, AUTHENTICATED),
        Route("POST", "/do", act_on_device, AUTHENTICATED),
    )
}
DO = PanelAction("Do", "POST", "/api/v1/do", parameters={"deviceId": "id"})
#: The arguments of an invalid panel, and its problem.
INVALID = {
    "unknown source": ({"source": "/api/v1/y"}, "its source is no GET route below /api/v1/: /api/v1/y"),
    "source that changes": ({"source": "/api/v1/do"}, "its source is no GET route below /api/v1/: /api/v1/do"),
    "source elsewhere": ({"source": "/x"}, "its source is no GET route below /api/v1/: /x"),
    "source with parameters": ({"source": "/api/v1/needs"}, "its source needs parameters: deviceId"),
    "unknown permission": ({"permission": "x.view"}, "there is no permission x.view"),
    "unknown action": (
        {"actions": [DO, PanelAction("Undo", "POST", "/api/v1/undo")]},
        "the action 'Undo' is no route below /api/v1/: POST /api/v1/undo",
    ),
    "method of an action": (
        {"actions": [PanelAction("Do", "PUT", "/api/v1/do")]},
        "the action 'Do' is no route below /api/v1/: PUT /api/v1/do",
    ),
    "action elsewhere": ({"actions": [PanelAction("Do", "POST", "/do")]}, "the action 'Do' is no route"),
    "parameter": (
        {"actions": [PanelAction("Do", "POST", "/api/v1/do", parameters={"deviceID": "id"})]},
        "POST /api/v1/do has no parameters deviceID",
    ),
}


def panel(**options):
    return Panel(**{"id": "x", "title": "X", "kind": "TABLE", "source": "/api/v1/x"} | options)


@pytest.mark.parametrize(("options", "problem"), INVALID.values(), ids=INVALID)
def test_problem_of_an_invalid_panel_is_reported(options, problem):
    assert problem_of(panel(**options), ROUTES, {"hub.view"}).startswith(problem)


def test_valid_panel_has_no_problem():
    full = panel(columns=[PanelColumn("id", "Id")], actions=[DO], permission="hub.view")
    assert problem_of(full, ROUTES, {"hub.view"}) is None
    assert problem_of(panel(permission=AUTHENTICATED), ROUTES, set()) is None


@pytest.mark.parametrize(
    "options",
    [{"kind": "PIE"}, {"columns": ["id"]}, {"actions": [("POST", "/api/v1/do")]}, {"id": 5}, {"source": None}],
    ids=str,
)
def test_panel_with_arguments_of_the_wrong_type_raises(options):
    with pytest.raises((TypeError, ValueError)):
        panel(**options)
    with pytest.raises(ValueError, match="format"):
        PanelColumn("id", "Id", "colour")


SOURCE = """
from hub import Panel, PanelAction, Route, hookimpl

PINWHEEL_HOOKS = 1

@hookimpl
def hub_routes(hub):
    async def read(request) -> list[int]:
        return []
    return [Route("GET", "/api/v1/{name}", read, "hub.view")]

@hookimpl
def hub_panels():
{panels}
"""


@pytest.fixture
def write_panel_plugin(hub_config):
    """Write a plugin with a route and panels: ``write_panel_plugin(name, body of hub_panels)``."""
    folder, names = hub_config.data / "plugins", []
    folder.mkdir()

    def write_panel_plugin(name, panels):
        names.append(name)
        (folder / f"{name}.py").write_text(SOURCE.format(name=name, panels=indent(dedent(panels), "    ")))

    yield write_panel_plugin
    for name in names:
        sys.modules.pop(f"pinwheel_plugins.{name}", None)


def return_panel(id_, source, options=""):
    """The body of a hub_panels that returns one panel."""
    return f"return [Panel('{id_}', 'X', 'TABLE', '/api/v1/{source}'{options})]"


@pytest.mark.parametrize(
    ("panels", "problem"),
    [
        (
            return_panel("bad", "nowhere"),
            "plugin broken: panel bad: its source is no GET route below /api/v1/: /api/v1/nowhere",
        ),
        (
            return_panel("audit", "broken"),
            "plugin broken: panel audit: there is another panel with this id, of plugin audit",
        ),
        ("return [Panel('x', 'X', 'LOG', '/api/v1/broken')] * 2", "plugin broken: panel x: there is another panel"),
        (
            return_panel("bad", "broken", options=", actions=[PanelAction('Do', 'POST', '/api/v1/broken')]"),
            "plugin broken: panel bad",
        ),
        (
            return_panel("bad", "broken", options=", permission='x.view'"),
            "plugin broken: panel bad: there is no permission x.view",
        ),
        ("return [Panel('x', 'X', 'PIE', '/api/v1/broken')]", "hub_panels failed: ValueError"),
        ("return ['x']", "hub_panels failed: TypeError"),
        ("return None", "hub_panels failed: TypeError"),
        ("raise KeyError('x')", "hub_panels failed: KeyError"),
    ],
)
async def test_invalid_panel_disables_its_third_party_plugin_only(hub_config, write_panel_plugin, panels, problem):
    write_panel_plugin("broken", panels)
    write_panel_plugin("good", return_panel("good", "good"))
    async with running(hub_config) as hub:
        assert "failed" == hub.plugins["broken"].state
        assert hub.plugins["broken"].problem.startswith(problem)
        assert {"refusals", "audit", "mails", "good"} == set(await panels_of(hub, local_key(hub)))
        # Its other contributions are not used either.
        assert 404 == (await ask(hub, "GET", "/api/v1/broken", key=local_key(hub))).status
        assert 200 == (await ask(hub, "GET", "/api/v1/good", key=local_key(hub))).status


async def test_panel_about_routes_of_a_disabled_plugin_is_invalid_too(hub_config, write_panel_plugin):
    write_panel_plugin("alpha", return_panel("alpha", "zeta"))
    write_panel_plugin("zeta", return_panel("zeta", "nowhere"))
    async with running(hub_config) as hub:
        assert ["failed", "failed"] == [hub.plugins[name].state for name in ("alpha", "zeta")]
        assert "plugin alpha: panel alpha: its source is no GET route" in hub.plugins["alpha"].problem
        assert {"refusals", "audit", "mails"} == {panel.id for panel in hub.panels}


async def test_invalid_panel_of_a_built_in_plugin_stops_the_start(hub_config, monkeypatch):
    import plugins.audit

    def invalid_panels():
        return [Panel("audit", "Audit", "TABLE", "/api/v1/nowhere")]

    invalid_panels.pinwheel_impl = plugins.audit.hub_panels.pinwheel_impl
    monkeypatch.setattr(plugins.audit, "hub_panels", invalid_panels)
    with pytest.raises(PluginError, match="plugin audit: panel audit: its source is no GET route"):
        async with running(hub_config, listen=False):
            pass


# -- documentation ----------------------------------------------------------------------------------------------------


async def test_documented_panel_works(hub_config):
    text = (ROOT / "docs" / "hooks.md").read_text()
    example = text.partition("## hub_panels\n")[2].partition("```python\n")[2].partition("```")[0]
    folder = hub_config.data / "plugins"
    folder.mkdir()
    (folder / "panels.py").write_text(example)
    try:
        async with running(hub_config) as hub:
            assert "" == hub.plugins["panels"].problem
            assert "DELETE" == (await panels_of(hub, local_key(hub)))["tags"]["actions"][0]["method"]
    finally:
        sys.modules.pop("pinwheel_plugins.panels")
