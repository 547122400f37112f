"""The ``pinwheel`` command: its parser, how it prints, and its way to a hub (see `hub.client`).

Commands are found through the entry-point group ``pinwheel.commands`` without loading what does not run. Each is a
function that receives its parser and returns nothing; it sets ``run``, a function of the parsed arguments.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.config import Config, load
from hub.errors import HubError, NotFound, Rejected, StartupError, Unavailable

if TYPE_CHECKING:
    from hub.client import Api
    from hub.client.operations import DeviceObject

DURATION_HELP = "such as 30s, 10m, 2h or 7d"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code: 0, 1 for a failure, 2 for wrong use or configuration."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = _parser(arguments).parse_args(arguments)
        code = parsed.run(parsed) or 0
        sys.stdout.flush()
    except HubError as error:
        for line in str(error).splitlines():
            print(f"pinwheel: {line}", file=sys.stderr)
        code = 2 if isinstance(error, StartupError) else 1
    except PermissionError as error:
        print(f"pinwheel: {error.filename}: {error.strerror}; it belongs to another user", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows all commands, and the arguments of the one that is asked for."""
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group="pinwheel.commands")}
    words = [argument for argument in arguments if not argument.startswith("-")][:2]
    top = argparse.ArgumentParser(
        prog="pinwheel", description="A self-hosted hub for devices that speak Blynk's protocols."
    )
    top.add_argument("--version", action="version", version=importlib.metadata.version("pinwheel-hub"))
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for name in sorted(entries):
        first, _, second = name.partition(" ")
        asked = words[:1] == [first] and (not second or words[1:2] in ([second], []) or " ".join(words) not in entries)
        setup = entries[name].load() if asked or not words else None
        text = (setup.__doc__ or "").strip().partition("\n")[0] if setup else ""
        if second and first not in groups:
            group = commands.add_parser(first, help=f"{first} commands: {', '.join(_seconds(entries, first))}")
            groups[first] = group.add_subparsers(metavar="COMMAND", required=True)
        into, word = (groups[first], second) if second else (commands, first)
        parser = into.add_parser(word, help=text.replace("%", "%%"), description=text)
        parser.add_argument(
            "--config", metavar="FILE", type=Path, help="the configuration (default: ./hub.toml, else the shipped one)"
        )
        parser.add_argument("--data", metavar="DIR", help="the data directory, instead of the configuration's")
        if setup is not None:
            setup(parser)
    return top


def _seconds(entries: dict[str, Any], first: str) -> list[str]:
    return sorted(name.partition(" ")[2] for name in entries if name.startswith(first + " "))


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that the arguments name. Raises `ConfigError`."""
    path = args.config
    if path is None and Path("hub.toml").is_file():
        path = Path("hub.toml")
    config = load(path)
    return config.with_data(args.data) if args.data else config


# -- printing ---------------------------------------------------------------------------------------------------------


def with_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def show(value: Any) -> None:
    """Print as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[n]) for row in cells)) if cells else len(column) for n, column in enumerate(columns)
    ]
    for line in ([column.upper() for column in columns], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def local_time(ms: int | None) -> str:
    """A stamp as this machine's clocks have it."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


def progress(done: float, total: float, what: str) -> None:
    """Show on a terminal how far something is."""
    if sys.stderr.isatty():
        share = min(1.0, done / total) if total else 1.0
        bar = "#" * int(share * 30)
        print(f"\r{what} [{bar:<30}] {share:4.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


def confirmed(args: argparse.Namespace, question: str) -> None:
    """Return when ``--yes`` was given, or the question is answered with yes. Raises `Rejected`."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise Rejected(f"{question} Say so with --yes.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Rejected("nothing was done")


# -- devices ----------------------------------------------------------------------------------------------------------


def with_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="an id, or a name if it is unique")


def device_of(hub: Api, text: str) -> DeviceObject:
    """The device that an id, or a name that only one has, means. Raises `NotFound`, `Rejected`."""
    from hub.client.operations import get_organization_device, get_organization_search_devices
    from hub.spellings import nfc

    if text.isascii() and text.isdecimal() and len(text) < 16:
        return hub(get_organization_device(device_id=int(text)))
    found = hub(get_organization_search_devices(query=text, size=1000))["content"]
    ids = [device["id"] for device in found if device["name"] == nfc(text)]
    if not ids:
        raise NotFound(f"there is no device named {text!r}")
    if len(ids) > 1:
        raise Rejected(f"{len(ids)} devices are named {text!r}: use an id ({', '.join(map(str, ids[:10]))})")
    return hub(get_organization_device(device_id=ids[0]))


# -- the way to the hub -----------------------------------------------------------------------------------------------


def api(args: argparse.Namespace) -> AbstractContextManager[Api]:
    """The hub that the arguments mean. Raises `StartupError`, `Unavailable`."""
    from hub.client.local import opened

    return opened(config_of(args))


def follow(hub: Api, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """See `Remote.follow`. Raises `Unavailable` when the hub does not run."""
    from hub.client.remote import Remote

    if not isinstance(hub, Remote):
        raise Unavailable("the hub is not running; start it with: pinwheel run")
    return hub.follow(*subscriptions)


Command = Callable[[argparse.ArgumentParser], None]
