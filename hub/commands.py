"""The hub's own commands: run and check."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from hub.config import config_of, examined
from hub.errors import HubError, StartupError, first_of
from hub.terminal.interrupts import at_once
from hub.terminal.printing import megabytes_a_month, report, warn

if TYPE_CHECKING:
    from hub.config import Config

#: The option of mallopt(3), and its value in bytes, which is glibc's own at the start.
M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 128 * 1024


def run(parser: argparse.ArgumentParser) -> None:
    """Run the hub in the foreground."""
    parser.add_argument("--demo", action="store_true", help="add a template and simulated devices")
    parser.add_argument("--safe", action="store_true", help="leave out the plugins of third parties")
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # Until the hub handles signals itself, Ctrl-C ends the process at once.
    with at_once():
        return _run_hub(args)


def _run_hub(args: argparse.Namespace) -> int:
    import trio

    from hub import logs

    # Files of the hub are readable by its own user only.
    os.umask(0o077)
    _return_freed_blocks()
    logs.setup(logging.DEBUG if args.verbose else logging.INFO)
    config = config_of(args)
    if args.demo:
        simulator = {**config.plugins.get("simulator", {}), "demo": True}
        config = attrs.evolve(config, plugins={**config.plugins, "simulator": simulator})
    try:
        trio.run(_serve, config, args)
    except BaseException as error:
        cause = first_of(error)
        if isinstance(cause, HubError):
            raise cause from None
        raise
    return 0


def _return_freed_blocks() -> None:
    """Fix the size from which glibc returns a freed block to the system (mallopt(3)).

    By default it grows with the largest block that was freed: after one large body, or one password hash, blocks of
    that size stay with the process.
    """
    import ctypes

    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)


def settle() -> None:
    """Exclude permanent objects from garbage collection, and collect seldom: a collection blocks the loop for 30 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(config: Config, args: argparse.Namespace) -> None:
    import trio

    from hub.api.links import reachable
    from hub.run import announced, running

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with running(config, safe=args.safe) as hub, announced(hub) as state:
            assert hub.listener is not None
            listen = ", ".join(
                f"{reachable(address)}{' (TLS)' if tls else ''}" for address, tls in hub.listener.addresses
            )
            settle()
            print(json.dumps(state) if args.json else f"ready {listen}", flush=True)
            async for number in signals:
                if number != signal.SIGHUP:
                    return
                if hub.certificates is not None:
                    hub.certificates.reload()


def _costs(data: Path) -> list[str]:
    """Return a line for each datastream with its bytes on disk a month."""
    from hub import storage
    from hub.errors import StorageError
    from hub.history.chunkstore import costs_of_file

    of_series = "SELECT series.id, template, datastream FROM series JOIN devices ON devices.id = device"
    streams: dict[tuple[str, int], tuple[str, int, str]] = {}
    try:
        for template, document in storage.look_into(data / "pinwheel.db", "SELECT id, document FROM templates"):
            for stream in json.loads(document)["datastreams"]:
                streams[template, stream["id"]] = template, stream["pin"], stream["name"]
        series = storage.look_into(data / "pinwheel.db", of_series)
        names = {number: streams[key] for number, *rest in series if (key := tuple(rest)) in streams}
        costs = costs_of_file(data / "history.db")
    except StorageError:
        # The files are missing, or of an earlier version.
        return []
    total: dict[tuple[str, int, str], float] = {}
    for number, size in costs:
        if number in names:
            total[names[number]] = total.get(names[number], 0) + size
    return [
        f"estimated history: {megabytes_a_month(size)}: {template} V{pin} {name}"
        for (template, pin, name), size in sorted(total.items(), key=lambda item: -item[1])
    ]


def check(parser: argparse.ArgumentParser) -> None:
    """Check the configuration, templates and databases; prints every problem at once."""
    parser.add_argument("templates", nargs="*", type=Path, metavar="TEMPLATE", help="template files to check too")
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    from hub import storage
    from hub.bus import Bus
    from hub.clock import Clock
    from hub.hooks import Hooks, HookTimeouts

    config, problems = examined(args)
    hooks = Hooks(Bus(), Clock(), HookTimeouts())
    for check in (partial(hooks.discover, config), partial(_check_certificate, config)):
        try:
            check()
        except StartupError as error:
            problems += error.problems
    problems += [f"plugin {p.name}: {p.problem}" for p in hooks.plugins.values() if p.problem]
    if config.data.exists() and not config.data.is_dir():
        problems.append(f"{config.source}: hub.data: {config.data} is not a directory")
    databases = [path for path in (config.data / "pinwheel.db", config.data / "history.db") if path.exists()]
    for path in databases:
        problems += storage.inspect(path)
    for path in args.templates:
        problems += _template_problems(path)
    for problem in problems:
        warn(problem)
    result = {"configuration": config.source, "databases": [str(path) for path in databases], "problems": problems}
    lines = [f"configuration: {config.source}", *(f"database: {path}" for path in databases)]
    if not problems:
        lines += [*_costs(config.data), "all is well"]
    report(args, result, *lines)
    return 2 if problems else 0


def _check_certificate(config: Config) -> None:
    """Raises `StartupError`."""
    from hub.clock import Clock
    from hub.net.certificates import Certificates

    if config.tls.cert and config.tls.key:
        Certificates(config.tls, config.data, [], Clock()).load()


def _template_problems(path: Path) -> Sequence[str]:
    from hub.parsing.spellings import read_text
    from hub.templates import document

    try:
        document.parse(read_text(path), str(path))
    except document.BadTemplate as error:
        return error.problems
    except (OSError, ValueError) as error:
        return [f"{path}: {getattr(error, 'strerror', None) or error}"]
    return []
