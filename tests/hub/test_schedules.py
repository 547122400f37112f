"""Wall-clock schedules: the moments of each rule across changes of the clocks, and waiting while the clock is set."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from hub.clock import Clock
from hub.parsing.timezones import iso, zone
from hub.schedules import Every, Monthly, Once, Schedule, Weekly, latest_moment, next_moment

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
KOLKATA, APIA, SAO_PAULO, HAVANA = "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "America/Havana"
DAILY = range(1, 8)
MONDAY, SATURDAY, SUNDAY = 1, 6, 7
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def ms(text):
    """Milliseconds of a time with an offset."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


#: A local time, without a zone.
wall = datetime.fromisoformat


def moments(rule, name, after, count):
    """The next moments of a rule in local time, with their offset."""
    result, at = [], ms(after)
    for _ in range(count):
        at = next_moment(rule, name, at)
        result.append(iso(name, at))
    return result


# -- rules ------------------------------------------------------------------------------------------------------------


def test_weekly_rule_applies_on_its_weekdays_only():
    rule = Weekly(time(7, 30), [MONDAY, SATURDAY])
    # 2026-07-01 is a Wednesday.
    assert [
        "2026-07-04T07:30:00+05:30",
        "2026-07-06T07:30:00+05:30",
        "2026-07-11T07:30:00+05:30",
    ] == moments(rule, KOLKATA, "2026-07-01T12:00:00+05:30", 3)


def test_next_moment_is_strictly_later_and_latest_moment_may_be_now():
    rule = Weekly(time(7, 30, 15), DAILY)
    at = ms("2026-07-01T07:30:15+05:30")
    assert at == next_moment(rule, KOLKATA, at - 1)
    assert at + DAY == next_moment(rule, KOLKATA, at)
    assert at == latest_moment(rule, KOLKATA, at)
    assert at - DAY == latest_moment(rule, KOLKATA, at - 1)


def test_monthly_rule_skips_months_without_the_day():
    assert [
        "2026-01-31T00:00:00-05:00",
        "2026-03-31T00:00:00-04:00",
        "2026-05-31T00:00:00-04:00",
        "2026-07-31T00:00:00-04:00",
        "2026-08-31T00:00:00-04:00",
    ] == moments(Monthly(time(0), [31]), NEW_YORK, "2026-01-01T00:00:00-05:00", 5)


def test_monthly_rule_on_the_29th_applies_in_february_of_a_leap_year_only():
    [first, second] = moments(Monthly(time(9), [29]), BERLIN, "2028-02-01T00:00:00+01:00", 2)
    assert ("2028-02-29T09:00:00+01:00", "2028-03-29T09:00:00+02:00") == (first, second)
    assert ["2027-03-29T09:00:00+02:00"] == moments(Monthly(time(9), [29]), BERLIN, "2027-01-31T00:00:00+01:00", 1)


def test_monthly_rule_may_have_several_days():
    assert [
        "2026-02-01T12:00:00+01:00",
        "2026-02-15T12:00:00+01:00",
        "2026-03-01T12:00:00+01:00",
        "2026-03-15T12:00:00+01:00",
        "2026-03-30T12:00:00+02:00",
    ] == moments(Monthly(time(12), [30, 1, 15]), BERLIN, "2026-02-01T00:00:00+01:00", 5)


def test_once_has_a_single_moment():
    rule = Once(wall("2026-07-01T12:00"))
    at = ms("2026-07-01T12:00:00+02:00")
    assert at == next_moment(rule, BERLIN, 0)
    assert at == next_moment(rule, BERLIN, at - 1)
    assert next_moment(rule, BERLIN, at) is None
    assert latest_moment(rule, BERLIN, at - 1) is None
    assert at == latest_moment(rule, BERLIN, at + 1000 * DAY)


def test_interval_counts_elapsed_time_from_its_start_across_a_change_of_the_clocks():
    rule = Every(6 * 60, ms("2026-03-28T20:00:00+01:00"))
    assert [
        "2026-03-28T20:00:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-29T09:00:00+02:00",
    ] == moments(rule, BERLIN, "2026-01-01T00:00:00+01:00", 3)
    assert latest_moment(rule, BERLIN, rule.start - 1) is None


