"""Bench ``start``: the start of a hub with many devices and years of history."""

from __future__ import annotations

import socket
from typing import Any

from bench import load
from bench.history_files import fill_history
from bench.hub_process import HubProcess
from connectors.native.protocol import Cmd, frame

#: Connections that are open at the same time while the devices send their values.
CONNECTIONS = 500


def start(*, devices: int, gigabytes: float, verbose: bool) -> dict[str, Any]:
    """Time from the start of the process until it accepts devices, with five values for each device and old history."""
    with HubProcess(verbose=verbose) as hub:
        tokens = hub.add_devices(devices)
        for first in range(0, len(tokens), CONNECTIONS):
            _send_five_values(hub, tokens[first : first + CONNECTIONS])
        hub.stop()
        if gigabytes:
            fill_history(hub, gigabytes)
        hub.start()
        return {"devices": devices, "seconds": round(hub.started_in, 3), "rss_mb": round(hub.rss_mb(), 1)}


def _send_five_values(hub: HubProcess, tokens: list[str]) -> None:
    sockets = load.native_connections(hub.address, tokens)
    for sock in sockets:
        sock.sendall(b"".join(frame(Cmd.HARDWARE, pin + 1, ("vw", str(pin), str(pin))) for pin in range(5)))
        sock.shutdown(socket.SHUT_WR)
    load.read_to_end(sockets)
