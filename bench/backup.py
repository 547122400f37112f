"""Bench ``backup``: acknowledgements of a hub that makes a backup."""

from __future__ import annotations

import subprocess
import tempfile
import time
from typing import Any

from bench import load
from bench.history_files import fill_history
from bench.hub_process import HubProcess

#: Updates a second, and connections that send them.
RATE, CONNECTIONS = 500, 64
#: Seconds of each load during the backup.
LOAD_SECONDS = 5.0


def backup(*, devices: int, gigabytes: float, seconds: float, verbose: bool) -> dict[str, Any]:
    """Age of updates (500 a second) at their acknowledgement before, during and after a backup with trial restore."""
    with HubProcess(verbose=verbose) as hub, tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        tokens = hub.add_devices(devices)[:CONNECTIONS]
        hub.stop()
        fill_history(hub, gigabytes)
        hub.start()
        # The checks of the history after the start must not count.
        time.sleep(seconds)
        before = _ages(hub, tokens, seconds)
        began = time.monotonic()
        process = subprocess.Popen(hub.command("backup", f"{folder}/backup.tar"), stdout=subprocess.DEVNULL)
        during: list[float] = []
        while process.poll() is None:
            during += _ages(hub, tokens, min(seconds, LOAD_SECONDS))
        duration = time.monotonic() - began
        if process.returncode:
            raise SystemExit(f"pinwheel backup failed with exit code {process.returncode}.")
        after = _ages(hub, tokens, seconds)
        return {
            "gigabytes": round((hub.data / "history.db").stat().st_size / 1e9, 2),
            "seconds": round(duration, 1),
            "before_p99_ms": _p99_ms(before),
            "during_p99_ms": _p99_ms(during),
            "after_p99_ms": _p99_ms(after),
        }


def _ages(hub: HubProcess, tokens: list[str], seconds: float) -> list[float]:
    return load.acknowledged_load(load.HTTP, hub.address, tokens, seconds, RATE).ages


def _p99_ms(ages: list[float]) -> float:
    return round(load.percentiles(ages)[1], 1)