def test_interval_without_a_start_counts_from_the_epoch():
    assert 90 * MINUTE == next_moment(Every(90), "UTC", 0)
    assert 0 == latest_moment(Every(90), "UTC", 90 * MINUTE - 1)


def test_zone_may_be_an_offset():
    assert ["2026-07-01T07:30:00+05:45"] == moments(
        Weekly(time(7, 30), DAILY), "+05:45", "2026-07-01T00:00:00+05:45", 1
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weekly(time(7), []), "weekdays must be at least one of 1 to 7, not \\[\\]"),
        (lambda: Weekly(time(7), [0]), "not \\[0\\]"),
        (lambda: Weekly(time(7), [1, 8]), "not \\[1, 8\\]"),
        (lambda: Weekly(time(7, tzinfo=UTC), [1]), "no time zone of its own"),
        (lambda: Monthly(time(7), []), "days of a month must be"),
        (lambda: Monthly(time(7), [0]), "not \\[0\\]"),
        (lambda: Monthly(time(7), [32]), "not \\[32\\]"),
        (lambda: Monthly(time(7, tzinfo=UTC), [1]), "no time zone of its own"),
        (lambda: Once(datetime(2026, 1, 1, tzinfo=UTC)), "no time zone of its own"),
        (lambda: Once(wall("0001-01-01T00:00")), "must be 1970 to 2089, not 1"),
        (lambda: Once(wall("9999-12-31T00:00")), "not 9999"),
        (lambda: Every(0), "at least 1 minute, not 0"),
        (lambda: Every(-5), "not -5"),
    ],
)
def test_rule_that_never_applies_or_is_ambiguous_is_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- changes of the clocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "at", "after", "expected"),
    [
        (BERLIN, time(2, 30), "2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        (BERLIN, time(2, 0), "2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        (BERLIN, time(3, 0), "2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        (BERLIN, time(1, 59), "2026-03-29T00:00:00+01:00", "2026-03-29T01:59:00+01:00"),
        (NEW_YORK, time(2, 59, 59), "2026-03-08T00:00:00-05:00", "2026-03-08T03:00:00-04:00"),
        # Half an hour, at 02:00.
        (LORD_HOWE, time(2, 15), "2026-10-04T00:00:00+10:30", "2026-10-04T02:30:00+11:00"),
        # At midnight: the day begins at 01:00.
        (SAO_PAULO, time(0, 0), "2018-11-03T23:00:00-03:00", "2018-11-04T01:00:00-02:00"),
        (HAVANA, time(0, 30), "2026-03-07T23:00:00-05:00", "2026-03-08T01:00:00-04:00"),
        # A day: there was no 30 December 2011.
        (APIA, time(10, 0), "2011-12-29T20:00:00-10:00", "2011-12-31T00:00:00+14:00"),
    ],
)
def test_skipped_local_time_is_moved_to_the_end_of_the_gap(name, at, after, expected):
    rule = Weekly(at, DAILY)
    assert [expected] == moments(rule, name, after, 1)
    assert ms(expected) == latest_moment(rule, name, ms(expected))
    assert ms(expected) > latest_moment(rule, name, ms(expected) - 1)


@pytest.mark.parametrize(
    ("name", "at", "after", "expected"),
    [
        (BERLIN, time(2, 30), "2026-10-25T00:00:00+02:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        (BERLIN, time(3, 0), "2026-10-25T00:00:00+02:00", ["2026-10-25T03:00:00+01:00", "2026-10-26T03:00:00+01:00"]),
        (
            NEW_YORK,
            time(1, 0),
            "2026-11-01T00:30:00-04:00",
            ["2026-11-01T01:00:00-04:00", "2026-11-02T01:00:00-05:00"],
        ),
        (
            LORD_HOWE,
            time(1, 45),
            "2026-04-05T00:00:00+11:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        # At midnight: the last hour of a day occurs twice.
        (
            SAO_PAULO,
            time(23, 30),
            "2018-02-17T20:00:00-02:00",
            ["2018-02-17T23:30:00-02:00", "2018-02-18T23:30:00-03:00"],
        ),
    ],
)
def test_repeated_local_time_applies_the_first_time_only(name, at, after, expected):
    assert expected == moments(Weekly(at, DAILY), name, after, 2)


def test_time_on_a_skipped_day_and_the_midnight_after_it_are_the_same_moment():
    assert [
        "2011-12-29T00:00:00-10:00",
        "2011-12-31T00:00:00+14:00",
        "2012-01-01T00:00:00+14:00",
    ] == moments(Weekly(time(0), DAILY), APIA, "2011-12-28T12:00:00-10:00", 3)


def test_midnight_before_the_clocks_are_set_back_over_it_is_not_repeated():
    # In 2010 a minute after midnight: from Sunday 00:01 to Saturday 23:01.
    rule, name, midnight = Weekly(time(0), DAILY), "America/St_Johns", ms("2010-11-07T00:00:00-02:30")
    assert ["2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"] == moments(
        rule, name, "2010-11-06T12:00:00-02:30", 2
    )
    for minutes in range(62):
        assert midnight == latest_moment(rule, name, midnight + minutes * MINUTE)
        assert ms("2010-11-08T00:00:00-03:30") == next_moment(rule, name, midnight + minutes * MINUTE)


def test_once_in_a_gap_is_moved_and_once_in_a_repeated_hour_is_the_first():
    assert ["2026-03-29T03:00:00+02:00"] == moments(
        Once(wall("2026-03-29T02:30")), BERLIN, "2026-01-01T00:00:00+01:00", 1
    )
    repeated = Once(wall("2026-10-25T02:30").replace(fold=1))
    assert ["2026-10-25T02:30:00+02:00"] == moments(repeated, BERLIN, "2026-01-01T00:00:00+01:00", 1)


ZONES = st.sampled_from(
    [BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, APIA, SAO_PAULO, HAVANA, "UTC", "Pacific/Kwajalein", "Antarctica/Troll"]
    + ["Asia/Gaza", "Africa/Casablanca", "America/St_Johns", "Asia/Pyongyang", "-03:30"]
)
TIMES = st.builds(time, st.integers(0, 23), st.integers(0, 59))
RULES = st.one_of(
    st.builds(Weekly, TIMES, st.sets(st.integers(1, 7), min_size=1)),
    st.builds(Monthly, TIMES, st.sets(st.integers(1, 31), min_size=1)),
    st.builds(Every, st.integers(1, 50_000), st.integers(0, 10**12)),
)
STAMPS = st.integers(10 * DAY, 3_700_000_000_000)
#: Around the changes of the clocks above, where errors are likely.
NEAR_CHANGES = st.builds(
    lambda text, minutes: ms(text) + minutes * MINUTE,
    st.sampled_from(
        ["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00", "2026-03-08T07:00:00+00:00"]
        + ["2026-04-04T15:00:00+00:00", "2026-10-03T15:30:00+00:00", "2011-12-30T10:00:00+00:00"]
        + [
            "2018-11-04T03:00:00+00:00",
            "2018-02-18T02:00:00+00:00",
            "1993-08-21T12:00:00+00:00",
            "2010-11-07T02:31:00+00:00",
        ]
    ),
    st.integers(-3000, 3000),
)


def first_passed(name, local, around):
    """The first minute at which the local time of a zone is ``local`` or later, found by trying every minute."""
    place = zone(name)
    for minutes in range(-30 * 60, 30 * 60):
        at = around + minutes * MINUTE
        if datetime.fromtimestamp(at / 1000, place).replace(tzinfo=None) >= local:
            return at
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(ZONES, NEAR_CHANGES, TIMES)
def test_moment_is_the_first_at_which_the_clocks_have_passed_the_time(name, near, at):
    day = datetime.fromtimestamp(near / 1000, zone(name)).date()
    local = datetime.combine(day, at)
    about = int(local.replace(tzinfo=UTC).timestamp()) * 1000 - int(
        (datetime.fromtimestamp(near / 1000, zone(name)).utcoffset() or timedelta()).total_seconds() * 1000
    )
    assert first_passed(name, local, about) == next_moment(Once(local), name, 0)


@settings(deadline=None)
@given(RULES, ZONES, st.one_of(STAMPS, NEAR_CHANGES))
@example(Monthly(time(23, 59), [31]), APIA, ms("2026-07-31T23:59:00+13:00"))
@example(Weekly(time(0), [SATURDAY]), APIA, ms("2011-12-31T00:00:00+14:00"))
def test_next_and_latest_moment_are_consistent(rule, name, at):
    upcoming = next_moment(rule, name, at)
    latest = latest_moment(rule, name, at)
    assert upcoming > at
    assert latest_moment(rule, name, upcoming) == upcoming
    # Nothing is between the two.
    assert latest_moment(rule, name, upcoming - 1) == latest
    if latest is not None:
        assert latest <= at
        assert next_moment(rule, name, latest) == upcoming
        assert next_moment(rule, name, latest - 1) == latest


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 7), min_size=1), TIMES, ZONES, st.one_of(STAMPS, NEAR_CHANGES))
def test_weekly_rule_has_a_moment_for_every_matching_day(weekdays, at, name, after):
    rule, result, moment = Weekly(at, weekdays), [], after
    for _ in range(20):
        moment = next_moment(rule, name, moment)
        result.append(moment)
    assert result == sorted(set(result))
    first = datetime.fromtimestamp(after / 1000, zone(name)).date() - timedelta(days=2)
    days = [first + timedelta(days=number) for number in range(150)]
    every = {next_moment(Once(datetime.combine(day, at)), name, -DAY) for day in days if day.isoweekday() in weekdays}
    assert result == sorted(moment for moment in every if moment > after)[:20]


