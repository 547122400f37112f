from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.clock import Clock, State, synchronized

#: 2026-11-23T12:00:00Z in milliseconds.
NOON = 1_795_435_200_000
HOUR = 3_600_000
DAY = 24 * HOUR
YEAR = 365 * 24 * HOUR


class Machine:
    """A machine whose wall clock may be set, and whose time passes when the test says so."""

    def __init__(self, wall=NOON):
        self.wall = wall
        self.uptime = 0.0
        self.synchronized = False
        self.clock = Clock(lambda: self.wall * 1_000_000, lambda: self.uptime, lambda: self.synchronized)

    def advance(self, ms):
        self.wall += ms
        self.uptime += ms / 1000

    def set(self, wall):
        self.wall = wall


@pytest.fixture
def logged(caplog):
    """The messages that the clock has logged so far."""
    return lambda: [record.message for record in caplog.records if record.message.startswith("clock: ")]


def test_stamp_is_the_wall_clock_in_milliseconds(logged):
    machine = Machine()

    assert NOON == machine.clock.now()
    machine.advance(1234)
    assert NOON + 1234 == machine.clock.now()
    assert [] == logged()


def test_clock_that_starts_a_year_behind_continues_from_the_newest_record(logged):
    machine = Machine(NOON - YEAR)
    machine.clock.not_before(NOON)

    assert NOON <= machine.clock.now()
    assert machine.clock.behind
    assert [
        "clock: 365 days behind the newest record; stamps go on from there at half speed until it has caught up"
    ] == logged()


def test_clock_that_is_behind_logs_it_once(logged):
    machine = Machine(NOON - YEAR)
    machine.clock.not_before(NOON)

    for _ in range(100):
        machine.clock.now()
        machine.advance(1000)

    assert 1 == len(logged())


def test_stamps_of_a_clock_that_is_behind_advance_at_half_speed():
    machine = Machine(NOON - YEAR)
    machine.clock.not_before(NOON)
    machine.clock.now()
    machine.advance(10_000)

    assert NOON + 5_000 == machine.clock.now()


def test_clock_is_believable_again_after_it_is_set_forward_a_year(logged):
    machine = Machine(NOON - YEAR)
    machine.clock.not_before(NOON)
    before = machine.clock.now()
    machine.advance(1000)
    machine.set(NOON + 60_000)
    after = machine.clock.now()

    assert NOON + 60_000 == after
    assert before < after
    assert not machine.clock.behind
    assert "clock: believable again" == logged()[-1]
    assert 2 == len(logged())


def test_jump_of_a_year_forward_is_reported_and_logged_once(logged):
    machine = Machine(NOON - YEAR)
    machine.clock.check()
    machine.set(NOON)

    assert YEAR == machine.clock.check()
    assert 0 == machine.clock.check()
    assert ["clock: jumped 365 days forward"] == logged()


def test_stamps_do_not_run_backwards_when_the_clock_is_set_back_an_hour(logged):
    machine = Machine()
    stamps = [machine.clock.now()]
    machine.set(NOON - HOUR)
    for _ in range(1000):
        stamps.append(machine.clock.now())
        machine.advance(7)

    assert sorted(stamps) == stamps
    assert 1 == len(logged())


def test_clock_set_back_an_hour_has_caught_up_after_two_hours(logged):
    machine = Machine()
    machine.clock.now()
    machine.set(NOON - HOUR)
    stamps = []
    for _ in range(3 * 60):
        stamps.append(machine.clock.now())
        machine.advance(60_000)

    assert sorted(stamps) == stamps
    assert machine.wall == machine.clock.now()
    assert not machine.clock.behind
    assert 2 == len(logged())


def test_clock_set_back_an_hour_is_reported_and_logged(logged):
    machine = Machine()
    machine.clock.check()
    machine.set(NOON - HOUR)

    assert -HOUR == machine.clock.check()
    assert ["clock: jumped 60 minutes back"] == logged()


def test_clock_set_back_twice_is_logged_each_time(logged):
    machine = Machine()
    machine.clock.now()
    for _ in range(2):
        machine.set(machine.wall - HOUR)
        machine.clock.now()
        machine.set(machine.wall + 3 * HOUR)
        machine.clock.now()

    assert 4 == len(logged())


def test_correction_of_a_second_is_not_a_jump(logged):
    machine = Machine()
    first = machine.clock.now()
    machine.set(NOON - 1000)

    assert first == machine.clock.now()
    assert 0 == machine.clock.check()
    assert not machine.clock.behind
    assert [] == logged()


