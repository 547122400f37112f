"""Old history, written directly into the files of a stopped hub."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from contextlib import closing

from bench.hub_process import HubProcess
from hub.history.chunks import HOUR_MS, encode, statistics, to_row
from hub.history.keys import chunk_key, hour_key

#: Values of one chunk, one every 3.5 seconds. They are random doubles of 8 bytes: values of sensors compress so well
#: that a gigabyte of them would take all day.
POINTS = 1024
#: Series that get a history.
SERIES = 100


def fill_history(hub: HubProcess, gigabytes: float) -> None:
    """Fill the history of a stopped hub with old values up to a size."""
    chance = random.Random(3)
    path = hub.data / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        # Backwards in time, so that the newest hours exist whatever the size is.
        for hour in range(int(time.time()) // 3600 - 24, 0, -1):
            for series in range(1, SERIES + 1):
                _insert_hour(connection, hour, series, [chance.random() for _ in range(POINTS)])
            connection.commit()
            size = path.stat().st_size / 1e9
            print(f"\r{size:.2f} of {gigabytes} GB", end="", file=sys.stderr)
            if size >= gigabytes:
                break
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Otherwise the kernel would write the gigabyte during the measurement.
    os.sync()
    print(file=sys.stderr)


def _insert_hour(connection: sqlite3.Connection, hour: int, series: int, values: list[float]) -> None:
    points = [(hour * HOUR_MS + n * HOUR_MS // POINTS, value) for n, value in enumerate(values)]
    key = chunk_key(hour, series)
    connection.execute("INSERT INTO chunks VALUES (?, ?)", (key, encode(key, points)))
    row = to_row(statistics(points), hour * HOUR_MS)
    connection.execute(f"INSERT INTO hours VALUES (?, {', '.join('?' * len(row))})", (hour_key(hour, series), *row))
