"""The official C++ client byte by byte: what it sends, and what the hub must answer.

Captured on 2026-11-23 between Blynk C++ library 1.4.0 (its Linux build, unmodified but for a ``main.cpp`` that calls most
of the API) and this hub. The client received everything: it printed every value, time and field it had requested. It writes
header and body of a frame separately, and reads with a timeout of a millisecond, so a frame split over two sends would
end the connection.
"""

from __future__ import annotations

import attrs
import pytest
import trio
from support.patience import patient

from hub.clock import Clock
from hub.domain.devices import NewDevice
from hub.model import SYSTEM, AppConnected, Reboot, Redirect
from hub.run import running
from hub.testing import LOOPBACK, address_of
from hub.writes import Write

TOKEN = "0123456789abcdef0123456789abcdef"
#: The hub's clock at that time, in milliseconds UTC: the responses about time depend on it.
CAPTURED_AT = 1_795_458_726_605
PATIENCE = patient(10)

TEMPLATE = """
[template]
id = "TMPL0wire0001"
name = "Wire"
[[datastream]]
pin = "V0"
name = "Count"
type = "integer"
sync = true
[[datastream]]
pin = "V1"
name = "Temperature"
type = "double"
sync = true
[[datastream]]
pin = "V2"
name = "Text"
type = "string"
[[datastream]]
pin = "V3"
name = "Row"
type = "string"
sync = true
[[datastream]]
pin = "V4"
name = "Asked"
type = "integer"
[[datastream]]
pin = "V5"
name = "Place"
type = "location"
sync = true
[[datastream]]
pin = "V6"
name = "Answered"
type = "integer"
[[datastream]]
pin = "V7"
name = "With default"
type = "integer"
default = 17
sync = true
[[datastream]]
pin = "V8"
name = "Never written"
type = "string"
sync = true
[[datastream]]
pin = "V10"
name = "Progress"
type = "string"
[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"
[[event]]
code = "too_cold"
name = "Too cold"
type = "warning"
[[metadata]]
name = "Serial Number"
default = "none"
"""

