"""The info frame of native firmware, and pushes that wait for it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.facts import collect_facts
from support.native_devices import HARDWARE, INTERNAL, add_native_device
from support.raw_native import OK, online, open_connection
from support.rejections import rejection_reasons
from support.values import write_value

from connectors.native.protocol import Cmd
from connectors.native.timeouts import NativeTimeouts
from hub.facts import DeviceInfo
from hub.model import Reboot

INFOS = {
    "c++ linux": "ver\x001.4.0\0h-beat\x0040\0buff-in\x004096\0dev\0Linux\0fw\x000.1.0\0conn\0Socket\0tmpl\0TMPL0native\0",
    "arduino": "mcu\x001.0.1\0fw-type\0TMPL0native\0build\0Nov 23 2026\0blynk\x001.3.2\0h-beat\x0045\0buff-in\x001024\0dev\0ESP32",
    "javascript": "ver\x000.5.4\0buff-in\x004096\0dev\0js",
    "blynklib": "ver\x000.2.6\0buff-in\x001024\0h-beat\x0010\0dev\0python",
}


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS)
async def test_info_is_answered_and_stored(hub, info):
    device, token = await add_native_device(hub)
    reported = collect_facts(hub, DeviceInfo)
    parts = info.rstrip("\0").split("\0")
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        assert OK == await client.status(Cmd.INTERNAL, info)
        assert [] == await client.received()

    assert dict(zip(parts[::2], parts[1::2], strict=True)) == device.firmware
    assert [DeviceInfo(device)] == reported
    assert [] == rejection_reasons(hub)


async def test_firmware_info_survives_a_restart(start):
    async with start() as hub:
        device, token = await add_native_device(hub)
        async with online(hub, token, fw="1.2.3") as client:
            assert [] == await client.received()
    async with start() as hub:
        restarted = hub.devices.get(device.id)

    assert {"ver": "1.0", "fw": "1.2.3"} == restarted.firmware
    assert device.activated == restarted.activated is not None


async def test_firmware_for_another_template_is_reported(hub):
    _, token = await add_native_device(hub)
    async with online(hub, token, tmpl="TMPLother"):
        [reason] = rejection_reasons(hub)

    assert "TMPLother" in reason
    assert "TMPL0native" in reason


@pytest.mark.parametrize("info", ["h-beat\0x", "h-beat\0\xb2\0buff-in\0-1", "buff-in\x00" + "9" * 4000, "ver"])
async def test_invalid_numbers_in_an_info_are_ignored(hub, info):
    _, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        assert OK == await client.status(Cmd.INTERNAL, info)
        assert [] == await client.received()


async def test_pushes_wait_for_the_response_to_the_info(hub):
    device, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token)
        for value in ("1", "2", "3"):
            write_value(hub, device, 0, value)
        hub.command(device, Reboot())
        assert [] == await client.received()
        assert OK == await client.info()

        assert [(HARDWARE, "vw", "0", "3"), (INTERNAL, "dbg", "reboot")] == [
            (command, *parts) for command, _, *parts in (await client.next(), await client.next())
        ]


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(info=0.05))
async def test_client_without_an_info_receives_its_pushes_after_the_timeout(hub, command):
    assert 1 <= NativeTimeouts().info <= 2
    device, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)
        write_value(hub, device, 0, "3")

        command, _, *parts = await client.next()
        assert (HARDWARE, "vw", "0", "3") == (command, *parts)


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(info=3600))
async def test_ping_is_answered_while_pushes_wait_for_the_info(hub, command):
    device, token = await add_native_device(hub)
    async with open_connection(hub) as client:
        assert OK == await client.login(token, command)
        write_value(hub, device, 0, "3")
        await trio.testing.wait_all_tasks_blocked()

        assert [] == await client.received()
