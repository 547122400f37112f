"""Conversations with the live stream (``conversations/*.json``), and what the console's store makes of them.

A step of a conversation is what the screen shows (``show``), what the stream yields (``connected``, ``disconnected``,
``message``), a ``write`` of the user, or what must hold afterwards.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.console_hub import FakeHub, found_device, search_answer, settle

from client.aio import Connected, Disconnected
from client.errors import NotAuthenticated
from tui.store import stream as stream_module
from tui.store.devices import DeviceQuery, Devices
from tui.store.history import History, LineKey
from tui.store.stream import Feed, Interest
from tui.store.values import Values
from tui.store.writes import Writes

CONVERSATIONS = sorted((Path(__file__).parent / "conversations").glob("*.json"))


@pytest.fixture(autouse=True)
def short_debounce(monkeypatch):
    monkeypatch.setattr(stream_module, "DEBOUNCE", 0.0)


class FakeStream:
    """A stream that yields what the test puts into it."""

    def __init__(self):
        self.requests, self.ended = [], []
        self.items = asyncio.Queue()
        self.answer_early = False

    def stream(self):
        return self

    async def subscribe(self, request):
        self.requests.append(request)
        if self.answer_early:
            self.items.put_nowait({"id": len(self.requests), "subscribed": "device", "device": 7, "values": {"v0": 1}})
        await settle()
        return len(self.requests)

    async def unsubscribe(self, number):
        self.ended.append(number)

    async def aclose(self):
        self.items.put_nowait(None)

    def __aiter__(self):
        return self

    async def __anext__(self):
        item = await self.items.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item


class Store:
    def __init__(self):
        self.hub = FakeHub(self.answer)
        self.search = search_answer([found_device(number) for number in (7, 8, 9)])
        self.remote = FakeStream()
        self.values = Values()
        self.devices = Devices(self.hub, self.values)
        self.writes = Writes(self.hub, self.values)
        self.history = History(self.hub)
        self.feed = Feed(self.remote, self.values, self.devices, self.writes, self.history)
        self.others, self.problems, self.resets, self.lines = [], [], [], []
        self.feed.on_message = self.others.append
        self.feed.on_problem = self.problems.append
        self.feed.on_reset = lambda: self.resets.append(1)
        self.feed.on_lines = self.lines.append

    def answer(self, call):
        if call.path.endswith("/search"):
            return self.search(call)
        return {"series": []} if call.path.endswith("/history") else None

    async def put(self, item):
        self.remote.items.put_nowait(item)
        await settle()

    def shown(self, found):
        return found and [found.raw, found.state.value]

    async def step(self, step):
        for name, content in step.items():
            match name:
                case "show":
                    pages = tuple(map(tuple, content.get("pages", ())))
                    interest = Interest(**{**content, "pages": pages})
                    self.feed.show(interest)
                    while {known.name for known in self.feed._subscriptions.values()} != set(interest.requests()):
                        await asyncio.sleep(0)
                    await settle()
                case "connected":
                    await self.put(Connected())
                case "disconnected":
                    await self.put(Disconnected(content, 0.5))
                case "message":
                    await self.put(content)
                case "write":
                    self.writes.write(key(content[0]), content[1])
                    await settle()
                case _:
                    assert content == self.state(name, content), f"{name} after {step}"

    def state(self, name, expected):
        match name:
            case "subscribes":
                return self.remote.requests[-len(expected) :]
            case "unsubscribes":
                return self.remote.ended
            case "values":
                return {text: self.shown(self.values.get(key(text))) for text in expected}
            case "pending":
                found = {text: self.writes.get(key(text)) for text in expected}
                return {text: [pending.value, pending.phase.value] for text, pending in found.items()}
            case "link":
                return self.feed.link.is_live
            case "gone":
                return [number for number in (7, 8, 9) if self.devices.row(number).is_gone]
            case "offline":
                return [number for number in (7, 8, 9) if not self.devices.row(number).is_online]
            case "names":
                return {number: self.devices.row(int(number)).name for number in expected}
            case "problems":
                return self.problems
            case "others":
                return len(self.others)
            case "resets":
                return len(self.resets)


def key(text):
    device, pin = text.split("/v")
    return int(device), int(pin)


def run(test):
    async def main():
        store = Store()
        await store.devices.load(DeviceQuery(), 0)
        running = asyncio.create_task(store.feed.run())
        try:
            await test(store)
        finally:
            await store.feed.aclose()
            await store.writes.aclose()
            await running
        assert not store.feed.link.is_live

    asyncio.run(main())


@pytest.mark.parametrize("path", CONVERSATIONS, ids=[path.stem for path in CONVERSATIONS])
def test_conversation(path):
    async def test(store):
        for step in json.loads(path.read_text()):
            await store.step(step)

    run(test)


def test_listed_devices_are_subscribed_to_when_scrolling_has_paused(monkeypatch):
    monkeypatch.setattr(stream_module, "DEBOUNCE", 0.05)

    async def test(store):
        for first in range(1, 20):
            store.feed.show(Interest(pages=((first, first + 1),), events=True))
            await settle()
        assert [{"subscribe": "events"}] == store.remote.requests
        while len(store.remote.requests) < 2:
            await asyncio.sleep(0.001)
        assert [19, 20] == store.remote.requests[-1]["devices"]

    run(test)


def test_answer_before_the_number_is_known_is_not_lost():
    async def test(store):
        store.remote.answer_early = True
        await store.step({"connected": True, "show": {"device": 7}, "values": {"7/v0": [1, "live"]}})

    run(test)


def test_interest_is_limited_and_never_in_all_values():
    pages = tuple(tuple(range(300 * page, 300 * page + 300)) for page in range(10))
    requests = Interest(pages=pages, lists=True).requests().values()
    assert 1 + stream_module.MAX_LISTED_PAGES == len(requests)
    assert all(len(request.get("devices", ())) <= 200 for request in requests)
    assert all("devices" in request or request["pins"] == ["V255"] for request in requests)
    assert {} == Interest(pages=((),)).requests()


def test_charts_are_continued_and_outdated_by_a_loss():
    line = LineKey(7, 0, "1h")

    async def test(store):
        await store.history.load(line)
        for step in json.loads(CONVERSATIONS[[path.stem for path in CONVERSATIONS].index("device_page")].read_text()):
            await store.step(step)
        assert {line} in store.lines
        await store.history.load(line)
        await store.step({"disconnected": "lost", "connected": True})
        assert not store.history.must_load(line)
        await store.put({"id": 1, "subscribed": "device", "device": 7, "resumed": True})
        assert store.history.must_load(line)

    run(test)


def test_renewal_subscribes_to_everything_again():
    async def test(store):
        await store.step({"show": {"device": 7, "events": True}, "connected": True})
        store.feed.renew()
        while len(store.remote.requests) < 4:
            await asyncio.sleep(0)
        assert [1, 2] == store.remote.ended
        await store.step({"subscribes": [{"subscribe": "device", "device": 7}, {"subscribe": "events"}]})

    run(test)


def test_link_tells_why_it_is_lost_and_since_when():
    links = []

    async def test(store):
        store.feed.on_link = links.append
        await store.step({"connected": True, "disconnected": "the hub does not answer"})
        as_of = store.feed.link.as_of
        await store.step({"disconnected": "still not"})
        link = store.feed.link
        assert (False, "still not", as_of) == (link.is_live, link.reason, link.as_of)
        assert link.retry_at > as_of

    run(test)
    assert [True, False, False] == [link.is_live for link in links[:3]]


def test_end_of_the_session_is_raised_and_nothing_is_live():
    async def main():
        store = Store()
        running = asyncio.create_task(store.feed.run())
        await store.step({"connected": True, "show": {"device": 7}})
        await store.put({"id": 1, "subscribed": "device", "device": 7, "values": {"v0": 1}})
        await store.put(NotAuthenticated("the session has ended"))
        with pytest.raises(NotAuthenticated):
            await running
        await store.step({"values": {"7/v0": [1, "stale"]}, "link": False})

    asyncio.run(main())
