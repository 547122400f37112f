"""The outbox and its log: bounds, ten thousand mails, retention, repairs of the clock, and personal data."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager

import pytest
import trio
from support.configuration import fetch_rows, rows_become
from support.mail_server import mail_toml
from support.messages import FIELDS, message_to
from support.raw_http import ask, connected, local_key
from support.times import DAY, HOUR, Time, until

from hub.domain import Message, NoChannel, Recipient
from hub.errors import Rejected, Unavailable
from hub.run import running
from hub.testing import LOOPBACK
from plugins.notify.delivery import MailTimeouts
from plugins.notify.outbox import MAX_WAITING
from plugins.notify.service import NotifyService

#: Seconds of CPU time that no step of a task may take.
LONGEST_STEP = 0.020
#: Tasks that send at the same time.
SENDERS = 2_000


class LongestStep(trio.abc.Instrument):
    """The CPU time of the longest step of a task : how long the loop was held, however busy the machine."""

    def __init__(self):
        self.seconds, self.task = 0.0, ""

    def before_task_step(self, _task):
        self._began = time.thread_time()

    def after_task_step(self, task):
        taken = time.thread_time() - self._began
        if taken > self.seconds:
            self.seconds, self.task = taken, task.name


@contextmanager
def longest_step():
    """Measure the steps of tasks in the block, without the garbage collector: its pauses grow with the test process."""
    instrument = LongestStep()
    gc.disable()
    instrument.before_task_step(None)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield instrument
    finally:
        trio.lowlevel.remove_instrument(instrument)
        gc.enable()


class TestOfAServerThatIsDown:
    @pytest.fixture
    def hub_toml(self):
        return LOOPBACK + mail_toml(1)

    @pytest.mark.timeouts(MailTimeouts(server_retry=(0.05,), poll=0.05))
    async def test_ten_thousand_mails_wait_and_the_hub_serves_on(self, hub):
        async def send(sender):
            for number in range(MAX_WAITING // SENDERS):
                await hub.messages.send(message_to(f"{number}-{sender}@example.org"))

        async def poll():
            async with connected(hub) as http:
                while True:
                    assert (await http.get("/health")).status in (200, 503)
                    answers.append((await http.get("/api/v1/mails", local_key(hub))).json["totalElements"])

        answers = []
        with longest_step() as longest:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                async with trio.open_nursery() as senders:
                    for sender in range(SENDERS):
                        senders.start_soon(send, sender)
                        await trio.lowlevel.checkpoint()
                with pytest.raises(Unavailable, match="10000 mails wait already, so the mail is not accepted"):
                    await hub.messages.send(message_to("late@example.org"))
                await until(lambda: answers[-1:] == [MAX_WAITING])
                nursery.cancel_scope.cancel()
        assert longest.seconds < LONGEST_STEP, longest.task
        assert len(answers) > 3
        await rows_become(hub, "SELECT state, count(*) FROM notify_mails GROUP BY state", [("waiting", MAX_WAITING)])

    async def test_bound_holds_after_a_restart(self, hub_config, monkeypatch):
        monkeypatch.setattr("plugins.notify.outbox.MAX_WAITING", 2)
        async with running(hub_config) as hub:
            for name in ("a", "b"):
                await hub.messages.send(message_to(f"{name}@example.org"))
        async with running(hub_config) as hub:
            with pytest.raises(Unavailable, match="2 mails wait already"):
                await hub.messages.send(message_to("c@example.org"))

    async def test_repair_of_the_clock_moves_the_times_of_mails(self, hub_config):
        clock = Time()
        clock.wall += 10 * DAY
        async with running(hub_config, clock=clock.clock()) as hub:
            await hub.messages.send(message_to("a@example.org"))
        clock.wall -= 10 * DAY
        async with running(hub_config, clock=clock.clock()) as hub:
            body = {"shiftMs": 10 * DAY}
            repair = await ask(hub, "POST", "/api/v1/clock/repair", body, local_key(hub))
            assert repair.status < 300, repair.body
            times = "SELECT created, due FROM notify_mails"
            await rows_become(hub, times, [(clock.wall, clock.wall)])


async def test_address_with_a_line_end_has_no_channel(hub):
    for address in ("a@example.org\r\nBcc: b@example.org", "a\n@example.org", ""):
        with pytest.raises(NoChannel, match="No channel is set up for the message 'transfer'"):
            await hub.messages.send(message_to(address))


async def test_text_that_is_no_unicode_is_mailed_with_question_marks(hub, mail_server):
    message = Message("transfer", Recipient("a@example.org", "A\ud800nn", "d\udfff"), FIELDS | {"role": "\ud800x"})
    await hub.messages.send(message)
    await until(lambda: mail_server.mails)
    assert "A?nn" == mail_server.mails[0]["To"].addresses[0].display_name


async def test_message_without_a_field_or_of_an_unknown_kind_is_rejected(hub):
    to = Recipient("a@example.org")
    with pytest.raises(Rejected, match=r"This cannot be mailed: the message 'transfer' has no organization, role\."):
        await hub.messages.send(Message("transfer", to))
    with pytest.raises(NoChannel, match="for the message 'nonsense'"):
        await hub.messages.send(Message("nonsense", to))
    assert [] == await fetch_rows(hub, "SELECT * FROM notify_mails")


async def test_log_is_kept_as_long_as_the_settings_say(hub_config, mail_server):
    clock = Time()
    async with running(hub_config, clock=clock.clock()) as hub:
        await hub.messages.send(message_to("a@example.org"))
        await rows_become(hub, "SELECT state FROM notify_mails", [("sent",)])
        clock.pass_(2 * HOUR)
        await until(lambda: hub.clock.believable)
    clock.pass_(91 * DAY)
    async with running(hub_config, clock=clock.clock()) as hub:
        await hub.messages.send(message_to("b@example.org"))
        await rows_become(
            hub,
            "SELECT address, state FROM notify_mails ORDER BY id",
            [("a@example.org", "sent"), ("b@example.org", "sent")],
        )
        clock.pass_(2 * HOUR)
        await until(lambda: hub.clock.believable)
        await hub.service(NotifyService).prune_once()
        assert [("b@example.org",)] == await fetch_rows(hub, "SELECT address FROM notify_mails")


async def test_log_has_no_more_mails_than_its_bound(hub, mail_server, monkeypatch):
    monkeypatch.setattr("plugins.notify.outbox.MAX_LOG", 2)
    for name in "abcd":
        await hub.messages.send(message_to(f"{name}@example.org"))
    await rows_become(hub, "SELECT state FROM notify_mails", [("sent",)] * 4)
    await hub.service(NotifyService).prune_once()
    assert [("c@example.org",), ("d@example.org",)] == await fetch_rows(
        hub, "SELECT address FROM notify_mails ORDER BY id"
    )


async def test_log_is_paged_newest_first(hub, mail_server):
    for name in "abc":
        await hub.messages.send(message_to(f"{name}@example.org"))
    page = (await ask(hub, "GET", "/api/v1/mails?size=2&page=1", key=local_key(hub))).json
    assert (3, ["a@example.org"]) == (page["totalElements"], [mail["address"] for mail in page["content"]])
    [panel] = [panel for panel in hub.panels if panel.id == "mails"]
    assert {column.field for column in panel.columns} < set(page["content"][0])
