"""The console's writes: one request of a datastream at a time, and buttons that always end in "off"."""

from __future__ import annotations

import asyncio

import pytest
from support.console_hub import FakeHub, settle
from support.patience import patient

from client.errors import Forbidden, Rejected, TooMany, Unavailable
from tui.store import write_states
from tui.store import writes as writes_module
from tui.store.values import Values
from tui.store.write_states import NO_ANSWER, Phase
from tui.store.writes import MAX_WRITES, Pending, Writes

KEY = (7, 3)


class Store:
    def __init__(self):
        self.hub = FakeHub(lambda call: None)
        self.values = Values()
        self.values.cover([7])
        self.errors = []
        self.writes = Writes(self.hub, self.values, lambda key, error: self.errors.append((key, str(error))))
        self.writes.set_live(True)

    @property
    def sent(self):
        return [call.json_body["value"] for call in self.hub.calls]

    def phase(self, key=KEY):
        pending = self.writes.get(key)
        return pending.phase if pending else None

    def change(self, value, by="api", **more):
        self.writes.apply_change({"device": 7, "values": {"v3": value}, "ts": 1, "by": by, **more})

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(write_states, "FLASH", patient(60))
    monkeypatch.setattr(write_states, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(write_states, "LONGEST_PAUSE", 0.01)


def run(test):
    async def main():
        store = Store()
        await test(store)
        await store.writes.aclose()
        assert 0 == store.hub.busy

    asyncio.run(main())


def test_write_is_shown_at_once_and_ends_with_its_echo():
    async def test(store):
        store.hub.hold()
        store.writes.write(KEY, 1)
        assert Pending(1, Phase.WANTED, "") == store.writes.get(KEY)
        assert {KEY} == store.values.take_dirty()
        await settle()
        assert Phase.SENDING is store.phase()
        assert {"deviceId": 7, "pin": "V3", "value": 1} == store.hub.calls[0].json_body
        store.hub.release()
        await settle()
        assert Phase.SENT is store.phase()
        assert store.writes.get(KEY).is_shown
        store.values.take_dirty()
        store.change(1, pending={"v3": True})
        await settle()
        assert Phase.WAITING is store.phase()
        assert {KEY} == store.values.take_dirty()
        store.change(1, "device", pending={"v3": False})
        await settle()
        assert store.writes.get(KEY) is None

    run(test)


def test_taken_back_value_is_no_longer_shown_and_says_why():
    async def test(store):
        store.writes.write(KEY, 1)
        await settle()
        store.change(1, pending={"v3": True})
        store.change(0, "confirmation", pending={"v3": False})
        await settle()
        pending = store.writes.get(KEY)
        assert ("The board did not take it.", False) == (pending.sentence, pending.is_shown)

    run(test)


def test_unconfirmed_value_that_stays_says_so():
    async def test(store):
        store.writes.write(KEY, 1)
        await settle()
        store.change(1, pending={"v3": True})
        store.writes.apply_change({"device": 7, "pending": {"v3": False}})
        assert Phase.UNCONFIRMED is store.phase()

    run(test)


@pytest.mark.parametrize("error", [Forbidden("not allowed"), Rejected("too high"), Unavailable("gone")])
def test_refused_write_shows_the_hubs_sentence(error):
    async def test(store):
        store.hub.answer = lambda call: error
        store.writes.write(KEY, 1)
        await settle()
        assert Pending(1, Phase.REFUSED, str(error)) == store.writes.get(KEY)
        assert [(KEY, str(error))] == store.errors

    run(test)


def test_sentence_is_shown_for_a_while(monkeypatch):
    monkeypatch.setattr(write_states, "FLASH", 0.01)

    async def test(store):
        store.hub.answer = lambda call: Rejected("too high")
        store.writes.write(KEY, 1)
        await store.until(lambda: store.writes.get(KEY) is None)
        assert [1] == store.sent

    run(test)


def test_hub_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(writes_module, "TIMEOUT", 0.01)

    async def test(store):
        store.hub.hold()
        store.writes.write(KEY, 1)
        await store.until(lambda: store.phase() is Phase.REFUSED)
        assert NO_ANSWER == store.writes.get(KEY).sentence
        assert 0 == store.hub.busy

    run(test)


def test_limit_of_requests_is_waited_for_and_shown():
    answers = [TooMany("10000 requests a minute", 0.5), None]

    async def test(store):
        store.hub.answer = lambda call: answers.pop(0)
        store.writes.write(KEY, 1)
        await settle()
        pending = store.writes.get(KEY)
        assert pending.is_shown
        assert pending.sentence.startswith("The hub takes no more requests for 0.5 seconds")
        await store.until(lambda: store.phase() is Phase.SENT)
        assert [1, 1] == store.sent

    run(test)


def test_moved_slider_sends_some_values_and_the_last(monkeypatch):
    monkeypatch.setattr(writes_module, "SLIDER_INTERVAL", 0.02)

    async def test(store):
        for value in range(50):
            store.writes.slide(KEY, value)
            await asyncio.sleep(0)
        await store.until(lambda: store.sent[-1:] == [49])
        assert 2 == len(store.sent)

    run(test)


def test_one_request_of_a_datastream_is_on_its_way_and_others_do_not_wait():
    async def test(store):
        store.hub.hold()
        for value in (1, 2, 3):
            store.writes.write(KEY, value)
            await settle()
        store.writes.write((7, 4), "other")
        await settle()
        assert [1, "other"] == store.sent
        store.hub.release()
        await settle()
        assert [1, "other", 3] == store.sent

    run(test)


def test_button_ends_in_off_whatever_fails():
    answers = [None, Unavailable("a"), Unavailable("b"), None]

    async def test(store):
        store.hub.answer = lambda call: answers.pop(0)
        store.writes.press(KEY, 1, 0)
        await settle()
        store.change(1)
        await settle()
        store.writes.release(KEY)
        store.writes.release(KEY)
        await store.until(lambda: store.phase() is Phase.SENT)
        assert [1, 0, 0, 0] == store.sent

    run(test)


def test_end_of_the_console_releases_buttons_and_waits_for_the_hub():
    async def test(store):
        store.hub.hold()
        store.writes.press(KEY, 1, 0)
        store.writes.write((7, 4), 1)
        await settle()
        closing = asyncio.create_task(store.writes.aclose())
        await settle()
        store.hub.release()
        await closing
        assert [1, 1, 0] == store.sent

    run(test)


def test_end_of_the_console_does_not_wait_for_a_dead_hub(monkeypatch):
    monkeypatch.setattr(writes_module, "GRACE", 0.01)

    async def test(store):
        store.hub.hold()
        store.writes.press(KEY, 1, 0)
        await settle()
        await store.writes.aclose()
        assert store.writes.get(KEY) is None

    run(test)


def test_lost_link_keeps_what_was_sent_until_the_snapshot(monkeypatch):
    monkeypatch.setattr(write_states, "TIMEOUT", 0.0)

    async def test(store):
        store.writes.set_live(False)
        store.writes.write(KEY, 1)
        await settle()
        await asyncio.sleep(0.005)
        assert Phase.SENT is store.phase()
        store.writes.apply_state({"device": 7, "values": {"v0": 1}}, frozenset({0}))
        assert Phase.SENT is store.phase()
        store.writes.apply_state({"device": 7, "values": {"v3": 1}})
        await settle()
        assert store.writes.get(KEY) is None

    run(test)


def test_deleted_device_and_another_hub_end_writes():
    async def test(store):
        store.hub.hold()
        store.writes.write(KEY, 1)
        store.writes.write((8, 0), 1)
        await settle()
        store.writes.apply_change({"device": 7, "deleted": True})
        assert store.writes.get(KEY) is None
        assert store.writes.get((8, 0)) is not None
        store.writes.clear()
        assert store.writes.get((8, 0)) is None

    run(test)


def test_writes_are_limited_and_pins_checked():
    async def test(store):
        store.hub.hold()
        for pin in range(MAX_WRITES):
            store.writes.write((7, pin), 1)
        with pytest.raises(Rejected, match="200 datastreams are being written"):
            store.writes.write((8, 0), 1)
        with pytest.raises(Rejected, match="no pin V256"):
            store.writes.write((7, 256), 1)

    run(test)
