"""Acknowledgements follow the commit, also while the storage fails or is full."""

from __future__ import annotations

import trio
import trio.testing
from support.databases import hold_commits
from support.mqtt_devices import assert_silent, persistent
from support.raw_mqtt import PATIENCE, V5, V311, online
from support.rejections import rejection_reasons
from support.times import until
from support.values import current_value, write_value

from connectors.mqtt.packets import (
    Ack,
    Kind,
    Property,
    Publish,
)
from hub.errors import StorageError
from hub.history import Receipt
from hub.model import SYSTEM


async def test_value_is_acknowledged_after_its_commit(hub, token, monkeypatch):
    async with online(hub, token) as client:
        released = hold_commits(hub.storage.history, monkeypatch)
        await client.send(Publish("ds/Temperature", b"1", 1, 5), Publish("ds/Label", b"x", 2, 6))
        await assert_silent(client)
        released.set()
        assert [Ack(Kind.PUBACK, 5), Ack(Kind.PUBREC, 6)] == [await client.next(), await client.next()]


async def test_acknowledgement_waits_until_the_storage_works_again(hub, token, monkeypatch, clock):
    async with online(hub, token, keep_alive=10) as client:
        transaction = hub.storage.history.transaction
        working = []

        async def broken(fn):
            if not working:
                raise StorageError("disk full")
            return await transaction(fn)

        monkeypatch.setattr(hub.storage.history, "transaction", broken)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked(0.005)
            clock.jump(3)
        await assert_silent(client)
        working.append(True)
        assert Ack(Kind.PUBACK, 5) == await client.next()


async def test_device_receives_messages_while_its_own_values_wait_for_the_commit(hub, device, token, monkeypatch):
    async with online(hub, token) as client:
        released = hold_commits(hub.storage.history, monkeypatch)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        await until(lambda: current_value(hub, device, 0) == 1)
        write_value(hub, device, 1, 50)
        packet = await client.next()
        assert "downlink/ds/Set Point" == packet.topic
        released.set()
        assert Ack(Kind.PUBACK, 5) == await client.next()


async def test_reconnecting_device_has_one_connection_while_the_storage_fails(hub, device, token, monkeypatch):
    async def broken(_fn):
        raise StorageError("disk full")

    monkeypatch.setattr(hub.storage.history, "transaction", broken)
    connections = hub.listener.connections
    async with online(hub, token) as first:
        await first.send(Publish("ds/Temperature", b"1", 1, 5))
        await until(lambda: current_value(hub, device, 0) == 1)
        # The first connection has published: each later one replaces it.
        for n in range(3):
            async with online(hub, token) as client:
                await client.send(Publish("ds/Temperature", b"%d" % n, 1, 5))
                await until(lambda n=n: current_value(hub, device, 0) == n)
        async with online(hub, token):
            await until(lambda: hub.listener.connections == connections + 1)
    monkeypatch.undo()


async def test_value_that_cannot_be_stored_is_reported(hub, token, monkeypatch):
    async def never(_receipt):
        return False

    monkeypatch.setattr(Receipt, "settled", never)
    async with online(hub, token, V5) as client:
        response = await client.publish("ds/Temperature", "1")
        assert (0x80, "the value could not be stored") == (response.reason, response.properties[Property.REASON_STRING])
    async with online(hub, token) as client:
        await client.publish("ds/Temperature", "1")
    assert any("could not be stored" in reason for reason in rejection_reasons(hub))


async def test_message_waiting_for_space_is_dropped_when_its_token_is_rotated(hub, device, token, monkeypatch):
    async with online(hub, token) as client:
        monkeypatch.setattr(hub.history, "full", True)
        await client.send(Publish("ds/Temperature", b"1", 1, 5))
        await trio.testing.wait_all_tasks_blocked(0.02)
        await hub.tokens.rotate(device, SYSTEM)
        hub.history.full = False
        hub.history._space.unpark_all()  # noqa: SLF001
        assert [] == await client.read_to_end()
        await until(lambda: hub.sessions.get(device.id) is None)
        assert current_value(hub, device, 0) is None


async def test_repeated_message_is_acknowledged_after_the_first_is_stored(hub, device, token, monkeypatch):
    log, entered, ready = hub.timeline.log, trio.Event(), trio.Event()

    async def slow(*args):
        entered.set()
        await ready.wait()
        return await log(*args)

    monkeypatch.setattr(hub.timeline, "log", slow)
    message = Publish("event/hot", b"once", 2, 9)
    async with online(hub, token, **persistent(V311)) as first:
        await first.send(message)
        with trio.fail_after(PATIENCE):
            await entered.wait()
        async with online(hub, token, subscribed=False, **persistent(V311)) as second:
            assert second.present
            await second.send(Publish("event/hot", b"once", 2, 9, dup=True))
            await assert_silent(second)
            ready.set()
            assert Ack(Kind.PUBREC, 9) == await second.next()
    assert ["once"] == [event.description for event in await hub.timeline.newest(device) if event.code == "hot"]


async def test_message_that_was_not_stored_is_accepted_when_repeated(hub, device, token, monkeypatch):
    log, broken = hub.timeline.log, [True]

    async def fail(*args):
        if broken:
            raise StorageError("disk full")
        return await log(*args)

    monkeypatch.setattr(hub.timeline, "log", fail)
    async with online(hub, token, **persistent(V311)) as client:
        await client.send(Publish("event/hot", b"again", 2, 9))
        assert [] == await client.read_to_end()
    broken.clear()
    await until(lambda: hub.sessions.get(device.id) is None)
    async with online(hub, token, subscribed=False, **persistent(V311)) as client:
        await client.send(Publish("event/hot", b"again", 2, 9, dup=True))
        assert Ack(Kind.PUBREC, 9) == await client.next()
    assert ["again"] == [event.description for event in await hub.timeline.newest(device) if event.code == "hot"]


async def test_event_that_cannot_be_stored_is_not_acknowledged(hub, token, monkeypatch):
    async def fail(*_args, **_kwargs):
        raise StorageError("disk full")

    monkeypatch.setattr(hub.timeline, "log", fail)
    async with online(hub, token, V5) as client:
        response = await client.publish("event/hot")
        assert (0x80, "disk full") == (response.reason, response.properties[Property.REASON_STRING])
    async with online(hub, token) as client:
        assert await client.publish("event/hot") is None
