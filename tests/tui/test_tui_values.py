"""The console's values: their states, what is drawn, and their limit."""

from __future__ import annotations

import asyncio

import pytest

from tui.store import values as values_module
from tui.store.values import State, Ticker, Value, Values

STATE = {"device": 7, "online": True, "status": "Online", "values": {"v0": 21.5, "v3": 1}, "pending": {"v3": True}}


@pytest.fixture
def values():
    """The values of device 7, whose changes are delivered."""
    values = Values()
    values.cover([7])
    values.apply_state(STATE)
    values.take_dirty()
    return values


def state(values, pin, device=7):
    return values.get((device, pin)).state


def test_snapshot_has_values_and_what_waits_for_the_device(values):
    assert Value(21.5, None, "", State.LIVE) == values.get((7, 0))
    assert State.PENDING == state(values, 3)
    assert values.is_pending((7, 3))
    assert values.get((7, 1)) is None
    assert [0, 3] == values.pins(7)


def test_change_is_the_newest_value_with_stamp_and_author(values):
    assert [(7, 0)] == values.apply_change({"device": 7, "values": {"v0": 22}, "ts": 1000, "by": "device"})
    assert Value(22, 1000, "device", State.LIVE) == values.get((7, 0))
    assert {(7, 0)} == values.take_dirty()
    assert set() == values.take_dirty()


def test_confirmation_takes_a_value_back_and_ends_pending(values):
    values.apply_change({"device": 7, "values": {"v3": 0}, "ts": 1, "by": "confirmation", "pending": {"v3": False}})
    assert Value(0, 1, "confirmation", State.LIVE) == values.get((7, 3))
    values.apply_change({"device": 7, "values": {"v3": 1}, "ts": 2, "by": "api", "pending": {"v3": True}})
    values.apply_change({"device": 7, "pending": {"v3": False, "v9": False}})
    assert State.LIVE == state(values, 3)
    assert values.get((7, 9)) is None


def test_expired_value_shows_its_text_until_the_next_one(values):
    values.apply_change({"device": 7, "expired": {"v0": "No Data"}})
    assert Value(21.5, None, "", State.EXPIRED, "No Data") == values.get((7, 0))
    values.apply_change({"device": 7, "values": {"v0": 21.5}, "ts": 5, "by": "device"})
    assert Value(21.5, 5, "device", State.LIVE) == values.get((7, 0))


def test_erased_value_and_deleted_device_are_gone_and_drawn(values):
    values.apply_change({"device": 7, "values": {"v0": None}})
    assert values.get((7, 0)) is None
    values.apply_change({"device": 7, "deleted": True})
    assert values.get((7, 3)) is None
    assert {(7, 0), (7, 3)} == values.take_dirty()
    assert 0 == len(values)


def test_all_values_are_stale_at_once_when_the_link_goes(values):
    values.cover([])
    assert State.STALE == state(values, 0)
    assert State.STALE == state(values, 3)
    assert {(7, 0), (7, 3)} == values.take_dirty()
    # They keep what they were, and are live again when the stream is resumed.
    values.cover([7])
    assert [State.LIVE, State.PENDING] == [state(values, 0), state(values, 3)]


def test_snapshot_after_a_loss_replaces_what_was_missed(values):
    values.apply_change({"device": 7, "values": {"v0": 5}, "ts": 1000, "by": "device"})
    values.apply_state({"device": 7, "values": {"v0": 5, "v1": "a"}})
    assert 1000 == values.get((7, 0)).ts
    assert values.get((7, 3)) is None
    values.apply_state({"device": 7, "values": {"v0": 6}}, frozenset({0}))
    assert [0, 1] == values.pins(7)
    assert values.get((7, 0)).ts is None


def test_same_value_as_another_type_is_drawn_and_equal_ones_are_not(values):
    values.apply_state({**STATE, "values": {"v0": 21.5, "v3": 1}})
    assert set() == values.take_dirty()
    values.apply_state({**STATE, "values": {"v0": 21.5, "v3": 1.0}})
    assert {(7, 3)} == values.take_dirty()


def test_listed_value_never_replaces_a_newer_one_of_the_stream(values):
    values.apply_change({"device": 7, "values": {"v0": 22}, "ts": 2000, "by": "device"})
    values.apply_listed(7, 0, 21, 1000, None)
    assert 22 == values.get((7, 0)).raw
    # Also one with a later stamp: the stream has the order, a clock may be wrong.
    values.apply_listed(7, 0, 23, 3000, None)
    assert 22 == values.get((7, 0)).raw
    # It knows the stamp of the value of a snapshot.
    values.apply_listed(7, 3, 1, 900, None)
    assert Value(1, 900, "", State.PENDING) == values.get((7, 3))
    values.cover([])
    values.apply_listed(7, 0, 21, 1000, None)
    assert 22 == values.get((7, 0)).raw
    values.apply_listed(7, 0, 23, 3000, "No Data")
    assert Value(23, 3000, "", State.STALE, "No Data") == values.get((7, 0))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"device": "7", "values": {"v0": 1}},
        {"device": True, "values": {"v0": 1}},
        {"device": 7, "values": [1]},
        {"device": 7, "values": {"v256": 1, "x": 1, "V0": 1}},
        {"device": 7, "pending": 3, "expired": "v0"},
    ],
)
def test_malformed_changes_change_nothing(values, message):
    assert [] == values.apply_change(message)
    assert set() == values.take_dirty()


def test_values_are_limited_and_those_without_a_subscription_go_first():
    values = Values(limit=6)
    for device in (1, 2, 3):
        values.apply_state({"device": device, "values": {"v0": 0, "v1": 1}})
    values.cover([1])
    values.apply_state({"device": 4, "values": {"v0": 0, "v1": 1}})
    assert [1, 3, 4] == [device for device in (1, 2, 3, 4) if values.pins(device)]
    values.cover([1, 3, 4])
    values.apply_state({"device": 5, "values": {"v0": 0, "v1": 1}})
    assert [3, 4, 5] == [device for device in (1, 2, 3, 4, 5) if values.pins(device)]
    assert 6 == len(values)
    assert not {key for key in values.take_dirty() if key[0] in (1, 2)}


def test_one_draw_has_all_changes_of_a_tick(values, monkeypatch):
    monkeypatch.setattr(values_module, "TICK", 0.01)
    drawn = []

    async def draw():
        ticker = asyncio.create_task(Ticker(values, drawn.append).run())
        await asyncio.sleep(0)
        for number in range(1000):
            values.apply_change({"device": 7, "values": {"v0": number, "v1": number}, "ts": number, "by": "device"})
        while not drawn:
            await asyncio.sleep(0)
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)

    asyncio.run(draw())
    assert [{(7, 0), (7, 1)}] == drawn


def test_nothing_is_drawn_without_a_change(values):
    drawn = []
    ticker = Ticker(values, drawn.append)
    ticker.tick()
    values.mark_dirty((7, 0))
    ticker.tick()
    ticker.tick()
    assert [{(7, 0)}] == drawn


def test_cleared_store_has_nothing_live(values):
    values.clear()
    values.apply_state(STATE)
    assert State.STALE == state(values, 0)
