"""The API of the hub that uses a data directory, running or not."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import attrs

from client import Api, Call
from client.remote import Remote
from hub.config import Config
from hub.datadir import is_running
from hub.errors import NotFound, Rejected, StartupError, Unavailable, first_of
from hub.terminal.interrupts import at_once

if TYPE_CHECKING:
    import trio

    from hub.app import Hub

T = TypeVar("T")

#: Beginnings of the listener addresses that this machine can reach without TLS.
_LOCAL_ADDRESSES = ("127.", "0.0.0.0", "localhost", "[::")  # noqa: S104
#: Bytes of a chunk of a streamed body.
_CHUNK = 64 * 1024
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h), for which Python has no name.
_NO_CHECK_TIME = 0x200000


@contextmanager
def open_api(config: Config) -> Iterator[Api]:
    """Open the hub that uses the configuration's data directory. If none is running, run one without listeners.

    Raises `StartupError`, `Unavailable`.
    """
    if not config.data.is_dir():
        raise StartupError(
            f"there is no hub data in {config.data.absolute()}; run this in the directory where the hub runs, name its"
            " data with --data, or start a new hub with: pinwheel run"
        )
    if is_running(config.data):
        yield connect(config)
        return
    with at_once():
        import trio  # noqa: F401 - imported here, not in the hub's thread, so that Ctrl-C ends the process at once

        import hub.app  # noqa: F401
    hub_thread = _HubThread(config)
    try:
        hub_thread.start()
        yield hub_thread
    finally:
        hub_thread.stop()


def connect(config: Config) -> Remote:
    """Connect to the running hub, with the key in its data directory. Raises `Unavailable`."""
    try:
        listeners = json.loads((config.data / "hub.json").read_text())["listen"]
        key = (config.data / "local.key").read_text().strip()
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"a hub uses {config.data}, but its addresses cannot be read ({error}): it is starting, or its disk is full"
        ) from error
    candidates = [listener for listener in listeners if "http" in listener["serve"]] or listeners
    encrypted = [listener for listener in candidates if listener["tls"]]
    plain = [
        listener for listener in candidates if not listener["tls"] and listener["address"].startswith(_LOCAL_ADDRESSES)
    ]
    chosen = (plain or encrypted or candidates)[0]
    host, _, port = chosen["address"].rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    if chosen["tls"]:
        return Remote(f"https://{host}:{port}", key, _pinned_context(config))
    return Remote(f"http://{host}:{port}", key)


def _pinned_context(config: Config) -> ssl.SSLContext:
    """Return a context that accepts only the hub's own certificate, whatever its dates.

    The certificate's file is on this machine, so its dates add no security; and the commands that renew a certificate
    or correct the clock must work with an expired one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.load_verify_locations(config.tls.cert or config.data / "tls" / "cert.pem")
    return context


@attrs.frozen
class _RunningHub:
    """A hub in trio's thread: ``token`` is for calls from other threads, ``stop`` ends it."""

    hub: Hub
    token: trio.lowlevel.TrioToken
    stop: trio.Event


class _HubThread:
    """A hub without listeners, in a thread of its own. It executes calls with the route handlers."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        #: Set when the hub has started, or has failed to start.
        self._started = threading.Event()
        self._running: _RunningHub | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Return when the hub has started. Raises what it raised if it could not start."""
        self._thread.start()
        self._started.wait()
        if self._running is None:
            assert self._error is not None
            raise first_of(self._error)

    def stop(self) -> None:
        """Stop the hub and wait for its end. Also works after Ctrl-C during `start`."""
        import trio

        self._started.wait()
        if self._running is not None:
            trio.from_thread.run_sync(self._running.stop.set, trio_token=self._running.token)
        self._thread.join()

    def _run(self) -> None:
        import trio

        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - raised by start() in the other thread
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        import trio

        from hub.run import running

        async with running(self._config, listen=False) as hub:
            self._running = _RunningHub(hub, trio.lowlevel.current_trio_token(), trio.Event())
            self._started.set()
            await self._running.stop.wait()

    def __call__(self, call: Call[T]) -> T:
        import trio

        assert self._running is not None
        result: T = trio.from_thread.run(_execute, self._running.hub, call, trio_token=self._running.token)
        return result


async def _execute(hub: Hub, call: Call[Any]) -> Any:
    """Call the handler of a route as the HTTP connector does, and return the decoded result. Raises `RequestError`."""
    from hub import LOCAL, api

    matches = (r for r in hub.routes if isinstance(r, api.Route) and (r.method, r.path) == (call.method, call.path))
    if (route := next(matches, None)) is None:
        # Such as a route of a plugin that is turned off.
        raise NotFound(f"There is nothing at {call.path}.")
    request = api.Request(method=call.method, path=call.path, query=call.query, address="stopped hub", principal=LOCAL)
    request.headers = {name.lower(): value for name, value in call.headers.items()}
    if route.body is not None:
        request.body = api.from_json(call.json_body, route.body)
    if call.content is None:
        result = await hub.execute(route, request)
    else:
        async with aclosing(_chunks(call.content, route.max_body)) as request.stream:
            result = await hub.execute(route, request)
    if isinstance(result, api.Stream):
        text = b"".join([chunk async for chunk in result.chunks]).decode()
    elif isinstance(result, api.Response):
        text = result.body.decode() if isinstance(result.body, bytes) else result.body
    else:
        return api.to_json(result.value if isinstance(result, api.Created) else result)
    return json.loads(text) if result.type == "application/json" else text


async def _chunks(file: BinaryIO, max_body: int) -> AsyncGenerator[bytes, None]:
    """Yield the content of a file. Raises `Rejected` when it has more than ``max_body`` bytes."""
    import trio

    file.seek(0)
    size = 0
    while chunk := await trio.to_thread.run_sync(file.read, _CHUNK):
        size += len(chunk)
        if size > max_body:
            raise Rejected(f"The body exceeds the limit of {max_body} bytes for this path.")
        yield chunk