# -- waiting ----------------------------------------------------------------------------------------------------------

#: A Wednesday, 12:00 in Kolkata.
NOON = ms("2026-07-01T12:00:00+05:30")


class Machine:
    """A machine whose time is trio's, and whose wall clock may be set."""

    def __init__(self, wall=NOON):
        self.set(wall)
        self.clock = Clock(lambda: self._offset * 1_000_000 + int(trio.current_time() * 1e9), trio.current_time)

    @property
    def wall(self):
        return self.clock.wall

    def set(self, wall):
        self._offset = wall - int(trio.current_time() * 1000)


class Observed:
    """A task that always waits for a schedule; records each moment, and the wall clock when it was due."""

    def __init__(self, machine, rule, name=KOLKATA, after=None):
        self.due, self.at = [], []
        self._machine = machine
        self._schedule = Schedule(rule, name, machine.clock, after)

    async def run(self):
        while True:
            self.due.append(await self._schedule.wait())
            self.at.append(self._machine.wall)


@pytest.fixture
async def machine():
    return Machine()


@pytest.fixture
async def observe(machine, nursery):
    def start(rule, name=KOLKATA, after=None):
        observed = Observed(machine, rule, name, after)
        nursery.start_soon(observed.run)
        return observed

    return start


def local(*times):
    return [ms(f"2026-07-{text}+05:30") for text in times]


