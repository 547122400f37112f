from __future__ import annotations

import pytest

from hub.clock import Clock

#: 2026-11-23T12:00:00Z in milliseconds.
NOON = 1_795_435_200_000
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR


class Board:
    """A board: a wall clock that may be set, and time that passes."""

    def __init__(self, wall=NOON):
        self.wall = wall
        self.uptime = 0.0
        self.clock = Clock(wall=lambda: self.wall * 1_000_000, monotonic=lambda: self.uptime)

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
    board.clock.not_before(NOON - YEAR)

    assert NOON == board.clock.now()
    assert not board.clock.behind
    assert [] == said()
