"""The documentation agrees with the code, and its examples run."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import tomllib
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support.databases import hold_commits
from support.paths import ROOT
from support.patience import brief, patient
from support.raw_http import ask
from support.times import until

import hub as public
from hub import hookspecs
from hub.api import PUBLIC, Route
from hub.config import Config, parse
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device, address_of
from hub.writes import Write

PATIENCE = patient(20)
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", hookspecs.HOOKS)
def test_every_hook_is_documented_with_signature_and_docstring(name):
    section = (ROOT / "docs" / "hooks.md").read_text().partition(f"## {name}\n")[2].partition("\n## ")[0]
    spec = hookspecs.HOOKS[name]
    signature = str(inspect.signature(spec)).replace("'", "")
    assert f"`{name}{signature}`" in section
    assert inspect.cleandoc(spec.__doc__) in section


def test_documented_hooks_exist():
    documented = re.findall(r"^## (hub_\w+)", (ROOT / "docs" / "hooks.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(hookspecs.HOOKS)


def test_every_setting_is_in_the_shipped_configuration():
    document = tomllib.loads((ROOT / "config" / "hub.toml").read_text())
    for section in attrs.fields(Config):
        if section.name in ("plugins", "source"):
            continue
        table = document[section.name]
        table = table[0] if isinstance(table, list) else table
        cls = type(section.default[0]) if section.name == "listen" else type(section.default)
        assert sorted(table) == sorted(field.name.removesuffix("_") for field in attrs.fields(cls)), section.name


def test_shipped_configuration_has_the_defaults():
    shipped = parse((ROOT / "config" / "hub.toml").read_text())
    assert attrs.evolve(Config(), source=shipped.source) == shipped


async def test_every_route_is_documented(hub):
    text = (ROOT / "docs" / "http.md").read_text()
    rows = set(re.findall(r"^\| `(\S+ \S+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE))
    routes = set()
    for route in hub.routes:
        method = route.method if isinstance(route, Route) else "WebSocket"
        permission = "the device's token" if route.path.startswith("/external") else route.permission
        routes.add((f"{method} {route.path}", "anybody" if permission == PUBLIC else permission, route.summary))
    assert rows == routes


def test_every_command_is_documented():
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pinwheel.commands"]
    text = " ".join(path.read_text() for path in DOCS)
    assert [name for name in entries if f"pinwheel {name}" not in text] == []


def documented_names():
    """The public names in the documentation, by the module that they are imported from."""
    text = (ROOT / "docs" / "plugins.md").read_text().partition("## Public names\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^- `([\w.]+)` \(.*?\): (.*?)(?=^- |\Z)", text, re.MULTILINE | re.DOTALL)
    return {module: sorted(re.findall(r"`(\w+)`", names)) for module, names in rows}


def test_public_names_are_documented():
    documented = documented_names()
    assert len(documented) == 17
    for module, names in documented.items():
        public = importlib.import_module(module)
        assert names == sorted(public.__all__), module
        assert all(getattr(public, name) is not None for name in names)


def test_stub_for_type_checkers_has_the_public_names():
    stub = ast.parse((ROOT / "hub" / "__init__.pyi").read_text())
    typed = {(node.module, alias.name) for node in stub.body for alias in node.names}
    assert typed == {(module, name) for module, names in public._NAMES.items() for name in names.split()}


def test_files_named_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = re.findall(r"`((?:hub|tests|docs|config)/[\w/]+\.\w+|pyproject\.toml)`", text)
    assert len(files) > 10
    assert [] == [name for name in files if not (ROOT / name).is_file()]


def test_links_between_documents_are_valid():
    broken = []
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.name}: {target}")
    assert broken == []


@pytest.fixture
def hub_toml():
    return '[[listen]]\naddress = "127.0.0.1:0"\n'


async def test_documented_plugin_works(hub_config, tmp_path):
    from hub.api import Request

    [plugin, *_] = blocks(ROOT / "docs" / "plugins.md", "python")
    assert len(plugin.splitlines()) < 30
    folder = hub_config.data / "plugins"
    folder.mkdir(parents=True)
    (folder / "frost.py").write_text(plugin)
    async with running(hub_config) as hub:
        assert hub.plugins["frost"].problem == ""
        template = '[template]\nname = "T"\n[[datastream]]\npin = "V0"\nname = "T"\nunits = "°C"'
        device, _ = await add_device(hub, template, "Porch")
        hub.write(Write(device, 0, "-7", "test", SYSTEM))
        with pytest.raises(public.Rejected, match="colder than possible"):
            hub.write(Write(device, 0, "-300", "test", SYSTEM))
        [route] = [r for r in hub.routes if r.path == "/api/v1/frost"]
        assert await route.handler(Request(principal=public.LOCAL)) == {"Porch": -7.0}
    sys.modules.pop("pinwheel_plugins.frost")


class LineClient:
    """A client of the transport in the documentation."""

    def __init__(self, stream):
        self._stream = stream
        self._unread = b""

    async def send(self, text):
        await self._stream.send_all(text.encode())

    async def line(self):
        """The next line from the hub; None when it has ended the connection."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._unread:
                if not (data := await self._stream.receive_some()):
                    return None
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    async def ask(self, text):
        await self.send(text)
        return await self.line()