async def test_each_moment_is_due_on_time(autojump_clock, observe):
    observed = observe(Weekly(time(7, 30), DAILY))
    await trio.sleep(3 * 86_400)
    assert local("02T07:30:00", "03T07:30:00", "04T07:30:00") == observed.due
    for moment, at in zip(observed.due, observed.at, strict=True):
        assert 0 <= at - moment <= 2


async def test_moment_before_the_start_is_not_due(autojump_clock, observe):
    observed = observe(Weekly(time(12), DAILY))
    await trio.sleep(3600)
    assert [] == observed.due


async def test_interval_is_due_each_time(autojump_clock, observe):
    observed = observe(Every(1))
    await trio.sleep(2 * 3600 + 30)
    assert [NOON + number * MINUTE for number in range(1, 121)] == observed.due


async def test_latest_moment_missed_while_the_hub_was_stopped_is_due_at_once(autojump_clock, machine, observe):
    observed = observe(Weekly(time(7, 30), DAILY), after=ms("2026-06-20T07:30:00+05:30"))
    await trio.sleep(1)
    assert local("01T07:30:00") == observed.due
    assert NOON <= observed.at[0] <= NOON + 2


async def test_moment_that_was_due_before_a_restart_is_not_due_again(autojump_clock, observe):
    observed = observe(Weekly(time(7, 30), DAILY), after=ms("2026-07-01T07:30:00+05:30"))
    await trio.sleep(3600)
    assert [] == observed.due


