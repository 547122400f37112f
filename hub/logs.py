"""Logging to stderr: one line per message, secrets redacted, repetitions throttled."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable

from hub.rate_limits import TokenBucket

#: Tokens, bearers, passwords and keys never reach the log, whatever message they are in.
_SECRET = re.compile(r"(?i)(token=|bearer\s+|password=|key=)[^\s&\"']+")


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SECRET.sub(r"\1…", super().format(record))


def setup(level: int = logging.INFO) -> None:
    """Log to stderr; under systemd the journal adds the time."""
    handler = logging.StreamHandler(sys.stderr)
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler.setFormatter(_Redacting(f"{stamp}%(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("aiosqlite", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class ThrottledLog:
    """A log of warnings that repeat: each is logged once in its quiet time, and at most ``most`` in ``per`` seconds.

    At most ``most`` texts are remembered; a new one evicts the least recently used.
    """

    def __init__(self, logger: logging.Logger, most: int, per: float, monotonic: Callable[[], float]) -> None:
        self._log = logger
        self._most = most
        self._monotonic = monotonic
        self._budget = TokenBucket(most / per, most, monotonic())
        #: When each text may be logged again, the least recently used first.
        self._quiet_until: OrderedDict[str, float] = OrderedDict()
        self._dropped = 0

    def emit(self, text: str, quiet: float) -> bool:
        """Log a text, or only count it over the limit; return False if it was logged in the last ``quiet`` seconds."""
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

    def summarize(self, subject: str) -> None:
        """Log how many messages about a ``subject`` were not logged since the last call, if any."""
        if self._dropped:
            self._log.warning("%s: %d more were not logged, for they were too many at once", subject, self._dropped)
            self._dropped = 0