def test_passing_time_is_not_a_jump(logged):
    machine = Machine()
    machine.clock.check()
    machine.advance(10 * HOUR)

    assert 0 == machine.clock.check()
    assert [] == logged()


def test_record_from_the_past_changes_nothing(logged):
    machine = Machine()
    machine.clock.not_before(NOON - 30 * DAY)

    assert NOON == machine.clock.now()
    assert not machine.clock.behind
    assert [] == logged()


# -- clocks that are ahead --------------------------------------------------------------------------------------------


def test_stamps_do_not_follow_a_short_jump_into_the_future(logged):
    machine = Machine()
    machine.clock.now()
    machine.set(NOON + YEAR)
    machine.advance(1000)
    assert NOON == machine.clock.now()
    machine.advance(2000)
    assert NOON + 2000 == machine.clock.now()
    machine.set(NOON + 4000)
    machine.uptime += 1
    assert NOON + 4000 == machine.clock.now()
    assert State.FOLLOWING is machine.clock.state
    assert ["clock: 365 days ahead of where it should be", "clock: believable again"] == [
        line.partition(";")[0] for line in logged()
    ]


@pytest.mark.parametrize("days", [40, 400])
def test_clock_that_starts_far_ahead_of_the_newest_record_is_not_believable(days):
    machine = Machine()
    machine.clock.not_before(NOON - days * DAY)
    assert NOON - days * DAY == machine.clock.now()
    assert not machine.clock.believable


def test_jump_is_believed_after_it_has_lasted_an_hour(logged):
    machine = Machine()
    machine.clock.now()
    machine.set(NOON + 2 * DAY)
    for _ in range(359):
        machine.advance(10_000)
        machine.clock.check()
        assert machine.clock.now() < NOON + HOUR
    for _ in range(2):
        machine.advance(10_000)
        machine.clock.check()
    assert machine.wall == machine.clock.now()
    assert "clock: believable again" == logged()[-1]
    # Deletion waits longer.
    assert not machine.clock.problem


def test_another_jump_restarts_the_hour():
    machine = Machine()
    machine.clock.now()
    machine.set(NOON + 2 * DAY)
    for minute in range(70):
        machine.advance(60_000)
        if minute == 30:
            machine.set(machine.wall + DAY)
        machine.clock.check()
        assert machine.clock.now() < NOON + 2 * HOUR


def test_jump_is_believed_at_once_when_the_clock_is_synchronized(logged):
    machine = Machine()
    machine.clock.now()
    machine.synchronized = True
    machine.set(NOON + 3 * DAY)
    assert machine.wall == machine.clock.now()
    machine.advance(1000)
    assert machine.wall == machine.clock.now()


def test_synchronization_can_be_read_from_the_kernel():
    assert synchronized() in (True, False)


def test_days_without_a_stamp_are_not_a_jump():
    machine = Machine()
    machine.clock.now()
    machine.advance(5 * DAY)
    assert machine.wall == machine.clock.now()
    assert State.FOLLOWING is machine.clock.state


def test_periods_of_doubt_are_recorded_with_state_and_times():
    machine = Machine()
    machine.clock.now()
    machine.set(NOON + YEAR)
    machine.clock.now()
    machine.advance(5000)
    machine.set(NOON - DAY)
    machine.clock.now()
    machine.set(NOON + HOUR)
    machine.clock.now()
    ahead, behind = machine.clock.doubts
    assert (State.AHEAD, NOON, NOON + YEAR, NOON) == (ahead.state, ahead.began, ahead.wall, ahead.ended)
    assert (State.BEHIND, NOON, NOON - DAY, NOON + HOUR) == (behind.state, behind.began, behind.wall, behind.ended)


@given(st.lists(st.tuples(st.sampled_from("pass set check stamp".split()), st.integers(-3 * YEAR, 3 * YEAR))))
def test_stamps_never_run_backwards_and_reach_the_wall_clock_again(steps):
    machine = Machine()
    stamps = [machine.clock.now()]
    for step, ms in steps:
        if step == "pass":
            machine.advance(abs(ms) % DAY)
        elif step == "set":
            machine.set(max(0, NOON + ms))
        elif step == "check":
            machine.clock.check()
        stamps.append(machine.clock.now())
    assert sorted(stamps) == stamps
    # A clock that stays ahead is believed in the end.
    machine.set(max(stamps) + YEAR)
    for _ in range(3):
        machine.advance(HOUR)
        machine.clock.check()
        machine.clock.now()
    assert machine.wall == machine.clock.now()
