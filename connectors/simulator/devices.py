"""Simulated devices: clients of the hub that do with their template's datastreams what a board would."""

from __future__ import annotations

import json
import math
import random
import re
import ssl
import time
from collections.abc import Callable, Sequence
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

#: Seconds before a device that lost its hub dials again.
RECONNECT_AFTER = 2.0
#: Seconds between two heartbeats.
HEARTBEAT = 20.0


@attrs.frozen(kw_only=True)
class Stream:
    """What the simulator knows of a datastream."""

    pin: int
    name: str
    type: str
    min: float | None
    max: float | None
    values: Sequence[int]


def streams_of(template: TemplateObject) -> list[Stream]:
    """The datastreams of a template as the API describes it."""
    return [
        Stream(
            pin=int(str(d["pin"])[1:]),
            name=d["name"],
            type=d["type"],
            min=d["min"],
            max=d["max"],
            values=[int(key) for key in d["values"]],
        )
        for d in template["datastreams"]
    ]


def value(stream: Stream, phase: float, chance: random.Random) -> tuple[str, ...]:
    """A plausible value: numbers wander like a day's temperature."""
    low = 0.0 if stream.min is None else stream.min
    high = low + 100 if stream.max is None else stream.max
    wave = low + (high - low) * (0.5 + 0.4 * math.sin(phase) + 0.05 * chance.uniform(-1, 1))
    match stream.type:
        case "integer":
            return (str(round(wave)),)
        case "double":
            return (f"{wave:.2f}",)
        case "enum":
            return (str(chance.choice(stream.values)),)
        case "location":
            return (f"{13.4 + 0.01 * math.sin(phase):.5f}", f"{52.5 + 0.01 * math.cos(phase):.5f}")
        case _:
            return (f"simulated {chance.randint(1, 100)}",)


@attrs.define(kw_only=True)
class SimulatedDevice:
    """``rate`` is values per second. ``sent`` and ``received`` count values."""

    host: str
    port: int
    token: str
    template: str
    streams: Sequence[Stream]
    rate: float = 1.0
    tls: ssl.SSLContext | None = None
    sent: int = 0
    received: int = 0
    online: bool = False
    _chance: random.Random = attrs.field(factory=random.Random)

    async def run(self, told: Callable[[str], None] = lambda _: None) -> None:
        """Stay connected and send values until cancelled. Raises `LoginFailed`: dialling again would not help."""
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
                    told("online")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._listen, client, nursery.cancel_scope)
                        nursery.start_soon(self._send, client, nursery.cancel_scope)
                        nursery.start_soon(self._beat, client, nursery.cancel_scope)
            except LoginFailed:
                raise
            except (OSError, Disconnected) as error:
                told(f"cannot connect: {error}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    async def _listen(self, client: Client, over: trio.CancelScope) -> None:
        async for _ in client.writes():
            self.received += 1
        over.cancel()

    async def _beat(self, client: Client, over: trio.CancelScope) -> None:
        try:
            while True:
                await trio.sleep(HEARTBEAT)
                await client.ping()
        except Disconnected:
            over.cancel()

    async def _send(self, client: Client, over: trio.CancelScope) -> None:
        offset = self._chance.uniform(0, 2 * math.pi)
        try:
            for number in range(2**62):
                stream = self.streams[number % len(self.streams)]
                phase = offset + time.time() / 600 * 2 * math.pi
                await client.write(stream.pin, *value(stream, phase, self._chance))
                self.sent += 1
                await trio.sleep(1 / self.rate)
        except Disconnected:
            over.cancel()


@attrs.define(kw_only=True)
class SimulatedMqttDevice(SimulatedDevice):
    """A device over MQTT; ``sent`` counts what was acknowledged."""

    async def run(self, told: Callable[[str], None] = lambda _: None) -> None:
        """As `SimulatedDevice.run`."""
        while True:
            try:
                keep_alive = int(HEARTBEAT * 2)
                dial = mqtt.connect(self.host, self.port, self.token, keep_alive=keep_alive, tls=self.tls)
                async with dial as client, trio.open_nursery() as nursery:
                    nursery.start_soon(self._hear, client, nursery.cancel_scope)
                    await client.subscribe("downlink/#")
                    await client.publish("info/mcu", json.dumps({"tmpl": self.template, "ver": "1.0"}).encode())
                    self.online = True
                    told("online")
                    nursery.start_soon(self._publish, client)
                    while True:
                        await trio.sleep(HEARTBEAT)
                        await client.ping()
            except* mqtt.LoginFailed as group:
                raise LoginFailed(group.exceptions[0].reason) from None  # type: ignore[union-attr]
            except* (OSError, mqtt.Disconnected) as group:
                told(f"cannot connect: {group.exceptions[0]}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    async def _hear(self, client: mqtt.Client, over: trio.CancelScope) -> None:
        def heard(message: Publish) -> None:
            self.received += message.topic.startswith("downlink/ds/")

        await client.listen(heard)
        over.cancel()

    async def _publish(self, client: mqtt.Client) -> None:
        offset = self._chance.uniform(0, 2 * math.pi)
        for number in range(2**62):
            stream = self.streams[number % len(self.streams)]
            phase = offset + time.time() / 600 * 2 * math.pi
            separator = "," if stream.type == "location" else "\0"
            await client.publish(f"ds/{stream.name}", separator.join(value(stream, phase, self._chance)).encode())
            self.sent += 1
            await trio.sleep(1 / self.rate)


@attrs.define(kw_only=True)
class SimulatedHttpDevice(SimulatedDevice):
    """A device that only writes, over the Device HTTPS API; ``sent`` counts what was answered with 200."""

    async def run(self, told: Callable[[str], None] = lambda _: None) -> None:
        """Send values until cancelled. Raises `LoginFailed` when the hub does not know the token."""
        while True:
            try:
                stream: trio.abc.Stream = await trio.open_tcp_stream(self.host, self.port)
                if self.tls is not None:
                    stream = trio.SSLStream(stream, self.tls, server_hostname=self.host, https_compatible=True)
                async with stream:
                    self.online = True
                    told("online")
                    await self._update(stream)
            except (OSError, trio.BrokenResourceError) as error:
                told(f"cannot connect: {str(error) or 'the connection ended'}")
            self.online = False
            await trio.sleep(RECONNECT_AFTER)

    async def _update(self, stream: trio.abc.Stream) -> None:
        offset = self._chance.uniform(0, 2 * math.pi)
        for number in range(2**62):
            one = self.streams[number % len(self.streams)]
            texts = value(one, offset + time.time() / 600 * 2 * math.pi, self._chance)
            query = urlencode([("token", self.token), *((f"v{one.pin}", text) for text in texts)])
            head = f"GET /external/api/update?{query} HTTP/1.1\r\nHost: {self.host}\r\n\r\n"
            await stream.send_all(head.encode())
            status = await _status(stream)
            if status == 400:
                raise LoginFailed(Status.INVALID_TOKEN)
            self.sent += status == 200
            await trio.sleep(1 / self.rate)


async def _status(stream: trio.abc.Stream) -> int:
    """The status of an answer, read to its end. Raises `trio.BrokenResourceError` when the connection ends before."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            return int(head.split(b" ")[1])
        more = await stream.receive_some(4096)
        if not more:
            raise trio.BrokenResourceError
        answer += more
