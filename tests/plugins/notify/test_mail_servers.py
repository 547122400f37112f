"""Mail servers: TLS, login, and those that hang, refuse or answer garbage. ``mail test`` tells the truth about each."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.certificates import UserCertificate
from support.mail_server import PASSWORD, USER, mail_toml, plain_of, serving_bytes, serving_mail
from support.patience import patient
from support.raw_http import ask, local_key

from hub.config import parse
from hub.run import running
from hub.testing import LOOPBACK
from plugins.notify.delivery import MailTimeouts
from plugins.notify.smtp import MAX_REPLY, MailRefused, ServerProblem, SmtpSession

HELLO = b"220 mail.example.org\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return UserCertificate(tmp_path_factory.mktemp("certificate")).issue()


@asynccontextmanager
async def hub_with(folder, toml, **timeouts):
    """A hub with a table [mail], and short deadlines."""
    config = parse(LOOPBACK + toml).with_data(str(folder / "data"))
    async with running(config, timeouts=(MailTimeouts(**timeouts),)) as hub:
        yield hub


async def test_mail(hub, address="ann@example.org"):
    """The response to a test mail."""
    with trio.fail_after(patient(20)):
        return await ask(hub, "POST", "/api/v1/mail/test", {"address": address}, local_key(hub))


test_mail.__test__ = False


async def problem_with(folder, toml, **timeouts):
    """Why a test mail was not sent."""
    async with hub_with(folder, toml, **timeouts) as hub:
        response = await test_mail(hub)
        assert 503 == response.status
        assert response.message.startswith("The mail was not sent: ")
        return response.message.removeprefix("The mail was not sent: ")


# -- TLS and login ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["starttls", "on", "off"])
async def test_mail_is_sent_with_each_kind_of_tls(tmp_path, certificate, tls):
    with serving_mail(tls=tls, certificate=certificate, login=True) as server:
        toml = server.toml(tls=tls, ca=certificate.ca, host="localhost", user=USER, password=PASSWORD)
        async with hub_with(tmp_path, toml) as hub:
            response = await test_mail(hub)
        assert {"address": "ann@example.org", "server": f"localhost:{server.port}"} == {
            key: response.json[key] for key in ("address", "server")
        }
        [mail] = server.mails
        assert "ann@example.org" == mail["To"]
        assert f"Links in its mails begin with {response.json['base']}." in plain_of(mail)


@pytest.mark.parametrize("tls", ["starttls", "on"])
async def test_certificate_of_an_unknown_ca_is_not_trusted(tmp_path, certificate, tls):
    with serving_mail(tls=tls, certificate=certificate) as server:
        problem = await problem_with(tmp_path, server.toml(tls=tls, host="localhost"))
        assert "its certificate is not trusted (unable to get local issuer certificate)" in problem
        assert "ca in [mail]" in problem
        assert [] == server.mails


async def test_certificate_of_another_host_is_not_trusted(tmp_path, certificate):
    with serving_mail(tls="starttls", certificate=certificate) as server:
        problem = await problem_with(tmp_path, server.toml(tls="starttls", ca=certificate.ca))
        assert "its certificate is not trusted" in problem
        assert [] == server.mails


async def test_server_without_starttls_gets_neither_password_nor_mail(tmp_path):
    with serving_mail(login=True) as server:
        toml = server.toml(tls="starttls", user=USER, password=PASSWORD)
        problem = await problem_with(tmp_path, toml)
        assert f"127.0.0.1:{server.port}: it offers no STARTTLS, so nothing is sent" in problem
        assert 'tls = "on"' in problem
        assert [] == server.mails


async def test_server_that_refuses_to_begin_tls_gets_nothing(tmp_path):
    received = []

    async def serve(stream):
        await stream.send_all(HELLO)
        for reply in (b"250-mail\r\n250 STARTTLS\r\n", b"454 TLS not available\r\n", b"221 bye\r\n"):
            received.append(await stream.receive_some())
            await stream.send_all(reply)

    async with serving_bytes(serve) as port:
        problem = await problem_with(tmp_path, mail_toml(port, tls="starttls", user=USER, password=PASSWORD))
    assert "it answered 454 TLS not available" in problem
    assert [b"EHLO", b"STAR"] == [line[:4].upper() for line in received][:2]
    assert not any(line.upper().startswith((b"AUTH", b"MAIL")) for line in received)


async def test_plain_server_where_tls_is_expected_is_named(tmp_path):
    with serving_mail() as server:
        problem = await problem_with(tmp_path, server.toml(tls="on"))
        assert "TLS failed" in problem
        assert 'whether tls must be "on" or "starttls"' in problem


async def test_wrong_password_is_named_and_not_repeated_in_the_error(tmp_path):
    with serving_mail(login=True) as server:
        problem = await problem_with(tmp_path, server.toml(user=USER, password="wrong-secret"))
        assert "it rejects user and password of [mail]: 535" in problem
        assert "wrong-secret" not in problem
        assert [] == server.mails


async def test_server_that_needs_a_login_or_has_none_is_named(tmp_path):
    with serving_mail(login=True) as server:
        assert "530" in await problem_with(tmp_path, server.toml())
    with serving_mail() as server:
        problem = await problem_with(tmp_path, server.toml(user=USER, password=PASSWORD))
        assert "it offers no login" in problem


async def test_refused_address_is_quoted(tmp_path):
    with serving_mail() as server:
        server.replies["ann@example.org"] = "550 5.1.1 no such mailbox"
        problem = await problem_with(tmp_path, server.toml())
        assert "the mail server says: 550 5.1.1 no such mailbox." == problem


async def test_address_with_a_line_end_is_rejected(tmp_path):
    with serving_mail() as server:
        async with hub_with(tmp_path, server.toml()) as hub:
            response = await test_mail(hub, "ann@example.org>\r\nRCPT TO:<eve@example.org")
            assert 400 == response.status
            assert "address: 'ann@example.org>\\r\\nRCPT TO:<eve@example.org' is no e-mail address" in response.message
        assert 0 == server.sessions


# -- servers that do not answer ---------------------------------------------------------------------------------------


async def test_closed_port_and_unknown_name_are_named(tmp_path, monkeypatch):
    async with serving_bytes(lambda _: trio.sleep(0)) as port:
        pass
    assert f"127.0.0.1:{port}: connection refused." == await problem_with(tmp_path, mail_toml(port))

    def fail(*_args):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fail)
    problem = await problem_with(tmp_path, mail_toml(25, "mail.example.org", tls="starttls"))
    assert "mail.example.org:25: the name was not found (Name or service not known)." == problem


#: Replies of a server up to the point where it hangs: at the greeting, EHLO, MAIL, RCPT, DATA, and after the mail.
DIALOG = [HELLO, b"250 mail\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"]


@pytest.mark.parametrize("steps", range(len(DIALOG) + 1))
async def test_server_that_hangs_does_not_hang_the_hub(tmp_path, steps):
    async def serve(stream):
        for number, reply in enumerate(DIALOG[:steps]):
            if number:
                await stream.receive_some()
            await stream.send_all(reply)
        # Until the hub ends the connection.
        while await stream.receive_some():
            pass
        ended.set()

    ended = trio.Event()
    async with serving_bytes(serve) as port:
        async with hub_with(tmp_path, mail_toml(port), session=0.5, mail=0.3) as hub:
            response = await test_mail(hub)
            assert "it did not" in response.message
            assert 200 == (await ask(hub, "GET", "/health")).status
            with trio.fail_after(patient(10)):
                await ended.wait()


@pytest.mark.parametrize("text", [b"2", b"220-still there\r\n"], ids=["one line", "many lines"])
async def test_reply_that_never_ends_does_not_hang_the_hub(tmp_path, text):
    """Each byte comes before the deadline of a read."""

    async def serve(stream):
        while True:
            await stream.send_all(text)
            await trio.sleep(0.01)

    async with serving_bytes(serve) as port:
        problem = await problem_with(tmp_path, mail_toml(port), session=0.5)
    assert "it did not" in problem


async def test_reply_of_many_lines_is_limited_in_memory(tmp_path):
    sent = 0

    async def serve(stream):
        nonlocal sent
        while True:
            await stream.send_all(b"220-more and more\r\n" * 1000)
            sent += 18 * 1000

    async with serving_bytes(serve) as port:
        problem = await problem_with(tmp_path, mail_toml(port))
    assert f"its reply has more than {MAX_REPLY} bytes" in problem


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it answered what is no reply of SMTP: '/1.1 400 Bad Request'"),
        (b"\x16\x03\x01\x00\xff\x00\r\n", "it answered what is no reply of SMTP"),
        (b"554 go away\r\n", "it answered 554 go away"),
        (b"x" * 10_000 + b"\r\n", "it answered 500 Line too long."),
        (b"", "it ended the connection"),
    ],
)
async def test_garbage_is_quoted(tmp_path, reply, problem):
    async with serving_bytes(lambda stream: stream.send_all(reply)) as port:
        assert problem in await problem_with(tmp_path, mail_toml(port))


@given(st.lists(st.binary(max_size=40) | st.sampled_from([*DIALOG, b"334 %%%\r\n", b"250 AUTH PLAIN\r\n"]), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_replies_are_a_problem_and_no_other_error(replies):
    """The session is opened and used in this thread, as the hub's threads do it."""

    async def talk():
        async def serve(stream):
            for reply in replies:
                await stream.send_all(reply)
                await stream.receive_some()

        async with serving_bytes(serve) as port:
            config = parse(LOOPBACK + mail_toml(port, user=USER, password=PASSWORD)).mail
            session = SmtpSession(config, 0.05)
            try:
                await trio.to_thread.run_sync(session.run, session.open)
            except ServerProblem:
                pass
            else:
                with pytest.raises((ServerProblem, MailRefused)):
                    await trio.to_thread.run_sync(session.run, session.send, _message(), "a@b.c", "d@e.f")
            finally:
                session.abort()

    trio.run(talk)


def _message():
    from email.message import EmailMessage

    message = EmailMessage()
    message["From"], message["To"] = "a@b.c", "d@e.f"
    message.set_content("x")
    return message


def test_tls_handshake_that_never_ends_is_aborted(tmp_path):
    """The server takes the first bytes of a handshake, and then sends a byte of a record from time to time."""

    async def talk():
        async def serve(stream):
            await stream.receive_some()
            await stream.send_all(b"\x16\x03\x03\x40\x00")
            while True:
                await stream.send_all(b"\x00")
                await trio.sleep(0.01)

        async with serving_bytes(serve) as port:
            session = SmtpSession(parse(LOOPBACK + mail_toml(port, tls="on")).mail, 5)
            with trio.fail_after(patient(10)):
                async with trio.open_nursery() as nursery:

                    async def run():
                        with pytest.raises(ServerProblem):
                            await trio.to_thread.run_sync(session.run, session.open)

                    nursery.start_soon(run)
                    await trio.sleep(0.2)
                    session.abort()

    trio.run(talk)
