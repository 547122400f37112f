"""Long computations run in slices, and sort like `sorted`."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from hub import slices
from hub.slices import SliceRunner, sort_in_steps

ITEMS = st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers()))


def result_of(steps):
    """Return the result of a computation, and its number of steps."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, count
        count += 1


@given(ITEMS, st.booleans(), st.none() | st.integers(0, 30), st.integers(1, 5), st.integers())
def test_items_are_sorted_stably_with_missing_keys_last(items, reverse, limit, per_step, least):
    def accept(item):
        return item[1] >= least

    with patch.object(slices, "SORTED_PER_STEP", per_step):
        steps = sort_in_steps(iter(items), lambda item: item[0], accept=accept, reverse=reverse, limit=limit)
        ordered, _ = result_of(steps)
    accepted = [item for item in items if accept(item)]
    with_key = [item for item in accepted if item[0] is not None]
    without_key = [item for item in accepted if item[0] is None]
    expected = sorted(with_key, key=lambda item: item[0], reverse=reverse) + without_key
    assert expected[:limit] == ordered


def test_many_items_are_sorted_in_many_steps():
    ordered, steps = result_of(sort_in_steps(range(50_000), lambda number: -number, limit=3))
    assert [49_999, 49_998, 49_997] == ordered
    assert steps > 40


class Rounds(trio.abc.Instrument):
    """Counts the rounds of the event loop."""

    count = 0

    def before_io_wait(self, timeout):
        self.count += 1


async def test_one_slice_runs_in_each_round_of_the_event_loop(monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 0.0)
    runner, rounds, steps, results = SliceRunner(), Rounds(), [], []

    def computation(name):
        for _ in range(5):
            steps.append((name, rounds.count))
            yield
        return name

    async def run(name):
        results.append(await runner.run(computation(name)))

    trio.lowlevel.add_instrument(rounds)
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(run, name)
    trio.lowlevel.remove_instrument(rounds)
    assert {"a", "b", "c"} == set(results)
    # The computations take turns, and none waits until another one has ended.
    assert 3 == len({name for name, _ in steps[:3]})
    assert 15 == len({count for _, count in steps}) == len(steps)


async def test_error_of_a_computation_is_raised_and_others_run_on():
    runner = SliceRunner()

    def failing():
        yield
        raise ValueError("broken")

    def working():
        yield
        return 7

    with pytest.raises(ValueError, match="broken"):
        await runner.run(failing())
    assert 7 == await runner.run(working())


async def test_cancelled_computation_leaves_the_turn_to_others(monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 0.0)
    runner = SliceRunner()

    def endless():
        while True:
            yield

    def working():
        yield
        return 7

    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, endless())
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 7 == await runner.run(working())
