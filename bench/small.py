"""A hub on something like a small Raspberry Pi: a quarter of a core, 256 MB without swap, syncs like an SD card's.

The limits are those of a control group, version 2 or 1. Where none can be made, the hub is stopped and continued, 25 ms
of every 100, and has all memory; the result says so. Syncs are slowed by a library of ours that is preloaded.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench import load
from bench.calibration import calibration_us
from bench.hubprocess import HubProcess
from connectors.native.protocol import Cmd, frame

#: Of a core, and bytes.
SHARE, MEMORY = 0.25, 256 << 20
PERIOD_MS = 100
#: Milliseconds that each sync takes longer.
SYNC_MS = 10.0
#: Seconds between two heartbeats of a device (`BLYNK_HEARTBEAT` was 10 for years, BlynkConfig.h).
HEARTBEAT = 10.0
GROUPS = Path("/sys/fs/cgroup")


def small(connections: int, rate: float, seconds: float, sync_ms: float, *, verbose: bool = False) -> dict[str, Any]:
    """Values from some devices told to a live subscriber, then the same devices with nothing but heartbeats."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder, _limits() as (limit, prepare):
        environment, slowed = _slow_syncs(Path(folder), sync_ms)
        with HubProcess(verbose=verbose, environment=environment, prepare=prepare) as hub, _duty_cycle(limit, hub):
            tokens = hub.devices(connections)
            subscriber = load.Subscriber(hub.address, hub.api().token, every=True)
            sockets = load.native_connections(hub.address, tokens)
            time.sleep(2)
            before = hub.cpu()
            sent = load.native_paced(sockets, seconds, rate)
            busy = (hub.cpu() - before) / sent.seconds * 100
            p50, p99, told = subscriber.percentiles()
            sockets = load.native_connections(hub.address, tokens)
            time.sleep(2)
            before, began = hub.cpu(), time.monotonic()
            _heartbeats(sockets, seconds)
            rest = (hub.cpu() - before) / (time.monotonic() - began) * 100
            rss = hub.rss()
            hub.stop()
            return {
                "limit": limit,
                "core_share": SHARE,
                "memory_mb": MEMORY >> 20 if limit.startswith("cgroup") else None,
                "sync_ms": sync_ms if slowed else 0.0,
                "per_second": round(sent.messages / sent.seconds),
                "told": told,
                "p50_ms": round(p50, 2),
                "p99_ms": round(p99, 2),
                "cpu_percent": round(busy, 1),
                "rest_cpu_percent": round(rest, 2),
                "calibration_us": round(calibration_us()),
                "lost": sent.messages - hub.count(),
                "rss_mb": round(rss, 1),
            }


def _heartbeats(sockets: list[socket.socket], seconds: float) -> None:
    """A ping of each device every `HEARTBEAT`, one after the other."""
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        began, count = time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds:
            if (due := began + count * HEARTBEAT / len(sockets)) <= now:
                sockets[count % len(sockets)].sendall(frame(Cmd.PING, count % 65_535 + 1, ()))
                count += 1
            for key, _ in selector.select(max(0.0, due - now)):
                assert key.fileobj.recv(4096), "the hub ended a connection"  # type: ignore[union-attr]


def _slow_syncs(folder: Path, sync_ms: float) -> tuple[dict[str, str], bool]:
    """What preloads the library, and whether syncs are slower."""
    compiler = shutil.which("cc")
    if compiler is None or not sync_ms:
        return {}, False
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": str(round(sync_ms * 1000))}, True


# -- limits -----------------------------------------------------------------------------------------------------------


@contextmanager
def _limits() -> Iterator[tuple[str, Callable[[], None] | None]]:
    """What limits the hub, and what its process does first to be limited."""
    name = f"pinwheel-bench-{os.getpid()}"
    for version, make in (("cgroup v2", _second_version), ("cgroup v1", _first_version)):
        groups: list[Path] = []
        try:
            make(name, groups)
        except OSError:
            _remove(groups)
            continue
        entries = [str(group / "cgroup.procs") for group in groups]

        def enter(entries: list[str] = entries) -> None:
            for entry in entries:
                fd = os.open(entry, os.O_WRONLY)
                os.write(fd, str(os.getpid()).encode())
                os.close(fd)

        try:
            yield version, enter
        finally:
            _remove(groups)
        return
    yield "duty cycle", None


def _second_version(name: str, groups: list[Path]) -> None:
    if not (GROUPS / "cgroup.controllers").exists():
        raise FileNotFoundError("control groups of version 2 are not mounted there")
    (GROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
    group = GROUPS / name
    group.mkdir()
    groups.append(group)
    (group / "cpu.max").write_text(f"{round(SHARE * PERIOD_MS * 1000)} {PERIOD_MS * 1000}")
    (group / "memory.max").write_text(str(MEMORY))
    (group / "memory.swap.max").write_text("0")


def _first_version(name: str, groups: list[Path]) -> None:
    for controller in ("cpu", "memory"):
        group = GROUPS / controller / name
        group.mkdir()
        groups.append(group)
    (groups[0] / "cpu.cfs_period_us").write_text(str(PERIOD_MS * 1000))
    (groups[0] / "cpu.cfs_quota_us").write_text(str(round(SHARE * PERIOD_MS * 1000)))
    (groups[1] / "memory.limit_in_bytes").write_text(str(MEMORY))
    # Not there where the kernel does not count swap.
    with suppress(FileNotFoundError):
        (groups[1] / "memory.memsw.limit_in_bytes").write_text(str(MEMORY))


def _remove(groups: list[Path]) -> None:
    for group in groups:
        # A process that has just ended may still be in it.
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


@contextmanager
def _duty_cycle(limit: str, hub: HubProcess) -> Iterator[None]:
    """Without a control group: let the hub run 25 ms of every 100."""
    if limit != "duty cycle":
        yield
        return
    ended = threading.Event()

    def cycle() -> None:
        while not ended.wait(PERIOD_MS * SHARE / 1000):
            with suppress(ProcessLookupError, AssertionError):
                os.kill(hub.pid, signal.SIGSTOP)
                time.sleep(PERIOD_MS * (1 - SHARE) / 1000)
                os.kill(hub.pid, signal.SIGCONT)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
