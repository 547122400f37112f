"""Other people's MQTT clients, unmodified, against a running hub: paho, and Debian's mosquitto_pub and mosquitto_sub."""

from __future__ import annotations

import os
import queue
import re
import shutil
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.patience import patient

from hub.facts import DeviceDisconnected, ValueWritten
from hub.model import SYSTEM
from hub.testing import LOOPBACK, add_device, address_of
from hub.writes import Write

PATIENCE = patient(20)
TEMPLATE = """
[template]
id = "TMPL0paho"
name = "Paho"
[[datastream]]
pin = "V0"
name = "Temperature"
[[datastream]]
pin = "V1"
name = "Set Temperature"
type = "integer"
default = 20
sync = true
[[event]]
code = "hot"
name = "Hot"
"""

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None and "CI" not in os.environ, reason="needs mosquitto-clients"
)


@pytest.fixture
def hub_toml():
    return LOOPBACK + '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'


@pytest.fixture
async def device(hub):
    return await add_device(hub, TEMPLATE)


def held(hub, device, pin):
    return hub.writes.current(device, device.points[pin].datastream)


async def until(condition):
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.005)


async def in_thread(fn, *args, **kwargs):
    """A blocking call while the hub goes on."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(partial(fn, *args, **kwargs), abandon_on_cancel=True)


class Paho:
    """A paho client with its own thread, and what it has heard."""

    def __init__(self, token, version, transport="tcp", **more):
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=version, transport=transport, **more)
        self.client.username_pw_set("device", token)
        self.version = version
        self.heard = queue.Queue()
        self.connected = queue.Queue()
        self.client.on_message = lambda _client, _user, message: self.heard.put(
            (message.topic, message.payload.decode())
        )
        self.client.on_connect = lambda _client, _user, flags, reason, _props: self.connected.put((flags, reason))

    def connect(self, address, **more):
        """What the hub says: (session present, reason)."""
        self.client.connect(*address, keepalive=45, **more)
        self.client.loop_start()
        flags, reason = self.connected.get(timeout=PATIENCE)
        return flags.session_present, str(reason)

    def subscribe(self, topic_filter, qos=1):
        subscribed = queue.Queue()
        self.client.on_subscribe = lambda _client, _user, _mid, reasons, _props: subscribed.put(reasons)
        self.client.subscribe(topic_filter, qos)
        return [str(reason) for reason in subscribed.get(timeout=PATIENCE)]

    def publish(self, topic, payload, qos):
        info = self.client.publish(topic, payload, qos)
        info.wait_for_publish(PATIENCE)
        assert info.is_published()

    def next(self):
        return self.heard.get(timeout=PATIENCE)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("version", [MQTTv311, MQTTv5])
@pytest.mark.parametrize("way", ["tcp", "tls", "websocket", "wss"])
async def test_paho_speaks_and_hears(hub, device, version, way):
    one, token = device
    paho = Paho(token, version, "websockets" if way.startswith("ws") or way == "websocket" else "tcp")
    if paho.client.transport == "websockets":
        paho.client.ws_set_options(path="/mqtt")
    if way in ("tls", "wss"):
        context = ssl.create_default_context(cafile=str(hub.config.data / "tls" / "ca.pem"))
        paho.client.tls_set_context(context)
        paho.client.tls_insecure_set(False)
    address = address_of(hub, 1 if way in ("tls", "wss") else 0)
    try:
        assert (False, "Success") == await in_thread(paho.connect, address)
        assert ["Granted QoS 1"] == await in_thread(paho.subscribe, "downlink/#")
        for qos in (0, 1, 2):
            await in_thread(paho.publish, "ds/Temperature", 20 + qos, qos)
            await until(lambda qos=qos: held(hub, one, 0) == 20 + qos)
        hub.write(Write(one, 1, 23, "test", SYSTEM))
        assert ("downlink/ds/Set Temperature", "23") == await in_thread(paho.next)
        await in_thread(paho.publish, "get/ds/all", "", 1)
        assert ("downlink/ds/Set Temperature", "23") == await in_thread(paho.next)
        assert 0 <= await hub.sessions.ping(one) < 5000
        assert ("downlink/ping", "") == await in_thread(paho.next)
    finally:
        await in_thread(paho.close)


@pytest.mark.parametrize(
    ("version", "said"), [(MQTTv311, "Bad user name or password"), (MQTTv5, "Bad user name or password")]
)
async def test_paho_is_told_that_its_token_is_wrong(hub, version, said):
    paho = Paho("x" * 32, version)
    try:
        assert (False, said) == await in_thread(paho.connect, address_of(hub))
    finally:
        await in_thread(paho.close)


async def test_paho_gets_what_came_while_it_was_away(hub, device):
    one, token = device
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 600
    for version, more, connect in (
        (MQTTv311, {"clean_session": False}, {}),
        (MQTTv5, {}, {"clean_start": False, "properties": properties}),
    ):
        paho = Paho(token, version, client_id="kept", **more)
        await in_thread(paho.connect, address_of(hub), **connect)
        await in_thread(paho.subscribe, "downlink/ds/#")
        await in_thread(paho.close)
        await until(lambda: hub.sessions.get(one.id) is None)
        hub.write(Write(one, 1, 30, "test", SYSTEM))
        hub.write(Write(one, 1, 31, "test", SYSTEM))
        paho = Paho(token, version, client_id="kept", **more)
        try:
            present, _ = await in_thread(paho.connect, address_of(hub), **connect)
            assert present
            assert ("downlink/ds/Set Temperature", "31") == await in_thread(paho.next)
        finally:
            await in_thread(paho.close)
        await until(lambda: hub.sessions.get(one.id) is None)


async def test_a_general_broker_can_be_made_of_the_codec_and_the_rules(nursery):
    from support.generic_broker import Broker

    broker = Broker(nursery)
    [listener] = await nursery.start(partial(trio.serve_tcp, broker.serve, 0, host="127.0.0.1"))
    address = listener.socket.getsockname()
    for version in (MQTTv311, MQTTv5):
        one, two = (
            Paho("", version),
            Paho("", version, client_id="reader", **({} if version == MQTTv5 else {"clean_session": False})),
        )
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        keep = {"clean_start": False, "properties": properties} if version == MQTTv5 else {}
        await in_thread(one.connect, address)
        await in_thread(two.connect, address, **keep)
        await in_thread(two.subscribe, "a/+", 2)
        for qos in (0, 1, 2):
            await in_thread(one.publish, f"a/{qos}", f"{version} {qos}", qos)
            assert (f"a/{qos}", f"{version} {qos}") == await in_thread(two.next)
        await in_thread(two.close)
        await in_thread(one.publish, "a/later", "kept", 2)
        again = Paho("", version, client_id="reader", **({} if version == MQTTv5 else {"clean_session": False}))
        assert (True, "Success") == await in_thread(again.connect, address, **keep)
        assert ("a/later", "kept") == await in_thread(again.next)
        for paho in (one, again):
            await in_thread(paho.close)


# -- mosquitto_pub and mosquitto_sub ----------------------------------------------------------------------------------


async def mosquitto(hub, program, token, *words, listener=0, check=True):
    """What a program of mosquitto-clients prints."""
    host, port = address_of(hub, listener)
    command = [program, "-h", host, "-p", str(port), "-u", "device", "-P", token, *words]
    with trio.fail_after(PATIENCE):
        ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    said = (ended.stdout + ended.stderr).decode()
    assert not check or ended.returncode == 0, said
    return ended.returncode, said


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5", "mqttv31"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
async def test_mosquitto_publishes(hub, device, version, qos):
    one, token = device
    await mosquitto(hub, "mosquitto_pub", token, "-V", version, "-q", qos, "-t", "ds/Temperature", "-m", "21.5")
    await until(lambda: held(hub, one, 0) == 21.5)


@needs_mosquitto
async def test_mosquitto_publishes_through_tls(hub, device):
    ca = str(hub.config.data / "tls" / "ca.pem")
    words = ("--cafile", ca, "-q", "1", "-t", "ds/Temperature", "-m", "5")
    await mosquitto(hub, "mosquitto_pub", device[1], *words, listener=1)
    assert 5 == held(hub, device[0], 0)


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_subscribes(hub, device, version):
    one, token = device
    async with trio.open_nursery() as nursery:

        async def write():
            await until(lambda: hub.sessions.get(one.id) is not None)
            subscribed = hub.sessions.get(one.id).client.session.subscriptions
            await until(lambda: subscribed)
            hub.write(Write(one, 1, 42, "test", SYSTEM))

        nursery.start_soon(write)
        words = ("-V", version, "-q", "1", "-t", "downlink/#", "-C", "1", "-F", "%t %p")
        _, said = await mosquitto(hub, "mosquitto_sub", token, *words)
    assert "downlink/ds/Set Temperature 42\n" == said


@needs_mosquitto
async def test_mosquitto_is_told_what_is_wrong(hub, device):
    code, said = await mosquitto(hub, "mosquitto_pub", "x" * 32, "-t", "ds/Temperature", "-m", "1", check=False)
    assert (4, True) == (code, "bad user name or password" in said)
    words = ("-V", "mqttv5", "-q", "1", "-t", "ds/Temprature", "-m", "1")
    _, said = await mosquitto(hub, "mosquitto_pub", device[1], *words, check=False)
    assert "did you mean 'Temperature'?" in said
    _, said = await mosquitto(hub, "mosquitto_sub", device[1], "-t", "#", check=False)
    assert "subscription" in said.lower()


@needs_mosquitto
async def test_mosquitto_leaves_a_will(hub, device):
    one, token = device
    gone = []
    hub.subscribe(DeviceDisconnected, gone.append)
    host, port = address_of(hub)
    command = ["mosquitto_sub", "-h", host, "-p", str(port), "-u", "device", "-P", token, "-t", "downlink/#"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, [*command, "--will-topic", "ds/Temperature", "--will-payload", "-1"], check=False)
        )
        await until(lambda: hub.sessions.get(one.id) is not None)
        process.kill()
    await until(lambda: held(hub, one, 0) == -1)
    assert gone


# -- what the documentation says --------------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()


def snippets(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def placed(text, hub, token, listener=0):
    """A snippet for this hub and device."""
    host, port = address_of(hub, listener)
    ca = str(hub.config.data / "tls" / "ca.pem")
    for name, value in (("hub.local", host), ("8883" if listener else "1883", str(port)), ("ca.pem", ca)):
        text = text.replace(name, value)
    return text.replace("YOUR_TOKEN", token)


async def test_the_python_client_of_the_documentation(hub, device, tmp_path):
    one, token = device
    [paho] = [text for text in snippets("python") if "paho" in text]
    script = tmp_path / "device.py"
    script.write_text(placed(paho, hub, token))
    written = []
    hub.subscribe(ValueWritten, lambda fact: written.append((fact.datastream.name, fact.value)), one.id)
    process = await trio.lowlevel.open_process([sys.executable, "-u", str(script)], stdout=subprocess.PIPE)
    try:
        await until(lambda: ("Temperature", 21.5) in written)
        hub.write(Write(one, 1, 25, "test", SYSTEM))
        said = b""
        with trio.fail_after(PATIENCE):
            while b"Set Temperature is now 25" not in said:
                said += await process.stdout.receive_some()
    finally:
        process.kill()
        await process.wait()


def test_the_micropython_client_of_the_documentation_is_python():
    [umqtt] = [text for text in snippets("python") if "umqtt" in text]
    compile(umqtt, "docs/mqtt.md", "exec")


@needs_mosquitto
async def test_the_commands_of_the_documentation(hub, device):
    one, token = device
    lines = [line for text in snippets("sh") for line in text.splitlines() if line.startswith("mosquitto_pub")]
    assert len(lines) >= 2
    for number, line in enumerate(lines):
        listener = 1 if "mqtts://" in line or "8883" in line else 0
        hub.write(Write(one, 0, number, "test", SYSTEM))
        with trio.fail_after(PATIENCE):
            await trio.run_process(["sh", "-c", placed(line, hub, token, listener)])
        await until(lambda: held(hub, one, 0) == 21.5)
