"""The log of the history, read from its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from hub.history.log_table import unpack_batch


def log_entries(data):
    """(series, stamp, value, flags) of every value in the log of a data directory, in the order of acceptance."""
    with closing(sqlite3.connect(data / "history.db")) as database:
        batches = database.execute("SELECT number, n, data FROM log ORDER BY number").fetchall()
    return [entry for batch in batches for entry in unpack_batch(*batch)]
