"""Throttled logging of rejections: each text once in a period, bounded in lines and memory, and none suppressed for ever."""

from __future__ import annotations

import logging

import pytest
from support.times import until

from hub.domain.rejections import MAX_REMEMBERED
from hub.logs import ThrottledLog
from hub.run import RunTimeouts

REASONS = [f"reason {number}" for number in range(1500)]
DROPPED = "test: 500 more were not logged, for they were too many at once"


class Throttled:
    """A log of 1,000 lines a minute, with a clock that the test sets."""

    def __init__(self, caplog):
        self._caplog = caplog
        self.now = 0.0
        self.log = ThrottledLog(logging.getLogger("test"), 1000, 60.0, lambda: self.now)

    def lines(self, *texts, quiet=60.0):
        """The lines that are logged when the texts are emitted."""
        self._caplog.clear()
        for text in texts:
            self.log.emit(text, quiet)
        self.log.summarize("test")
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def throttled(caplog):
    return Throttled(caplog)


def test_same_text_is_logged_once_in_its_quiet_period(throttled):
    assert ["a", "b"] == throttled.lines("a", "b", "a", "a")
    throttled.now = 59.0
    assert [] == throttled.lines("a")
    throttled.now = 60.0
    assert ["a"] == throttled.lines("a", "a")


def test_texts_over_the_limit_are_counted_and_others_are_logged_a_second_later(throttled):
    assert [*REASONS[:1000], DROPPED] == throttled.lines(*REASONS)
    assert [] == throttled.lines(*REASONS[:1000])
    throttled.now = 1.0
    assert ["new"] == throttled.lines("new")
    assert REASONS[1000:1010] == throttled.lines(*REASONS[1000:1010])


def test_texts_with_a_long_quiet_period_do_not_use_up_the_limit(throttled):
    throttled.lines(*REASONS[:1000], quiet=3600.0)
    for minute in (1, 2):
        throttled.now = 60.0 * minute
        assert [f"{minute} {n}" for n in range(500)] == throttled.lines(*(f"{minute} {n}" for n in range(500)))


def test_least_recently_used_text_is_forgotten_first(throttled):
    throttled.lines(*REASONS[:1000], quiet=3600.0)
    throttled.now = 60.0
    assert ["new"] == throttled.lines("reason 0", "new", quiet=3600.0)
    assert ["reason 1"] == throttled.lines("reason 0", "new", "reason 1", quiet=3600.0)


@pytest.mark.timeouts(RunTimeouts(housekeeping=0.01))
async def test_hub_logs_a_new_rejection_after_1500_different_ones(hub, caplog):
    log = hub.rejections._log
    now = log._monotonic()
    log._monotonic = lambda: now
    for reason in REASONS:
        hub.reject("192.0.2.1", reason, quiet=3600.0)
    assert MAX_REMEMBERED == caplog.text.count("refused: 192.0.2.1 reason")
    await until(lambda: "refused: 500 more were not logged" in caplog.text)
    now += 60.0
    hub.reject("192.0.2.2", "something new")
    assert "refused: 192.0.2.2 something new" in caplog.text
    assert (1501, MAX_REMEMBERED) == (hub.rejections.count, len(log._quiet_until))
