"""Bench ``brokers``: the same MQTT load on the hub and on brokers, which store nothing, one after the other."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import load
from bench.hub_process import PATIENCE, HubProcess, cpu_seconds
from bench.load import Address

_MOSQUITTO = "listener {port} 127.0.0.1\nallow_anonymous true\n"
_AMQTT = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
    max_connections: 10000
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


def brokers(*, connections: int, seconds: float, amqtt: str) -> dict[str, Any]:
    """The same MQTT load (QoS 1, one message in flight each) on the hub, Mosquitto and amqtt, if they are installed."""
    results: dict[str, Any] = {}
    with HubProcess() as hub:
        results["pinwheel"] = _measure(hub.address, hub.add_devices(connections), seconds, hub.cpu_seconds)
    tokens = [f"client-{n}" for n in range(connections)]
    for name, program, config, arguments in (
        ("mosquitto", shutil.which("mosquitto") or "/usr/sbin/mosquitto", _MOSQUITTO, ["-c"]),
        ("amqtt", amqtt, _AMQTT, ["-c"]),
    ):
        if program and Path(program).exists():
            with _running(program, arguments, config) as (address, pid):
                results[name] = _measure(address, tokens, seconds, partial(cpu_seconds, pid))
    pinwheel = results["pinwheel"]["per_cpu_second"]
    ratios = {
        f"pinwheel_to_{name}": round(pinwheel / result["per_cpu_second"], 2)
        for name, result in results.items()
        if name != "pinwheel"
    }
    return results | ratios


def _measure(address: Address, tokens: list[str], seconds: float, cpu: Callable[[], float]) -> dict[str, float]:
    """Return the results of a load. ``cpu`` returns the CPU seconds of the broker so far."""
    load.acknowledged_load(load.MQTT, address, tokens, seconds=1.0)
    before = cpu()
    result = load.acknowledged_load(load.MQTT, address, tokens, seconds)
    p50, p99 = load.percentiles(result.ages)
    return {
        "per_second": round(result.messages / result.seconds),
        "per_cpu_second": round(result.messages / max(1e-9, cpu() - before)),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


@contextmanager
def _running(program: str, arguments: list[str], config: str) -> Iterator[tuple[Address, int]]:
    """Run a broker on a free port for the length of the block; yield its address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broker.yaml"
        path.write_text(config.format(port=address[1]))
        path.chmod(0o644)
        Path(folder).chmod(0o755)
        process = subprocess.Popen(
            [program, *arguments, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(address)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(address: Address) -> None:
    """Return when the broker accepts connections."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(address).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"The broker did not start within {PATIENCE:.0f} seconds.") from None
            time.sleep(0.05)
