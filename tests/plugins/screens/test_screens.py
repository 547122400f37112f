"""Terminals and LCDs of devices: what they display for those who open the dashboard later."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.documents import tab, widget
from support.patience import patient
from support.raw_http import ask, local_key
from support.times import until

from connectors.native import client
from hub.domain.devices import NewDevice
from hub.model import SYSTEM
from hub.run import running
from hub.templates.document import read, to_toml
from hub.testing import add_device, address_of
from hub.writes import Write
from plugins.screens import service
from plugins.screens.screens import Lcd, Terminal
from plugins.screens.service import Screens

DOCUMENT = {
    "template": {"id": "TMPL0screen", "name": "Board"},
    "datastream": [
        {"pin": "V0", "name": "Terminal", "type": "string"},
        {"pin": "V1", "name": "LCD", "type": "string"},
        {"pin": "V2", "name": "Words", "type": "string"},
        {"pin": "V3", "name": "Line", "type": "string"},
    ],
    "web": {"tab": [tab(widget("terminal", "V0"), widget("label", "V2", x=4))]},
    "mobile": {
        "tab": [
            tab(
                widget("lcd", "V1", width=8, options={"advanced": True}),
                widget("lcd", "V3", y=3, width=8),
            )
        ]
    },
}
TOML = to_toml(read(DOCUMENT))


@pytest.fixture
async def board(hub):
    """A device with a terminal and an LCD, and its token."""
    return await add_device(hub, TOML)


async def screens_of(hub, device):
    answer = await ask(hub, "GET", f"/api/v1/device/screens?deviceId={device.id}", key=local_key(hub))
    return {screen["pin"]: screen["lines"] for screen in answer.json}


def by_device(hub, device, pin, *values):
    for value in values:
        hub.write(Write(device, pin, value, "native", device.as_principal()))


async def test_terminal_and_lcd_show_what_a_board_has_written(hub, board):
    device, token = board
    assert {"v0": [""], "v1": [""]} == await screens_of(hub, device)
    host, port = address_of(hub)
    async with client.connect(host, port, token) as connection:
        await connection.write(0, "Blynk v1.3\r\n")
        await connection.write(0, "Press ")
        await connection.write(0, "a key\r\n")
        await connection.write(1, "clr")
        await connection.write(1, "p", "0", "0", "Temperature")
        await connection.write(1, "p", "4", "1", "21.5 C")
        await until(lambda: "21.5 C" in hub.service(Screens).of_device(device)[2].content)
    assert {
        "v0": ["Blynk v1.3", "Press a key", ""],
        "v1": ["Temperature     ", "    21.5 C      "],
    } == await screens_of(hub, device)


async def test_terminal_of_a_generated_dashboard_has_a_screen(hub):
    document = {
        "template": {"id": "TMPL0bare", "name": "Bare"},
        "datastream": [{"pin": "V7", "name": "Log", "type": "string", "tags": ["Debug Commands"]}],
    }
    device, _ = await add_device(hub, to_toml(read(document)))
    by_device(hub, device, 7, "hel", "lo\n")
    assert {"v7": ["hello", ""]} == await screens_of(hub, device)


async def test_values_of_users_are_not_on_a_screen(hub, board):
    device, _ = board
    by_device(hub, device, 0, "from the board\n")
    hub.write(Write(device, 0, "from a user\n", "api", SYSTEM))
    assert ["from the board", ""] == (await screens_of(hub, device))["v0"]


async def test_screens_survive_a_restart(hub_config):
    async with running(hub_config) as hub:
        device, _ = await add_device(hub, TOML)
        by_device(hub, device, 0, "one\n", "two\n")
        by_device(hub, device, 1, ("p", "0", "0", "Hi"))
    async with running(hub_config) as hub:
        device = hub.devices.get(device.id)
        assert ["one", "two", ""] == (await screens_of(hub, device))["v0"]
        by_device(hub, device, 0, "three\n")
        assert ["one", "two", "three", ""] == (await screens_of(hub, device))["v0"]
        assert ["Hi".ljust(16), " " * 16] == (await screens_of(hub, device))["v1"]


async def stored(hub):
    return await hub.storage.configuration.fetch_all("SELECT device, datastream, content FROM screens")


async def test_erased_data_is_gone_from_screen_and_database(hub, board):
    device, _ = board
    by_device(hub, device, 0, "secret")
    await hub.service(Screens).flush()
    assert [(device.id, 1, "secret")] == await stored(hub)
    await hub.devices.erase(device, device.template.datastreams, SYSTEM)
    assert [""] == (await screens_of(hub, device))["v0"]
    with trio.fail_after(patient(10)):
        while await stored(hub):
            await trio.sleep(0.005)


async def test_deleted_device_has_no_screens(hub, board):
    device, _ = board
    by_device(hub, device, 0, "text")
    await hub.devices.delete(device, SYSTEM)
    await hub.service(Screens).flush()
    assert [] == await stored(hub)


async def test_device_added_later_and_new_version_of_a_template_are_followed(hub, board):
    device, _ = board
    template = device.template
    [(other, _)] = await hub.devices.add([NewDevice(name="Other", template=template)], SYSTEM)
    by_device(hub, other, 0, "hello")
    assert ["hello"] == (await screens_of(hub, other))["v0"]
    without = read(DOCUMENT | {"web": {"tab": [tab(widget("terminal", "V2"))]}}, known={template.id: template})
    await hub.templates.put(lambda: without, SYSTEM)
    by_device(hub, device, 0, "not displayed")
    by_device(hub, device, 2, "displayed")
    assert ["displayed"] == (await screens_of(hub, device))["v2"]
    assert "v0" not in await screens_of(hub, device)


async def test_number_of_screens_is_limited(hub, board, monkeypatch):
    monkeypatch.setattr(service, "MAX_SCREENS", 3)
    template = board[0].template
    added = await hub.devices.add([NewDevice(name=f"D{n}", template=template) for n in range(5)], SYSTEM)
    for device, _ in added:
        by_device(hub, device, 0, "text")
    shown = [(await screens_of(hub, device))["v0"] for device, _ in added]
    assert [[""], [""], ["text"], ["text"], ["text"]] == shown


async def test_screens_need_permission_for_the_device(hub, board):
    assert 404 == (await ask(hub, "GET", "/api/v1/device/screens?deviceId=999", key=local_key(hub))).status
    assert 401 == (await ask(hub, "GET", f"/api/v1/device/screens?deviceId={board[0].id}")).status


# -- contents ----------------------------------------------------------------------------------------------------------


def test_terminal_is_cleared_and_continues_an_incomplete_line():
    terminal = Terminal()
    for text in ("old\n", "clr", "1", "2\n", "3"):
        terminal.write(text)
    assert "12\n3" == terminal.content


def test_terminal_keeps_its_last_lines():
    terminal = Terminal()
    for number in range(300):
        terminal.write(f"line {number}\n")
    assert [f"line {number}" for number in range(200, 300)] == terminal.content.split("\n")[:-1]


@given(st.lists(st.text(max_size=1024), max_size=40))
def test_terminal_is_bounded_and_ends_with_what_was_written(texts):
    terminal = Terminal()
    for text in texts:
        terminal.write(text)
    assert len(terminal.content) <= Terminal.MAX_CHARACTERS
    assert terminal.content.count("\n") <= Terminal.MAX_LINES
    if texts and texts[-1] != "clr" and "\r" not in texts[-1]:
        last = texts[-1].split("\n")[-1]
        assert terminal.content.endswith(last)


@pytest.mark.parametrize(
    "value",
    [
        "x",
        ("p",),
        ("p", "0", "0"),
        ("p", "16", "0", "x"),
        ("p", "0", "2", "x"),
        ("p", "-1", "0", "x"),
        ("p", "a", "0", "x"),
    ],
)
def test_lcd_ignores_what_is_no_command(value):
    lcd = Lcd()
    lcd.write(("p", "0", "0", "Hello"))
    before = lcd.content
    lcd.write(value)
    assert before == lcd.content


def test_lcd_cuts_a_text_that_is_too_long_and_overwrites():
    lcd = Lcd()
    lcd.write(("p", "10", "0", "0123456789"))
    lcd.write(("p", "0", "1", "Line"))
    lcd.write(("p", "2", "1", "mb"))
    assert ["          012345", "Limb            "] == lcd.content.split("\n")
    lcd.write("clr")
    assert "" == lcd.content
