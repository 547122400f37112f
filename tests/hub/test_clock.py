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


class Board:
    """A board: a wall clock that may be set, and time that passes."""

    def __init__(self, wall=NOON):
        self.wall = wall
        self.uptime = 0.0
        self.synchronized = False
        self.clock = Clock(lambda: self.wall * 1_000_000, lambda: self.uptime, lambda: self.synchronized)

    def passes(self, ms):
        self.wall += ms
        self.uptime += ms / 1000

    def set(self, wall):
        self.wall = wall


@pytest.fixture
def said(caplog):
    """The lines that the clock has logged so far."""
    return lambda: [record.message for record in caplog.records if record.message.startswith("clock: ")]


def test_a_stamp_is_the_wall_clock_in_milliseconds(said):
    board = Board()

    assert NOON == board.clock.now()
    board.passes(1234)
    assert NOON + 1234 == board.clock.now()
    assert [] == said()


def test_a_board_that_boots_a_year_behind_goes_on_from_its_newest_record(said):
    board = Board(NOON - YEAR)
    board.clock.not_before(NOON)

    assert NOON <= board.clock.now()
    assert board.clock.behind
    assert [
        "clock: 365 days behind the newest record; stamps go on from there at half speed until it has caught up"
    ] == said()


def test_being_behind_is_said_once(said):
    board = Board(NOON - YEAR)
    board.clock.not_before(NOON)

    for _ in range(100):
        board.clock.now()
        board.passes(1000)

    assert 1 == len(said())


def test_stamps_of_a_clock_that_is_behind_advance_at_half_speed():
    board = Board(NOON - YEAR)
    board.clock.not_before(NOON)
    board.clock.now()
    board.passes(10_000)

    assert NOON + 5_000 == board.clock.now()


def test_the_clock_is_believable_again_after_the_forward_jump_of_a_year(said):
    board = Board(NOON - YEAR)
    board.clock.not_before(NOON)
    before = board.clock.now()
    board.passes(1000)
    board.set(NOON + 60_000)
    after = board.clock.now()

    assert NOON + 60_000 == after
    assert before < after
    assert not board.clock.behind
    assert "clock: believable again" == said()[-1]
    assert 2 == len(said())


def test_a_forward_jump_of_a_year_is_said_once(said):
    board = Board(NOON - YEAR)
    board.clock.check()
    board.set(NOON)

    assert YEAR == board.clock.check()
    assert 0 == board.clock.check()
    assert ["clock: jumped 365 days forward"] == said()


def test_stamps_do_not_run_backwards_when_the_clock_is_set_back_an_hour(said):
    board = Board()
    stamps = [board.clock.now()]
    board.set(NOON - HOUR)
    for _ in range(1000):
        stamps.append(board.clock.now())
        board.passes(7)

    assert sorted(stamps) == stamps
    assert 1 == len(said())


def test_a_clock_set_back_an_hour_has_caught_up_after_two(said):
    board = Board()
    board.clock.now()
    board.set(NOON - HOUR)
    stamps = []
    for _ in range(3 * 60):
        stamps.append(board.clock.now())
        board.passes(60_000)

    assert sorted(stamps) == stamps
    assert board.wall == board.clock.now()
    assert not board.clock.behind
    assert 2 == len(said())


def test_a_clock_set_back_an_hour_is_noticed(said):
    board = Board()
    board.clock.check()
    board.set(NOON - HOUR)

    assert -HOUR == board.clock.check()
    assert ["clock: jumped 60 minutes back"] == said()


def test_a_clock_that_falls_back_twice_says_so_twice(said):
    board = Board()
    board.clock.now()
    for _ in range(2):
        board.set(board.wall - HOUR)
        board.clock.now()
        board.set(board.wall + 3 * HOUR)
        board.clock.now()

    assert 4 == len(said())


def test_a_correction_of_a_second_is_nothing_to_tell(said):
    board = Board()
    first = board.clock.now()
    board.set(NOON - 1000)

    assert first == board.clock.now()
    assert 0 == board.clock.check()
    assert not board.clock.behind
    assert [] == said()


