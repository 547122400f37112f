"""Run one of the benchmarks in `BENCHES` and print its result as one JSON object."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bench.api import api
from bench.backup import backup
from bench.brokers import brokers
from bench.dashboards import dashboards
from bench.history import history
from bench.hostile import hostile
from bench.idle import idle
from bench.ingest import ingest
from bench.kill9 import kill9
from bench.load import CONNECT, UPDATE_PROTOCOLS
from bench.report import report
from bench.rest import rest
from bench.search import search
from bench.small import small
from bench.start import start
from bench.stream import stream
from bench.tenants import tenants


@attrs.frozen
class Bench:
    """``run`` has the options as keyword arguments. ``numbers`` are the numeric ones with their defaults.

    ``options`` are the other ones, as keyword arguments of `ArgumentParser.add_argument`.
    """

    run: Callable[..., dict[str, Any]]
    numbers: Mapping[str, float]
    options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


BENCHES = (
    Bench(
        ingest,
        {"connections": 100, "seconds": 10.0},
        {
            "--transport": {"choices": ["native", *sorted(UPDATE_PROTOCOLS, reverse=True)], "default": "native"},
            "--rate": {"default": "max", "help": "messages per second over all connections, or max"},
            "--subscriber": {"action": "store_true", "help": "also run a client of the live stream"},
        },
    ),
    Bench(stream, {"connections": 100, "subscribers": 200, "rate": 1_000.0, "seconds": 10.0, "interval": 0}),
    Bench(
        idle,
        {"connections": 100, "seconds": 10.0},
        {"--transport": {"choices": list(CONNECT), "default": "native"}},
    ),
    Bench(start, {"devices": 10_000, "gigabytes": 0.0}),
    Bench(history, {"points": 1_000_000, "series": 20}),
    Bench(backup, {"devices": 10_000, "gigabytes": 1.0, "seconds": 15.0}),
    Bench(rest, {"seconds": 60.0}),
    Bench(
        brokers,
        {"connections": 100, "seconds": 5.0},
        {"--amqtt": {"metavar": "PROGRAM", "default": "", "help": "the path of amqtt, if it is installed"}},
    ),
    Bench(api, {"devices": 50_000, "seconds": 3.0}),
    Bench(search, {"devices": 50_000}),
    Bench(tenants, {"organizations": 1_000, "users": 20, "devices": 20}),
    Bench(dashboards, {"devices": 200}),
    Bench(hostile, {"repeat": 40}),
    Bench(
        small,
        {"connections": 100, "rate": 200.0, "seconds": 30.0},
        {"--quick-syncs": {"action": "store_true", "help": "do not slow down syncs"}},
    ),
    Bench(
        kill9,
        {"connections": 16, "rounds": 10},
        {
            "--transport": {"choices": sorted(UPDATE_PROTOCOLS, reverse=True), "default": "http"},
            "--seed": {"type": int, "default": None, "help": "of the random times after which the hub is killed"},
        },
    ),
)
#: The largest value of each number, so that every bench ends.
MAXIMUM = {
    "connections": 20_000,
    "devices": 100_000,
    "gigabytes": 20,
    "interval": 10_000,
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


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for bench in BENCHES:
        _add_command(commands.add_parser(bench.run.__name__, help=bench.run.__doc__), bench)
    table = commands.add_parser("report", help="run the benchmarks of docs/performance.md and write its table")
    table.add_argument("names", nargs="*", metavar="NAME", help="only the rows of these benchmarks")
    table.set_defaults(run=lambda args: report(args.names))
    return parser


def main() -> None:
    args = command_line().parse_args()
    print(json.dumps(args.run(args)))


def _add_command(parser: argparse.ArgumentParser, bench: Bench) -> None:
    parser.add_argument("--json", action="store_true", help="has no effect: the result is always JSON")
    parser.add_argument("--verbose", action="store_true", help="print the hub's configuration")
    for name, default in bench.numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default {default:,}")
    for name, options in bench.options.items():
        parser.add_argument(name, **options)

    def run(args: argparse.Namespace) -> dict[str, Any]:
        for name, default in bench.numbers.items():
            # 0 is only valid where it is the default.
            if not min(default, 1e-9) <= getattr(args, name) <= MAXIMUM[name]:
                parser.error(f"--{name} must be more than 0 and at most {MAXIMUM[name]:,}")
        return bench.run(**{name: getattr(args, name) for name in inspect.signature(bench.run).parameters})

    parser.set_defaults(run=run)


if __name__ == "__main__":
    main()