#: The client's frames, and the hub's responses to each.
DIALOGUE = [
    (b"\x1d\x00\x01\x00\x200123456789abcdef0123456789abcdef", b"\x00\x00\x01\x00\xc8"),
    (
        (
            b"\x11\x00\x02\x00\x84"
            b"ver\x001.4.0\x00"
            b"h-beat\x0010\x00"
            b"buff-in\x004096\x00"
            b"dev\x00Linux\x00"
            b"fw-type\x00TMPL0wire0001\x00"
            b"fw\x000.1.0\x00"
            b"build\x00Nov 23 2026 18:31:48\x00"
            b"conn\x00Socket\x00"
            b"tmpl\x00TMPL0wire0001\x00"
        ),
        b"\x00\x00\x02\x00\xc8",
    ),
    (b"\x14\x00\x03\x00\x07vw\x000\x0042", b""),
    (b"\x14\x00\x04\x00\x0evw\x001\x003.5000000", b""),
    (b"\x14\x00\x05\x00\x12vw\x002\x00Hello, W\xc3\xb6rld", b""),
    (b"\x14\x00\x06\x00\x12vw\x003\x00a\x002\x003.2500000", b""),
    (b"\x14\x00\x07\x00\x1avw\x005\x0030.5200000\x0050.4500000", b""),
    (b"\x14\x00\x08\x00\x0avw\x000\x005.000", b""),
    (b"\x14\x00\x09\x00\x08vw\x000\x00abc", b"\x00\x00\x09\x00\x02"),
    (b"\x14\x00\x0a\x00\x06vw\x009\x001", b""),
    (b"\x14\x00\x0b\x00\x0dvw\x002\x00raw text", b""),
    (
        b"\x10\x00\x0c\x00\x00",
        (
            b"\x14\x00\x0c\x00\x06vw\x000\x005"
            b"\x14\x00\x0c\x00\x08vw\x001\x003.5"
            b"\x14\x00\x0c\x00\x12vw\x003\x00a\x002\x003.2500000"
            b"\x14\x00\x0c\x00\x10vw\x005\x0030.52\x0050.45"
            b"\x14\x00\x0c\x00\x07vw\x007\x0017"
        ),
    ),
    (
        b"\x10\x00\x0d\x00\x08vr\x000\x001\x002",
        (b"\x14\x00\x0d\x00\x06vw\x000\x005\x14\x00\x0d\x00\x08vw\x001\x003.5\x14\x00\x0d\x00\x0dvw\x002\x00raw text"),
    ),
    (b"\x10\x00\x0e\x00\x04vr\x009", b""),
    (b"\x13\x00\x0f\x00\x0f0\x00color\x00#D3435C", b"\x00\x00\x0f\x00\xc8"),
    (b"\x13\x00\x10\x00\x163\x00labels\x00one\x00two\x00three", b"\x00\x00\x10\x00\xc8"),
    (b"\x13\x00\x11\x00\x130\x001\x00isDisabled\x00true", b"\x00\x00\x11\x00\xc8"),
    (b"\x13\x00\x12\x00\x0c0\x00nonsense\x00x", b"\x00\x00\x12\x00\x0b"),
    (b"\x40\x00\x13\x00\x07too_hot", b"\x00\x00\x13\x00\xc8"),
    (b"\x40\x00\x14\x00\x15too_cold\x00It is -3 \xc2\xb0C", b"\x00\x00\x14\x00\xc8"),
    (b"\x40\x00\x15\x00\x08nonsense", b"\x00\x00\x15\x00\x02"),
    (b"\x41\x00\x16\x00\x07too_hot", b"\x00\x00\x16\x00\xc8"),
    (b"\x41\x00\x17\x00\x0ctoo_cold\x00all", b"\x00\x00\x17\x00\xc8"),
    (b"\x15\x00\x18\x00\x01b", b""),
    (b"\x14\x00\x19\x00\x06vw\x000\x007", b""),
    (b"\x14\x00\x1a\x00\x0evw\x001\x007.2500000", b""),
    (b"\x15\x00\x1b\x00\x01e", b""),
    (b"\x15\x00\x1c\x00\x0ft\x001700000000123", b""),
    (b"\x14\x00\x1d\x00\x06vw\x000\x008", b"\x00\x00\x1d\x00\x02"),
    (b"\x14\x00\x1e\x00\x0evw\x001\x008.2500000", b"\x00\x00\x1e\x00\x02"),
    (b"\x15\x00\x1f\x00\x01e", b""),
    (b"\x11\x00\x20\x00\x0butc\x00tz_name", b"\x11\x00\x20\x00\x17utc\x00tz_name\x00Europe/Kiev"),
    (b"\x11\x00\x21\x00\x07utc\x00iso", b"\x11\x00\x21\x00\x21utc\x00iso\x002026-11-23T20:32:06+02:00"),
    (b"\x11\x00\x22\x00\x08utc\x00time", b"\x11\x00\x22\x00\x16utc\x00time\x001795458726605"),
    (b"\x11\x00\x23\x00\x06utc\x00tz", b"\x11\x00\x23\x00\x0cutc\x00tz\x00120\x000"),
    (b"\x11\x00\x24\x00\x0butc\x00tz_rule", b"\x11\x00\x24\x00\x28utc\x00tz_rule\x00EET-2EEST,M3.5.0/3,M10.5.0/4"),
    (
        b"\x11\x00\x25\x00\x0cutc\x00dst_next",
        b"\x11\x00\x25\x00\x2autc\x00dst_next\x001806195600\x00180\x001824944400\x00120",
    ),
    (b"\x11\x00\x26\x00\x08rtc\x00sync", b"\x11\x00\x26\x00\x0ertc\x001795465926"),
    (b"\x11\x00\x27\x00\x16meta\x00get\x00Serial Number", b"\x11\x00\x27\x00\x17meta\x00Serial Number\x00none"),
    (b"\x11\x00\x28\x00\x14meta\x00get\x00Device Name", b"\x11\x00\x28\x00\x17meta\x00Device Name\x00Device"),
    (b"\x11\x00\x29\x00\x11meta\x00get\x00Nonsense", b"\x00\x00\x29\x00\x11"),
    (b"\x11\x00\x2a\x00\x1emeta\x00set\x00Serial Number\x00SN-0001", b"\x00\x00\x2a\x00\xc8"),
    (b"\x11\x00\x2b\x00\x24meta\x00set\x00Hotspot Name\x00Blynk Device-1", b"\x00\x00\x2b\x00\xc8"),
    (b"\x11\x00\x2c\x00\x13meta\x00set\x00Nonsense\x00x", b"\x00\x00\x2c\x00\xc8"),
    (b"\x11\x00\x2d\x00\x16meta\x00get\x00Serial Number", b"\x11\x00\x2d\x00\x1ameta\x00Serial Number\x00SN-0001"),
    (b"\x14\x00\x2e\x00\x0avw\x0010\x00done", b""),
]