def test_time_that_passes_is_no_jump(said):
    board = Board()
    board.clock.check()
    board.passes(10 * HOUR)

    assert 0 == board.clock.check()
    assert [] == said()


def test_a_record_from_the_past_changes_nothing(said):
    board = Board()
    board.clock.not_before(NOON - 30 * DAY)

    assert NOON == board.clock.now()
    assert not board.clock.behind
    assert [] == said()


# -- a future that is not proven --------------------------------------------------------------------------------------


def test_stamps_do_not_follow_a_wrong_moment_into_the_future(said):
    board = Board()
    board.clock.now()
    board.set(NOON + YEAR)
    board.passes(1000)
    assert NOON == board.clock.now()
    board.passes(2000)
    assert NOON + 2000 == board.clock.now()
    board.set(NOON + 4000)
    board.uptime += 1
    assert NOON + 4000 == board.clock.now()
    assert State.FOLLOWING is board.clock.state
    assert ["clock: 365 days ahead of where it should be", "clock: believable again"] == [
        line.partition(";")[0] for line in said()
    ]


@pytest.mark.parametrize("days", [40, 400])
def test_a_start_far_ahead_of_the_newest_record_must_prove_itself(days):
    board = Board()
    board.clock.not_before(NOON - days * DAY)
    assert NOON - days * DAY == board.clock.now()
    assert not board.clock.believable


def test_a_jump_is_believed_when_it_has_lasted_an_hour(said):
    board = Board()
    board.clock.now()
    board.set(NOON + 2 * DAY)
    for _ in range(359):
        board.passes(10_000)
        board.clock.check()
        assert board.clock.now() < NOON + HOUR
    for _ in range(2):
        board.passes(10_000)
        board.clock.check()
    assert board.wall == board.clock.now()
    assert "clock: believable again" == said()[-1]
    # Deletion is more patient.
    assert not board.clock.problem


def test_another_jump_begins_the_hour_anew():
    board = Board()
    board.clock.now()
    board.set(NOON + 2 * DAY)
    for minute in range(70):
        board.passes(60_000)
        if minute == 30:
            board.set(board.wall + DAY)
        board.clock.check()
        assert board.clock.now() < NOON + 2 * HOUR


def test_a_jump_is_believed_at_once_when_the_clock_is_synchronized(said):
    board = Board()
    board.clock.now()
    board.synchronized = True
    board.set(NOON + 3 * DAY)
    assert board.wall == board.clock.now()
    board.passes(1000)
    assert board.wall == board.clock.now()


def test_the_kernel_is_asked_and_answers():
    assert synchronized() in (True, False)


def test_days_without_a_stamp_are_no_jump():
    board = Board()
    board.clock.now()
    board.passes(5 * DAY)
    assert board.wall == board.clock.now()
    assert State.FOLLOWING is board.clock.state


def test_which_stamps_were_given_in_doubt_is_known():
    board = Board()
    board.clock.now()
    board.set(NOON + YEAR)
    board.clock.now()
    board.passes(5000)
    board.set(NOON - DAY)
    board.clock.now()
    board.set(NOON + HOUR)
    board.clock.now()
    ahead, behind = board.clock.doubts
    assert (State.AHEAD, NOON, NOON + YEAR, NOON) == (ahead.state, ahead.began, ahead.wall, ahead.ended)
    assert (State.BEHIND, NOON, NOON - DAY, NOON + HOUR) == (behind.state, behind.began, behind.wall, behind.ended)


@given(st.lists(st.tuples(st.sampled_from("pass set check stamp".split()), st.integers(-3 * YEAR, 3 * YEAR))))
def test_stamps_never_run_backwards_and_come_back(steps):
    board = Board()
    stamps = [board.clock.now()]
    for what, ms in steps:
        if what == "pass":
            board.passes(abs(ms) % DAY)
        elif what == "set":
            board.set(max(0, NOON + ms))
        elif what == "check":
            board.clock.check()
        stamps.append(board.clock.now())
    assert sorted(stamps) == stamps
    # A clock that is ahead and stays so is right in the end.
    board.set(max(stamps) + YEAR)
    for _ in range(3):
        board.passes(HOUR)
        board.clock.check()
        board.clock.now()
    assert board.wall == board.clock.now()