async def test_moment_that_was_due_before_a_restart_is_not_due_again_when_the_clock_starts_behind(
    autojump_clock, machine, observe
):
    machine.set(NOON - 6 * HOUR)
    observed = observe(Weekly(time(7, 30), DAILY), after=ms("2026-07-01T07:30:00+05:30"))
    await trio.sleep(3600)
    machine.set(NOON)
    await trio.sleep(120)
    assert [] == observed.due
    await trio.sleep(86_400)
    assert local("02T07:30:00") == observed.due


async def test_schedule_continues_after_a_moment_recorded_by_a_clock_a_year_ahead(autojump_clock, observe):
    observed = observe(Weekly(time(7, 30), DAILY), after=ms("2027-07-01T07:30:00+05:30"))
    await trio.sleep(2 * 86_400)
    assert local("02T07:30:00", "03T07:30:00") == observed.due


async def test_clock_set_forward_over_a_moment_makes_it_due_within_a_minute(autojump_clock, machine, observe):
    observed = observe(Weekly(time(14), DAILY))
    await trio.sleep(600)
    machine.set(NOON + 3 * HOUR)
    await trio.sleep(61)
    assert local("01T14:00:00") == observed.due


async def test_clock_set_forward_to_before_a_moment_does_not_delay_it(autojump_clock, machine, observe):
    observed = observe(Weekly(time(14), DAILY))
    await trio.sleep(600)
    machine.set(ms("2026-07-01T13:59:00+05:30"))
    await trio.sleep(125)
    assert local("01T14:00:00") == observed.due
    assert observed.at[0] - observed.due[0] <= MINUTE


@pytest.mark.parametrize("rule", [Every(1), Every(10), Weekly(time(11, 55), DAILY)])
async def test_clock_set_forward_over_many_moments_makes_only_the_latest_due(autojump_clock, machine, observe, rule):
    observed = observe(rule)
    await trio.sleep(20)
    machine.set(NOON + 30 * DAY + 25_000)
    await trio.sleep(45)
    assert [latest_moment(rule, KOLKATA, observed.at[0])] == observed.due
    assert observed.due[0] > NOON + 29 * DAY


async def test_clock_set_from_1970_makes_only_the_latest_moment_due(autojump_clock, machine, observe):
    machine.set(20_000)
    observed = observe(Every(1))
    await trio.sleep(30)
    machine.set(NOON)
    await trio.sleep(50)
    assert [NOON] == [moment for moment in observed.due if moment > DAY]


async def test_clock_set_back_makes_no_moment_due_twice(autojump_clock, machine, observe):
    observed = observe(Weekly(time(14), DAILY))
    await trio.sleep(2 * 3600 + 60)
    machine.set(NOON)
    await trio.sleep(12 * 3600)
    assert local("01T14:00:00") == observed.due


async def test_interval_repeats_no_moment_after_the_clock_is_set_back(autojump_clock, machine, observe):
    observed = observe(Every(1))
    await trio.sleep(3600 + 30)
    machine.set(NOON + 30_000)
    await trio.sleep(2 * 3600)
    assert [NOON + number * MINUTE for number in range(1, 121)] == observed.due


async def test_clock_set_back_delays_the_next_moment(autojump_clock, machine, observe):
    observed = observe(Weekly(time(14), DAILY))
    await trio.sleep(3600)
    machine.set(NOON - 3 * HOUR)
    await trio.sleep(4 * 3600)
    assert [] == observed.due
    await trio.sleep(2 * 3600)
    assert local("01T14:00:00") == observed.due
    assert observed.at[0] - observed.due[0] <= 2


