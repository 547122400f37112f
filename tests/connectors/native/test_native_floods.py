"""Devices over the rate limit of native messages."""

from __future__ import annotations

import attrs
import pytest
from support.facts import collect_facts
from support.native_devices import RESPONSE, add_native_device
from support.raw_native import OK, online
from support.rejections import rejection_reasons
from support.times import NOON, until
from support.values import current_value

from connectors.native.protocol import Cmd, Status
from connectors.native.timeouts import NativeTimeouts
from hub.facts import DeviceDisconnected, ValueWritten

SLOW = "[limits]\nmessages_per_second = 50\nburst = 100\n"


#: A device that floods is not paused, because the clock of these tests stands.
NO_PAUSE = NativeTimeouts(flood_pause=0, sweep=3600)


async def flood(client, count=130):
    """Send values at once; returns the frames received after the hub has read them and paused."""
    await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "1", message=60_000) * count)
    # The first PING may be in the same read; the second is read after the pause.
    return await client.received() + await client.received()


QUOTA_RESPONSE = [(RESPONSE, 60_000, Status.QUOTA_LIMIT)]


@pytest.mark.timeouts(attrs.evolve(NO_PAUSE, flood_patience=3600))
async def test_frames_over_the_rate_are_dropped_and_answered_once_per_minute(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add_native_device(hub, "Kitchen")
        async with online(hub, token, h_beat=3600) as client:
            responses = []
            for seconds in (0, 10, 49, 1):
                mock_clock.jump(seconds)
                responses.append(await flood(client))

            assert [QUOTA_RESPONSE, [], [], QUOTA_RESPONSE] == responses
            # The info is the first of the burst of 100; the last second allows 50.
            assert 99 + 100 + 100 + 50 == hub.writes.count

        assert ["device Kitchen sends more than 50 messages/s"] * 2 == rejection_reasons(hub)


@pytest.mark.timeouts(NO_PAUSE)
async def test_device_at_its_rate_is_not_limited(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add_native_device(hub)
        async with online(hub, token, h_beat=3600) as client:
            for _ in range(20):
                mock_clock.jump(1)
                assert [] == await flood(client, 50)

        assert 20 * 50 == hub.writes.count


@pytest.mark.timeouts(NO_PAUSE)
async def test_continued_flood_disconnects_only_its_device(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add_native_device(hub)
        device, other_token = await add_native_device(hub, "Other")
        disconnected = collect_facts(hub, DeviceDisconnected)
        async with online(hub, token, h_beat=3600) as client, online(hub, other_token, h_beat=3600) as other:
            for second in range(10):
                await flood(client)
                mock_clock.jump(1)
                await other.send(Cmd.HARDWARE, "vw", "0", str(second))
                assert [] == await other.received()
            assert [] == disconnected
            mock_clock.jump(0.5)
            await client.stream.send_all(client.frame(Cmd.HARDWARE, "vw", "0", "1") * 130)
            await client.read_to_end()
            await until(lambda: disconnected)

            assert ["the device kept sending more than 50 messages/s"] == [fact.reason for fact in disconnected]
            assert [] == await other.received()
        assert 9 == current_value(hub, device, 0)


@pytest.mark.timeouts(NO_PAUSE)
async def test_burst_long_after_a_flood_does_not_disconnect(start, mock_clock):
    async with start(SLOW) as hub:
        _, token = await add_native_device(hub)
        async with online(hub, token, h_beat=3600) as client:
            assert QUOTA_RESPONSE == await flood(client)
            for _ in range(60):
                mock_clock.jump(10)
                assert [] == await flood(client, 1)

            assert QUOTA_RESPONSE == await flood(client)


@pytest.mark.timeouts(NO_PAUSE)
async def test_ping_and_group_do_not_count_against_the_rate(start, mock_clock):
    """The library's own limit does not count them either."""
    async with start(SLOW) as hub:
        device, token = await add_native_device(hub)
        async with online(hub, token) as client:
            await client.stream.send_all(client.frame(Cmd.GROUP, "b") * 200 + client.frame(Cmd.PING) * 200)
            assert [(RESPONSE, 1, OK)] * 200 == await client.received()
            await client.send(Cmd.HARDWARE, "vw", "0", "5")
            assert [] == await client.received()

        assert 5 == current_value(hub, device, 0)


@pytest.mark.timeouts(NO_PAUSE)
async def test_group_ends_even_if_its_end_is_over_the_rate(start, mock_clock, time):
    async with start(SLOW, clock=time.clock()) as hub:
        _, token = await add_native_device(hub)
        written = collect_facts(hub, ValueWritten)
        async with online(hub, token, h_beat=3600) as client:
            await client.send(Cmd.GROUP, "b")
            assert QUOTA_RESPONSE == await flood(client)
            await client.send(Cmd.GROUP, "e")
            assert [] == await client.received()
            mock_clock.jump(2)
            time.wall += 2000
            await client.send(Cmd.HARDWARE, "vw", "0", "2")
            assert [] == await client.received()

    assert (2, NOON + 2000) == (written[-1].value, written[-1].ts)
