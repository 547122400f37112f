"""Bench ``small``: a hub on a machine like a small Raspberry Pi, with the slow syncs of an SD card.

A control group (version 2 or 1) limits it to a quarter of a core and 256 MB without swap. If none can be created, the
hub is stopped and continued, so that it runs 25 ms of every 100, and its memory is not limited; ``limit`` in the result
names the method. A preloaded library, slow_sync.c, delays syncs.
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
from functools import partial
from pathlib import Path
from typing import Any

from bench import load
from bench.calibration import calibration_us
from bench.hub_process import HubProcess
from bench.stream_clients import Subscriber
from connectors.native.protocol import Cmd, frame

#: Share of a core, and bytes of memory.
SHARE, MEMORY = 0.25, 256 << 20
#: Milliseconds in which the hub may use its share of a core.
PERIOD_MS = 100
#: Milliseconds by which each sync is delayed.
SYNC_MS = 10.0
#: Seconds between two heartbeats of a device (BLYNK_HEARTBEAT in BlynkConfig.h was 10 for years).
HEARTBEAT = 10.0
#: Where the file systems of control groups are mounted.
CGROUPS = Path("/sys/fs/cgroup")


def small(*, connections: int, rate: float, seconds: float, quick_syncs: bool, verbose: bool) -> dict[str, Any]:
    """A quarter of a core, 256 MB and syncs of 10 ms: values sent to a live subscriber, then only heartbeats."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder, _limits() as (limit, prepare):
        environment = {} if quick_syncs else _slow_sync_environment(Path(folder))
        with HubProcess(verbose=verbose, environment=environment, prepare=prepare) as hub, _duty_cycle(limit, hub):
            tokens = hub.add_devices(connections)
            subscriber = Subscriber(hub.address, hub.api().token, every=True)
            sockets = load.native_connections(hub.address, tokens)
            time.sleep(2)
            before = hub.cpu_seconds()
            result = load.native_paced(sockets, seconds, rate)
            busy_percent = (hub.cpu_seconds() - before) / result.seconds * 100
            p50, p99, received = subscriber.percentiles()
            rest_percent = _rest_cpu_percent(hub, tokens, seconds)
            rss = hub.rss_mb()
            hub.stop()
            return {
                "limit": limit,
                "core_share": SHARE,
                "memory_mb": MEMORY >> 20 if limit.startswith("cgroup") else None,
                "sync_ms": SYNC_MS if environment else 0.0,
                "per_second": round(result.messages / result.seconds),
                "told": received,
                "p50_ms": round(p50, 2),
                "p99_ms": round(p99, 2),
                "cpu_percent": round(busy_percent, 1),
                "rest_cpu_percent": round(rest_percent, 2),
                "calibration_us": round(calibration_us()),
                "lost": result.messages - hub.count_values(),
                "rss_mb": round(rss, 1),
            }


def _rest_cpu_percent(hub: HubProcess, tokens: list[str], seconds: float) -> float:
    """Return the CPU of the hub, in percent of a core, while the devices send heartbeats only."""
    sockets = load.native_connections(hub.address, tokens)
    time.sleep(2)
    before, began = hub.cpu_seconds(), time.monotonic()
    _send_heartbeats(sockets, seconds)
    return (hub.cpu_seconds() - before) / (time.monotonic() - began) * 100


def _send_heartbeats(sockets: list[socket.socket], seconds: float) -> None:
    """Send a ping for each device every `HEARTBEAT` seconds, evenly distributed, and read the answers."""
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        began, count = time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds:
            if (due := began + count * HEARTBEAT / len(sockets)) <= now:
                sockets[count % len(sockets)].sendall(frame(Cmd.PING, count % 65_535 + 1, ()))
                count += 1
            for key, _ in selector.select(max(0.0, due - now)):
                assert key.fileobj.recv(4096), "The hub closed a connection."  # type: ignore[union-attr]


def _slow_sync_environment(folder: Path) -> dict[str, str]:
    """Compile slow_sync.c into ``folder``; return the environment that preloads it, empty without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": str(round(SYNC_MS * 1000))}


# -- limits -----------------------------------------------------------------------------------------------------------


@contextmanager
def _limits() -> Iterator[tuple[str, Callable[[], None] | None]]:
    """Create control groups for the length of the block.

    Yield the kind of limit, and a function that makes the calling process a member of the groups; ("duty cycle", None)
    if no group can be created.
    """
    name = f"pinwheel-bench-{os.getpid()}"
    for version, make in (("cgroup v2", _make_v2_group), ("cgroup v1", _make_v1_groups)):
        groups: list[Path] = []
        try:
            make(name, groups)
        except OSError:
            _remove(groups)
            continue
        try:
            yield version, partial(_join, [str(group / "cgroup.procs") for group in groups])
        finally:
            _remove(groups)
        return
    yield "duty cycle", None


def _join(member_files: list[str]) -> None:
    """Add the current process to control groups. Runs between fork and exec, so that it uses system calls only."""
    for path in member_files:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, str(os.getpid()).encode())
        os.close(fd)


def _make_v2_group(name: str, groups: list[Path]) -> None:
    """Create a group with both limits, and append it to ``groups``. Raises OSError."""
    if not (CGROUPS / "cgroup.controllers").exists():
        raise FileNotFoundError(f"There are no control groups of version 2 in {CGROUPS}.")
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
    group = CGROUPS / name
    group.mkdir()
    groups.append(group)
    (group / "cpu.max").write_text(f"{round(SHARE * PERIOD_MS * 1000)} {PERIOD_MS * 1000}")
    (group / "memory.max").write_text(str(MEMORY))
    (group / "memory.swap.max").write_text("0")


def _make_v1_groups(name: str, groups: list[Path]) -> None:
    """Create a group for each limit, and append them to ``groups``. Raises OSError."""
    for controller in ("cpu", "memory"):
        group = CGROUPS / controller / name
        group.mkdir()
        groups.append(group)
    (groups[0] / "cpu.cfs_period_us").write_text(str(PERIOD_MS * 1000))
    (groups[0] / "cpu.cfs_quota_us").write_text(str(round(SHARE * PERIOD_MS * 1000)))
    (groups[1] / "memory.limit_in_bytes").write_text(str(MEMORY))
    # The file is missing if the kernel does not account for swap.
    with suppress(FileNotFoundError):
        (groups[1] / "memory.memsw.limit_in_bytes").write_text(str(MEMORY))


def _remove(groups: list[Path]) -> None:
    for group in groups:
        # A process that has just ended may still be a member.
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


@contextmanager
def _duty_cycle(limit: str, hub: HubProcess) -> Iterator[None]:
    """Stop and continue the hub's process, so that it gets its share of a core without a control group."""
    if limit != "duty cycle":
        yield
        return
    stop = threading.Event()

    def cycle() -> None:
        while not stop.wait(PERIOD_MS * SHARE / 1000):
            with suppress(ProcessLookupError, AssertionError):
                os.kill(hub.pid, signal.SIGSTOP)
                time.sleep(PERIOD_MS * (1 - SHARE) / 1000)
                os.kill(hub.pid, signal.SIGCONT)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
