"""The ``pinwheel`` command: its parser, how it prints, and its way to a running or a stopped hub.

Commands are found through the entry-point group ``pinwheel.commands`` without loading what does not run. Each is a
function that receives its parser and returns nothing; it sets ``run``, a function of the parsed arguments.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from hub.config import Config, load
from hub.errors import HubError, NotFound, Rejected, RequestError, StartupError, Unavailable, first_of

#: Seconds for one answer of a running hub.
TIMEOUT = 60.0

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

ORG = "/api/v1/organization"


def with_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="an id, or a name if it is unique")


def device_of(hub: Api, text: str) -> dict[str, Any]:
    """The device that an id, or a name that only one has, means. Raises `NotFound`, `Rejected`."""
    if text.isascii() and text.isdecimal():
        return dict(hub("GET", f"{ORG}/device", deviceId=text))
    found = [device for device in hub("GET", f"{ORG}/search/devices", query=text)["content"] if device["name"] == text]
    if not found:
        raise NotFound(f"there is no device named {text!r}")
    if len(found) > 1:
        raise Rejected(
            f"{len(found)} devices are named {text!r}: use an id ({', '.join(str(d['id']) for d in found[:10])})"
        )
    return dict(hub("GET", f"{ORG}/device", deviceId=found[0]["id"]))


# -- the way to the hub -----------------------------------------------------------------------------------------------


class Api(Protocol):
    """The hub's routes, wherever they run."""

    running: bool

    def __call__(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """JSON, or text when the answer is none. Raises `RequestError`."""


@contextmanager
def api(args: argparse.Namespace) -> Iterator[Api]:
    """The routes of the hub that uses the data directory; when none runs, of one without listeners for the while."""
    config = config_of(args)
    from hub.storage import is_running

    if not config.data.is_dir():
        raise StartupError(
            f"there is no hub's data in {config.data}; start one with: pinwheel run, or name it with --data"
        )
    if is_running(config.data):
        yield RunningHub(config)
    else:
        with _stopped_hub(config) as hub:
            yield hub


class RunningHub:
    """A running hub over HTTP, with the key that lies in its data directory."""

    running = True

    def __init__(self, config: Config) -> None:
        try:
            listen = json.loads((config.data / "hub.json").read_text())["listen"]
            self.key = (config.data / "local.key").read_text().strip()
        except (OSError, ValueError) as error:
            raise Unavailable(f"the hub that uses {config.data} is not ready") from error
        served = [entry for entry in listen if "http" in entry["serve"]] or listen
        plain = [e for e in served if not e["tls"] and _host(e).startswith(("127.", "0.0.0.0", "localhost", "[::"))]  # noqa: S104
        chosen = (plain or [e for e in served if e["tls"]] or served)[0]
        host, _, port = chosen["address"].rpartition(":")
        self.host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
        self.port = int(port)
        self.tls = _pinned(config) if chosen["tls"] else None

    def __call__(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        if self.tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        target = f"{path}?{urlencode(params)}" if params else path
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the hub at {self.host}:{self.port} does not answer: {error}") from error
        finally:
            connection.close()
        kind = answer.headers.get_content_type()
        if answer.status >= 400:
            message = json.loads(content)["error"]["message"] if kind == "application/json" else content
            raise RequestError(message)
        return json.loads(content) if kind == "application/json" and content else content


def _host(entry: dict[str, Any]) -> str:
    return str(entry["address"])


def _pinned(config: Config) -> ssl.SSLContext:
    """A context that accepts the hub's own certificate and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(config.tls.cert or config.data / "tls" / "cert.pem")
    return context


@contextmanager
def _stopped_hub(config: Config) -> Iterator[Api]:
    """The same route handlers on a hub without listeners, in a thread of its own."""
    import trio

    from hub.app import Hub, running

    started = threading.Event()
    state: dict[str, Any] = {}

    async def serve() -> None:
        async with running(config, listen=False) as hub:
            state["hub"], state["token"], state["stop"] = hub, trio.lowlevel.current_trio_token(), trio.Event()
            started.set()
            await state["stop"].wait()

    def work() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001 - handed to the other thread
            state["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=work, name="hub")
    thread.start()
    started.wait()
    if "hub" not in state:
        thread.join()
        raise first_of(state["error"])
    hub: Hub = state["hub"]

    class InProcess:
        running = False

        def __call__(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
            return trio.from_thread.run(_call, hub, method, path, body, params, trio_token=state["token"])

    try:
        yield InProcess()
    finally:
        trio.from_thread.run_sync(state["stop"].set, trio_token=state["token"])
        thread.join()


async def _call(hub: Any, method: str, path: str, body: Any, params: dict[str, Any]) -> Any:
    """Call a route's handler as the HTTP connector would."""
    from hub import routes

    route = next(r for r in hub.routes if getattr(r, "method", "") == method and r.path == path)
    request = routes.Request(method=method, path=path, query=urlencode(params), address="stopped hub")
    if route.body is not None:
        request.body = routes.from_json(body, route.body)
    request.permission = route.permission
    result = await hub.carry_out(route, request)
    if isinstance(result, routes.Stream):
        return b"".join([chunk async for chunk in result.chunks]).decode()
    if isinstance(result, routes.Response):
        return result.body.decode() if isinstance(result.body, bytes) else result.body
    return routes.to_json(result.value if isinstance(result, routes.Created) else result)


def follow(hub: Api, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Messages of ``/api/v1/stream`` for these subscriptions, until the hub stops. Raises `Unavailable`."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    if not isinstance(hub, RunningHub):
        raise Unavailable("the hub is not running; start it with: pinwheel run")
    host = f"[{hub.host}]" if ":" in hub.host else hub.host
    url = f"{'wss' if hub.tls else 'ws'}://{host}:{hub.port}/api/v1/stream"
    headers = {"Authorization": f"Bearer {hub.key}"}
    with connect(url, ssl=hub.tls, additional_headers=headers, proxy=None) as socket:
        for number, subscription in enumerate(subscriptions, 1):
            socket.send(json.dumps({"id": number, **subscription}))
        try:
            for message in socket:
                decoded = json.loads(message)
                if error := decoded.get("error"):
                    raise RequestError(error["message"])
                yield decoded
        except ConnectionClosed:
            raise Unavailable("the hub stopped") from None


Command = Callable[[argparse.ArgumentParser], None]
