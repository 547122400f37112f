"""WebSockets by websockets' sans-io protocol, as a wire of messages.

They bypass ASGI: a wire's ``send`` is sync, and a device's protocol on ``/websockets`` must not know that it is on one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from hub.net.wire import Wire

if TYPE_CHECKING:
    import h11

#: Bytes of one message.
MAX_MESSAGE = 64 * 1024
#: Frames of one message: empty ones cost no bytes, but memory.
MAX_FRAGMENTS = 256
#: Bytes that wait for a client before more of its messages are read.
MAX_PENDING = 64 * 1024


class WebSocketWire(Wire):
    """A wire whose every ``send`` is one message, over the wire of the connection. ``text`` is for `receive_text`."""

    __slots__ = ("_fragments", "_messages", "_protocol", "_wire")

    def __init__(self, wire: Wire, protocol: ServerProtocol) -> None:
        self._wire = wire
        super().__init__(wire._sock, wire.spawn)  # noqa: SLF001 - a wire over a wire
        self._protocol = protocol
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[Frame] = []

    @property
    def pending(self) -> int:
        return self._wire.pending

    # What the front door looks at is the wire below.

    @property
    def busy(self) -> bool:
        return self._wire.busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._wire.busy = busy

    @property
    def closing(self) -> bool:
        return self._wire.closing

    @closing.setter
    def closing(self, closing: bool) -> None:
        self._wire.closing = self._wire.closing or closing

    @property
    def farewell(self) -> bytes:
        return self._wire.farewell

    @farewell.setter
    def farewell(self, said: bytes) -> None:
        self._wire.farewell = Frame(Opcode.BINARY, said).serialize(mask=False) if said else b""

    async def message(self) -> str | bytes | None:
        """The next message; None when the connection has ended."""
        if self._wire.pending > MAX_PENDING:
            await self._wire.drained()
        while not self._messages:
            if self._wire.pending > MAX_PENDING:
                await self._wire.drained()
            if self._wire.broken or self.broken:
                return None
            data = await self._wire.receive()
            if not data:
                self.broken = "closed"
                return None
            self.feed(data)
        return self._messages.popleft()

    def feed(self, data: bytes) -> None:
        """Take in bytes from the connection."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self._protocol.close_expected() or self._protocol.parser_exc is not None:
            # What comes last is sent and read by `aclose`: the task that reads ends now.
            self.broken = "closed"

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._fragments.append(frame)
        if len(self._fragments) > MAX_FRAGMENTS:
            self._protocol.fail(1009, "too many fragments")
        elif frame.fin:
            kind = self._fragments[0].opcode
            data = b"".join(bytes(fragment.data) for fragment in self._fragments)
            self._fragments = []
            self._messages.append(data.decode("utf-8", "replace") if kind is Opcode.TEXT else data)

    async def receive(self) -> bytes:
        """The next binary message; text is passed over, as Blynk's clients never send it.

        MQTT's must not (MQTT-6.0.0-1): with its subprotocol, text ends the connection.
        """
        while True:
            message = await self.message()
            if isinstance(message, str) and self._protocol.subprotocol:
                self._protocol.fail(1003, "binary messages only")
                self._flush()
                self.broken = "closed"
                return b""
            if message is None:
                return b""
            if isinstance(message, bytes) and message:
                return message

    def send(self, data: bytes) -> None:
        if not self._wire.broken and not self.broken:
            self._protocol.send_binary(data)
            self._flush()

    def send_text(self, data: bytes) -> None:
        """Send a text message, given its UTF-8."""
        if not self._wire.broken and not self.broken:
            self._protocol.send_text(data)
            self._flush()

    def send_frames(self, data: bytes) -> None:
        """Send frames that are whole messages."""
        if not self._wire.broken and not self.broken:
            self._wire.send(data)

    def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self._wire.send(data)

    async def drained(self) -> None:
        await self._wire.drained()

    def close(self) -> None:
        self._say_close()
        self._wire.close()

    async def aclose(self) -> None:
        self._say_close()
        await self._wire.aclose()

    def _say_close(self) -> None:
        if not self._wire.broken and not self.broken:
            try:
                self._protocol.send_close(1001)
                self._flush()
            except ProtocolError:
                pass
        self.broken = self.broken or "closed"


class TextSocket:
    """`hub.api.routes.Socket` over a `WebSocketWire`."""

    def __init__(self, wire: WebSocketWire) -> None:
        self._wire = wire

    async def receive(self) -> str | bytes | None:
        return await self._wire.message()

    def send(self, message: str | bytes) -> None:
        """Send a text message; bytes are its UTF-8 already."""
        self._wire.send_text(message.encode() if isinstance(message, str) else message)

    def prepare(self, message: bytes) -> bytes:
        return Frame(Opcode.TEXT, message).serialize(mask=False)

    def send_prepared(self, data: bytes) -> None:
        self._wire.send_frames(data)

    @property
    def pending(self) -> int:
        return self._wire.pending

    async def drained(self) -> None:
        await self._wire.drained()


def accept(wire: Wire, request: h11.Request, trailing: bytes, subprotocols: Sequence[str] = ()) -> WebSocketWire | None:
    """Answer the upgrade; None when the request was not a good one (it has been answered).

    The protocol insists on parsing the request itself, so it is given it once more.
    """
    protocol = ServerProtocol(max_size=MAX_MESSAGE, subprotocols=list(subprotocols) or None)  # type: ignore[arg-type]
    head = b"GET " + request.target + b" HTTP/1.1\r\n"
    head += b"".join(name + b": " + value + b"\r\n" for name, value in request.headers.raw_items())
    protocol.receive_data(head + b"\r\n")
    asked = [event for event in protocol.events_received() if isinstance(event, Request)]
    if not asked:
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return None
    response = protocol.accept(asked[0])
    protocol.send_response(response)
    wire.send(b"".join(protocol.data_to_send()))
    if response.status_code != 101:
        return None
    socket = WebSocketWire(wire, protocol)
    if trailing:
        socket.feed(trailing)
    return socket
