"""Faults that a hub survives: wrong clocks, full disks, power cuts, hostile clients and broken plugins."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from support.databases import full_disk
from support.patience import patient
from support.times import DAY, HOUR, NOON, until
from support.values import write_value

import hub.errors
import hub.history.commit_log
from connectors.http.websocket import MAX_FRAGMENTS
from connectors.native.client import connect
from connectors.native.protocol import Cmd, Status
from connectors.native.timeouts import NativeTimeouts
from hub.config import parse
from hub.domain.devices import NewDevice
from hub.errors import Rejected, Unavailable, WrongType
from hub.history.timeouts import HistoryTimeouts
from hub.model import SYSTEM
from hub.run import running
from hub.testing import LOOPBACK, add_device, address_of

TEMPLATE = """
[template]
id = "TMPL0"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Level"
sync = true
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
"""
INFO = {"ver": "1.0", "h-beat": "45", "buff-in": "1024"}


@pytest.fixture
def start(tmp_path, hub_timeouts):
    """Start a hub on the same data directory each time: ``async with start(toml) as hub``."""

    @asynccontextmanager
    async def start(toml="", **options):
        async with running(
            parse(LOOPBACK + toml).with_data(str(tmp_path / "data")), timeouts=hub_timeouts, **options
        ) as hub:
            yield hub

    return start


async def compact_and_expire(hub):
    """Compact everything, and delete everything that has expired."""
    hub.history.close_segment()
    await until(lambda: not hub.history.is_busy)
    while True:
        hub.history.retention._expire_at = 0.0
        await hub.history.retention._expire()
        if not hub.history.retention._expire_from:
            break


async def count_points(hub, device, pin=0):
    """The number of raw values of a datastream."""
    points = hub.history.points(device.points[pin].series, 0, 2**42)
    return sum([len(piece) async for piece in points])


# -- clocks -----------------------------------------------------------------------------------------------------------


async def test_nothing_expires_by_a_clock_that_starts_a_year_ahead_or_is_set_back_an_hour(start, time, tmp_path):
    async with start(clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        for n in range(100):
            receipt = write_value(hub, device, 0, n)
        await receipt.durable()
    time.wall += 365 * DAY
    time.uptime = 0
    async with start(clock=time.clock()) as hub:
        device = hub.devices.get(device.id)
        await write_value(hub, device, 0, 1000).durable()
        await compact_and_expire(hub)
        time.wall -= HOUR
        hub.clock.check()
        await write_value(hub, device, 0, 1001).durable()
        await compact_and_expire(hub)

        assert 102 == await count_points(hub, device)
        assert 1001.0 == hub.writes.latest(device, device.points[0].datastream)[1]


async def test_retention_deletes_expired_values_when_the_clock_is_believable(start, time, tmp_path):
    async with start('[storage]\nretain_raw = "30d"', clock=time.clock()) as hub:
        device, _ = await add_device(hub, TEMPLATE)
        # The first row is stamped ahead by its device; it must not hide the older ones behind it.
        write_value(hub, device, 0, 1, NOON + DAY - 1)
        for n in range(20):
            receipt = write_value(hub, device, 0, n)
        await receipt.durable()
        time.pass_(30 * DAY + 2 * HOUR)
        await write_value(hub, device, 0, 3).durable()
        await compact_and_expire(hub)

        assert 2 == await count_points(hub, device)


async def test_writes_are_rejected_when_too_many_values_wait_for_compaction(start, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "MAX_UNCOMPACTED", 30)
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 10)
    monkeypatch.setattr(hub.history.commit_log, "SEGMENT_POINTS", 20)
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        count = 0
        with pytest.raises(Unavailable):
            for n in range(1000):
                write_value(started, device, 0, n)
                count += 1
        assert count == 30
        assert started.history.full
        with trio.fail_after(patient(5)):
            await started.history.wait_for_space()
        await write_value(started, device, 0, 7).durable()
        assert 31 == await count_points(started, device)


# -- disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeouts(NativeTimeouts(sweep=0.05, full_check=0.05), HistoryTimeouts(retry=0.05))
async def test_devices_log_in_and_are_answered_while_the_disk_is_full_and_writes_resume_afterwards(start, monkeypatch):
    monkeypatch.setattr(hub.history.commit_log, "BATCH_ROWS", 50)
    async with start() as started:
        device, token = await add_device(started, TEMPLATE)
        async with full_disk(started.storage.history):
            count = 0
            while not started.history.full:
                write_value(started, device, 1, "x" * 1000)
                count += 1
            async with connect(*address_of(started), token, info=INFO) as client:
                await client.ping()
                assert (Cmd.RESPONSE, Status.OK) == (await client.next_frame())[::3]
                await client.write(0, "5")
                await trio.testing.wait_all_tasks_blocked()
                assert device.points[0].series not in started.history.latest
            # A client that disconnects while the hub does not read is detected when it reads again.
            async with connect(*address_of(started), token, info=INFO) as client:
                await client.write(0, "6")
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Unavailable):
                while True:
                    await write_value(started, device, 1, "7").durable()
        with trio.fail_after(patient(20)):
            while started.history.fault or started.history.full or len(started.sessions):
                await trio.sleep(0.01)
        await write_value(started, device, 0, "8").durable()
        assert 8.0 == started.writes.latest(device, device.points[0].datastream)[1]
        assert started.history.stored > count


async def test_storage_error_during_the_check_of_the_history_is_logged_and_the_hub_runs(start, monkeypatch, caplog):
    async with start() as started:

        async def broken(_fn):
            raise hub.errors.StorageError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(started.storage.history, "read", broken)
            await started.history.check()
        device, _ = await add_device(started, TEMPLATE)
        await write_value(started, device, 0, 1).durable()

    assert "could not be checked: disk I/O error" in caplog.text


# -- power ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["local.key", "tls/ca.pem", "tls/ca.key", "tls/cert.pem", "tls/key.pem"])
async def test_key_file_that_is_empty_after_a_power_cut_is_created_again(start, tmp_path, name):
    secure = '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'
    async with start(secure):
        pass
    (tmp_path / "data" / name).write_bytes(b"")
    async with start(secure) as started:
        assert (tmp_path / "data" / name).stat().st_size
        assert len(started._local_key) > 30


# -- clients ----------------------------------------------------------------------------------------------------------


async def test_connections_of_an_address_over_the_limit_are_rejected(start):
    limit = 1000
    async with start() as started:
        sockets = []
        try:
            for wave in range(10):
                for _ in range(500):
                    sockets.append(socket.create_connection(address_of(started)))
                with trio.fail_after(patient(20)):
                    while started.listener.accepted < (wave + 1) * 500:
                        await trio.sleep(0.005)
            assert limit == started.listener.connections
            assert 5000 - limit == started.rejections.count
        finally:
            for sock in sockets:
                sock.close()
        with trio.fail_after(patient(20)):
            while started.listener.connections:
                await trio.sleep(0.005)
        _, token = await add_device(started, TEMPLATE)
        async with connect(*address_of(started), token, info=INFO):
            assert 1 == len(started.sessions)


async def test_size_of_an_array_is_limited_like_that_of_a_string(start):
    async with start() as started:
        device, token = await add_device(started, TEMPLATE)
        with pytest.raises(WrongType):
            write_value(started, device, 0, ["1"] * 1024)
        await write_value(started, device, 0, ["1"] * 250).durable()
        async with connect(*address_of(started), token, info={**INFO, "buff-in": "4096"}) as client:
            await client.sync()
            assert (0, ["1.0"] * 250) == await client.next_write()


async def test_websocket_is_closed_after_too_many_fragments(start):
    async with start() as started:
        host, port = address_of(started)
        stream = await trio.open_tcp_stream(host, port)
        await stream.send_all(
            b"GET /websockets HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in await stream.receive_some(4096)
        empty = b"\x00\x80\x00\x00\x00\x00"
        with trio.fail_after(patient(10)):
            try:
                await stream.send_all(b"\x02\x80\x00\x00\x00\x00" + empty * (MAX_FRAGMENTS * 4))
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass
        await trio.aclose_forcefully(stream)


async def test_text_of_a_device_in_a_rejection_is_printable_and_short(start, caplog):
    async with start() as started:
        _, token = await add_device(started, TEMPLATE)
        info = {**INFO, "tmpl": "TMPL\x1b[2J\nERROR all is lost" + "x" * 900}
        async with connect(*address_of(started), token, info=info):
            pass
        [rejection] = started.rejections.recent

    assert rejection.reason.isprintable()
    assert len(rejection.reason) < 500


async def test_rate_limit_of_a_device_spans_its_connections(start):
    async with start("[limits]\nmessages_per_second = 1\nburst = 20") as started:
        _, token = await add_device(started, TEMPLATE)
        for _ in range(4):
            async with connect(*address_of(started), token) as client:
                for n in range(20):
                    await client.write(0, str(n))
                await client.ping()
                while (await client.next_frame())[3] != Status.OK:
                    pass

        assert 20 <= started.writes.count <= 24


async def test_session_of_a_replaced_token_ends_when_the_token_expires(start, time):
    async with start(clock=time.clock()) as started:
        device, token = await add_device(started, TEMPLATE)
        async with connect(*address_of(started), token, info=INFO) as client:
            await started.tokens.rotate(device, SYSTEM, overlap_ms=DAY)
            started.tokens.close_expired_sessions()
            assert 1 == len(started.sessions)
            time.pass_(2 * DAY)
            started.tokens.close_expired_sessions()

            assert await client.next_frame() is None


async def test_empty_token_is_rejected(start):
    async with start() as started:
        device, token = await add_device(started, TEMPLATE)
        with pytest.raises(Rejected):
            await started.tokens.rotate(device, SYSTEM, token="")
        with pytest.raises(Rejected):
            await started.devices.add([NewDevice(name="Other", template=device.template, token="")], SYSTEM)
        assert device is started.tokens.device_for(token)


async def test_oversized_login_is_rejected(start):
    async with start() as started:
        stream = await trio.open_tcp_stream(*address_of(started))
        with trio.fail_after(patient(10)):
            try:
                await stream.send_all(b"\x1d\x00\x01\xff\xff" + b"x" * 10_000_000)
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass
        await trio.aclose_forcefully(stream)
        [rejection] = started.rejections.recent
        assert "a body of 65535 bytes exceeds the limit" in rejection.reason


# -- plugins ----------------------------------------------------------------------------------------------------------


async def test_write_filter_of_a_failed_plugin_is_not_called(start, tmp_path):
    folder = tmp_path / "data" / "plugins"
    folder.mkdir(parents=True)
    (folder / "half.py").write_text(
        "from hub import Rejected, hookimpl\nPINWHEEL_HOOKS = 1\n"
        "@hookimpl\ndef hub_routes(hub): 1 / 0\n"
        "@hookimpl\ndef hub_filter_write(value): raise Rejected('never')\n"
    )
    async with start() as started:
        assert "failed" == started.plugins["half"].state
        device, _ = await add_device(started, TEMPLATE)
        await write_value(started, device, 0, 1).durable()
