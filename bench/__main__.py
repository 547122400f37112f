"""``python -m bench ingest|idle|start|history|kill9``: prints one JSON object."""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from typing import Any

from bench import history as keep
from bench import load
from bench.hubprocess import HubProcess
from connectors.native.protocol import Cmd, frame

#: Longest run in seconds, and most connections and rounds: a bench ends by itself.
MAX_SECONDS, MAX_CONNECTIONS, MAX_ROUNDS = 600, 20_000, 2_000


def ingest(args: argparse.Namespace) -> dict[str, Any]:
    """Values in, as a hub takes them: checked, kept, told to a live subscriber."""
    rate = None if args.rate == "max" else float(args.rate)
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.connections)
        every = rate is not None
        subscriber = load.Subscriber(hub.address, hub.api().key, every=every) if args.subscriber else None
        sockets = load.native_connections(hub.address, tokens) if args.transport == "native" else []
        time.sleep(1)
        before = hub.cpu()
        if args.transport == "http":
            sent = load.http_load(hub.address, tokens, args.seconds, rate)
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
        hub.stop()
        return {
            "messages": sent.messages,
            "per_second": round(sent.messages / sent.seconds),
            "cpu_us_per_message": round(cpu / max(1, sent.messages) * 1e6, 2),
            "p50_ms": p50 and round(p50, 2),
            "p99_ms": p99 and round(p99, 2),
            "told": told,
            "lost": sent.messages - hub.count(),
            "rss_mb": round(rss, 1),
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
        sockets = load.native_connections(hub.address, tokens)
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
    """From the start of the process to accepting devices, with five values for each device."""
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.devices)
        for first in range(0, len(tokens), 500):
            sockets = load.native_connections(hub.address, tokens[first : first + 500])
            for sock in sockets:
                sock.sendall(b"".join(frame(Cmd.HARDWARE, n + 1, ("vw", str(n), str(n))) for n in range(5)))
                sock.shutdown(socket.SHUT_WR)
            load.read_to_end(sockets)
        hub.stop()
        hub.start()
        return {"devices": args.devices, "seconds": round(hub.started_in, 3), "rss_mb": round(hub.rss(), 1)}


def history(args: argparse.Namespace) -> dict[str, Any]:
    """What a value takes on disk, what is written for it, and how quickly it is read again."""
    return keep.history(args.points, args.series)


def kill9(args: argparse.Namespace) -> dict[str, Any]:
    """Kill the hub under load, again and again; nothing that was acknowledged may be missing afterwards."""
    chance = random.Random(args.seed)
    acknowledged: dict[str, list[int]] = {}
    with HubProcess(verbose=args.verbose) as hub:
        tokens = hub.devices(args.connections)
        for number in range(args.rounds):
            if number:
                hub.start()
            load_thread = threading.Thread(target=load.http_load, args=(hub.address, tokens, 30.0, None, acknowledged))
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    benches = parser.add_subparsers(required=True, metavar="NAME")
    for bench in (ingest, idle, start, history, kill9):
        one = benches.add_parser(bench.__name__, help=bench.__doc__)
        one.set_defaults(bench=bench)
        one.add_argument("--json", action="store_true", help="(it always prints JSON)")
        one.add_argument("--verbose", action="store_true", help="print the hub's configuration")
        if bench is ingest:
            one.add_argument("--transport", choices=["native", "http"], default="native")
            one.add_argument("--rate", default="max", help="messages per second over all connections, or max")
            one.add_argument("--subscriber", action="store_true", help="with a client of the live stream")
        if bench is kill9:
            one.add_argument("--transport", choices=["http"], default="http")
            one.add_argument("--rounds", type=int, default=10)
            one.add_argument("--seed", type=int, default=None)
        if bench is start:
            one.add_argument("--devices", type=int, default=10_000)
        elif bench is history:
            one.add_argument("--points", type=int, default=1_000_000)
            one.add_argument("--series", type=int, default=20)
        else:
            one.add_argument("--connections", type=int, default=16 if bench is kill9 else 100)
        if bench in (ingest, idle):
            one.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    for name, most in (
        ("seconds", MAX_SECONDS),
        ("connections", MAX_CONNECTIONS),
        ("devices", 100_000),
        ("rounds", MAX_ROUNDS),
        ("points", 100_000_000),
        ("series", 100_000),
    ):
        if not 0 < getattr(args, name, 1) <= most:
            parser.error(f"--{name} must be more than 0 and at most {most}")
    print(json.dumps(args.bench(args)))


if __name__ == "__main__":
    main()
