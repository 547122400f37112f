"""Logging: one line per thing, on stderr, without a secret."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable

from hub.rate_limits import TokenBucket

#: Query strings and bearers never reach a log, whoever put them in a message.
_SECRET = re.compile(r"(?i)(token=|bearer\s+|password=|key=)[^\s&\"']+")


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SECRET.sub(r"\1…", super().format(record))


def setup(level: int = logging.INFO) -> None:
    """Log to stderr; under systemd the journal adds the time."""
    handler = logging.StreamHandler(sys.stderr)
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler.setFormatter(_Masked(f"{stamp}%(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("aiosqlite", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class ThrottledLog:
    """Warnings that come again and again: the same one is logged once in its time, and ``most`` in ``per`` seconds.

    At most ``most`` texts are remembered; a new one takes the place of the least recently used.
    """

    def __init__(
        self, logger: logging.Logger, most: int, per: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = logger
        self._most = most
        self._monotonic = monotonic
        self._budget = TokenBucket(most / per, most, monotonic())
        #: Until when a text is not logged again, the least recently used first.
        self._quiet_until: OrderedDict[str, float] = OrderedDict()
        self._dropped = 0

    def emit(self, text: str, quiet: float) -> bool:
        """Log a text; False if that was done in the last ``quiet`` seconds. Over the limit it is only counted."""
        now = self._monotonic()
        if (until := self._quiet_until.get(text)) is not None:
            self._quiet_until.move_to_end(text)
            if now < until:
                return False
        self._budget.refill(now)
        if not self._budget.take():
            self._dropped += 1
            return True
        self._log.warning("%s", text)
        self._quiet_until[text] = now + quiet
        self._quiet_until.move_to_end(text)
        if len(self._quiet_until) > self._most:
            self._quiet_until.popitem(last=False)
        return True

    def summarize(self, what: str) -> None:
        """Log how many were not logged since the last time, if any: ``what`` says of which."""
        if self._dropped:
            self._log.warning("%s: %d more were not logged, for they were too many at once", what, self._dropped)
            self._dropped = 0
