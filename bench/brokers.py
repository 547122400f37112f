"""The same MQTT load on the hub and on brokers, one after the other; the brokers keep nothing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import load
from bench.hubprocess import PATIENCE, HubProcess, cpu

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


def brokers(connections: int, seconds: float, amqtt: str) -> dict[str, Any]:
    """QoS 1, one message in flight on each connection; ``amqtt`` is its program, "" where there is none."""
    found: dict[str, Any] = {}
    with HubProcess() as hub:
        found["pinwheel"] = _measured(hub.address, hub.devices(connections), seconds, hub.cpu)
    tokens = [f"client-{n}" for n in range(connections)]
    for name, program, config, arguments in (
        ("mosquitto", shutil.which("mosquitto") or "/usr/sbin/mosquitto", _MOSQUITTO, ["-c"]),
        ("amqtt", amqtt, _AMQTT, ["-c"]),
    ):
        if program and Path(program).exists():
            with _running(program, arguments, config) as (address, pid):
                found[name] = _measured(address, tokens, seconds, lambda pid=pid: cpu(pid))  # type: ignore[misc]
    ours = found["pinwheel"]["per_cpu_second"]
    ratios = {f"pinwheel_to_{name}": round(ours / one["per_cpu_second"], 2) for name, one in found.items()}
    return found | {name: ratio for name, ratio in ratios.items() if name != "pinwheel_to_pinwheel"}


def _measured(
    address: tuple[str, int], tokens: list[str], seconds: float, used: Callable[[], float]
) -> dict[str, float]:
    load.acknowledged_load(load.MQTT, address, tokens, 1.0, None)
    before = used()
    sent = load.acknowledged_load(load.MQTT, address, tokens, seconds, None)
    p50, p99 = load.percentiles(sent.ages)
    return {
        "per_second": round(sent.messages / sent.seconds),
        "per_cpu_second": round(sent.messages / max(1e-9, used() - before)),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


@contextmanager
def _running(program: str, arguments: list[str], config: str) -> Iterator[tuple[tuple[str, int], int]]:
    """A broker on a free port for the length of the block: its address and process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
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


def _wait_for(address: tuple[str, int]) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(address).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise SystemExit("the broker did not start") from None
            time.sleep(0.05)
