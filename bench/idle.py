"""Bench ``idle``: connections without traffic.

A device connects and disconnects before the memory is measured, so that what the hub allocates only once, such as
SQLite's buffers for statements that were not used before, does not count as memory of the connections.
"""

from __future__ import annotations

import time
from typing import Any

from bench import load
from bench.hub_process import HubProcess


def idle(*, connections: int, seconds: float, transport: str, verbose: bool) -> dict[str, Any]:
    """Connections without traffic: their memory, and the CPU of the hub."""
    load.raise_descriptor_limit()
    with HubProcess(verbose=verbose) as hub:
        tokens = hub.add_devices(connections)
        # Memory that adding the devices has used must not count.
        hub.stop()
        hub.start()
        for sock in load.CONNECT[transport](hub.address, tokens[:1]):
            sock.close()
        time.sleep(3)
        rss_before = hub.rss_mb()
        sockets = load.CONNECT[transport](hub.address, tokens)
        time.sleep(3)
        rss, cpu_before = hub.rss_mb(), hub.cpu_seconds()
        time.sleep(seconds)
        cpu_seconds = hub.cpu_seconds() - cpu_before
        for sock in sockets:
            sock.close()
        return {
            "rss_mb": round(rss_before, 1),
            "kb_per_connection": round((rss - rss_before) * 1024 / connections, 2),
            "cpu_percent": round(cpu_seconds / seconds * 100, 2),
        }
