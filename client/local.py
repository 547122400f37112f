"""The hub that uses a data directory, running or not."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from client import Api, Call
from client.remote import Remote
from hub.config import Config
from hub.datadir import is_running
from hub.errors import NotFound, StartupError, Unavailable, first_of
from hub.interrupts import at_once

T = TypeVar("T")

#: Addresses by which the hub is reached on its own machine without TLS.
_NEAR = ("127.", "0.0.0.0", "localhost", "[::")  # noqa: S104
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h), which Python has no name for.
_NO_CHECK_TIME = 0x200000


@contextmanager
def opened(config: Config) -> Iterator[Api]:
    """The hub that uses a configuration's data directory; when none runs, one without listeners for the while.

    Raises `StartupError`, `Unavailable`.
    """
    if not config.data.is_dir():
        raise StartupError(
            f"there is no hub data in {config.data.absolute()}; run this in the directory where the hub runs, name its"
            " data with --data, or start a new hub with: pinwheel run"
        )
    if is_running(config.data):
        yield running(config)
    else:
        with _stopped(config) as hub:
            yield hub


def running(config: Config) -> Remote:
    """The running hub, with the key that lies in its data directory. Raises `Unavailable`."""
    try:
        listen = json.loads((config.data / "hub.json").read_text())["listen"]
        key = (config.data / "local.key").read_text().strip()
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"a hub uses {config.data} and does not say where it listens ({error}): it is starting, or its disk is full"
        ) from error
    served = [entry for entry in listen if "http" in entry["serve"]] or listen
    plain = [entry for entry in served if not entry["tls"] and entry["address"].startswith(_NEAR)]
    chosen = (plain or [entry for entry in served if entry["tls"]] or served)[0]
    host, _, port = chosen["address"].rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    if chosen["tls"]:
        return Remote(f"https://{host}:{port}", key, _pinned(config))
    return Remote(f"http://{host}:{port}", key)


def _pinned(config: Config) -> ssl.SSLContext:
    """A context that accepts the hub's own certificate and no other, whatever its dates.

    Its file lies here: dates add nothing, and whoever has to renew it, or to set the clock, needs these commands.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.load_verify_locations(config.tls.cert or config.data / "tls" / "cert.pem")
    return context


@contextmanager
def _stopped(config: Config) -> Iterator[Api]:
    """The same route handlers on a hub without listeners, in a thread of its own."""
    with at_once():
        import trio
        from hub.run import running as started_hub

        from hub.app import Hub

    started = threading.Event()
    state: dict[str, Any] = {}

    async def serve() -> None:
        async with started_hub(config, listen=False) as hub:
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

    class InProcess:
        def __call__(self, call: Call[T]) -> T:
            hub: Hub = state["hub"]
            found: T = trio.from_thread.run(_carried_out, hub, call, trio_token=state["token"])
            return found

    thread = threading.Thread(target=work, name="hub", daemon=True)
    try:
        thread.start()
        started.wait()
        if "hub" not in state:
            raise first_of(state["error"])
        yield InProcess()
    finally:
        # Also after Ctrl-C while it starts.
        started.wait()
        if "hub" in state:
            trio.from_thread.run_sync(state["stop"].set, trio_token=state["token"])
        thread.join()


async def _carried_out(hub: Any, call: Call[Any]) -> Any:
    """Call a route's handler as the HTTP connector would."""
    from hub import api

    found = (r for r in hub.routes if isinstance(r, api.Route) and (r.method, r.path) == (call.method, call.path))
    if (route := next(found, None)) is None:
        # As of a plugin that is turned off.
        raise NotFound(f"There is nothing at {call.path}.")
    request = api.Request(method=call.method, path=call.path, query=call.query, address="stopped hub")
    request.headers = {name.lower(): value for name, value in call.headers.items()}
    if route.body is not None:
        request.body = api.from_json(call.sent, route.body)
    request.permission = route.permission
    result = await hub.execute(route, request)
    if isinstance(result, api.Stream):
        text = b"".join([chunk async for chunk in result.chunks]).decode()
    elif isinstance(result, api.Response):
        text = result.body.decode() if isinstance(result.body, bytes) else result.body
    else:
        return api.to_json(result.value if isinstance(result, api.Created) else result)
    return json.loads(text) if result.type == "application/json" else text
