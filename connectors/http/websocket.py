"""A WebSocket as a `Wire` of messages, by websockets' sans-io protocol.

WebSockets bypass ASGI: a wire's ``send`` is sync, and a protocol on ``/websockets`` needs no code for WebSockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from hub import Wire

if TYPE_CHECKING:
    import h11

#: Bytes of one message, at most.
MAX_MESSAGE = 64 * 1024
#: Frames of one message, at most: empty frames count for no bytes, but take memory.
MAX_FRAGMENTS = 256
#: Bytes that wait for a client before its next message is read.
MAX_PENDING = 64 * 1024


class WebSocketWire(Wire):
    """A wire over the connection's wire: each ``send`` is one binary message."""

    __slots__ = ("_fragments", "_messages", "_protocol", "_wire")

    def __init__(self, wire: Wire, protocol: ServerProtocol) -> None:
        self._wire = wire
        super().__init__(wire._sock, wire.spawn)  # noqa: SLF001 - a wire over a wire
        self._protocol = protocol
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[Frame] = []

    @property
    def connection(self) -> Wire:
        """The connection's wire."""
        return self._wire

    @property
    def pending(self) -> int:
        return self._wire.pending

    # The listener looks at the connection's wire: what a protocol sets here must be seen there.

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
    def farewell(self, data: bytes) -> None:
        self._wire.farewell = Frame(Opcode.BINARY, data).serialize(mask=False) if data else b""

    async def receive_message(self) -> str | bytes | None:
        """Return the next message, text as str; None when the connection has ended."""
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
        """Decode bytes of the connection into messages."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
        self._flush()
        if self._protocol.close_expected() or self._protocol.parser_exc is not None:
            # The task that reads ends now; `aclose` does the rest of the closing handshake.
            self.broken = "closed"

    def _on_frame(self, frame: Frame) -> None:
        """Add a frame to the message that it belongs to."""
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._fragments.append(frame)
        if len(self._fragments) > MAX_FRAGMENTS:
            self._protocol.fail(1009, "too many fragments")
        elif frame.fin:
            opcode = self._fragments[0].opcode
            data = b"".join(bytes(fragment.data) for fragment in self._fragments)
            self._fragments = []
            self._messages.append(data.decode("utf-8", "replace") if opcode is Opcode.TEXT else data)

    async def receive(self) -> bytes:
        """Return the next binary message; b"" when the connection has ended.

        A text message is skipped: Blynk's clients never send any. With MQTT's subprotocol it ends the connection
        (MQTT-6.0.0-1).
        """
        while True:
            message = await self.receive_message()
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
        """Send a text message, encoded as UTF-8."""
        if not self._wire.broken and not self.broken:
            self._protocol.send_text(data)
            self._flush()

    def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self._wire.send(data)

    async def drained(self) -> None:
        await self._wire.drained()

    def close(self) -> None:
        self._send_close()
        self._wire.close()

    async def aclose(self) -> None:
        self._send_close()
        await self._wire.aclose()

    def _send_close(self) -> None:
        """Send the closing handshake's frame, once."""
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
        # Without the way over the WebSocket's wire: this is called for each of many clients of the live stream.
        self._connection = wire.connection

    async def receive(self) -> str | bytes | None:
        return await self._wire.receive_message()

    def send(self, message: str | bytes) -> None:
        """Send a text message; bytes are text encoded as UTF-8."""
        self._wire.send_text(message.encode() if isinstance(message, str) else message)

    def prepare(self, message: bytes) -> bytes:
        """Return a text message as an unmasked frame (RFC 6455, section 5.2)."""
        size = len(message)
        if size < 126:
            return b"\x81%c%b" % (size, message)
        if size < 65_536:
            return b"\x81\x7e%b%b" % (size.to_bytes(2), message)
        return b"\x81\x7f%b%b" % (size.to_bytes(8), message)

    def send_prepared(self, data: bytes) -> None:
        if not self._wire.broken:
            self._connection.send(data)

    @property
    def pending(self) -> int:
        return self._connection.pending

    async def drained(self) -> None:
        await self._connection.drained()


def accept(wire: Wire, request: h11.Request, trailing: bytes, subprotocols: Sequence[str] = ()) -> WebSocketWire | None:
    """Answer a WebSocket handshake and return its wire; None when the handshake was malformed, which is answered too.

    ``trailing`` is the bytes after the request. `ServerProtocol` insists on parsing the request itself.
    """
    protocol = ServerProtocol(max_size=MAX_MESSAGE, subprotocols=list(subprotocols) or None)  # type: ignore[arg-type]
    head = b"GET " + request.target + b" HTTP/1.1\r\n"
    head += b"".join(name + b": " + value + b"\r\n" for name, value in request.headers.raw_items())
    protocol.receive_data(head + b"\r\n")
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    if not requests:
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return None
    response = protocol.accept(requests[0])
    protocol.send_response(response)
    wire.send(b"".join(protocol.data_to_send()))
    if response.status_code != 101:
        return None
    socket = WebSocketWire(wire, protocol)
    if trailing:
        socket.feed(trailing)
    return socket
