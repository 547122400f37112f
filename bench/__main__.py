"""``python -m bench NAME``, of those in `BENCHES`: prints one JSON object."""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench import api as programs
from bench import brokers as beside
from bench import history as keep
from bench import hostile as attack
from bench import large, load
from bench import report as pages
from bench import small as limited
from bench import tenants as many
from bench.calibration import calibration_us
from bench.hubprocess import HubProcess
from connectors.native.protocol import Cmd, frame


def ingest(args: argparse.Namespace) -> dict[str, Any]:
    """Values in, as a hub takes them: checked, kept, told to a live subscriber."""
    rate = None if args.rate == "max" else float(args.rate)
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.connections)
        every = rate is not None
        subscriber = load.Subscriber(hub.address, hub.api().token, every=every) if args.subscriber else None
        sockets = load.native_connections(hub.address, tokens) if args.transport == "native" else []
        time.sleep(1)
        before = hub.cpu()
        if args.transport != "native":
            sent = load.acknowledged_load(load.DIALOGUES[args.transport], hub.address, tokens, args.seconds, rate)
        elif rate is None:
            sent = load.native_flood(sockets, args.seconds)
        else:
            sent = load.native_paced(sockets, args.seconds, rate)
        settled = time.monotonic() + 10
        while hub.status()["valuesStored"] < sent.messages and time.monotonic() < settled:
            time.sleep(0.1)
        cpu, rss = hub.cpu() - before, hub.rss()
        p50, p99, told = subscriber.percentiles() if subscriber is not None else (None, None, None)
        if rate is None and args.transport == "native":
            p50 = p99 = None  # what was sent waits in the generator's own buffers
        elif subscriber is None and args.transport != "native":
            p50, p99 = load.percentiles(sent.ages)
        hub.stop()
        each, calibration = cpu / max(1, sent.messages) * 1e6, calibration_us()
        return {
            "messages": sent.messages,
            "per_second": round(sent.messages / sent.seconds),
            "cpu_us_per_message": round(each, 2),
            "calibration_us": round(calibration),
            "cpu_per_calibration": round(each / calibration, 5),
            "p50_ms": p50 and round(p50, 2),
            "p99_ms": p99 and round(p99, 2),
            "told": told,
            "lost": sent.messages - hub.count(),
            "rss_mb": round(rss, 1),
        }


def stream(args: argparse.Namespace) -> dict[str, Any]:
    """Values from many devices told to many who watch them all; one of those measures how old they are."""
    load.raise_descriptor_limit()
    with HubProcess(verbose=args.verbose) as hub:
        tokens, used = hub.devices(args.connections), []
        for watched in (False, True):
            if watched:
                watchers = load.Watchers(hub.address, hub.api().token, int(args.subscribers) - 1)
                subscriber = load.Subscriber(hub.address, hub.api().token, every=False)
            sockets = load.native_connections(hub.address, tokens)
            time.sleep(1)
            before = hub.cpu()
            sent = load.native_paced(sockets, args.seconds, args.rate)
            used.append((hub.cpu() - before) / sent.seconds * 100)
        p50, p99, told = subscriber.percentiles()
        read = watchers.end()
        return {
            "subscribers": int(args.subscribers),
            "per_second": round(sent.messages / sent.seconds),
            "told": told,
            "p50_ms": round(p50, 2),
            "p99_ms": round(p99, 2),
            "cpu_percent": round(used[1], 1),
            "cpu_percent_unwatched": round(used[0], 1),
            "calibration_us": round(calibration_us()),
            "megabytes": round(read / 1e6, 1),
        }


def idle(args: argparse.Namespace) -> dict[str, Any]:
    """Connections that do nothing: their memory, and the CPU with nothing happening."""
    load.raise_descriptor_limit()
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.connections)
        hub.stop()
        hub.start()
        time.sleep(1)
        before = hub.rss()
        sockets = CONNECTIONS[args.transport](hub.address, tokens)
        time.sleep(3)
        rss, cpu = hub.rss(), hub.cpu()
        time.sleep(args.seconds)
        used = hub.cpu() - cpu
        for sock in sockets:
            sock.close()
        return {
            "rss_mb": round(before, 1),
            "kb_per_connection": round((rss - before) * 1024 / args.connections, 2),
            "cpu_percent": round(used / args.seconds * 100, 2),
        }


def start(args: argparse.Namespace) -> dict[str, Any]:
    """From the start of the process to accepting devices, with five values for each device, and years of history."""
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.devices)
        for first in range(0, len(tokens), 500):
            sockets = load.native_connections(hub.address, tokens[first : first + 500])
            for sock in sockets:
                sock.sendall(b"".join(frame(Cmd.HARDWARE, n + 1, ("vw", str(n), str(n))) for n in range(5)))
                sock.shutdown(socket.SHUT_WR)
            load.read_to_end(sockets)
        hub.stop()
        if args.gigabytes:
            large.fill(hub, args.gigabytes)
        hub.start()
        return {"devices": args.devices, "seconds": round(hub.started_in, 3), "rss_mb": round(hub.rss(), 1)}


def history(args: argparse.Namespace) -> dict[str, Any]:
    """What a value takes on disk, what is written for it, and how quickly it is read again."""
    return keep.history(args.points, args.series)


def backup(args: argparse.Namespace) -> dict[str, Any]:
    """What a backup does to the acknowledgements of 500 updates a second."""
    return large.backup(args.devices, args.gigabytes, args.seconds, verbose=args.verbose)


def rest(args: argparse.Namespace) -> dict[str, Any]:
    """What is written when 100 datastreams get a value a minute each, with flush = "5s"."""
    return large.rest(args.seconds, verbose=args.verbose)


