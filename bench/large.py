"""A hub with years behind it: its start, and a backup beside its work. And one with little to do, at rest."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench import load
from bench.hubprocess import CONFIG, HubProcess
from hub.history.chunks import HOUR_MS, encode, statistics, to_row
from hub.history.keys import chunk_key, hour_key

#: Values of one chunk, as one every 3.5 seconds makes; random doubles of 8 bytes, since sensors would take all day.
POINTS = 1024
#: Series that have a history.
SERIES = 100
#: Updates a second while the backup runs, over so many connections.
RATE, CONNECTIONS = 500, 64
#: Seconds that acknowledgements are measured at a time while it runs.
MEANWHILE = 5.0
#: Datastreams at rest, with one value a minute each.
AT_REST = 100


def fill(hub: HubProcess, gigabytes: float) -> None:
    """Put that much of old history into a hub which has stopped."""
    chance = random.Random(3)
    path = hub.data / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        # Back in time, so that the newest hours are there however much it is.
        for hour in range(int(time.time()) // 3600 - 24, 0, -1):
            for series in range(1, SERIES + 1):
                values = [chance.random() for _ in range(POINTS)]
                points = [(hour * HOUR_MS + n * HOUR_MS // POINTS, value) for n, value in enumerate(values)]
                key = chunk_key(hour, series)
                connection.execute("INSERT INTO chunks VALUES (?, ?)", (key, encode(key, points)))
                row = to_row(statistics(points), hour * HOUR_MS)
                connection.execute(
                    f"INSERT INTO hours VALUES (?, {', '.join('?' * len(row))})", (hour_key(hour, series), *row)
                )
            connection.commit()
            size = path.stat().st_size / 1e9
            print(f"\r{size:.2f} of {gigabytes} GB", end="", file=sys.stderr)
            if size >= gigabytes:
                break
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # A gigabyte that the kernel still has to write would be measured too.
    os.sync()
    print(file=sys.stderr)


def backup(devices: int, gigabytes: float, seconds: float, *, verbose: bool) -> dict[str, Any]:
    """How long acknowledgements take for some seconds before, during and after a backup, its trial restore included."""
    with HubProcess(verbose=verbose) as hub, tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        tokens = hub.devices(devices)[:CONNECTIONS]
        hub.stop()
        fill(hub, gigabytes)
        hub.start()
        # What a hub looks at after its start is not what is measured.
        time.sleep(seconds)
        before = load.acknowledged_load(load.HTTP, hub.address, tokens, seconds, RATE)
        began = time.monotonic()
        running = subprocess.Popen(hub.command("backup", f"{folder}/backup.tar"), stdout=subprocess.DEVNULL)
        during: list[float] = []
        while running.poll() is None:
            during += load.acknowledged_load(load.HTTP, hub.address, tokens, min(seconds, MEANWHILE), RATE).ages
        took = time.monotonic() - began
        if running.returncode:
            raise SystemExit("the backup failed")
        after = load.acknowledged_load(load.HTTP, hub.address, tokens, seconds, RATE)
        p99 = {"before": before.ages, "during": during, "after": after.ages}
        return {
            "gigabytes": round((hub.data / "history.db").stat().st_size / 1e9, 2),
            "seconds": round(took, 1),
            **{f"{when}_p99_ms": round(load.percentiles(ages)[1], 1) for when, ages in p99.items()},
        }


def rest(seconds: float, *, verbose: bool) -> dict[str, Any]:
    """What a hub writes that gets little; ``syncs_per_minute`` is None without strace."""
    with HubProcess(verbose=verbose, config=CONFIG + '\n[storage]\nflush = "5s"\n') as hub:
        sockets = load.native_connections(hub.address, hub.devices(AT_REST // 5))
        time.sleep(min(seconds, 10))
        traced = _Syncs(hub.pid) if shutil.which("strace") else None
        before = hub.written()
        sent = load.native_paced(sockets, seconds, AT_REST / 60)
        written = [after - then for then, after in zip(before, hub.written(), strict=True)]
        a_day = 86_400 / sent.seconds / 1e6
        return {
            "written_mb_per_day": round(written[0] * a_day, 1),
            "blocks_written_mb_per_day": round(written[1] * a_day, 1),
            "syncs_per_minute": traced and round(traced.end() / sent.seconds * 60, 1),
        }


class _Syncs:
    """Counts how often a process syncs a file, with strace."""

    def __init__(self, pid: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pinwheel-bench-")
        self._lines = Path(self._folder.name) / "strace"
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-p", str(pid), "-o", str(self._lines)]
        self._process = subprocess.Popen(command)
        time.sleep(1)

    def end(self) -> int:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        # A call that another thread interrupts has a second line, "resumed".
        found = sum("sync(" in line for line in self._lines.read_text().splitlines())
        self._folder.cleanup()
        return found