async def test_schedule_continues_after_the_clock_was_a_year_ahead(autojump_clock, machine, observe):
    observed = observe(Weekly(time(14), DAILY))
    machine.set(NOON + 365 * DAY)
    await trio.sleep(3 * 3600)
    machine.set(NOON + 3 * HOUR)
    await trio.sleep(2 * 86_400)
    assert local("02T14:00:00", "03T14:00:00") == observed.due[-2:]
    assert len(observed.due) == len(set(observed.due)) == 4


async def test_clock_set_back_before_the_only_moment_delays_it_until_then(autojump_clock, machine, observe):
    machine.set(NOON + 3 * HOUR)
    observed = observe(Once(wall("2026-07-01T14:00")))
    await trio.sleep(600)
    machine.set(NOON)
    await trio.sleep(3 * 3600)
    assert local("01T14:00:00") == observed.due


async def test_only_the_latest_of_the_moments_during_a_long_action_is_due(autojump_clock, machine):
    schedule = Schedule(Every(1), KOLKATA, machine.clock)
    assert NOON + MINUTE == await schedule.wait()
    await trio.sleep(10 * 60 + 30)
    assert NOON + 11 * MINUTE == await schedule.wait()
    assert NOON + 12 * MINUTE == await schedule.wait()


async def test_daily_moment_is_due_once_on_days_when_the_clocks_change(autojump_clock, machine, observe):
    machine.set(ms("2026-03-28T12:00:00+01:00"))
    observed = observe(Weekly(time(2, 30), DAILY), BERLIN)
    await trio.sleep(2 * 86_400)
    assert [ms("2026-03-29T03:00:00+02:00"), ms("2026-03-30T02:30:00+02:00")] == observed.due
    machine.set(ms("2026-10-24T12:00:00+02:00"))
    await trio.sleep(2 * 86_400)
    assert [ms("2026-10-25T02:30:00+02:00"), ms("2026-10-26T02:30:00+01:00")] == observed.due[-2:]


async def test_cancelled_wait_loses_no_moment(autojump_clock, machine):
    schedule = Schedule(Every(1), KOLKATA, machine.clock)
    await trio.sleep(90)
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        await schedule.wait()
    assert cancelled.cancelled_caught
    assert NOON + MINUTE == await schedule.wait()


STEPS = st.lists(st.tuples(st.integers(0, 2 * 3600), st.integers(-20 * HOUR, 20 * HOUR)), max_size=5)


@settings(max_examples=20, deadline=None)
@given(st.one_of(st.builds(Every, st.integers(5, 600)), st.builds(Weekly, TIMES, st.just(DAILY))), ZONES, STEPS)
def test_no_moment_is_due_twice_early_or_in_a_burst_after_any_jump(rule, name, steps):
    async def main():
        machine = Machine()
        observed = Observed(machine, rule, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observed.run)
            for seconds, jump in steps:
                await trio.sleep(seconds)
                # Not at the time of a check, so that the moments before the jump are known.
                await trio.sleep(0.5)
                before = len(observed.due)
                machine.set(machine.wall + jump)
                late = machine.wall
                await trio.sleep(61)
                assert len([moment for moment in observed.due[before:] if moment <= late]) <= 1
            quiet, already = machine.wall, set(observed.due)
            await trio.sleep(86_400 + 60)
            nursery.cancel_scope.cancel()
        assert len(observed.due) == len(set(observed.due))
        assert all(at >= moment for moment, at in zip(observed.due, observed.at, strict=True))
        # When the clock is no longer set, every moment is due on time, except those that were due already.
        expected, moment = [], next_moment(rule, name, quiet)
        while moment < quiet + DAY:
            expected.append(moment)
            moment = next_moment(rule, name, moment)
        later = [moment for moment in observed.due if quiet < moment < quiet + DAY and moment not in already]
        assert [moment for moment in expected if moment not in already] == later

    trio.run(main, clock=MockClock(autojump_threshold=0))