#: A later connection of the same client, which sends only the login and its info.
LOGIN = DIALOGUE[:2]


@pytest.fixture
def hub_toml():
    return '[hub]\ntimezone = "Europe/Kiev"\n' + LOOPBACK


@pytest.fixture
async def hub(hub_config):
    """A hub whose clock stands still, with the device."""
    async with running(hub_config, clock=Clock(wall=lambda: CAPTURED_AT * 1_000_000)) as hub:
        template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
        await hub.devices.add([NewDevice(name="Device", template=template, token=TOKEN)], SYSTEM)
        yield hub


@attrs.define
class ByteStream:
    """A connection whose received bytes are compared one by one."""

    stream: trio.SocketStream

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, expected: bytes) -> None:
        """Assert that the next bytes are these."""
        received = b""
        with trio.move_on_after(PATIENCE):
            while len(received) < len(expected) and expected.startswith(received):
                data = await self.stream.receive_some(len(expected) - len(received))
                if not data:
                    break
                received += data
        assert received == expected

    async def expect_end(self) -> None:
        """Assert that the hub sends nothing more and ends the connection."""
        with trio.fail_after(PATIENCE):
            assert await self.stream.receive_some(1) == b""


@pytest.fixture
async def link(hub):
    async with await trio.open_tcp_stream(*address_of(hub)) as stream:
        yield ByteStream(stream)


async def play(link, dialogue):
    """Send the frames of the client, and assert the responses."""
    for frame, response in dialogue:
        # Like the client: header and body in separate writes.
        await link.send(frame[:5])
        if frame[5:]:
            await link.send(frame[5:])
        await link.receive(response)


async def expect_nothing_more(link):
    """Assert that the hub has sent nothing else, by a PING."""
    await link.send(b"\x06\xff\xf0\x00\x00")
    await link.receive(b"\x00\xff\xf0\x00\xc8")


async def check_state(hub):
    [device] = hub.devices.by_id.values()
    latest = {pin: hub.history.latest[p.series] for pin, p in device.points.items() if p.series in hub.history.latest}
    assert latest == {
        0: (CAPTURED_AT, 7),
        1: (CAPTURED_AT, 7.25),
        2: (CAPTURED_AT, "raw text"),
        3: (CAPTURED_AT, ("a", "2", "3.2500000")),
        5: (CAPTURED_AT, (30.52, 50.45)),
        10: (CAPTURED_AT, "done"),
    }
    assert device.firmware == {
        "ver": "1.4.0",
        "h-beat": "10",
        "buff-in": "4096",
        "dev": "Linux",
        "fw-type": "TMPL0wire0001",
        "fw": "0.1.0",
        "build": "Nov 23 2026 18:31:48",
        "conn": "Socket",
        "tmpl": "TMPL0wire0001",
    }
    by_pin = {pin: point.datastream.id for pin, point in device.points.items()}
    assert await hub.properties.values_for(device) == {
        by_pin[0]: {"color": ("#D3435C",), "isDisabled": ("true",)},
        by_pin[1]: {"isDisabled": ("true",)},
        by_pin[3]: {"labels": ("one", "two", "three")},
    }
    assert await hub.metadata.values_for(device) == {"Serial Number": "SN-0001", "Hotspot Name": "Blynk Device-1"}
    assert [(e.code, e.description, e.resolved) for e in await hub.timeline.newest(device) if e.type != "online"] == [
        ("too_cold", "It is -3 °C", CAPTURED_AT),
        ("too_hot", "", CAPTURED_AT),
    ]


async def test_recorded_dialogue_with_header_and_body_in_separate_writes(hub, link):
    await play(link, DIALOGUE)
    await expect_nothing_more(link)
    await check_state(hub)


