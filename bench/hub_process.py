"""A hub in a process of its own, started with ``pinwheel run``, without rate limits."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from client import local, operations
from client.operations import HubStatus
from client.remote import Remote
from hub.config import load
from hub.history.chunks import decode
from hub.history.keys import series_of_chunk
from hub.history.log_table import unpack_batch
from plugins.platform_api.device_routes import MAX_ROWS

CONFIG = """\
[[listen]]
address = "127.0.0.1:0"

[limits]
messages_per_second = 1000000000
burst = 1000000000
connections = 100000
connections_per_address = 100000
"""

#: Datastreams of the template.
DATASTREAMS = 5
TEMPLATE = """\
[template]
id = "TMPL0bench"
name = "Bench"
""" + "".join(
    f"""
[[datastream]]
pin = "V{pin}"
name = "Value {pin}"
type = "double"
min = 0
max = 1e15
"""
    for pin in range(DATASTREAMS)
)

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
#: Seconds to wait for a start, and for a stop.
PATIENCE = 30.0


class HubProcess:
    """A context manager that starts a hub, and stops it at the end. ``verbose`` prints its configuration.

    ``prepare`` runs in the new process before the hub. ``environment`` is added to this process's environment.
    """

    def __init__(
        self,
        *,
        verbose: bool = False,
        config: str = CONFIG,
        environment: dict[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._environment = os.environ | (environment or {})
        self._prepare = prepare
        self._folder = tempfile.TemporaryDirectory(prefix="pinwheel-bench-")
        self.data = Path(self._folder.name) / "data"
        self._config = Path(self._folder.name) / "hub.toml"
        self._config.write_text(config)
        if verbose:
            print(config, file=sys.stderr)
        self._process: subprocess.Popen[str] | None = None
        self.address = ("", 0)
        self.started_in = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._folder.cleanup()

    def start(self) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self.command("run"),
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            preexec_fn=self._prepare,  # noqa: PLW1509 - nothing else runs in this process at a start
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.started_in = time.perf_counter() - began
        if not line.startswith("ready"):
            raise SystemExit(f"The hub did not start. It printed: {line!r}")
        address = json.loads((self.data / "hub.json").read_text())["listen"][0]["address"]
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))

    def command(self, *words: str) -> list[str]:
        """Return a command line of ``pinwheel`` for this hub."""
        program = str(Path(sys.executable).parent / "pinwheel")
        return [program, *words, "--config", str(self._config), "--data", str(self.data)]

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=PATIENCE)
            self._process = None

    def kill(self) -> None:
        """Kill the hub as ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return the CPU seconds so far (see `cpu_seconds`)."""
        return cpu_seconds(self.pid)

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def written_bytes(self) -> tuple[int, int]:
        """Return the bytes written so far (see `written_bytes`)."""
        return written_bytes(str(self.pid))

    def api(self) -> Remote:
        """Return the API of the running hub, with the hub's own key."""
        return local.connect(load(self._config).with_data(str(self.data)))

    def add_devices(self, count: int) -> list[str]:
        """Add devices, and return their tokens."""
        api = self.api()
        api(operations.post_template_import(toml=TEMPLATE))
        tokens = []
        for first in range(0, count, MAX_ROWS):
            rows = (f"Bench {n},TMPL0bench" for n in range(first, min(first + MAX_ROWS, count)))
            devices = api(operations.post_device_import(csv="\n".join(["name,template", *rows])))
            tokens += [device["token"] for device in devices]
        return tokens

    def status(self) -> HubStatus:
        return self.api()(operations.get_status())

    def stored_values(self) -> list[tuple[int, float]]:
        """Return (series, value) of all values in the history of the stopped hub."""
        return all_values(self.data)

    def count_values(self) -> int:
        """Return the number of values in the history of the stopped hub."""
        with closing(sqlite3.connect(self.data / "history.db")) as connection:
            compacted = connection.execute("SELECT coalesce(sum(n), 0) FROM hours").fetchone()[0]
            return int(compacted) + len(_values_in_log(connection))


def all_values(data: Path) -> list[tuple[int, Any]]:
    """Return (series, value) of all values in the history of a data directory: from the chunks, then from the log."""
    with closing(sqlite3.connect(data / "history.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        values = []
        for key, chunk in connection.execute("SELECT id, data FROM chunks ORDER BY id"):
            values += [(series_of_chunk(key), value) for _, value in decode(key, chunk)]
        return values + _values_in_log(connection)


def _values_in_log(connection: sqlite3.Connection) -> list[tuple[int, Any]]:
    """Return (series, value) of the values in the log that are not in a chunk yet."""
    [(since, upto, done)] = connection.execute("SELECT since, upto, series FROM sealed")
    batches = connection.execute("SELECT number, n, data FROM log WHERE number > ? ORDER BY number", (since,))
    return [
        (series, value)
        for number, count, data in batches
        for series, _, value, _ in unpack_batch(number, count, data)
        if number > upto or series > done
    ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far, user and system, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_SECOND


def written_bytes(pid: str = "self") -> tuple[int, int]:
    """Return the bytes that a process has passed to write(), and those that it caused to be written to disks.

    These are ``wchar`` and ``write_bytes`` of /proc/PID/io (proc_pid_io(5)).
    """
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counters["wchar"]), int(counters["write_bytes"])
