"""An asyncio client of a hub over HTTP and WebSocket, for programs with many things to do at once.

`AsyncRemote` executes the same calls as `client.remote.Remote`, with the same errors::

    async with AsyncRemote("http://pi.local:8080", key) as hub:
        devices = await hub(get_organization_devices(size=100))
        async with hub.stream({"subscribe": "devices"}) as stream:
            async for item in stream:
                print(item)

A call that is cancelled closes its connection; the hub may have executed it nevertheless. Connections are kept open for
further calls, at most `MAX_CONNECTIONS`.

`Stream` is one WebSocket at a time:

============  ==============================  =================================================================
state         `_socket`                       left for
============  ==============================  =================================================================
disconnected  None                            connected, when the pause since the last attempt is over and an
                                              attempt succeeds; `Connected` is yielded
connected     open, with all subscriptions    disconnected, when the connection ends or the hub is silent for too
                                              long; `Disconnected` is yielded
============  ==============================  =================================================================

Only `Stream.__anext__` moves it. Each subscription has the number of its last message, after which it resumes. Messages
are read from the socket when the program asks for the next one: a slow program slows down the hub, which then sends the
newest values only, and no more than some messages are in memory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self, TypeVar

import attrs
import h11

from client import Call
from client.http_messages import (
    JSON,
    TIMEOUT,
    Address,
    Response,
    bearer_header,
    json_body,
    rejected_stream,
    request_headers,
)
from client.operations import LoggedIn, post_login, post_login_refresh
from hub.errors import NotAuthenticated, TooMany, Unavailable, first_of

if TYPE_CHECKING:
    from types import TracebackType

    from websockets.asyncio.client import ClientConnection

T = TypeVar("T")

#: Connections at once; further calls wait for one.
MAX_CONNECTIONS = 8
#: Seconds after which an idle connection is not used again: the hub closes it after 75 seconds.
MAX_IDLE = 50.0
#: Seconds that the end of a connection may take.
CLOSE_TIMEOUT = 1.0
#: Bytes of a response's content.
MAX_CONTENT = 64 * 1024 * 1024
#: Bytes of a message of the live stream, such as the first values of a device.
MAX_MESSAGE = 16 * 1024 * 1024
_CHUNK = 64 * 1024
#: Seconds until the live stream connects again: the first pause, and the longest one.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: The subprotocol of the live stream.
_SUBPROTOCOL = "pinwheel.v1"


class RefreshTokens(Protocol):
    """Where the refresh token of a session is; further clients with the same session need the newest one."""

    async def load(self) -> str:
        """Return the newest token; "" for none."""

    async def store(self, token: str) -> None:
        """Store the next token: the one before it is spent, and ends the session when it is used again."""


class _RefreshTokenInMemory:
    def __init__(self) -> None:
        self._token = ""

    async def load(self) -> str:
        return self._token

    async def store(self, token: str) -> None:
        self._token = token


class AsyncRemote:
    """A hub at ``url``; the arguments are those of `client.remote.Remote`.

    ``refresh_tokens`` is where the refresh token of a session is, by default in memory; one that is there is used
    without a `login`.

    ``timeout`` is how many seconds a call waits for the hub to take or send something. Use it in one event loop, in an
    ``async with`` block, at whose end it closes its connections.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        *,
        timeout: float = TIMEOUT,
        refresh_tokens: RefreshTokens | None = None,
    ) -> None:
        self.address = Address.parse(url)
        self.token = token.strip()
        self.tls = (tls or ssl.create_default_context()) if self.address.is_secure else None
        self._timeout = timeout
        self._refresh_tokens = refresh_tokens or _RefreshTokenInMemory()
        self._refreshing: asyncio.Task[bool] | None = None
        self._idle: list[_Connection] = []
        self._connection_limit = asyncio.Semaphore(MAX_CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections."""
        if (refreshing := self._refreshing) is not None:
            refreshing.cancel()
            await asyncio.wait([refreshing])
        while self._idle:
            await self._idle.pop().aclose()

    async def login(self, email: str, password: str, otp: str | None = None) -> LoggedIn:
        """Log in as a user. The access token is refreshed as long as the session lasts. Raises `RequestError`."""
        login, _ = await self._send(post_login(email=email, password=password, otp=otp), "")
        self.token = login["access_token"]
        await self._refresh_tokens.store(login["refresh_token"] or "")
        return login

    async def __call__(self, call: Call[T]) -> T:
        """Execute a call and return its result. Raises `RequestError`."""
        return (await self.call_with_etag(call))[0]

    async def call_with_etag(self, call: Call[T]) -> tuple[T, str]:
        """Execute a call; return its result, and the ETag of the response or "". Raises `RequestError`."""
        token = self.token
        try:
            return await self._send(call, token)
        except NotAuthenticated:
            if not await self.refresh(token):
                raise
        return await self._send(call, self.token)

    async def refresh(self, expired_token: str) -> bool:
        """Get a new access token, unless another task already has; return whether there is one. Raises `RequestError`.

        False: the token is an API key, or there was no `login`.
        """
        if self.token != expired_token:
            return True
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._exchange_tokens())
            self._refreshing.add_done_callback(self._end_refresh)
        # A cancelled caller does not cancel the exchange: its answer has the only valid refresh token.
        return await asyncio.shield(self._refreshing)

    async def _exchange_tokens(self) -> bool:
        refresh_token = await self._refresh_tokens.load()
        if not refresh_token:
            return False
        login, _ = await self._send(post_login_refresh(refresh_token=refresh_token), "")
        self.token = login["access_token"]
        await self._refresh_tokens.store(login["refresh_token"] or "")
        return True

    def _end_refresh(self, task: asyncio.Task[bool]) -> None:
        self._refreshing = None
        if not task.cancelled():
            # The callers get the exception; without any of them it would be logged.
            task.exception()

    def stream(self, *subscriptions: dict[str, Any], silence: float = 20.0) -> Stream:
        """Return the live stream with these subscriptions, such as ``{"subscribe": "device", "device": 7}``.

        It is disconnected when the hub has not answered for ``silence`` seconds. See `Stream`.
        """
        return Stream(self, subscriptions, silence)

    async def _send(self, call: Call[T], token: str) -> tuple[T, str]:
        """Send a call with a token, "" for none; return its result and the ETag. Raises `RequestError`."""
        request = _Request.of(call, self.address, token)
        try:
            async with self._connection_limit, asyncio.timeout(self._timeout) as deadline:

                def postpone() -> None:
                    if not deadline.expired():
                        deadline.reschedule(asyncio.get_running_loop().time() + self._timeout)

                response = await self._exchange(request, postpone)
        except TimeoutError as error:
            raise self.address.no_answer(f"it was silent for {self._timeout:g} seconds") from error
        except (OSError, h11.ProtocolError) as error:
            raise self.address.no_answer(error) from error
        return self.address.result(response)

    async def _exchange(self, request: _Request, postpone: Callable[[], None]) -> Response:
        """Send a request on an idle or a new connection. Raises OSError, `h11.RemoteProtocolError`."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_usable:
                connection.abort()
                continue
            try:
                return await self._exchange_on(connection, request, postpone)
            except (OSError, h11.RemoteProtocolError):
                # The hub may have closed it just now; only a read may be repeated without a doubt.
                if request.method != "GET":
                    raise
        address = self.address
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=self.tls)
        return await self._exchange_on(_Connection(reader, writer), request, postpone)

    async def _exchange_on(self, connection: _Connection, request: _Request, postpone: Callable[[], None]) -> Response:
        try:
            response = await connection.exchange(request, postpone)
        except BaseException:
            # Also when cancelled: its answer may be on the way.
            connection.abort()
            raise
        if connection.start_next_cycle():
            self._idle.append(connection)
        else:
            connection.abort()
        return response