async def test_recorded_dialogue_in_one_write(hub, link):
    await play(link, DIALOGUE[:1])
    await link.send(b"".join(frame for frame, _ in DIALOGUE[1:]))
    await link.receive(b"".join(response for _, response in DIALOGUE[1:]))
    await expect_nothing_more(link)
    await check_state(hub)


async def test_recorded_dialogue_in_single_bytes(hub, link):
    for frame, response in DIALOGUE:
        for n in range(len(frame)):
            await link.send(frame[n : n + 1])
            await trio.lowlevel.checkpoint()
        await link.receive(response)
    await expect_nothing_more(link)
    await check_state(hub)


async def test_frames_that_the_hub_pushes(hub, link):
    """All pushes that were recorded, and the client's responses: in its handler of V4 it wrote V6 and requested V0."""
    [device] = hub.devices.by_id.values()

    def push(pin, raw):
        hub.write(Write(device, pin, raw, "test", SYSTEM))

    await play(link, DIALOGUE[:3])
    push(1, 21.5)
    await link.receive(b"\x14\x00\x01\x00\x09vw\x001\x0021.5")
    push(2, "It is 5 °C")
    await link.receive(b"\x14\x00\x02\x00\x10vw\x002\x00It is 5 \xc2\xb0C")
    push(2, ["x", "", "z"])
    await link.receive(b"\x14\x00\x03\x00\x09vw\x002\x00x\x00\x00z")
    push(4, 100)
    await link.receive(b"\x14\x00\x04\x00\x08vw\x004\x00100")
    # Frames that the client sends while it handles a frame have the id of that frame.
    responses = [
        (b"\x14\x00\x04\x00\x08vw\x006\x00101", b""),
        (b"\x10\x00\x04\x00\x04vr\x000", b"\x14\x00\x04\x00\x07vw\x000\x0042"),
    ]
    await play(link, responses)
    assert hub.history.latest[device.points[6].series][1] == 101
    hub.command(device, AppConnected(True))
    await link.receive(b"\x11\x00\x05\x00\x05acon\x00")
    hub.command(device, AppConnected(False))
    await link.receive(b"\x11\x00\x06\x00\x05adis\x00")
    await hub.metadata.set(device, "Serial Number", "SN-0002", SYSTEM)
    await link.receive(b"\x11\x00\x07\x00\x1ameta\x00Serial Number\x00SN-0002")
    hub.command(device, Reboot())
    await link.receive(b"\x11\x00\x08\x00\x0adbg\x00reboot")
    # After a heartbeat period in which neither side sent anything.
    await play(link, [(b"\x06\x00\x2f\x00\x00", b"\x00\x00\x2f\x00\xc8")])
    hub.command(device, Redirect("127.0.0.1", 40683))
    await link.receive(b"\x29\x00\x09\x00\x0f127.0.0.1\x0040683")
    await expect_nothing_more(link)


async def test_new_login_replaces_the_old_connection_of_the_device(hub, link):
    """A device that lost power can log in again at once."""
    await play(link, LOGIN)
    async with await trio.open_tcp_stream(*address_of(hub)) as stream:
        again = ByteStream(stream)
        await play(again, LOGIN)
        await play(again, [(b"\x14\x00\x03\x00\x0bvw\x0010\x00again", b"")])
        await expect_nothing_more(again)
        await link.expect_end()
        [device] = hub.devices.by_id.values()
        assert hub.history.latest[device.points[10].series][1] == "again"
        assert hub.sessions.get(device.id) is not None


async def test_push_waits_for_the_info_frame(hub, link):
    """The client accepts no other frame between the responses to its login and to its info frame."""
    [device] = hub.devices.by_id.values()
    await play(link, LOGIN[:1])
    hub.write(Write(device, 1, 55, "test", SYSTEM))
    info, response = LOGIN[1]
    await play(link, [(info, response + b"\x14\x00\x01\x00\x09vw\x001\x0055.0")])
    await expect_nothing_more(link)


async def test_login_with_an_unknown_token_gets_status_9(hub, link):
    """The client ends the connection when it receives 9; the hub does not."""
    await play(link, [(b"\x1d\x00\x01\x00\x20ffffffffffffffffffffffffffffffff", b"\x00\x00\x01\x00\x09")])
    assert [rejection.reason for rejection in hub.rejections.recent] == ["unknown token ending …ff"]
    await link.stream.send_eof()
    await link.expect_end()
