"""Refusals in the log: each once in its time, bounded in lines and memory, and none silent for good."""

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
    """1,000 lines a minute, by a clock that stands until it is moved."""

    def __init__(self, caplog):
        self._caplog = caplog
        self.now = 0.0
        self.log = ThrottledLog(logging.getLogger("test"), 1000, 60.0, lambda: self.now)

    def lines(self, *texts, quiet=60.0):
        """What is logged of some texts."""
        self._caplog.clear()
        for text in texts:
            self.log.emit(text, quiet)
        self.log.summarize("test")
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def throttled(caplog):
    return Throttled(caplog)


def test_same_text_is_logged_once_in_its_time(throttled):
    assert ["a", "b"] == throttled.lines("a", "b", "a", "a")
    throttled.now = 59.0
    assert [] == throttled.lines("a")
    throttled.now = 60.0
    assert ["a"] == throttled.lines("a", "a")


def test_texts_over_the_limit_are_counted_and_new_ones_are_logged_again_soon(throttled):
    assert [*REASONS[:1000], DROPPED] == throttled.lines(*REASONS)
    assert [] == throttled.lines(*REASONS[:1000])
    throttled.now = 1.0
    assert ["new"] == throttled.lines("new")
    assert REASONS[1000:1010] == throttled.lines(*REASONS[1000:1010])


def test_text_that_is_silent_for_long_makes_place_for_new_ones(throttled):
    throttled.lines(*REASONS[:1000], quiet=3600.0)
    for minute in (1, 2):
        throttled.now = 60.0 * minute
        assert [f"{minute} {n}" for n in range(500)] == throttled.lines(*(f"{minute} {n}" for n in range(500)))


def test_least_recently_used_text_makes_place(throttled):
    throttled.lines(*REASONS[:1000], quiet=3600.0)
    throttled.now = 60.0
    assert ["new"] == throttled.lines("reason 0", "new", quiet=3600.0)
    assert ["reason 1"] == throttled.lines("reason 0", "new", "reason 1", quiet=3600.0)


@pytest.mark.timeouts(RunTimeouts(housekeeping=0.01))
async def test_hub_logs_new_refusals_after_1500_different_ones(hub, caplog):
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
