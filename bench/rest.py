"""Bench ``rest``: disk writes of a hub with little traffic."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import load
from bench.hub_process import CONFIG, DATASTREAMS, HubProcess

#: Datastreams that get one value a minute each.
SERIES = 100


def rest(*, seconds: float, verbose: bool) -> dict[str, Any]:
    """Disk writes with one value a minute for each of 100 datastreams, and flush = "5s"; syncs need strace."""
    with HubProcess(verbose=verbose, config=CONFIG + '\n[storage]\nflush = "5s"\n') as hub:
        sockets = load.native_connections(hub.address, hub.add_devices(SERIES // DATASTREAMS))
        time.sleep(min(seconds, 10))
        syncs = _SyncCounter(hub.pid) if shutil.which("strace") else None
        before = hub.written_bytes()
        result = load.native_paced(sockets, seconds, SERIES / 60)
        passed, blocks = (now - then for then, now in zip(before, hub.written_bytes(), strict=True))
        mb_per_day = 86_400 / result.seconds / 1e6
        return {
            "written_mb_per_day": round(passed * mb_per_day, 1),
            "blocks_written_mb_per_day": round(blocks * mb_per_day, 1),
            "syncs_per_minute": syncs and round(syncs.stop() / result.seconds * 60, 1),
        }


class _SyncCounter:
    """Counts the calls of fsync() and fdatasync() of a process, with strace."""

    def __init__(self, pid: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pinwheel-bench-")
        self._trace = Path(self._folder.name) / "strace"
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-p", str(pid), "-o", str(self._trace)]
        self._process = subprocess.Popen(command)
        time.sleep(1)

    def stop(self) -> int:
        """Stop counting and return the number of calls."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        # A call that is interrupted in the trace has a second line, "<... fsync resumed>", without "sync(".
        count = sum("sync(" in line for line in self._trace.read_text().splitlines())
        self._folder.cleanup()
        return count
