"""The console's lists: pages that are fetched when they are shown, and outdated by changes of the stream."""

from __future__ import annotations

import asyncio

import pytest
from support.console_hub import FakeHub, found_device, search_answer, settle

from client.errors import Unavailable
from tui.store.devices import MAX_PAGES, MAX_ROWS, PAGE_SIZE, DeviceQuery, Devices, Page, query_filters
from tui.store.values import Values

ALL = DeviceQuery()
BY_NAME = DeviceQuery(sort_by="name")
BY_STATUS = DeviceQuery(sort_by="status")
WORDS = DeviceQuery(words="cellar")
FILTERED = DeviceQuery(filters=query_filters([{"attribute": "status", "operator": "equals", "values": ["Online"]}]))


class Store:
    def __init__(self, devices):
        self.found = devices
        self.hub = FakeHub(search_answer(devices))
        self.values = Values()
        self.devices = Devices(self.hub, self.values)

    def pages_asked(self):
        return [call.json_body.get("page", call.json_body.get("after")) for call in self.hub.calls]


def run(test, count=250, **fields):
    """Run a test with the store of a hub with devices 1, 2, …"""

    async def main():
        await test(Store([found_device(number, **fields) for number in range(1, count + 1)]))

    asyncio.run(main())


def test_pages_are_fetched_as_they_are_shown():
    async def test(store):
        assert [0] == store.devices.missing(ALL, 0, 40)
        assert store.devices.total(ALL) is None
        page = await store.devices.load(ALL, 0)
        assert Page(tuple(range(1, 101)), "100").ids == page.ids
        assert 250 == store.devices.total(ALL)
        assert [] == store.devices.missing(ALL, 0, 100)
        assert [1, 2] == store.devices.missing(ALL, 50, 10_000)
        assert [100, None] == store.devices.ids(ALL, 99, 101)
        # The page behind a known one is fetched by its cursor, any other by its number.
        await store.devices.load(ALL, 1)
        await store.devices.load(BY_NAME, 2)
        assert [0, "100", 2] == store.pages_asked()
        assert [200, None, None] == store.devices.ids(ALL, 199, 202)
        assert "Sensor 00200" == store.devices.row(200).name

    run(test)


def test_empty_search_is_not_loaded_again_and_again():
    async def test(store):
        await store.devices.load(WORDS, 0)
        assert 0 == store.devices.total(WORDS)
        assert [] == store.devices.missing(WORDS, 0, 40)
        store.devices.apply_change({"device": 7, "added": True})
        assert [0] == store.devices.missing(WORDS, 0, 40)

    run(test, count=0)


def test_search_sends_what_was_typed_and_the_columns():
    async def test(store):
        query = DeviceQuery("cellar", FILTERED.filters, 3, 2, "datastream", "V0", True, ("V0",), ("Room",))
        await store.devices.load(query, 0)
        assert {
            "query": "cellar",
            "filters": [{"attribute": "status", "operator": "equals", "values": ["Online"]}],
            "segmentId": 3,
            "orgId": 2,
            "sortBy": "datastream",
            "sortName": "V0",
            "sortOrder": "desc",
            "page": 0,
            "size": 100,
            "values": ("V0",),
            "metadata": ("Room",),
        } == store.hub.calls[0].json_body

    run(test)


def test_values_of_rows_join_the_values():
    listed = {"V0": {"value": 21.5, "text": "21.5 °C", "updatedAt": 900, "expired": None}, "Humidity": None}
    del listed["Humidity"]

    async def test(store):
        await store.devices.load(ALL, 0)
        assert (21.5, 900) == (store.values.get((1, 0)).raw, store.values.get((1, 0)).ts)
        assert {"V0": "21.5 °C"} == store.devices.row(1).values
        assert {"Room": "Cellar"} == store.devices.row(1).metadata

    run(test, count=1, values=listed, metadata={"Room": "Cellar"})


def test_one_request_serves_all_that_wait_for_a_page():
    async def test(store):
        store.hub.hold()
        first = asyncio.create_task(store.devices.load(ALL, 0))
        second = asyncio.create_task(store.devices.load(ALL, 0))
        await settle()
        # One that does not want it any more takes it from nobody.
        first.cancel()
        store.hub.release()
        assert 100 == len((await second).ids)
        assert 1 == len(store.hub.calls)

    run(test)


