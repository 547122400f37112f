"""Third-party MQTT clients, unmodified, against a running hub: paho, and Debian's mosquitto_pub and mosquitto_sub."""

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
from support.times import until
from support.values import current_value

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


async def in_thread(fn, *args, **kwargs):
    """Run a blocking function in a thread, so that the hub runs meanwhile."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(partial(fn, *args, **kwargs), abandon_on_cancel=True)


class Paho:
    """A paho client with its own thread, and the messages that it has received."""

    def __init__(self, token, version, transport="tcp", **options):
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=version, transport=transport, **options)
        self.client.username_pw_set("device", token)
        self.version = version
        self.messages = queue.Queue()
        self.connected = queue.Queue()
        self.client.on_message = lambda _client, _user, message: self.messages.put(
            (message.topic, message.payload.decode())
        )
        self.client.on_connect = lambda _client, _user, flags, reason, _props: self.connected.put((flags, reason))

    def connect(self, address, **options):
        """Connect; returns (session present, reason)."""
        self.client.connect(*address, keepalive=45, **options)
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
        return self.messages.get(timeout=PATIENCE)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("version", [MQTTv311, MQTTv5])
@pytest.mark.parametrize("transport", ["tcp", "tls", "websocket", "wss"])
async def test_paho_publishes_and_receives_over_each_transport(hub, device, version, transport):
    meter, token = device
    paho = Paho(token, version, "websockets" if transport in ("websocket", "wss") else "tcp")
    if paho.client.transport == "websockets":
        paho.client.ws_set_options(path="/mqtt")
    if transport in ("tls", "wss"):
        context = ssl.create_default_context(cafile=str(hub.config.data / "tls" / "ca.pem"))
        paho.client.tls_set_context(context)
        paho.client.tls_insecure_set(False)
    address = address_of(hub, 1 if transport in ("tls", "wss") else 0)
    try:
        assert (False, "Success") == await in_thread(paho.connect, address)
        assert ["Granted QoS 1"] == await in_thread(paho.subscribe, "downlink/#")
        for qos in (0, 1, 2):
            await in_thread(paho.publish, "ds/Temperature", 20 + qos, qos)
            await until(lambda qos=qos: current_value(hub, meter, 0) == 20 + qos)
        hub.write(Write(meter, 1, 23, "test", SYSTEM))
        assert ("downlink/ds/Set Temperature", "23") == await in_thread(paho.next)
        await in_thread(paho.publish, "get/ds/all", "", 1)
        assert ("downlink/ds/Set Temperature", "23") == await in_thread(paho.next)
        assert 0 <= await hub.sessions.ping(meter) < 5000
        assert ("downlink/ping", "") == await in_thread(paho.next)
    finally:
        await in_thread(paho.close)


@pytest.mark.parametrize(
    ("version", "reason"), [(MQTTv311, "Bad user name or password"), (MQTTv5, "Bad user name or password")]
)
async def test_paho_gets_the_reason_for_a_wrong_token(hub, version, reason):
    paho = Paho("x" * 32, version)
    try:
        assert (False, reason) == await in_thread(paho.connect, address_of(hub))
    finally:
        await in_thread(paho.close)


async def test_paho_gets_the_newest_value_written_while_it_was_disconnected(hub, device):
    meter, token = device
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 600
    for version, options, connect in (
        (MQTTv311, {"clean_session": False}, {}),
        (MQTTv5, {}, {"clean_start": False, "properties": properties}),
    ):
        paho = Paho(token, version, client_id="persistent", **options)
        await in_thread(paho.connect, address_of(hub), **connect)
        await in_thread(paho.subscribe, "downlink/ds/#")
        await in_thread(paho.close)
        await until(lambda: hub.sessions.get(meter.id) is None)
        hub.write(Write(meter, 1, 30, "test", SYSTEM))
        hub.write(Write(meter, 1, 31, "test", SYSTEM))
        paho = Paho(token, version, client_id="persistent", **options)
        try:
            present, _ = await in_thread(paho.connect, address_of(hub), **connect)
            assert present
            assert ("downlink/ds/Set Temperature", "31") == await in_thread(paho.next)
        finally:
            await in_thread(paho.close)
        await until(lambda: hub.sessions.get(meter.id) is None)


async def test_general_broker_on_the_codec_serves_paho(nursery):
    from support.generic_broker import Broker

    broker = Broker(nursery)
    [listener] = await nursery.start(partial(trio.serve_tcp, broker.serve, 0, host="127.0.0.1"))
    address = listener.socket.getsockname()
    for version in (MQTTv311, MQTTv5):
        publisher, reader = (
            Paho("", version),
            Paho("", version, client_id="reader", **({} if version == MQTTv5 else {"clean_session": False})),
        )
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        persistent = {"clean_start": False, "properties": properties} if version == MQTTv5 else {}
        await in_thread(publisher.connect, address)
        await in_thread(reader.connect, address, **persistent)
        await in_thread(reader.subscribe, "a/+", 2)
        for qos in (0, 1, 2):
            await in_thread(publisher.publish, f"a/{qos}", f"{version} {qos}", qos)
            assert (f"a/{qos}", f"{version} {qos}") == await in_thread(reader.next)
        await in_thread(reader.close)
        await in_thread(publisher.publish, "a/later", "kept", 2)
        again = Paho("", version, client_id="reader", **({} if version == MQTTv5 else {"clean_session": False}))
        assert (True, "Success") == await in_thread(again.connect, address, **persistent)
        assert ("a/later", "kept") == await in_thread(again.next)
        for paho in (publisher, again):
            await in_thread(paho.close)


# -- mosquitto_pub and mosquitto_sub ----------------------------------------------------------------------------------


async def mosquitto(hub, program, token, *options, listener=0, check=True):
    """Run a program of mosquitto-clients; returns its exit code and output."""
    host, port = address_of(hub, listener)
    command = [program, "-h", host, "-p", str(port), "-u", "device", "-P", token, *options]
    with trio.fail_after(PATIENCE):
        process = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    output = (process.stdout + process.stderr).decode()
    assert not check or process.returncode == 0, output
    return process.returncode, output


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5", "mqttv31"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
async def test_mosquitto_publishes_with_each_version_and_qos(hub, device, version, qos):
    meter, token = device
    await mosquitto(hub, "mosquitto_pub", token, "-V", version, "-q", qos, "-t", "ds/Temperature", "-m", "21.5")
    await until(lambda: current_value(hub, meter, 0) == 21.5)


@needs_mosquitto
async def test_mosquitto_publishes_over_tls(hub, device):
    ca = str(hub.config.data / "tls" / "ca.pem")
    options = ("--cafile", ca, "-q", "1", "-t", "ds/Temperature", "-m", "5")
    await mosquitto(hub, "mosquitto_pub", device[1], *options, listener=1)
    assert 5 == current_value(hub, device[0], 0)


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_receives_a_value(hub, device, version):
    meter, token = device
    async with trio.open_nursery() as nursery:

        async def write():
            await until(lambda: hub.sessions.get(meter.id) is not None)
            subscribed = hub.sessions.get(meter.id).client.session.subscriptions
            await until(lambda: subscribed)
            hub.write(Write(meter, 1, 42, "test", SYSTEM))

        nursery.start_soon(write)
        options = ("-V", version, "-q", "1", "-t", "downlink/#", "-C", "1", "-F", "%t %p")
        _, output = await mosquitto(hub, "mosquitto_sub", token, *options)
    assert "downlink/ds/Set Temperature 42\n" == output


@needs_mosquitto
async def test_mosquitto_prints_the_reason_of_a_rejection(hub, device):
    code, output = await mosquitto(hub, "mosquitto_pub", "x" * 32, "-t", "ds/Temperature", "-m", "1", check=False)
    assert (4, True) == (code, "bad user name or password" in output)
    options = ("-V", "mqttv5", "-q", "1", "-t", "ds/Temprature", "-m", "1")
    _, output = await mosquitto(hub, "mosquitto_pub", device[1], *options, check=False)
    assert "did you mean 'Temperature'?" in output
    _, output = await mosquitto(hub, "mosquitto_sub", device[1], "-t", "#", check=False)
    assert "subscription" in output.lower()


@needs_mosquitto
async def test_will_of_mosquitto_is_published_when_it_is_killed(hub, device):
    meter, token = device
    disconnections = []
    hub.subscribe(DeviceDisconnected, disconnections.append)
    host, port = address_of(hub)
    command = ["mosquitto_sub", "-h", host, "-p", str(port), "-u", "device", "-P", token, "-t", "downlink/#"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, [*command, "--will-topic", "ds/Temperature", "--will-payload", "-1"], check=False)
        )
        await until(lambda: hub.sessions.get(meter.id) is not None)
        process.kill()
    await until(lambda: current_value(hub, meter, 0) == -1, 20)
    assert disconnections


# -- documented clients -----------------------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()


def snippets(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def fill_in(text, hub, token, listener=0):
    """Insert the address and certificate of the hub, and the token, into a snippet."""
    host, port = address_of(hub, listener)
    ca = str(hub.config.data / "tls" / "ca.pem")
    for name, value in (("hub.local", host), ("8883" if listener else "1883", str(port)), ("ca.pem", ca)):
        text = text.replace(name, value)
    return text.replace("YOUR_TOKEN", token)


async def test_documented_python_client_sends_and_receives(hub, device, tmp_path):
    meter, token = device
    [paho] = [text for text in snippets("python") if "paho" in text]
    script = tmp_path / "device.py"
    script.write_text(fill_in(paho, hub, token))
    written = []
    hub.subscribe(ValueWritten, lambda fact: written.append((fact.datastream.name, fact.value)), meter.id)
    process = await trio.lowlevel.open_process([sys.executable, "-u", str(script)], stdout=subprocess.PIPE)
    try:
        await until(lambda: ("Temperature", 21.5) in written, 20)
        hub.write(Write(meter, 1, 25, "test", SYSTEM))
        output = b""
        with trio.fail_after(PATIENCE):
            while b"Set Temperature is now 25" not in output:
                output += await process.stdout.receive_some()
    finally:
        process.kill()
        await process.wait()


def test_documented_micropython_client_compiles():
    [umqtt] = [text for text in snippets("python") if "umqtt" in text]
    compile(umqtt, "docs/mqtt.md", "exec")


@needs_mosquitto
async def test_documented_mosquitto_commands_publish(hub, device):
    meter, token = device
    lines = [line for text in snippets("sh") for line in text.splitlines() if line.startswith("mosquitto_pub")]
    assert len(lines) >= 2
    for number, line in enumerate(lines):
        listener = 1 if "mqtts://" in line or "8883" in line else 0
        hub.write(Write(meter, 0, number, "test", SYSTEM))
        with trio.fail_after(PATIENCE):
            await trio.run_process(["sh", "-c", fill_in(line, hub, token, listener)])
        await until(lambda: current_value(hub, meter, 0) == 21.5)
