"""SMTP by `smtplib`: one session with the mail server, for a thread.

`smtplib` has a deadline for each read and write, but none for a reply that comes byte by byte, and no limit for its
length. `SmtpSession.abort` ends a session from outside, and `_Replies` limits what is read.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub import MailSection

#: Bytes of one reply of the server.
MAX_REPLY = 65_536
#: Characters of a reply that an error quotes.
MAX_QUOTED = 300


class ServerProblem(Exception):
    """The session failed or could not be opened, whatever was to be mailed. The message is a clause for users."""


class MailRefused(Exception):
    """The server did not take this mail; others may pass. ``permanent``: it will not take it later either."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class _Replies:
    """The replies of a server, as the file that smtplib reads."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = MAX_REPLY

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise OSError(f"its reply has more than {MAX_REPLY} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Client(smtplib.SMTP):
    """smtplib's client over a socket that is connected already."""

    def __init__(self, sock: socket.socket, host: str, port: int, timeout: float) -> None:
        self._connected = sock
        # Without a name for EHLO, smtplib looks this machine up in the DNS. The server knows the address.
        super().__init__(host, port, local_hostname=_literal(sock), timeout=timeout)

    def _get_socket(self, *_args: Any) -> socket.socket:
        return self._connected

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            assert self.sock is not None
            self.file = _Replies(self.sock.makefile("rb"))
        self.file.left = MAX_REPLY
        return super().getreply()


class SmtpSession:
    """A session with the server of ``[mail]``. Its methods block, except `abort`, which any thread may call."""

    def __init__(self, settings: MailSection, step: float) -> None:
        """``step`` is the deadline of each read and write in seconds."""
        self._settings = settings
        self._step = step
        self._host, self._port = settings.address
        self._client: _Client | None = None
        self._socket: socket.socket | None = None
        #: A second handle of the connection, by which `abort` ends it whatever became of the first one.
        self._leash: socket.socket | None = None
        #: Held by the thread that runs a step.
        self._in_use = threading.Lock()
        self._aborted = False

    def open(self) -> None:
        """Connect, begin TLS, and log in. Raises `ServerProblem`."""
        settings = self._settings
        try:
            context = None if settings.tls == "off" else ssl.create_default_context(cafile=settings.ca or None)
            self._socket = socket.create_connection((self._host, self._port), self._step)
            self._leash = self._socket.dup()
            if self._aborted:
                raise ConnectionAbortedError("the deadline has passed")
            if context is not None and settings.tls == "on":
                self._socket = context.wrap_socket(self._socket, server_hostname=self._host)
            client = self._client = _Client(self._socket, self._host, self._port, self._step)
            if settings.tls == "starttls":
                self._start_tls(client, context)
            if settings.user:
                self._log_in(client)
        except (OSError, ValueError) as error:
            raise ServerProblem(f"{settings.server}: {_described(error, self._step)}") from error

    def _start_tls(self, client: _Client, context: ssl.SSLContext | None) -> None:
        try:
            client.starttls(context=context)
        except smtplib.SMTPNotSupportedError as error:
            raise OSError(
                'it offers no STARTTLS, so nothing is sent; set tls = "on" in [mail] if this port has TLS from the'
                " first byte, or use the server's port for submission, often 587"
            ) from error

    def _log_in(self, client: _Client) -> None:
        try:
            client.login(self._settings.user, self._settings.password)
        except smtplib.SMTPNotSupportedError as error:
            raise OSError("it offers no login; leave out user and password in [mail] if it needs none") from error
        except smtplib.SMTPAuthenticationError as error:
            text = f"it rejects user and password of [mail]: {_quoted(error.smtp_code, error.smtp_error)}"
            raise OSError(text) from error

    def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Send a mail to one address. Raises `MailRefused`, and `ServerProblem` when the session has failed."""
        assert self._client is not None, "the session is open"
        try:
            self._client.send_message(message, sender, [recipient])
        except smtplib.SMTPRecipientsRefused as error:
            self._refused(*error.recipients[recipient])
        except smtplib.SMTPDataError as error:
            self._refused(error.smtp_code, error.smtp_error)
        except smtplib.SMTPNotSupportedError as error:
            raise MailRefused("the mail server takes only addresses in ASCII (no SMTPUTF8)", permanent=True) from error
        except smtplib.SMTPSenderRefused as error:
            text = f"it rejects the sender of [mail], {sender}: {_quoted(error.smtp_code, error.smtp_error)}"
            raise ServerProblem(f"{self._settings.server}: {text}") from error
        except (OSError, ValueError) as error:
            raise ServerProblem(f"{self._settings.server}: {_described(error, self._step)}") from error

    def _refused(self, code: int, text: bytes | str) -> None:
        """Raise the error of a mail that the server did not take."""
        quoted = _quoted(code, text)
        # RFC 4954, 6: 530 and 535 are about the session, which has to log in.
        if not 400 <= code <= 599 or code in (421, 530, 535):
            raise ServerProblem(f"{self._settings.server}: it takes no mails: {quoted}")
        raise MailRefused(f"the mail server says: {quoted}", permanent=code >= 500)

    def close(self) -> None:
        """Say goodbye, as far as the server listens, and close the connection."""
        if self._client is not None:
            with suppress(OSError, ValueError):
                self._client.quit()
        self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        for sock in (self._socket, self._leash):
            if sock is not None:
                sock.close()

    def run(self, step: Callable[..., None], *args: Any) -> None:
        """Run a step of the session, for which this thread is there."""
        try:
            with self._in_use:
                step(*args)
        finally:
            if self._aborted:
                self._close()

    def abort(self) -> None:
        """End the connection, so that a thread that waits for the server stops waiting; it then closes the session."""
        self._aborted = True
        if self._leash is not None:
            with suppress(OSError):
                self._leash.shutdown(socket.SHUT_RDWR)
        if self._in_use.acquire(blocking=False):
            self._close()
            self._in_use.release()


def _literal(sock: socket.socket) -> str:
    """Return this machine's address as an address literal (RFC 5321, 4.1.3)."""
    address = sock.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _described(error: Exception, step: float) -> str:
    """Return what happened, as a clause."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, OSError):
        error = error.__context__
    if isinstance(error, TimeoutError):
        return f"it did not answer within {step:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); ca in [mail] is for the file of another CA"
    if isinstance(error, ssl.SSLError):
        return f'TLS failed ({error.reason or error}); check the port, and whether tls must be "on" or "starttls"'
    if isinstance(error, socket.gaierror):
        return f"the name was not found ({error.strerror})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {_quoted(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "it ended the connection"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return _printable(str(error))


def _quoted(code: int, text: bytes | str) -> str:
    """Return a server's reply on one line; -1 is the code of a reply that is none."""
    decoded = _printable(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return f"{code} {decoded}".strip() if code > 0 else f"what is no reply of SMTP: {decoded!r}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_QUOTED].strip()
