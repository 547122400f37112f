"""Simulated devices: clients that write values to a hub as a board would, over each of its transports."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs
import trio

from connectors.mqtt import client as mqtt
from connectors.mqtt.packets import Publish
from connectors.native.client import Client, Disconnected, LoginFailed, connect
from connectors.native.protocol import Status

if TYPE_CHECKING:
    from client.operations import TemplateObject

#: Seconds after which a device connects again.
RECONNECT_AFTER = 2.0
#: Seconds between two heartbeats.
HEARTBEAT = 20.0
#: Seconds in which values go through one wave, as a day's temperature does.
WAVE = 600


@attrs.frozen(kw_only=True)
class SimulatedDatastream:
    """The fields of a datastream that decide about its values; ``values`` are the keys of an enum."""

    pin: int
    name: str
    type: str
    min: float | None
    max: float | None
    values: Sequence[int]


def datastreams_of(template: TemplateObject) -> list[SimulatedDatastream]:
    """Return the datastreams of a template from the API."""
    return [
        SimulatedDatastream(
            pin=int(str(datastream["pin"])[1:]),
            name=datastream["name"],
            type=datastream["type"],
            min=datastream["min"],
            max=datastream["max"],
            values=[int(key) for key in datastream["values"]],
        )
        for datastream in template["datastreams"]
    ]


def make_value(datastream: SimulatedDatastream, phase: float, generator: random.Random) -> tuple[str, ...]:
    """Return a plausible value: numbers follow a sine wave with noise; ``phase`` is in radians."""
    low = 0.0 if datastream.min is None else datastream.min
    high = low + 100 if datastream.max is None else datastream.max
    number = low + (high - low) * (0.5 + 0.4 * math.sin(phase) + 0.05 * generator.uniform(-1, 1))
    match datastream.type:
        case "integer":
            return (str(round(number)),)
        case "double":
            return (f"{number:.2f}",)
        case "enum":
            return (str(generator.choice(datastream.values)),)
        case "location":
            return (f"{13.4 + 0.01 * math.sin(phase):.5f}", f"{52.5 + 0.01 * math.cos(phase):.5f}")
        case _:
            return (f"simulated {generator.randint(1, 100)}",)


@attrs.define(kw_only=True)
class SimulatedDevice:
    """A device on the native protocol. ``rate`` is values per second; ``sent`` and ``received`` count values."""

    host: str
    port: int
    token: str
    template: str
    datastreams: Sequence[SimulatedDatastream]
    rate: float = 1.0
    tls: ssl.SSLContext | None = None
    sent: int = 0
    received: int = 0
    online: bool = False
    _generator: random.Random = attrs.field(factory=random.Random)

    async def run(self, report: Callable[[str], None] = lambda _text: None) -> None:
        """Stay connected and send values until cancelled; ``report`` is called with "online" and with errors.

        Raises `LoginFailed`: connecting again would not help.
        """
        info = {
            "ver": "1.0",
            "h-beat": str(int(HEARTBEAT)),
            "buff-in": "1024",
            "dev": "Simulator",
            "tmpl": self.template,
        }
        while True:
            try:
                async with connect(self.host, self.port, self.token, info=info, tls=self.tls) as client:
                    self.online = True
                    report("online")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._receive, client, nursery.cancel_scope)
                        nursery.start_soon(self._send, client, nursery.cancel_scope)
                        nursery.start_soon(self._send_heartbeats, client, nursery.cancel_scope)
            except LoginFailed:
                raise
            except (OSError, Disconnected) as error:
                report(f"cannot connect: {error}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    def _values(self) -> Iterator[tuple[SimulatedDatastream, tuple[str, ...]]]:
        """Yield a new value of each datastream in turn, without end."""
        offset = self._generator.uniform(0, 2 * math.pi)
        for number in itertools.count():
            datastream = self.datastreams[number % len(self.datastreams)]
            yield datastream, make_value(datastream, offset + time.time() / WAVE * 2 * math.pi, self._generator)

    async def _receive(self, client: Client, connection_scope: trio.CancelScope) -> None:
        async for _ in client.writes():
            self.received += 1
        connection_scope.cancel()

    async def _send_heartbeats(self, client: Client, connection_scope: trio.CancelScope) -> None:
        try:
            while True:
                await trio.sleep(HEARTBEAT)
                await client.ping()
        except Disconnected:
            connection_scope.cancel()

    async def _send(self, client: Client, connection_scope: trio.CancelScope) -> None:
        try:
            for datastream, texts in self._values():
                await client.write(datastream.pin, *texts)
                self.sent += 1
                await trio.sleep(1 / self.rate)
        except Disconnected:
            connection_scope.cancel()


@attrs.define(kw_only=True)
class SimulatedMqttDevice(SimulatedDevice):
    """A device over MQTT; ``sent`` counts acknowledged values."""

    async def run(self, report: Callable[[str], None] = lambda _text: None) -> None:
        """Do as `SimulatedDevice.run`."""
        while True:
            try:
                keep_alive = int(HEARTBEAT * 2)
                connection = mqtt.connect(self.host, self.port, self.token, keep_alive=keep_alive, tls=self.tls)
                async with connection as client, trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive_messages, client, nursery.cancel_scope)
                    await client.subscribe("downlink/#")
                    await client.publish("info/mcu", json.dumps({"tmpl": self.template, "ver": "1.0"}).encode())
                    self.online = True
                    report("online")
                    nursery.start_soon(self._publish, client)
                    while True:
                        await trio.sleep(HEARTBEAT)
                        await client.ping()
            except* mqtt.LoginFailed as group:
                raise LoginFailed(group.exceptions[0].reason) from None  # type: ignore[union-attr]
            except* (OSError, mqtt.Disconnected) as group:
                report(f"cannot connect: {group.exceptions[0]}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    async def _receive_messages(self, client: mqtt.Client, connection_scope: trio.CancelScope) -> None:
        def on_message(message: Publish) -> None:
            self.received += message.topic.startswith("downlink/ds/")

        await client.listen(on_message)
        connection_scope.cancel()

    async def _publish(self, client: mqtt.Client) -> None:
        for datastream, texts in self._values():
            separator = "," if datastream.type == "location" else "\0"
            await client.publish(f"ds/{datastream.name}", separator.join(texts).encode())
            self.sent += 1
            await trio.sleep(1 / self.rate)


@attrs.define(kw_only=True)
class SimulatedHttpDevice(SimulatedDevice):
    """A device on the Device HTTPS API, which only writes; ``sent`` counts values that were answered with 200."""

    async def run(self, report: Callable[[str], None] = lambda _text: None) -> None:
        """Send values until cancelled. Raises `LoginFailed` when the hub rejects the token."""
        while True:
            try:
                stream: trio.abc.Stream = await trio.open_tcp_stream(self.host, self.port)
                if self.tls is not None:
                    stream = trio.SSLStream(stream, self.tls, server_hostname=self.host, https_compatible=True)
                async with stream:
                    self.online = True
                    report("online")
                    await self._update(stream)
            except (OSError, trio.BrokenResourceError) as error:
                report(f"cannot connect: {str(error) or 'the connection ended'}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    async def _update(self, stream: trio.abc.Stream) -> None:
        for datastream, texts in self._values():
            query = urlencode([("token", self.token), *((f"v{datastream.pin}", text) for text in texts)])
            head = f"GET /external/api/update?{query} HTTP/1.1\r\nHost: {self.host}\r\n\r\n"
            await stream.send_all(head.encode())
            status = await _read_status(stream)
            if status == 400:
                raise LoginFailed(Status.INVALID_TOKEN)
            self.sent += status == 200
            await trio.sleep(1 / self.rate)


async def _read_status(stream: trio.abc.Stream) -> int:
    """Read a whole answer and return its status. Raises `trio.BrokenResourceError` if the connection ends early."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            return int(head.split(b" ")[1])
        data = await stream.receive_some(4096)
        if not data:
            raise trio.BrokenResourceError
        answer += data