@attrs.frozen
class _Request:
    """A call's request; ``body`` is its content, or a file with it."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes | BinaryIO

    @classmethod
    def of(cls, call: Call[Any], address: Address, token: str) -> _Request:
        """Encode a call. Raises `Rejected` for a token or ETag that is invalid in a header."""
        headers = {"Host": address.authority, **request_headers(call, token)}
        body: bytes | BinaryIO
        if call.content is not None:
            body, size = call.content, call.content.seek(0, os.SEEK_END)
        else:
            text = json_body(call)
            body = b"" if text is None else text.encode()
            size = len(body)
            if text is not None:
                headers["Content-Type"] = JSON
        if size or call.method != "GET":
            headers["Content-Length"] = str(size)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        return cls(call.method, address.target(call), encoded, body)


class _Connection:
    """A connection to the hub, which has one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.CLIENT)
        self._idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether the hub has probably not closed it."""
        idle = asyncio.get_running_loop().time() - self._idle_since
        return idle < MAX_IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def exchange(self, request: _Request, postpone: Callable[[], None]) -> Response:
        """Send a request and return the response. Raises OSError, `h11.RemoteProtocolError`.

        ``postpone`` is called when something was sent or received.
        """
        self._write(h11.Request(method=request.method, target=request.target, headers=request.headers))
        if isinstance(request.body, bytes):
            self._write(h11.Data(data=request.body), h11.EndOfMessage())
            return await self._receive(postpone)
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send_file(request.body, postpone))
                response = await self._receive(postpone)
                # A hub that rejects a stream answers before it has read it to its end.
                sending.cancel()
        except ExceptionGroup as errors:
            raise first_of(errors) from None
        return response

    async def _send_file(self, file: BinaryIO, postpone: Callable[[], None]) -> None:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            self._write(h11.Data(data=chunk))
            try:
                await self._writer.drain()
            except OSError:
                # The hub has closed the connection; maybe it has answered before.
                return
            postpone()
        self._write(h11.EndOfMessage())

    def _write(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._h11.send(event) or b"" for event in events))

    async def _receive(self, postpone: Callable[[], None]) -> Response:
        head: h11.Response | None = None
        content = bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(_CHUNK)
                if not data and head is None:
                    raise h11.RemoteProtocolError("it closed the connection before a response")
                self._h11.receive_data(data)
                postpone()
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > MAX_CONTENT:
                    raise h11.RemoteProtocolError(f"the response has more than {MAX_CONTENT >> 20} MB")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                return Response(head.status_code, head.reason.decode("latin-1"), headers, bytes(content))
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("it changed the protocol or closed the connection")

    def start_next_cycle(self) -> bool:
        """Prepare for another request; return whether there may be one."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._idle_since = asyncio.get_running_loop().time()
        return True

    def abort(self) -> None:
        """Close the connection without waiting for anything."""
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """Close the connection in good order, but do not wait long for the hub."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except OSError:
            self.abort()


@attrs.frozen
class Connected:
    """The live stream is connected; the first messages of all subscriptions follow."""


@attrs.frozen
class Disconnected:
    """The live stream is not connected, for this reason; the next attempt is in ``retry_in`` seconds.

    What was received before may be out of date until `Connected` and the first message of the subscription follow.
    """

    reason: str
    retry_in: float


Message = dict[str, Any]
StreamItem = Message | Connected | Disconnected


@attrs.define
class _Subscription:
    """A subscription; ``last`` is the number of the last message, ``is_confirmed`` whether there was a first one."""

    request: dict[str, Any]
    last: int | None = None
    is_confirmed: bool = False

    def message(self, number: int) -> str:
        """Return what subscribes again, or for the first time."""
        after = {} if self.last is None else {"after": self.last}
        return json.dumps({**self.request, **after, "id": number})


class Stream(AsyncIterator[StreamItem]):
    """The messages of ``/api/v1/stream``, which is connected again, and resumed, whenever the connection is lost.

    It yields the hub's messages (docs/http.md, Live stream), `Connected` and `Disconnected`. After a loss, the first
    message of each subscription has ``"resumed": true`` if the missed messages follow, and false if they are lost: its
    snapshot is the present state. An ``error`` ends its subscription. Raises `NotAuthenticated`, `Forbidden`, or
    another `RequestError` of the handshake that a further attempt would not change. One task at a time may iterate.
    """

    def __init__(self, remote: AsyncRemote, subscriptions: tuple[dict[str, Any], ...], silence: float) -> None:
        self._remote = remote
        self._silence = silence
        self._numbers = itertools.count(1)
        self._subscriptions = {next(self._numbers): _Subscription(request) for request in subscriptions}
        self._socket: ClientConnection | None = None
        self._failures = 0
        #: The time of the loop until which no attempt is made, unless `retry` is called.
        self._paused_until = 0.0
        self._retry = asyncio.Event()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, and end the iteration."""
        self._is_closed = True
        self.retry()
        await self._close_socket()

    async def _close_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def subscribe(self, request: dict[str, Any]) -> int:
        """Subscribe also to this; return the ``id`` of its messages."""
        number = next(self._numbers)
        subscription = self._subscriptions[number] = _Subscription(request)
        await self._send(subscription.message(number))
        return number

    async def unsubscribe(self, number: int) -> None:
        """End a subscription; messages of it that are on their way are dropped."""
        if self._subscriptions.pop(number, None) is not None:
            await self._send(_unsubscription(number))

    def retry(self) -> None:
        """Connect now instead of after the pause."""
        self._retry.set()

    async def __anext__(self) -> StreamItem:
        from websockets.exceptions import ConnectionClosed

        while not self._is_closed:
            if self._socket is None:
                await self._pause()
                if self._is_closed:
                    break
                return await self._connect()
            try:
                text = await self._socket.recv()
            except ConnectionClosed as error:
                if self._is_closed:
                    break
                self._socket = None
                return self._disconnected(f"the connection to the hub was lost: {error}")
            try:
                message = json.loads(text)
            except ValueError as error:
                await self._close_socket()
                return self._disconnected(str(self._remote.address.not_a_hub(str(error))))
            self._failures = 0
            if (message := self._received(message)) is not None:
                return message
        raise StopAsyncIteration

    def _received(self, message: Message) -> Message | None:
        """Return a message as it is yielded; None if its subscription has ended."""
        number = message.get("id")
        if number is None:
            return message
        if (subscription := self._subscriptions.get(number)) is None:
            return None
        if "error" in message:
            del self._subscriptions[number]
        elif "subscribed" in message:
            if subscription.is_confirmed:
                # The hub answers so if there was a last message.
                message.setdefault("resumed", False)
            subscription.is_confirmed = True
        else:
            subscription.last = message.get("seq", subscription.last)
        return message

    async def _send(self, text: str) -> None:
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            # Otherwise, and after a loss, the next connection sends it.
            with suppress(ConnectionClosed):
                await self._socket.send(text)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._paused_until):
                await self._retry.wait()
        self._retry.clear()

    def _disconnected(self, reason: str) -> Disconnected:
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failures)
        # Not all clients come at once when the hub is back.
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._failures = min(self._failures + 1, 16)
        self._paused_until = asyncio.get_running_loop().time() + pause
        self._retry.clear()
        return Disconnected(reason, pause)

    async def _connect(self) -> Connected | Disconnected:
        """Connect and send all subscriptions. Raises `RequestError` if the hub rejects the connection for good."""
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        remote = self._remote
        try:
            token = remote.token
            try:
                socket = await self._open(token)
            except InvalidStatus as error:
                if error.response.status_code != 401 or not await remote.refresh(token):
                    raise
                socket = await self._open(remote.token)
            await self._send_all(socket)
        except InvalidStatus as error:
            rejected = rejected_stream(error.response.status_code)
            if not isinstance(rejected, Unavailable):
                raise rejected from error
            return self._disconnected(str(rejected))
        except InvalidHandshake as error:
            return self._disconnected(str(remote.address.not_a_hub(str(error))))
        except (Unavailable, TooMany) as error:
            return self._disconnected(str(error))
        except (OSError, ConnectionClosed) as error:
            return self._disconnected(str(remote.address.no_answer(error)))
        return Connected()

    async def _open(self, token: str) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        return await connect(
            self._remote.address.stream_url,
            ssl=self._remote.tls,
            additional_headers=bearer_header(token),
            subprotocols=[Subprotocol(_SUBPROTOCOL)],
            compression=None,
            proxy=None,
            open_timeout=self._silence,
            ping_interval=self._silence / 2,
            ping_timeout=self._silence / 2,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE,
        )

    async def _send_all(self, socket: ClientConnection) -> None:
        """Send all subscriptions, also those that other tasks add meanwhile; then it is the stream's connection."""
        sent: set[int] = set()
        try:
            while missing := [number for number in self._subscriptions if number not in sent]:
                for number in missing:
                    if (subscription := self._subscriptions.get(number)) is not None:
                        await socket.send(subscription.message(number))
                    sent.add(number)
            for number in sent - self._subscriptions.keys():
                await socket.send(_unsubscription(number))
        except BaseException:
            socket.transport.abort()
            raise
        if self._is_closed:
            socket.transport.abort()
        self._socket = socket


def _unsubscription(number: int) -> str:
    return json.dumps({"id": number, "unsubscribe": True})
