"""Third-party clients of the native protocol, unmodified, against a running hub.

The scripts beside this file drive them: they read commands and print events as lines of JSON. The JavaScript clients
need node and ``npm ci`` in this directory; otherwise they are skipped, or fail if CI=true.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from support.patience import patient

from hub.facts import DeviceConnected, DeviceInfo, ValueWritten, WireFrame
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device, address_of
from hub.writes import Write

HERE = Path(__file__).parent
#: Seconds for anything that a client does; reconnecting takes the JavaScript clients 5, or 15 if they come too early.
PATIENCE = patient(25)

TEMPLATE = """
[template]
id = "TMPL0clients"
name = "Clients"
[[datastream]]
pin = "V0"
name = "Count"
type = "integer"
[[datastream]]
pin = "V1"
name = "Setpoint"
type = "double"
sync = true
[[datastream]]
pin = "V2"
name = "Text"
type = "string"
sync = true
[[datastream]]
pin = "V3"
name = "Never written"
type = "string"
sync = true
[[datastream]]
pin = "V4"
name = "Marker"
type = "integer"
"""


@attrs.frozen
class Kind:
    """A client: the command that starts it, and its error for a wrong token."""

    name: str
    command: tuple[str, ...]
    wrong_token: str


KINDS = [
    Kind("js-tcp", ("node", str(HERE / "js_client.js"), "tcp"), "INVALID_TOKEN"),
    Kind("js-websocket", ("node", str(HERE / "js_client.js"), "ws"), "INVALID_TOKEN"),
    Kind("blynklib", (sys.executable, str(HERE / "blynklib_client.py")), "Invalid Auth Token"),
]


class Client:
    """The process of a client."""

    def __init__(self, process: trio.Process, stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        self._rest = b""
        self.events: list[dict] = []

    async def send(self, **command) -> None:
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")

    async def expect(self, event: str, **fields) -> list[dict]:
        """Wait for an event; returns all events up to it."""
        expected, events = {"event": event, **fields}, []
        with trio.move_on_after(PATIENCE):
            while line := await self._line():
                events.append(json.loads(line))
                self.events.append(events[-1])
                if events[-1] == expected:
                    return events
        raise AssertionError(f"expected {expected}, got {self.events}\n--- stderr:\n{self._stderr.read_text()[-3000:]}")

    async def _line(self) -> bytes:
        while b"\n" not in self._rest:
            data = await self._process.stdout.receive_some()
            if not data:
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request) -> Kind:
    kind = request.param
    if kind.command[0] == "node":
        present = [name for name in ("blynk-library", "ws") if (HERE / "node_modules" / name / "package.json").exists()]
        reason = ""
        if shutil.which("node") is None:
            reason = "node is not installed"
        elif len(present) < 2:
            reason = "its libraries are not installed: npm ci in tests/system"
        if reason and os.environ.get("CI") == "true":
            pytest.fail(reason)
        if reason:
            pytest.skip(reason)
    return kind


@pytest.fixture
def start(kind, nursery, tmp_path):
    """Start the client: ``client = await start(hub, token)``."""

    async def start(hub, token):
        host, port = address_of(hub)
        stderr = tmp_path / "client.stderr"
        with stderr.open("ab") as file:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [*kind.command, host, str(port), token],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    check=False,
                )
            )
        return Client(process, stderr)

    return start


@asynccontextmanager
async def subscribed(hub, fact, device=None):
    """A channel with the facts of a class that are emitted within the block."""
    send, receive = trio.open_memory_channel(1000)
    unsubscribe = hub.subscribe(fact, send.send_nowait, device)
    try:
        yield receive
    finally:
        unsubscribe()


async def first(facts, matches=lambda _: True):
    """The first fact that matches."""
    with trio.fail_after(PATIENCE):
        async for fact in facts:
            if matches(fact):
                return fact
    raise AssertionError


def push(hub, device, pin, value):
    hub.write(Write(device, pin, value, "test", SYSTEM))


def latest(hub, device, pin):
    return hub.history.latest[device.points[pin].series][1]


async def test_values_of_the_client_are_stored(hub, start):
    device, token = await add_device(hub, TEMPLATE)
    async with subscribed(hub, ValueWritten, device.id) as written:
        client = await start(hub, token)
        await client.expect("connected")
        await client.send(write=[0, 42])
        await client.send(write=[1, 21.5])
        await client.send(write=[2, "a", "b", ""])
        for pin, value in [(0, 42), (1, 21.5), (2, ("a", "b", ""))]:
            fact = await first(written)
            assert (fact.datastream.pin, fact.value, fact.via, fact.latest) == (pin, value, "native", True)
            assert latest(hub, device, pin) == value


async def test_text_with_non_ascii_characters(hub, start, kind):
    device, token = await add_device(hub, TEMPLATE)
    async with subscribed(hub, ValueWritten, device.id) as written:
        client = await start(hub, token)
        await client.expect("connected")
        await client.send(write=[2, "grün, 5 €"])
        await client.send(write=[0, 1])
        if not kind.name.startswith("js-"):
            assert (await first(written)).value == "grün, 5 €"
        # The JavaScript library sends the low byte of each UTF-16 unit, which is not UTF-8; it stays connected.
        await first(written, lambda fact: fact.value == 1)
    push(hub, device, 4, 2)
    assert await client.expect("write", pin=4, values=["2"]) == [{"event": "write", "pin": 4, "values": ["2"]}]


async def test_firmware_info_of_the_client_is_stored(hub, start, kind):
    device, token = await add_device(hub, TEMPLATE)
    async with subscribed(hub, DeviceInfo) as facts:
        await start(hub, token)
        assert (await first(facts)).device is device
    version, kind_of_device = ("0.2.6", "python") if kind.name == "blynklib" else ("0.5.4", "js")
    assert (device.firmware["ver"], device.firmware["dev"]) == (version, kind_of_device)


async def test_client_receives_written_values(hub, start):
    device, token = await add_device(hub, TEMPLATE)
    client = await start(hub, token)
    await client.expect("connected")
    push(hub, device, 1, 7)
    await client.expect("write", pin=1, values=["7.0"])
    push(hub, device, 2, ["a", "b", ""])
    await client.expect("write", pin=2, values=["a", "b", ""])


async def test_values_of_the_client_are_not_sent_back_to_it(hub, start):
    device, token = await add_device(hub, TEMPLATE)
    client = await start(hub, token)
    await client.expect("connected")
    async with subscribed(hub, ValueWritten, device.id) as written:
        await client.send(write=[0, 1])
        await first(written, lambda fact: fact.value == 1)
    push(hub, device, 4, 99)
    assert await client.expect("write", pin=4, values=["99"]) == [{"event": "write", "pin": 4, "values": ["99"]}]


async def test_client_receives_every_value_of_a_burst(hub, start):
    device, token = await add_device(hub, TEMPLATE)
    client = await start(hub, token)
    await client.expect("connected")
    for pin, value in [(0, 1), (1, 2.5), (2, "three"), (4, 4)]:
        push(hub, device, pin, value)
    for pin, text in [(0, "1"), (1, "2.5"), (2, "three"), (4, "4")]:
        await client.expect("write", pin=pin, values=[text])


async def test_value_written_during_the_login_is_not_lost(hub, start):
    """It must not be sent between the responses to the login and to the info frame."""
    device, token = await add_device(hub, TEMPLATE)
    hub.subscribe(DeviceConnected, lambda fact: push(hub, fact.device, 1, 5.5))
    client = await start(hub, token)
    await client.expect("connected")
    await client.expect("write", pin=1, values=["5.5"])


async def test_client_syncs_single_pins(hub, start):
    device, token = await add_device(hub, TEMPLATE)
    push(hub, device, 0, 3)
    push(hub, device, 1, 21.5)
    client = await start(hub, token)
    await client.expect("connected")
    await client.send(sync=[1])
    await client.expect("write", pin=1, values=["21.5"])
    await client.send(sync=[3])
    await client.send(sync=[0])
    assert await client.expect("write", pin=0, values=["3"]) == [{"event": "write", "pin": 0, "values": ["3"]}]


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.name, indirect=True)
async def test_client_syncs_all_pins(hub, start):
    """`blynklib` has no such request."""
    device, token = await add_device(hub, TEMPLATE)
    for pin, value in [(0, 3), (1, 21.5), (2, ["x", "y"]), (4, 9)]:
        push(hub, device, pin, value)
    client = await start(hub, token)
    await client.expect("connected")
    await client.send(sync=[])
    await client.send(sync=[4])
    events = await client.expect("write", pin=4, values=["9"])
    assert sorted((event["pin"], event["values"]) for event in events) == [(1, ["21.5"]), (2, ["x", "y"]), (4, ["9"])]


async def test_wrong_token_is_rejected(hub, start, kind):
    device, _ = await add_device(hub, TEMPLATE)
    wrong = "wrong" + "x" * 25 + "yz"
    client = await start(hub, wrong)
    await client.expect("error", reason=kind.wrong_token)
    assert {"event": "connected"} not in client.events
    assert hub.sessions.get(device.id) is None
    reasons = [rejection.reason for rejection in hub.rejections.recent]
    assert "unknown token ending …yz" in reasons
    assert not any(wrong in reason for reason in reasons)


@pytest.mark.slow
async def test_client_reconnects_after_a_restart_of_the_hub(hub_config, start):
    """With the same port and data, the client reconnects by itself, and can sync a value written meanwhile."""
    async with running(hub_config) as hub:
        device, token = await add_device(hub, TEMPLATE)
        host, port = address_of(hub)
        client = await start(hub, token)
        await client.expect("connected")
        async with subscribed(hub, ValueWritten, device.id) as written:
            await client.send(write=[0, 41])
            await first(written, lambda fact: fact.value == 41)
    listen = attrs.evolve(hub_config.listen[0], address=f"{host}:{port}")
    async with running(attrs.evolve(hub_config, listen=(listen,))) as hub:
        device = hub.devices.get(device.id)
        assert latest(hub, device, 0) == 41
        push(hub, device, 1, 8.25)
        await client.expect("disconnected")
        await client.expect("connected")
        await client.send(sync=[1])
        await client.expect("write", pin=1, values=["8.25"])
        async with subscribed(hub, ValueWritten, device.id) as written:
            await client.send(write=[0, 43])
            await first(written, lambda fact: fact.value == 43)
        push(hub, device, 0, 44)
        await client.expect("write", pin=0, values=["44"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS[2]], ids=["blynklib"], indirect=True)
async def test_heartbeat_of_the_client_is_answered(hub, start):
    """The client ends a connection after one and a half silent heartbeats: the second PING proves the first response."""
    device, token = await add_device(hub, TEMPLATE)
    client = await start(hub, token)
    await client.expect("connected")
    async with subscribed(hub, WireFrame) as frames:
        for _ in range(2):
            ping = await first(frames, lambda frame: frame.direction == "in" and frame.text.startswith("PING"))
            number = ping.text.split()[1]
            await first(frames, lambda frame, n=number: (frame.direction, frame.text) == ("out", f"RESPONSE {n} 200"))
    push(hub, device, 0, 5)
    assert await client.expect("write", pin=0, values=["5"]) == [{"event": "write", "pin": 0, "values": ["5"]}]