LINES_TEMPLATE = """
[template]
name = "Lines"
[[datastream]]
pin = "V0"
name = "Temperature"
[[datastream]]
pin = "V1"
name = "Label"
type = "string"
"""


@pytest.fixture
async def lines_hub(hub_config):
    """A hub with the transport of docs/plugins.md, and the module of that plugin."""
    [_, transport, *_] = blocks(ROOT / "docs" / "plugins.md", "python")
    assert len([line for line in transport.splitlines() if line]) < 60
    folder = hub_config.data / "plugins"
    folder.mkdir(parents=True)
    (folder / "lines.py").write_text(transport)
    async with running(hub_config) as hub:
        assert "" == hub.plugins["lines"].problem
        yield hub
    assert "" == hub.plugins["lines"].problem
    sys.modules.pop("pinwheel_plugins.lines")


@asynccontextmanager
async def open_connection(hub):
    async with await trio.open_tcp_stream(*address_of(hub)) as stream:
        yield LineClient(stream)


async def test_documented_transport_logs_in_writes_and_receives_commands(lines_hub):
    hub = lines_hub
    device, token = await add_device(hub, LINES_TEMPLATE)
    temperature, label = (point.datastream for point in device.points.values())
    async with open_connection(hub) as client:
        assert "ok" == await client.ask(f"login {token}\n")
        assert "lines" == hub.sessions.get(device.id).via
        assert "ok" == await client.ask("0 21.5\n")
        assert 21.5 == hub.writes.current(device, temperature)
        # In pieces, and several at once.
        await client.send("0 2")
        await client.send("2\r\n1 two words\n")
        assert ["ok", "ok"] == [await client.line(), await client.line()]
        assert (22, "two words") == (hub.writes.current(device, temperature), hub.writes.current(device, label))
        assert (await client.ask("0 warm\n")).startswith("error ")
        assert "error No datastream setup for that pin." == await client.ask("7 1\n")
        assert "error No datastream setup for that pin." == await client.ask("x 1\n")
        hub.write(Write(device, 0, "19", "test", SYSTEM))
        assert "command 0 19" == (await client.line()).removesuffix(".0")
        hub.write(Write(device, 1, "a\ncommand 0 99", "test", SYSTEM))
        assert "command 1 a command 0 99" == await client.line()
        await client.send("0 1")
    await until(lambda: hub.sessions.get(device.id) is None)
    assert 19 == hub.writes.current(device, temperature), "a line without its end is not a value"


async def test_documented_transport_acknowledges_after_the_commit(lines_hub, monkeypatch):
    hub = lines_hub
    device, token = await add_device(hub, LINES_TEMPLATE)
    async with open_connection(hub) as client:
        assert "ok" == await client.ask(f"login {token}\n")
        released = hold_commits(hub.storage.history, monkeypatch)
        await client.send("0 5\n")
        await until(lambda: 5 == hub.writes.current(device, device.points[0].datastream))
        with trio.move_on_after(brief(0.1)) as early:
            await client.line()
        assert early.cancelled_caught
        released.set()
        assert "ok" == await client.line()


async def test_documented_transport_rejects_bad_logins_and_long_lines(lines_hub, monkeypatch):
    hub = lines_hub
    device, token = await add_device(hub, LINES_TEMPLATE)
    async with open_connection(hub) as client:
        assert ["error unknown token", None] == [await client.ask(f"login {'x' * 32}\n"), await client.line()]
    assert "lines: unknown token" == hub.rejections.recent[-1].reason
    for start in ("login ", f"login {token}\n"):
        async with open_connection(hub) as client:
            await client.send(start + "1 " + "x" * 5000)
            lines = [await client.line()]
            while lines[-1] is not None:
                lines.append(await client.line())
            assert lines[-2].startswith("error a line has less than 500 bytes")
    monkeypatch.setattr(hub.plugins["lines"].module, "LOGIN", 0.05)
    async with open_connection(hub) as client:
        assert (await client.ask("log")).startswith("error ")
        assert await client.line() is None
    assert hub.sessions.get(device.id) is None


async def test_documented_transport_closes_the_older_connection_of_a_device(lines_hub):
    hub = lines_hub
    device, token = await add_device(hub, LINES_TEMPLATE)
    async with open_connection(hub) as older, open_connection(hub) as newer:
        assert "ok" == await older.ask(f"login {token}\n")
        assert "ok" == await newer.ask(f"login {token}\n")
        assert await older.line() is None
        assert "ok" == await newer.ask("0 1\n")
        assert hub.sessions.get(device.id) is not None