def test_failure_is_raised_and_the_next_attempt_is_a_new_request():
    async def test(store):
        answer, store.hub.answer = store.hub.answer, lambda call: Unavailable("the hub does not answer")
        with pytest.raises(Unavailable):
            await store.devices.load(ALL, 0)
        assert [0] == store.devices.missing(ALL, 0, 10)
        store.hub.answer = answer
        assert 100 == len((await store.devices.load(ALL, 0)).ids)

    run(test)


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({"device": 999, "added": True}, {ALL, BY_NAME, BY_STATUS, WORDS, FILTERED}),
        ({"device": 1, "deleted": True}, {ALL, BY_NAME, BY_STATUS, WORDS, FILTERED}),
        ({"device": 1, "changed": {"name": "New"}}, {BY_NAME, WORDS, FILTERED}),
        ({"device": 1, "changed": {"name": "Sensor 00001", "templateVersion": 4}}, set()),
        ({"device": 1, "changed": {"name": "Sensor 00001", "orgId": 2}}, {ALL, BY_NAME, BY_STATUS, WORDS, FILTERED}),
        ({"device": 1, "changed": {"ownerUserId": 5}}, {WORDS, FILTERED}),
        ({"device": 999, "changed": {"name": "New"}}, {BY_NAME, WORDS, FILTERED}),
        ({"device": 1, "online": False, "status": "Offline", "ts": 1}, {BY_STATUS, FILTERED}),
        ({"device": 999, "online": False, "status": "Offline", "ts": 1}, {BY_STATUS, FILTERED}),
        ({"device": 1, "online": True, "status": "Online", "ts": 1}, set()),
        ({"device": 1, "metadata": {"Room": "Kitchen"}}, {WORDS, FILTERED}),
        ({"device": 1, "values": {"v0": 3}, "ts": 1, "by": "device"}, set()),
    ],
)
def test_change_outdates_the_lists_that_it_may_reorder(change, outdated):
    queries = {ALL, BY_NAME, BY_STATUS, WORDS, FILTERED}

    async def test(store):
        for query in queries:
            await store.devices.load(query, 0)
        store.devices.apply_change(change)
        assert outdated == {query for query in queries if store.devices.missing(query, 0, 10)}
        # What is outdated is still shown.
        assert [1, 2] == store.devices.ids(ALL, 0, 2)

    run(test, count=5)


def test_rows_follow_the_stream():
    async def test(store):
        await store.devices.load(ALL, 0)
        for change in (
            {"device": 1, "changed": {"name": "Boiler 3", "orgId": 1, "ownerUserId": 5, "templateVersion": 4}},
            {"device": 1, "metadata": {"Room": "Kitchen", "Other": "not shown"}},
            {"device": 1, "online": False, "status": "Offline", "ts": 5},
        ):
            store.devices.apply_change(change)
        row = store.devices.row(1)
        assert ("Boiler 3", 5, 4, {"Room": "Kitchen"}) == (row.name, row.owner, row.template_version, row.metadata)
        assert (False, "Offline", "") == (row.is_online, row.status, row.status_key)
        store.devices.apply_state({"device": 1, "online": True, "status": "Online"})
        assert store.devices.row(1).is_online

    run(test, count=2, metadata={"Room": "Cellar"})


def test_deleted_device_stays_in_its_place_as_gone_until_the_page_is_loaded():
    async def test(store):
        await store.devices.load(ALL, 0)
        store.values.apply_state({"device": 2, "values": {"v0": 1}})
        store.devices.apply_change({"device": 2, "deleted": True})
        assert store.devices.row(2).is_gone
        assert store.values.get((2, 0)) is None
        del store.found[1]
        await store.devices.load(ALL, 0)
        assert [1, 3] == store.devices.ids(ALL, 0, 2)
        assert 4 == store.devices.total(ALL)

    run(test, count=5)


def test_change_while_a_page_is_on_its_way_has_it_loaded_again():
    async def test(store):
        store.hub.hold()
        first = asyncio.create_task(store.devices.load(ALL, 0))
        await settle()
        store.found.append(found_device(99))
        store.devices.apply_change({"device": 99, "added": True})
        second = asyncio.create_task(store.devices.load(ALL, 0))
        await settle()
        # The answers come in the wrong order.
        store.hub.release(2, last_first=True)
        await asyncio.gather(first, second)
        assert 2 == len(store.hub.calls)
        assert 99 == store.devices.ids(ALL, 0, 6)[-1]
        assert [] == store.devices.missing(ALL, 0, 6)

    run(test, count=5)


def test_cleared_store_ignores_answers_on_their_way():
    async def test(store):
        store.hub.hold()
        load = asyncio.create_task(store.devices.load(ALL, 0))
        await settle()
        store.devices.clear()
        store.hub.release()
        await load
        assert store.devices.row(1) is None
        assert store.devices.page(ALL, 0) is None
        assert store.devices.total(ALL) is None

    run(test)


def test_pages_and_rows_are_limited():
    async def test(store):
        for number in range(MAX_PAGES + 5):
            await store.devices.load(ALL, number)
            store.devices.page(ALL, 0)
        assert 100 == PAGE_SIZE
        assert store.devices.page(ALL, 1) is None
        assert store.devices.page(ALL, 0) is not None
        for number in range(MAX_PAGES + 5, 60):
            await store.devices.load(ALL, number)
        assert MAX_ROWS == len(store.devices)
        # The first page is there, but its rows are not: it is loaded again.
        assert [0] == store.devices.missing(ALL, 0, 100)

    run(test, count=6_000)


def test_closing_cancels_what_is_being_fetched():
    async def test(store):
        store.hub.hold()
        load = asyncio.create_task(store.devices.load(ALL, 0))
        await settle()
        await store.devices.aclose()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert 0 == store.hub.busy

    run(test)
