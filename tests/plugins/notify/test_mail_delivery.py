"""The delivery of mails: which are tried again and when, what stops it, and what survives a restart."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio
from support.alarms import alarm_texts
from support.configuration import fetch_rows, rows_become
from support.databases import full_disk
from support.mail_server import mail_toml, serving_bytes, serving_mail
from support.messages import STATES, message_to
from support.patience import brief, patient
from support.raw_http import ask, local_key
from support.times import DAY, MINUTE, Time, until

from hub.config import parse
from hub.errors import StorageError, Unavailable
from hub.run import running
from hub.testing import LOOPBACK
from plugins.notify.delivery import MAX_HELD, MailTimeouts

#: Retries at once.
IMPATIENT = MailTimeouts(server_retry=(0.01,), mail_retry=(0.0,), poll=0.01)


async def send(hub, *names, **fields):
    for name in names:
        await hub.messages.send(message_to(f"{name}@example.org", **fields))


def received(server):
    """The names of the addresses of all mails that a server has taken, in their order."""
    return [mail["To"].addresses[0].username for mail in server.mails]


@pytest.mark.timeouts(IMPATIENT)
async def test_refused_address_fails_and_the_others_get_their_mails(hub, mail_server):
    mail_server.replies["b@example.org"] = "550 5.1.1 no such mailbox"
    mail_server.data_replies["c@example.org"] = "554 5.7.1 looks like spam"
    await send(hub, "a", "b", "c", "d")
    sent = ("sent", 1, "")
    await rows_become(
        hub,
        STATES,
        [
            ("a@example.org", *sent),
            ("b@example.org", "failed", 1, "the mail server says: 550 5.1.1 no such mailbox"),
            ("c@example.org", "failed", 1, "the mail server says: 554 5.7.1 looks like spam"),
            ("d@example.org", *sent),
        ],
    )
    assert ["a", "d"] == received(mail_server)
    assert [(None,)] * 4 == await fetch_rows(hub, "SELECT data FROM notify_mails")


@pytest.mark.timeouts(IMPATIENT)
async def test_mail_that_is_not_taken_now_is_tried_again(hub, mail_server):
    mail_server.replies["a@example.org"] = "450 4.2.0 greylisted, try again"
    await send(hub, "a", "b")
    await until(lambda: received(mail_server) == ["b"])
    await until(lambda: mail_server.sessions > 2)
    del mail_server.replies["a@example.org"]
    await until(lambda: received(mail_server) == ["b", "a"])
    await rows_become(hub, "SELECT state, error FROM notify_mails ORDER BY id", [("sent", ""), ("sent", "")])


@pytest.mark.timeouts(MailTimeouts(poll=0.01))
async def test_mail_is_tried_later_each_time(hub_config, mail_server):
    time = Time()
    mail_server.replies["a@example.org"] = "450 try again"
    async with running(hub_config, clock=time.clock(), timeouts=(MailTimeouts(poll=0.01),)) as hub:
        await send(hub, "a")
        waits, due = [], "SELECT attempts, due FROM notify_mails"
        for attempt in range(1, 8):
            await rows_become(hub, "SELECT attempts FROM notify_mails", [(attempt,)])
            [(_, at)] = await fetch_rows(hub, due)
            waits.append((at - time.wall) // 1000)
            time.pass_(at - time.wall)
        assert [60, 300, 900, 3600, 7200, 14400, 14400] == waits


async def test_mails_that_wait_survive_a_restart(hub_config, mail_server):
    mail_server.replies["a@example.org"] = "450 try again"
    async with running(hub_config) as hub:
        await send(hub, "a")
        await rows_become(hub, STATES, [("a@example.org", "waiting", 1, "the mail server says: 450 try again")])
    del mail_server.replies["a@example.org"]
    async with running(hub_config, timeouts=(MailTimeouts(mail_retry=(0.0,), poll=0.01),)) as hub:
        await until(lambda: received(mail_server) == ["a"])
        await rows_become(hub, STATES, [("a@example.org", "sent", 2, "")])


async def test_command_on_a_stopped_hub_fills_the_outbox_only(hub_config, mail_server):
    async with running(hub_config, listen=False) as hub:
        await send(hub, "a")
        await trio.sleep(brief(0.05))
        assert 0 == mail_server.sessions
    async with running(hub_config):
        await until(lambda: received(mail_server) == ["a"])


async def test_many_mails_share_a_session(hub, mail_server, monkeypatch):
    monkeypatch.setattr("plugins.notify.delivery.MAX_PER_SESSION", 5)
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(send, hub, f"a{number}")
    await until(lambda: len(mail_server.mails) == 12)
    await rows_become(hub, "SELECT count(*) FROM notify_mails WHERE state = 'sent'", [(12,)])
    assert 12 == len(set(received(mail_server)))
    assert 3 <= mail_server.sessions <= 4


class TestWithoutServer:
    """Until a test starts it, no server listens on the port of [mail]."""

    @pytest.fixture
    def port(self):
        with serving_mail() as server:
            return server.port

    @pytest.fixture
    def hub_toml(self, port):
        return LOOPBACK + mail_toml(port)

    @pytest.mark.timeouts(IMPATIENT)
    async def test_mails_wait_for_the_server_and_an_alarm_says_why(self, hub, port):
        await send(hub, "a", "b")
        await until(lambda: "mail cannot be sent" in alarm_texts(hub))
        assert f"mail cannot be sent: 127.0.0.1:{port}: connection refused" in alarm_texts(hub)
        for _, state, _, error in await fetch_rows(hub, STATES):
            assert ("waiting", f"127.0.0.1:{port}: connection refused") == (state, error)
        with serving_mail(port=port) as server:
            await until(lambda: received(server) == ["a", "b"])
            await until(lambda: "mail" not in alarm_texts(hub))

    @pytest.mark.timeouts(MailTimeouts(server_retry=(60.0,), poll=60.0))
    async def test_test_mail_that_arrives_starts_the_delivery(self, hub, port):
        await send(hub, "a")
        await rows_become(hub, "SELECT attempts FROM notify_mails", [(1,)])
        with serving_mail(port=port) as server:
            tested = await ask(hub, "POST", "/api/v1/mail/test", {"address": "t@example.org"}, local_key(hub))
            assert 200 == tested.status
            await until(lambda: received(server) == ["t", "a"])

    async def test_mails_are_given_up_after_two_days(self, hub_config, port):
        time = Time()
        timeouts = MailTimeouts(server_retry=(0.01,), poll=0.01)
        async with running(hub_config, clock=time.clock(), timeouts=(timeouts,)) as hub:
            await send(hub, "a")
            time.pass_(DAY)
            await send(hub, "b")
            # Until the clock is trusted, after an hour of uptime, nothing is given up.
            await until(lambda: hub.clock.believable)
            time.pass_(DAY + MINUTE)
            refused = f"127.0.0.1:{port}: connection refused"
            await rows_become(
                hub,
                "SELECT address, state, data IS NULL, error FROM notify_mails ORDER BY id",
                [
                    ("a@example.org", "failed", 1, f"given up after 2 days: {refused}"),
                    ("b@example.org", "waiting", 0, refused),
                ],
            )

    async def test_wrong_clock_gives_up_no_mail(self, hub_config):
        time = Time()
        async with running(hub_config, clock=time.clock(), timeouts=(IMPATIENT,)) as hub:
            await send(hub, "a")
            time.wall += 10 * DAY
            await rows_become(hub, "SELECT state, attempts > 3 FROM notify_mails", [("waiting", 1)])


async def test_mail_that_is_being_sent_at_a_stop_is_not_sent_twice(hub_config, mail_server):
    taken, answered = threading.Event(), asyncio.Event()
    handle = mail_server.handle_DATA

    async def handle_slowly(*arguments):
        reply = await handle(*arguments)
        taken.set()
        await answered.wait()
        return reply

    mail_server.handle_DATA = handle_slowly
    async with running(hub_config) as hub:
        await send(hub, "a")
        await trio.to_thread.run_sync(taken.wait)
        mail_server.loop.call_soon_threadsafe(mail_server.loop.call_later, brief(0.1), answered.set)
    async with running(hub_config) as hub:
        assert [("a@example.org", "sent", 1, "")] == await fetch_rows(hub, STATES)
    assert ["a"] == received(mail_server)


async def test_server_that_hangs_does_not_delay_the_stop(hub_config):
    async def serve(stream):
        await stream.send_all(b"220 mail\r\n")
        connected.set()
        await trio.sleep_forever()

    connected = trio.Event()
    async with serving_bytes(serve) as port:
        config = parse(LOOPBACK + mail_toml(port)).with_data(str(hub_config.data))
        with trio.fail_after(patient(10)):
            async with running(config, timeouts=(MailTimeouts(stop=0.1),)) as hub:
                await send(hub, "a")
                await connected.wait()


@pytest.mark.timeouts(IMPATIENT)
async def test_mail_at_which_the_server_hangs_up_does_not_stop_the_others(hub_config):
    served = []

    async def serve(stream):
        """Take all mails but those to a@example.org."""
        await stream.send_all(b"220 mail\r\n")
        data, rest = False, b""
        while chunk := await stream.receive_some():
            *lines, rest = (rest + chunk).split(b"\r\n")
            for line in lines:
                if data:
                    data = line != b"."
                    if data:
                        continue
                if line.startswith(b"rcpt TO:<a@"):
                    return
                if line.startswith(b"rcpt"):
                    served.append(line[9:10])
                data = line == b"data"
                await stream.send_all(b"354 go on\r\n" if data else b"250 OK\r\n")

    async with serving_bytes(serve) as port:
        config = parse(LOOPBACK + mail_toml(port)).with_data(str(hub_config.data))
        async with running(config, timeouts=(IMPATIENT,)) as hub:
            await send(hub, "a", "b", "c")
            query = "SELECT address FROM notify_mails WHERE state = 'sent' ORDER BY id"
            await rows_become(hub, query, [("b@example.org",), ("c@example.org",)])
            assert sorted(served) == [b"b", b"c"]


# -- the disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeouts(IMPATIENT)
async def test_mail_whose_result_is_not_stored_is_not_sent_twice(hub, mail_server, monkeypatch):
    transaction, broken = hub.storage.transaction, True

    async def fail_results(fn):
        if broken and "record" in fn.__qualname__:
            raise StorageError("disk I/O error")
        return await transaction(fn)

    monkeypatch.setattr(hub.storage, "transaction", fail_results)
    await send(hub, "a", "b")
    await until(lambda: received(mail_server) == ["a"])
    await send(hub, "u", urgent=True)
    await trio.sleep(brief(0.1))
    assert ["a"] == received(mail_server)
    broken = False
    await until(lambda: received(mail_server) == ["a", "b", "u"])
    await rows_become(hub, "SELECT state, attempts FROM notify_mails", [("sent", 1)] * 3)


@pytest.mark.timeouts(IMPATIENT)
async def test_urgent_mail_is_sent_while_the_disk_is_full(hub, mail_server):
    async with full_disk(hub.storage.configuration):
        long = "x" * 100_000
        with pytest.raises(StorageError):
            await send(hub, "a", role=long)
        await send(hub, "u", role=long, urgent=True)
        await until(lambda: received(mail_server) == ["u"])
    await send(hub, "b")
    await until(lambda: received(mail_server) == ["u", "b"])


@pytest.mark.timeouts(MailTimeouts(store=0.1, poll=0.01))
async def test_disk_that_does_not_answer_delays_no_urgent_mail(hub, mail_server, monkeypatch):
    transaction, released = hub.storage.transaction, trio.Event()

    async def held(fn):
        await released.wait()
        return await transaction(fn)

    monkeypatch.setattr(hub.storage, "transaction", held)
    with pytest.raises(Unavailable, match=r"could not be stored within 0 s: the disk does not answer\."):
        await send(hub, "a")
    await send(hub, "u", urgent=True)
    await until(lambda: received(mail_server) == ["u"])
    released.set()
    # The mails were stored late.
    await until(lambda: {"a", "u"} == set(received(mail_server)))


class TestOfUrgentMails:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK + mail_toml(1)

    async def test_only_so_many_are_held_in_memory(self, hub, monkeypatch):
        monkeypatch.setattr("plugins.notify.outbox.MAX_WAITING", 0)
        for _ in range(MAX_HELD):
            await send(hub, "u", urgent=True)
        with pytest.raises(Unavailable, match="0 mails wait already"):
            await send(hub, "u", urgent=True)
