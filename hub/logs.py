"""Logging: one line per thing, on stderr, without a secret."""

from __future__ import annotations

import logging
import os
import re
import sys

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
