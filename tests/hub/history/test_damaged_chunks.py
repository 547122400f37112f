"""Damaged chunks are quarantined, and the others are served."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.compaction import compact
from support.history import TEMPLATE, buckets, points
from support.times import HOUR, MINUTE, NOON
from support.values import write_value

from hub.testing import add_device


def flip_bit(data, series, hour):
    """Flip a bit of the chunk of an hour."""
    with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as database:
        key = hour << 43 | series << 11
        [(chunk,)] = database.execute("SELECT data FROM chunks WHERE id = ?", (key,)).fetchall()
        chunk = chunk[:5] + bytes((chunk[5] ^ 4,)) + chunk[6:]
        database.execute("UPDATE chunks SET data = ? WHERE id = ?", (chunk, key))


@pytest.mark.parametrize("detected_by", ["query", "check"])
async def test_chunk_with_a_flipped_bit_is_quarantined_and_the_others_are_served(start, time, detected_by, caplog):
    async with start() as started:
        device, _ = await add_device(started, TEMPLATE)
        for n in range(300):
            time.pass_(MINUTE)
            write_value(started, device, 0, n)
        await compact(started)
        days = await buckets(started, device, 0, "day")
        flip_bit(started.config.data, device.points[0].series, NOON // HOUR + 1)
        if detected_by == "check":
            await started.history.check()
        values = [value for _, value in await points(started, device, 0)]
        assert [*range(59), *range(119, 300)] == values
        assert 1 == started.history.retention.damaged
        assert "is damaged (its checksum does not fit) and was put aside" in caplog.text
        assert days == await buckets(started, device, 0, "day"), "statistics are in another row"
        assert [*range(59), *range(119, 300)] == [value for _, value in await points(started, device, 0)]
        assert 1 == started.history.retention.damaged
        # New values of that hour are stored.
        write_value(started, device, 0, 7, NOON + HOUR + 5)
        await compact(started)
        assert 241 == len(await points(started, device, 0))
    with closing(sqlite3.connect(started.config.data / "history.db")) as database:
        assert 1 == database.execute("SELECT count(*) FROM quarantine").fetchone()[0]