def tenants(args: argparse.Namespace) -> dict[str, Any]:
    """A login, what a tenant sees, and the start, with many organizations."""
    return many.tenants(args.organizations, args.users, args.devices, verbose=args.verbose)


def api(args: argparse.Namespace) -> dict[str, Any]:
    """What programs ask of a hub with many devices."""
    return programs.api(args.devices, args.seconds, verbose=args.verbose)


def brokers(args: argparse.Namespace) -> dict[str, Any]:
    """The same MQTT load on the hub, on Mosquitto and on amqtt, as far as they are installed."""
    return beside.brokers(args.connections, args.seconds, args.amqtt)


def hostile(args: argparse.Namespace) -> dict[str, Any]:
    """The worst requests that there are, on every route: how long they hold the hub, and what stays in memory."""
    return attack.hostile(args.repeat, verbose=args.verbose)


def small(args: argparse.Namespace) -> dict[str, Any]:
    """A hub with a quarter of a core, 256 MB and syncs of 10 ms, as on a small Raspberry Pi."""
    sync_ms = 0.0 if args.quick_syncs else limited.SYNC_MS
    return limited.small(args.connections, args.rate, args.seconds, sync_ms, verbose=args.verbose)


def kill9(args: argparse.Namespace) -> dict[str, Any]:
    """Kill the hub under load, again and again; nothing that was acknowledged may be missing afterwards."""
    chance = random.Random(args.seed)
    acknowledged: dict[str, list[int]] = {}
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.connections)
        for number in range(args.rounds):
            if number:
                hub.start()
            dialogue = load.DIALOGUES[args.transport]
            load_thread = threading.Thread(
                target=load.acknowledged_load, args=(dialogue, hub.address, tokens, 30.0, None, acknowledged)
            )
            load_thread.start()
            time.sleep(chance.uniform(0.05, 1.0))
            hub.kill()
            load_thread.join()
            print(f"\r{number + 1}/{args.rounds}", end="", file=sys.stderr)
        print(file=sys.stderr)
        # Series are numbered device by device, with five datastreams each; the values went to the first.
        stored = set(hub.stored())
        wanted = {(n * 5 + 1, float(value)) for n, token in enumerate(tokens) for value in acknowledged.get(token, ())}
        return {"rounds": args.rounds, "acknowledged": len(wanted), "lost": len(wanted - stored)}


CONNECTIONS = {"native": load.native_connections, "mqtt": load.mqtt_connections}
#: The options of each bench that are numbers, with their defaults.
BENCHES: dict[Callable[[argparse.Namespace], dict[str, Any]], dict[str, float]] = {
    ingest: {"connections": 100, "seconds": 10.0},
    stream: {"connections": 100, "subscribers": 200, "rate": 1_000.0, "seconds": 10.0},
    idle: {"connections": 100, "seconds": 10.0},
    start: {"devices": 10_000, "gigabytes": 0.0},
    history: {"points": 1_000_000, "series": 20},
    backup: {"devices": 10_000, "gigabytes": 1.0, "seconds": 15.0},
    rest: {"seconds": 60.0},
    brokers: {"connections": 100, "seconds": 5.0},
    api: {"devices": 50_000, "seconds": 3.0},
    tenants: {"organizations": 1_000, "users": 20, "devices": 20},
    hostile: {"repeat": 40},
    small: {"connections": 100, "rate": 200.0, "seconds": 30.0},
    kill9: {"connections": 16, "rounds": 10},
}
#: The most of each: a bench ends by itself.
MOST = {
    "connections": 20_000,
    "devices": 100_000,
    "gigabytes": 20,
    "organizations": 10_000,
    "points": 100_000_000,
    "rate": 100_000,
    "repeat": 1_000,
    "rounds": 2_000,
    "seconds": 600,
    "series": 100_000,
    "subscribers": 5_000,
    "users": 1_000,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    benches = parser.add_subparsers(required=True, metavar="NAME")
    for bench, numbers in BENCHES.items():
        one = benches.add_parser(bench.__name__, help=bench.__doc__)
        one.set_defaults(bench=bench)
        one.add_argument("--json", action="store_true", help="(it always prints JSON)")
        one.add_argument("--verbose", action="store_true", help="print the hub's configuration")
        for name, default in numbers.items():
            one.add_argument(f"--{name}", type=type(default), default=default, help=f"default {default:,}")
        if bench is ingest:
            one.add_argument("--transport", choices=["native", "mqtt", "http"], default="native")
            one.add_argument("--rate", default="max", help="messages per second over all connections, or max")
            one.add_argument("--subscriber", action="store_true", help="with a client of the live stream")
        if bench is brokers:
            one.add_argument("--amqtt", metavar="PROGRAM", default="", help="where amqtt is installed")
        if bench is small:
            one.add_argument("--quick-syncs", action="store_true", help="with syncs as they are")
        if bench is idle:
            one.add_argument("--transport", choices=list(CONNECTIONS), default="native")
        if bench is kill9:
            one.add_argument("--transport", choices=["mqtt", "http"], default="http")
            one.add_argument("--seed", type=int, default=None)
    table = benches.add_parser("report", help="measure what docs/performance.md says, and write its table")
    table.add_argument("names", nargs="*", metavar="NAME", help="only the rows of these benches")
    table.set_defaults(bench=lambda args: pages.report(args.names))
    args = parser.parse_args()
    for name, default in BENCHES.get(args.bench, {}).items():
        if not min(default, 1e-9) <= getattr(args, name) <= MOST[name]:
            parser.error(f"--{name} must be more than 0 and at most {MOST[name]:,}")
    print(json.dumps(args.bench(args)))


if __name__ == "__main__":
    main()
