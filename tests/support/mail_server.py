"""Mail servers on free ports of the loopback interface: aiosmtpd, which records what it receives, and bad ones."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "hub", "secret of the hub"


@attrs.define(slots=False)
class MailServer:
    """A real SMTP server in a thread. ``replies`` are to RCPT, by address; ``data_replies`` to DATA, by recipient."""

    mails: list = attrs.Factory(list)
    replies: dict = attrs.Factory(dict)
    data_replies: dict = attrs.Factory(dict)
    sessions: int = 0
    port: int = 0
    needs_login: bool = False
    loop: object = None

    async def handle_MAIL(self, _server, session, envelope, address, _options):
        if self.needs_login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        [recipient] = envelope.rcpt_tos
        if recipient in self.data_replies:
            return self.data_replies[recipient]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(message)
        return "250 Message accepted for delivery"

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses):
        self.sessions += 1
        session.host_name = hostname
        return responses

    def to(self, address):
        """The mails to an address."""
        return [mail for mail in self.mails if address in mail["To"]]

    def toml(self, **keys):
        """The table [mail] of a hub that uses this server."""
        return mail_toml(self.port, **keys)


def mail_toml(port, host="127.0.0.1", **keys):
    keys = {"server": f"{host}:{port}", "tls": "off", "from": "Pinwheel <hub@example.org>"} | keys
    return "\n[mail]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


def plain_of(mail):
    return mail.get_body(["plain"]).get_content().replace("\r\n", "\n")


def html_of(mail):
    return mail.get_body(["html"]).get_content().replace("\r\n", "\n")


def _authenticate(_server, _session, _envelope, _mechanism, data):
    is_known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_known, handled=is_known)


@contextmanager
def serving_mail(*, port=0, certificate=None, tls="off", login=False):
    """A `MailServer` that runs for the length of the block; ``tls`` is as in [mail], with a `UserCertificate`."""
    loop, context = asyncio.new_event_loop(), None
    server = MailServer(needs_login=login, loop=loop)
    if tls != "off":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)

    def protocol():
        return SMTP(
            server,
            hostname="mail.example.org",
            loop=loop,
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            authenticator=_authenticate if login else None,
            # Otherwise AUTH is not offered.
            auth_require_tls=not login,
            enable_SMTPUTF8=True,
        )

    async def listen():
        listener = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if tls == "on" else None)
        server.port = listener.sockets[0].getsockname()[1]
        return listener

    listener = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def close():
        listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def serving_bytes(serve):
    """The port of a server that runs ``await serve(stream)`` for each connection."""

    async def handler(stream):
        try:
            await serve(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(
            lambda task_status: trio.serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)
        )
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