@pytest.mark.parametrize("has_bad_link", [False, True])
async def test_documented_page_is_served(hub_config, has_bad_link):
    [page] = [block for block in blocks(ROOT / "docs" / "plugins.md", "python") if "StaticFiles" in block]
    static = hub_config.data / "plugins" / "static"
    static.mkdir(parents=True)
    (static.parent / "rain.py").write_text(page)
    (static / "index.html").write_text("<title>Rain</title>")
    if has_bad_link:
        (static / "key.txt").symlink_to(hub_config.data / "pinwheel.db")
    async with running(hub_config) as hub:
        answer = await ask(hub, "GET", "/rain/")
        assert (404 if has_bad_link else 200) == answer.status
        assert ("outside of the folder" in hub.plugins["rain"].problem) is has_bad_link
    sys.modules.pop("pinwheel_plugins.rain")


async def test_documented_test_passes(hub):
    [*_, test] = blocks(ROOT / "docs" / "plugins.md", "python")
    namespace = {}
    exec(test, namespace)
    await namespace["test_impossible_cold_is_rejected"](hub)


def test_templates_in_the_readme_are_valid():
    from hub.templates.document import parse as parse_template

    for block in blocks(ROOT / "README.md", "toml"):
        parse_template(block)


def test_every_key_of_a_template_is_documented():
    from hub.domain.metadata import TYPES
    from hub.model import (
        Datastream,
        EventType,
        Guides,
        Lifecycle,
        MetadataField,
        Notifications,
        Status,
        StatusSettings,
        Tab,
        UserInteraction,
        Widget,
    )
    from hub.templates.document import _Head
    from hub.templates.document import parse as parse_template

    page = ROOT / "docs" / "templates.md"
    block, _ = blocks(page, "toml")
    parse_template(block)
    document = tomllib.loads(block)
    lifecycle = document["lifecycle"]
    assert {field.name for field in attrs.fields(_Head)} == set(document["template"])
    for cls, tables in (
        (Datastream, document["datastream"]),
        (EventType, document["event"]),
        (Notifications, [document["event"][0]["notifications"]]),
        (MetadataField, document["metadata"]),
        (Lifecycle, [lifecycle]),
        (StatusSettings, [lifecycle["online_settings"]]),
        (Status, [*lifecycle["status"], lifecycle["online_settings"], lifecycle["offline_settings"]]),
        (UserInteraction, [lifecycle["offline_settings"]["interaction"]]),
        (Guides, [document["guides"]]),
        (Tab, document["web"]["tab"]),
        (Widget, document["web"]["tab"][0]["widget"]),
    ):
        assert {field.name for field in attrs.fields(cls)} == {key for table in tables for key in table}, cls
    assert [] == [kind for kind in TYPES if kind not in page.read_text()]


def test_every_key_of_a_mobile_dashboard_is_documented():
    from hub.model import Header, HeaderButton, HeaderWidget, MobilePage, Tile
    from hub.templates.document import read as read_template

    _, block = blocks(ROOT / "docs" / "templates.md", "toml")
    mobile = tomllib.loads(block)["mobile"]
    for cls, table in (
        (Tile, mobile["tile"]),
        (Header, mobile["header"]),
        (HeaderButton, mobile["header"]["button"][0]),
        (HeaderWidget, mobile["header"]["widget"][0]),
        (MobilePage, mobile["page"][0]),
    ):
        assert {field.name for field in attrs.fields(cls)} == {*table}, cls
    streams = [{"pin": f"V{n}", "name": f"S{n}", "type": "integer"} for n in range(4)]
    read_template({"template": {"name": "Room"}, "datastream": streams, "mobile": mobile})


def test_catalogue_of_widgets_is_documented():
    from support.catalogue import option_rows, widget_rows

    from hub.templates import HEADER, MOBILE, TILES, WEB

    page = (ROOT / "docs" / "widgets.md").read_text()
    parts = dict(zip(re.findall(r"^## (.+)$", page, re.MULTILINE), page.split("\n## ")[1:], strict=True))
    for title, types in (("Web", WEB), ("Mobile", MOBILE), ("Header", HEADER), ("Tile", TILES)):
        assert widget_rows(types) == [line for line in parts[title].splitlines() if line.startswith("| `")], title
    assert option_rows() == [line for line in parts["Options"].splitlines() if line.startswith("| `")]


async def test_every_public_attribute_of_the_hub_is_documented_for_plugins(hub):
    text = (ROOT / "docs" / "plugins.md").read_text().partition("## Public names\n")[0]
    documented = set(re.findall(r"`hub\.(\w+)`", text))
    attributes = {name for name in (*vars(hub), *dir(type(hub))) if not name.startswith("_")}
    assert ([], []) == (sorted(attributes - documented), sorted(documented - attributes))
