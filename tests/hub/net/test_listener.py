"""The front door: TLS, limits, first bytes, PROXY headers, and clients that misbehave at it."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import struct
import time
import warnings
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fixed_ports import remember
from hypothesis import example, given
from hypothesis import strategies as st
from support.patience import brief, patient
from support.raw_http import ask
from support.raw_native import OK, PATIENCE, RawClient, online, until
from support.rejections import rejection_reasons
from websockets.trio.client import connect

import hub.net.certificates
import hub.net.listener
import hub.net.wire
from connectors.native.protocol import Cmd, Status, frame
from connectors.native.timeouts import NativeTimeouts
from hub.clock import Clock
from hub.config import TlsSection, parse
from hub.errors import StartupError
from hub.facts import DeviceConnected, DeviceDisconnected
from hub.hookspecs import hookimpl
from hub.model import SetDatastream
from hub.net.certificates import Certificates
from hub.net.proxy_protocol import proxy_header
from hub.net.timeouts import NetTimeouts
from hub.run import running
from hub.testing import add_device, address_of

TEMPLATE = """
[template]
id = "TMPL0door"
name = "Door"
[[datastream]]
pin = "V0"
name = "Text"
type = "string"
"""
LOGIN = frame(Cmd.HW_LOGIN, 1, ("nobody's token 0123456789abcdef.",))
INVALID_TOKEN = struct.pack("!BHH", 0, 1, Status.INVALID_TOKEN)
#: How a TLS ClientHello begins; its record announces 512 bytes.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)


def listen(address="127.0.0.1:0", tls="off", **more):
    rest = "".join(f"{key} = {value!r}\n" for key, value in more.items()).replace("'", '"')
    return f'[[listen]]\naddress = "{address}"\ntls = "{tls}"\n{rest}'


@pytest.fixture
def start(tmp_path, hub_timeouts):
    """Starts a hub with some configuration; its data is in ``<tmp_path>/data``."""

    @asynccontextmanager
    async def started(toml, clock=None):
        config = parse(toml).with_data(str(tmp_path / "data"))
        async with running(config, clock=clock, timeouts=hub_timeouts) as hub:
            yield hub

    return started


@asynccontextmanager
async def open_connection(hub, context=None, name="localhost", listener=0):
    """A TCP stream to the hub, or a TLS stream that has not shaken hands yet."""
    host, port = address_of(hub, listener)
    stream = await trio.open_tcp_stream(host, port)
    if context is not None:
        stream = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def rest_of(stream):
    """Everything that comes until the hub ends the connection."""
    received = b""
    with trio.fail_after(PATIENCE):
        try:
            while data := await stream.receive_some(4096):
                received += data
        except trio.BrokenResourceError:
            pass
    return received


async def answers(hub, context=None, name="localhost", listener=0, before=b""):
    """Whether a listener answers a login (with an unknown token)."""
    with trio.fail_after(PATIENCE):
        try:
            async with open_connection(hub, context, name, listener) as stream:
                await stream.send_all(before + LOGIN)
                return INVALID_TOKEN == await stream.receive_some(100)
        except trio.BrokenResourceError:
            return False


async def fault(start, toml):
    """Why a hub does not start."""
    with pytest.raises(BaseException) as caught:
        async with start(toml):
            pass
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StartupError)
    return error


def trusting(ca):
    """What a careful client has."""
    return ssl.create_default_context(cafile=str(ca))


def insecure(**more):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in more.items():
        setattr(context, name, value)
    return context


class Certificate:
    """A user's certificate for localhost, with the CA that signed it."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.cert, self.key, self.ca = (folder / name for name in ("cert.pem", "key.pem", "root.pem"))

    def make(self):
        ca = trustme.CA()
        made = ca.issue_cert("localhost")
        ca.cert_pem.write_to_path(self.ca)
        self.cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.key)
        return self

    def make_short(self, lasting):
        """One that signs itself and ends after ``lasting``."""
        return self.make_dated(-timedelta(days=1), lasting)

    def make_dated(self, begins, ends):
        """One that signs itself; both ends of its life are from now on."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        self.cert.write_bytes(made.public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password))
        return self

    @property
    def toml(self):
        return f'{listen(tls="on")}\n[tls]\ncert = "{self.cert}"\nkey = "{self.key}"\n'


@pytest.fixture
def mine(tmp_path):
    return Certificate(tmp_path / "mine").make()


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "plain", "encrypted"), [("off", True, False), ("on", False, True), ("auto", True, True)]
)
async def test_a_port_speaks_tls_or_not_or_both(start, tls, plain, encrypted):
    async with start(listen(tls=tls)) as hub:
        assert plain == await answers(hub)
        assert encrypted == await answers(hub, insecure())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_the_local_ca_verifies(start, tmp_path, name):
    async with start(listen(tls="on")) as hub:
        assert await answers(hub, trusting(tmp_path / "data" / "tls" / "ca.pem"), name)


async def test_the_local_ca_and_its_key_stay_over_a_restart_and_only_we_can_read_the_keys(start, tmp_path):
    folder = tmp_path / "data" / "tls"
    async with start(listen(tls="on")):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
    async with start(listen(tls="on")) as hub:
        assert await answers(hub, trusting(folder / "ca.pem"))

    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"ca.key": 0o600, "key.pem": 0o600} == {
        path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if "key" in path.name
    }


async def test_a_users_own_certificate_is_served(start, tmp_path, mine):
    async with start(mine.toml) as hub:
        assert await answers(hub, trusting(mine.ca))
        assert not (tmp_path / "data" / "tls").exists()


async def test_a_certificate_that_is_not_there_stops_the_start_and_is_named(start, mine):
    mine.cert.unlink()

    error = await fault(start, mine.toml)

    assert str(error).startswith(f"[tls] {mine.cert}, {mine.key}: ")


async def test_a_reload_serves_the_new_certificate_and_keeps_sessions(start, mine):
    async with start(mine.toml) as hub:
        _, token = await add_device(hub, TEMPLATE)
        before = trusting(mine.ca)
        async with open_connection(hub, before) as stream:
            device = RawClient(stream)
            assert OK == await device.login(token)
            mine.make()
            hub.certificates.reload()

            assert await answers(hub, trusting(mine.ca))
            assert not await answers(hub, before)
            assert [] == await device.received()


@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_changed_files_are_noticed(start, mine):
    async with start(mine.toml) as started:
        before = started.certificates.context
        mine.make()
        await until(lambda: started.certificates.context is not before)
        # Seen half-way, when only one of the two files was new, the old pair stays until both are.
        assert await answers(started, trusting(mine.ca))


@pytest.mark.parametrize("broken", ["cert", "key"])
async def test_broken_new_files_leave_the_certificate_from_before(start, mine, broken, caplog):
    async with start(mine.toml) as hub:
        getattr(mine, broken).write_text("-----BEGIN NONSENSE-----\n")
        hub.certificates.reload()

        assert await answers(hub, trusting(mine.ca))
    assert "stays in use" in caplog.text


async def test_a_key_of_another_certificate_leaves_the_certificate_from_before(start, mine, tmp_path):
    async with start(mine.toml) as hub:
        mine.key.write_bytes(Certificate(tmp_path / "other").make().key.read_bytes())
        hub.certificates.reload()

        assert await answers(hub, trusting(mine.ca))


@pytest.mark.parametrize(
    ("days", "warned", "problems"),
    [(31.5, [], []), (20.5, ["20 days"], [False]), (5.5, ["5 days"], [False]), (0.5, ["0 days"], [True])],
)
async def test_the_end_of_a_certificate_is_announced(start, mine, caplog, days, warned, problems):
    mine.make_short(timedelta(days=days))
    async with start(mine.toml) as hub:
        await until(lambda: len(warned) == caplog.text.count("expires in"))

        assert all(f"expires in {text}" in caplog.text for text in warned)
        assert problems == [problem.critical for problem in hub.active_alarms()]


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(days=3, hours=1), "expired 3 days ago"),
        (timedelta(days=1, hours=1), "expired 1 day ago"),
        (timedelta(hours=1), "expired less than a day ago"),
    ],
)
async def test_expired_certificate_is_said_to_have_expired(start, mine, caplog, ago, said):
    mine.make_dated(-timedelta(days=9), -ago)
    async with start(mine.toml) as hub:
        await until(lambda: said in caplog.text)
        [alarm] = hub.active_alarms()
        assert (f"the TLS certificate {said}", True) == (alarm.text, alarm.critical)


async def test_certificate_of_tomorrow_is_said_not_to_be_valid(start, mine, caplog):
    mine.make_dated(timedelta(days=1), timedelta(days=90))
    async with start(mine.toml) as hub:
        await until(lambda: "is not valid before" in caplog.text)
        [alarm] = hub.active_alarms()
        assert alarm.critical
        assert "is this machine's clock right?" in alarm.text


def test_each_threshold_is_announced_once(tmp_path, mine, caplog):
    def announced(days):
        mine.make_short(timedelta(days=days + 0.5))
        certificates._load()  # the hub does so when the files change
        caplog.clear()
        certificates.warn()
        certificates.warn()
        return caplog.text.count("expires in")

    certificates = Certificates(TlsSection(cert=str(mine.cert), key=str(mine.key)), tmp_path, [], Clock())

    assert [0, 1, 0, 1, 0, 1, 0] == [announced(days) for days in (30, 29, 7, 6, 1, 0, 0)]


# -- the hub's own certificate, while it runs -------------------------------------------------------------------------


class Ahead:
    """A clock whose days pass when it is called: ``ahead(days)``."""

    def __init__(self):
        self._passed = 0
        self.clock = Clock(
            wall=lambda: time.time_ns() + self._passed * 1_000_000_000,
            uptime=lambda: time.monotonic() + self._passed,
        )

    def __call__(self, days):
        self._passed += int(days * 86_400)


@pytest.fixture
def ahead():
    return Ahead()


def believing(tmp_path):
    """A client that trusts the hub's own authority, and takes the dates of certificates as they are."""
    context = trusting(tmp_path / "data" / "tls" / "ca.pem")
    context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h
    return context


async def serial_number(hub, context):
    """Of the certificate that a new connection is shown."""
    async with open_connection(hub, context) as stream:
        await stream.do_handshake()
        return x509.load_der_x509_certificate(stream.getpeercert(binary_form=True)).serial_number


@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_own_certificate_is_renewed_while_the_hub_runs_and_sessions_stay(start, tmp_path, ahead, caplog):
    async with start(listen(tls="on"), ahead.clock) as hub:
        _, token = await add_device(hub, TEMPLATE)
        client = believing(tmp_path)
        served = [await serial_number(hub, client)]
        async with open_connection(hub, client) as stream:
            device = RawClient(stream)
            assert OK == await device.login(token)
            # 820 days, of which 2 are past.
            ahead(818 - 31 - 1)
            await trio.sleep(0.1)
            assert served == [await serial_number(hub, client)]
            for days in (1.5, 788):
                before = hub.certificates.expires
                ahead(days)
                await until(lambda before=before: hub.certificates.expires > before)
                assert await answers(hub, client)
                served.append(await serial_number(hub, client))
            assert [] == await device.received()
        assert 3 == len(set(served))
        assert [] == hub.active_alarms()
    assert "expires in" not in caplog.text


@pytest.mark.parametrize("fault", ["full disk", "damaged authority"])
@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_own_certificate_that_cannot_be_renewed_stays_until_it_can(
    start, tmp_path, ahead, monkeypatch, caplog, fault
):
    key = tmp_path / "data" / "tls" / "ca.key"
    async with start(listen(tls="on"), ahead.clock) as started:
        client = believing(tmp_path)
        before, first, good = started.certificates.expires, await serial_number(started, client), key.read_bytes()
        with monkeypatch.context() as patch:
            if fault == "full disk":
                patch.setattr(hub.net.certificates, "write_together", full)
            else:
                key.write_bytes(b"-----BEGIN NONSENSE-----\n")
            ahead(818 - 30.5)
            await until(lambda: "no new certificate could be made" in caplog.text)
            await trio.sleep(0.1)
            assert 1 == caplog.text.count("no new certificate could be made")
            assert first == await serial_number(started, client)
            assert [] == started.active_alarms()
            ahead(1)
            assert ["the TLS certificate expires in 29 days"] == [problem.text for problem in started.active_alarms()]
        key.write_bytes(good)
        await until(lambda: started.certificates.expires > before)
        assert first != await serial_number(started, client)
        assert [] == started.active_alarms()


def full(_files):
    raise OSError(errno.ENOSPC, "No space left on device")


# -- who is turned away -----------------------------------------------------------------------------------------------


async def refused(hub, data=b"", context=None, listener=0):
    """What the refused list says of a client that sends ``data`` and waits for the end."""
    async with open_connection(hub, context, listener=listener) as stream:
        try:
            await stream.send_all(data)
            await rest_of(stream)
        except trio.BrokenResourceError:
            pass
    await until(lambda: not hub.listener.connections)
    return rejection_reasons(hub)


async def test_tls_on_a_plain_port_is_named(start):
    async with start(listen()) as hub:
        [reason] = await refused(hub, LOGIN, insecure())

        assert f"speaks TLS on the plain port {address_of(hub)[1]}" == reason
        assert ["127.0.0.1"] == [refusal.address for refusal in hub.rejections.recent]


@pytest.mark.parametrize("data", [LOGIN, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"])
async def test_plain_on_a_tls_port_is_named(start, data):
    async with start(listen(tls="on")) as hub:
        [reason] = await refused(hub, data)

        assert f"speaks without TLS on the TLS port {address_of(hub)[1]}" == reason


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_that_does_not_trust_the_certificate_is_named(start, version):
    context = ssl.create_default_context()
    context.maximum_version = context.minimum_version = version
    async with start(listen(tls="on")) as hub:
        with pytest.raises(ssl.SSLCertVerificationError):
            await trio.to_thread.run_sync(_shake_hands, address_of(hub), context)
        await until(lambda: hub.rejections.recent and not hub.listener.connections)

        assert ["does not trust this certificate"] == rejection_reasons(hub)


def _shake_hands(address, context):
    """With the standard library, which tells the hub what it finds wrong; trio just hangs up."""
    with socket.create_connection(address) as sock, context.wrap_socket(sock, server_hostname="localhost"):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_tls_is_refused_and_named(start, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = insecure(minimum_version=version, maximum_version=version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with start(listen(tls="on")) as hub:
        [reason] = await refused(hub, LOGIN, context)

        assert "TLS version older than 1.2" in reason


async def test_a_client_that_goes_away_during_the_handshake_is_named(start):
    async with start(listen(tls="on")) as hub:
        async with open_connection(hub) as stream:
            await stream.send_all(HALF_HELLO)
        await until(lambda: hub.rejections.recent and not hub.listener.connections)

        [reason] = rejection_reasons(hub)
        assert "TLS handshake" in reason


async def test_something_unknown_is_named(start):
    async with start(listen()) as hub:
        [reason] = await refused(hub, b"\x7fELF")

        assert "nothing known" in reason
        assert "0x7f" in reason


@pytest.mark.parametrize(
    ("serve", "data", "spoken"),
    [
        (["http"], LOGIN, "native"),
        (["device-http"], LOGIN, "native"),
        (["native"], b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", "http"),
    ],
)
async def test_a_protocol_that_a_listener_does_not_serve_is_named(start, serve, data, spoken):
    async with start(listen(serve=serve)) as hub:
        [reason] = await refused(hub, data)

        assert f"speaks {spoken}" in reason
        assert ", ".join(serve) in reason


@pytest.mark.parametrize(
    ("serve", "served"),
    [(None, True), (["native", "mqtt", "http"], True), (["native", "http"], False), (["device-http"], False)],
)
async def test_protocol_of_a_plugin_is_served_beside_all_of_the_hubs_own(tmp_path, serve, served):
    async def greet(wire, _peer):
        wire.send(b"hello")

    class Greeting:
        __name__, PINWHEEL_HOOKS = "greeting", 1

        @staticmethod
        @hookimpl
        def hub_protocols():
            return [hub.net.wire.WireProtocol(name="greeting", sniff=lambda first: first[:1] == b"g", serve=greet)]

    config = parse(listen(serve=serve) if serve else listen()).with_data(str(tmp_path / "data"))
    async with running(config, plugins=(Greeting(),)) as started, open_connection(started) as stream:
        await stream.send_all(b"g")
        with trio.fail_after(PATIENCE):
            assert (b"hello" if served else b"") == await stream.receive_some()
        assert served == (not started.rejections.recent)


@pytest.mark.parametrize("serve", [["http"], ["device-http"]])
async def test_a_protocol_that_a_listener_does_not_serve_does_not_come_in_by_websocket(start, serve):
    upgrade = (
        b"GET /websockets HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with start(listen(serve=serve)) as hub, open_connection(hub) as stream:
        await stream.send_all(upgrade)
        with trio.fail_after(PATIENCE):
            answer = await stream.receive_some(4096)

        assert b"101" != answer.split(b" ")[1]


async def test_nobody_else_is_disturbed_by_those_who_are_turned_away(start):
    async with start(listen(tls="auto")) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as device:
            for data in (b"\x7f", HALF_HELLO, b"\x00" * 5000, b"\xff" * 5000):
                async with open_connection(hub) as stream:
                    await stream.send_all(data)

            assert [] == await device.received()


# -- PROXY protocol ---------------------------------------------------------------------------------------------------

V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n"
V1_6 = b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n"
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command=0x21, family=0x11, addresses=b"", more=b""):
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(addresses + more)) + addresses + more


V2 = v2(addresses=bytes([203, 0, 113, 7, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 80))
V2_6 = v2(
    family=0x21, addresses=socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + bytes(4), more=b"\x04\0\1x"
)
#: IPv4 written as IPv6 (RFC 4291, 2.5.5.2).
V2_MAPPED = v2(family=0x21, addresses=socket.inet_pton(socket.AF_INET6, "::ffff:203.0.113.7") + bytes(20))
HEADERS = {
    V2_MAPPED: "203.0.113.7",
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 80\r\n": "203.0.113.7",
    V1: "203.0.113.7",
    V1_6: "2001:db8::7",
    V2: "203.0.113.7",
    V2_6: "2001:db8::7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY TCP4 nonsense\r\n": "",
    v2(command=0x20): "",
    v2(family=0x31, addresses=bytes(216)): "",
}


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(b"PROXY ".__add__)
    | st.binary(max_size=300).map(V2_SIGNATURE.__add__)
)
@example(b"")
@example(b"PROXY TCP4 \xff\xfe 1 1 1\r\n")
def test_whatever_comes_a_header_is_found_or_not(data):
    found = proxy_header(data)

    assert found is None or 0 <= found[1] <= len(data)


@given(st.sampled_from(sorted(HEADERS)), st.binary(max_size=50), st.integers(0, 400))
def test_a_header_is_found_as_soon_as_it_is_whole(header, rest, cut):
    received = (header + rest)[:cut]

    assert ((HEADERS[header], len(header)) if cut >= len(header) else None) == proxy_header(received)


@given(st.sampled_from([LOGIN, HALF_HELLO, b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\n"]))
def test_what_is_no_header_is_left_alone(data):
    assert ("", 0) == proxy_header(data)


def behind_proxy(**more):
    return '[hub]\ntrusted_proxies = ["127.0.0.0/8"]\n' + listen(**more)


@pytest.mark.parametrize("header", [V1, V1_6, V2, V2_6])
async def test_a_trusted_proxy_is_believed(start, header):
    addresses = []
    async with start(behind_proxy()) as hub:
        hub.subscribe(DeviceConnected, lambda fact: addresses.append(fact.address))
        _, token = await add_device(hub, TEMPLATE)
        async with open_connection(hub) as stream:
            for n in range(len(header)):
                await stream.send_all(header[n : n + 1])
            assert OK == await RawClient(stream).login(token)

    assert [HEADERS[header]] == addresses


async def test_tls_goes_on_behind_a_proxys_header(start):
    async with start(behind_proxy(tls="on")) as hub, open_connection(hub) as stream:
        await stream.send_all(V1)
        encrypted = trio.SSLStream(stream, insecure(), https_compatible=True)
        with trio.fail_after(PATIENCE):
            await encrypted.send_all(LOGIN)
            assert INVALID_TOKEN == await encrypted.receive_some(100)
        assert ["203.0.113.7"] == [refusal.address for refusal in hub.rejections.recent]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(command=0x20), b""])
async def test_a_trusted_proxy_may_speak_for_itself(start, header):
    async with start(behind_proxy()) as hub:
        assert await answers(hub, before=header)
        assert ["127.0.0.1"] == [refusal.address for refusal in hub.rejections.recent]


@pytest.mark.parametrize("header", [V1, V2])
async def test_nobody_else_is_believed(start, header):
    async with start('[hub]\ntrusted_proxies = ["192.0.2.0/24"]\n' + listen()) as hub:
        assert not await answers(hub, before=header + b"\r\n\r\n")
        assert {"127.0.0.1"} >= {refusal.address for refusal in hub.rejections.recent}


#: X-Forwarded-For as a proxy at 127.0.0.1 sends it, and the client's address.
FORWARDED = [
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9:51234", "203.0.113.9"),
    ("[2001:db8::7]:443", "2001:db8::7"),
    ("[2001:DB8::7]", "2001:db8::7"),
    ('"[2001:db8::7]:443"', "2001:db8::7"),
    ("2001:db8:0:0:0:0:0:7", "2001:db8::7"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]:1", "fe80::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("  203.0.113.9 ", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
    ("203.0.113.9, 127.0.0.1", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9:1, 127.0.0.2, 127.0.0.1:80", "203.0.113.9"),
    ("127.0.0.3, 127.0.0.2", "127.0.0.3"),
    ("203.0.113.9, unknown, 127.0.0.2", "127.0.0.2"),
    *((text, "127.0.0.1") for text in ("", ",", "unknown", "_hidden", "<script>alert(1)</script>", "203.0.113.9:x")),
    *(
        (text, "127.0.0.1")
        for text in ("1.2.3", "999.1.1.1", "[::1", "]:[", "1.2.3.4:5:6", "203.0.113.9\xe9", "%", "::1::")
    ),
]


@pytest.mark.parametrize(("header", "address"), FORWARDED)
async def test_forwarded_address_is_parsed_or_ignored(start, header, address):
    async with start(behind_proxy()) as hub:
        lines = f"GET /external/api/get?token=bad&v0 HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: {header}\r\n\r\n"
        async with open_connection(hub) as stream:
            await stream.send_all(lines.encode("latin-1"))
            with trio.fail_after(PATIENCE):
                assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 400")
        assert [address] == [refusal.address for refusal in hub.rejections.recent]


async def test_forwarded_address_of_several_lines_is_one_list(start):
    async with start(behind_proxy()) as hub:
        lines = b"GET /external/api/get?token=bad&v0 HTTP/1.1\r\nHost: hub\r\n"
        lines += b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 127.0.0.2\r\n\r\n"
        async with open_connection(hub) as stream:
            await stream.send_all(lines)
            with trio.fail_after(PATIENCE):
                await stream.receive_some(100)
        assert ["203.0.113.9"] == [refusal.address for refusal in hub.rejections.recent]


async def test_forwarded_address_of_a_stranger_is_ignored(start):
    async with start('[hub]\ntrusted_proxies = ["192.0.2.0/24"]\n' + listen()) as hub:
        await ask(hub, "GET", "/external/api/get?token=bad&v0", X_Forwarded_For="203.0.113.9")
        assert ["127.0.0.1"] == [refusal.address for refusal in hub.rejections.recent]


@pytest.mark.parametrize(
    "forwarded", ["203.0.113.9:{}", "[2001:db8::1]:{}", "203.0.113.9, 127.0.0.1:{}", "2001:db8:1:2:{}::7"]
)
async def test_wrong_logins_count_for_a_subscriber_whatever_the_port_or_host(start, forwarded):
    async with start(behind_proxy()) as hub:
        statuses = []
        for port in range(1000, 1008):
            body = {"email": "eva@example.org", "password": "wrong but long"}
            headers = {"X_Forwarded_For": forwarded.format(port)}
            statuses.append((await ask(hub, "POST", "/api/v1/login", body, **headers)).status)
        assert [401] * 5 + [429] * 3 == statuses


async def test_forwarded_address_counts_for_devices_over_websockets(start):
    async with start(behind_proxy()) as hub:
        host, port = address_of(hub)
        headers = {"X-Forwarded-For": "203.0.113.9:51234"}
        async with connect(f"ws://{host}:{port}/websockets", additional_headers=headers, proxy=None) as socket:
            await socket.send(LOGIN)
            with trio.fail_after(PATIENCE):
                assert INVALID_TOKEN == await socket.recv()
        assert ["203.0.113.9"] == [refusal.address for refusal in hub.rejections.recent]


@pytest.mark.timeouts(NetTimeouts(first_bytes=0.05))
async def test_half_a_header_is_not_waited_for_for_ever(start):
    async with start(behind_proxy()) as started, open_connection(started) as stream:
        await stream.send_all(V1[:10])

        assert b"" == await rest_of(stream)


# -- limits -----------------------------------------------------------------------------------------------------------

PER_ADDRESS = "more than 2 connections that have not logged in ([limits] connections_per_address)"
IN_TOTAL = "more than 3 connections ([limits] connections)"


def limited(**limits):
    return listen() + "[limits]\n" + "".join(f"{key} = {value}\n" for key, value in limits.items())


async def closed(stream):
    return b"" == await rest_of(stream)


async def test_connections_of_one_address_are_limited_until_one_leaves(start):
    async with start(limited(connections_per_address=2)) as hub:
        async with open_connection(hub), open_connection(hub):
            await until(lambda: 2 == hub.listener.connections)
            async with open_connection(hub) as third:
                assert await closed(third)
            assert [PER_ADDRESS] == rejection_reasons(hub)
        await until(lambda: not hub.listener.connections)

        assert await answers(hub)


async def test_devices_that_have_logged_in_do_not_count(start):
    async with start(limited(connections_per_address=2)) as hub:
        tokens = [(await add_device(hub, TEMPLATE, f"Device {n}"))[1] for n in range(5)]
        async with trio.open_nursery() as nursery:
            for token in tokens:
                await nursery.start(_online, hub, token)

            assert 5 == len(hub.sessions)
            assert [] == rejection_reasons(hub)
            assert await answers(hub)
            nursery.cancel_scope.cancel()


async def _online(hub, token, task_status):
    async with online(hub, token):
        task_status.started()
        await trio.sleep_forever()


async def test_connections_in_total_are_limited_until_one_leaves(start):
    async with start(limited(connections=3)) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token), open_connection(hub), open_connection(hub):
            await until(lambda: 3 == hub.listener.connections)
            async with open_connection(hub) as fourth:
                assert await closed(fourth)
            assert [IN_TOTAL] == rejection_reasons(hub)
        await until(lambda: not hub.listener.connections)

        assert await answers(hub)


@contextmanager
def dialled_at_once(hub, count):
    """Connections that the hub finds all at once: nobody else runs while they are made."""
    socks = []
    try:
        for _ in range(count):
            socks.append(socket.create_connection(address_of(hub)))
        yield socks
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize(
    ("limit", "reason"), [("connections_per_address = 2", PER_ADDRESS), ("connections = 3", IN_TOTAL)]
)
async def test_the_limits_hold_when_everybody_comes_at_once(start, limit, reason):
    allowed = int(limit[-1])
    async with start(listen() + "[limits]\n" + limit) as hub:
        with dialled_at_once(hub, 10):
            await until(lambda: 10 == hub.listener.accepted)
            await until(lambda: allowed <= hub.listener.connections)

            assert [reason] * (10 - allowed) == rejection_reasons(hub)
            assert allowed == hub.listener.connections


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ([V1] * 3, V1.replace(b".7", b".8")),
        # Of IPv6 each subscriber has a /64.
        ([V1_6, V1_6.replace(b"::7", b"::8"), V1_6.replace(b"::7", b":0:0:9::7")], V1_6.replace(b"db8::", b"db8:1::")),
    ],
)
async def test_clients_behind_a_proxy_are_limited_by_their_own_address(start, headers, elsewhere):
    async with start(behind_proxy() + "[limits]\nconnections_per_address = 2") as hub:
        async with open_connection(hub) as first, open_connection(hub) as second, open_connection(hub) as third:
            for stream, header in ((first, headers[0]), (second, headers[1])):
                await stream.send_all(header + LOGIN)
                assert INVALID_TOKEN == await stream.receive_some(100)
            await third.send_all(headers[2] + LOGIN)

            assert await closed(third)
        refused = proxy_header(headers[2])[0]
        assert (refused, PER_ADDRESS) in [(refusal.address, refusal.reason) for refusal in hub.rejections.recent]
        assert await answers(hub, before=elsewhere)


@pytest.mark.timeouts(NetTimeouts(first_bytes=0.05))
async def test_a_client_that_says_nothing_is_not_waited_for(start):
    async with start(listen()) as started, open_connection(started) as stream:
        assert await closed(stream)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
CONNECT = b"\x10\x0c\0\4MQTT\4\2\0\x2d\0\0"
UPGRADE = (
    b"GET /websockets HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n", id="HTTP/1.1"),
        pytest.param(b"GARBAGE\r\n\r\n", id="malformed HTTP"),
        pytest.param(UPGRADE + b"\x88\x80\0\0\0\0", id="WebSocket that is closed"),
        pytest.param(UPGRADE + b"\xff\xff", id="malformed WebSocket"),
        pytest.param(CONNECT, id="MQTT without a login"),
        pytest.param(b"\x10\0", id="malformed MQTT"),
        pytest.param(b"\x1d\0\1\xff\xff", id="malformed native"),
        pytest.param(b"\x99", id="no protocol"),
    ],
)
async def test_tls_connection_ends_with_close_notify(start, sent, version):
    """RFC 8446 §6.1: without it a client cannot tell a whole answer from one that was cut off."""
    async with start(listen(tls="on")) as hub:
        async with open_connection(hub, insecure(maximum_version=version)) as stream:
            stream._https_compatible = False
            await stream.send_all(sent)
            with trio.fail_after(PATIENCE):
                # A connection that ends without it is a BrokenResourceError.
                while await stream.receive_some(4096):
                    pass


@pytest.mark.parametrize("version", VERSIONS)
async def test_tls_connection_ends_with_close_notify_when_the_hub_stops(start, version):
    async with AsyncExitStack() as stack:
        async with start(listen(tls="on")) as hub:
            stream = await stack.enter_async_context(open_connection(hub, insecure(maximum_version=version)))
            stream._https_compatible = False
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert await stream.receive_some(4096)
        with trio.fail_after(PATIENCE):
            while await stream.receive_some(4096):
                pass


@pytest.mark.parametrize("version", VERSIONS)
async def test_tls_client_that_says_goodbye_is_not_reset(start, version):
    """MQTT.js told of ECONNRESET: its own close_notify was unread when the hub closed the connection."""
    async with start(listen(tls="on")) as hub:
        for _ in range(10):
            async with open_connection(hub, insecure(maximum_version=version)) as stream:
                stream._https_compatible = False
                await stream.send_all(b"GET /health HTTP/1.0\r\n\r\n")
                with trio.fail_after(PATIENCE):
                    while await stream.receive_some(4096):
                        pass
                    plain, _ = await stream.unwrap()
                    async with plain:
                        # A reset is a BrokenResourceError.
                        assert b"" == await plain.receive_some(4096)


@pytest.mark.parametrize("tls", ["on", "auto"])
@pytest.mark.timeouts(NetTimeouts(handshake=0.05))
async def test_half_a_handshake_is_not_waited_for(start, tls):
    async with start(listen(tls=tls)) as started, open_connection(started) as stream:
        await stream.send_all(HALF_HELLO)

        assert await closed(stream)
        assert ["did not finish the TLS handshake in time"] == rejection_reasons(started)


async def test_unfinished_handshakes_do_not_keep_others_out(start):
    async with start(listen(tls="on") + "[limits]\nhandshakes = 1") as hub:
        async with open_connection(hub) as first, open_connection(hub) as second:
            for stream in (first, second):
                await stream.send_all(HALF_HELLO)
            await until(lambda: 2 == hub.listener.connections)

            assert await answers(hub, insecure())


async def test_a_hub_without_descriptors_goes_on_when_there_are_some_again(start):
    async with start(listen()) as hub:
        waiting = [socket.socket() for _ in range(3)]
        try:
            with no_more_descriptors():
                for sock in waiting:
                    sock.connect(address_of(hub))
                await until(lambda: hub.rejections.recent)
                assert "no resources for another connection" in rejection_reasons(hub)[0]
            for sock in waiting:
                sock.setblocking(False)
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
                with trio.fail_after(PATIENCE):
                    await stream.send_all(LOGIN)
                    assert INVALID_TOKEN == await stream.receive_some(100)
        finally:
            for sock in waiting:
                sock.close()


@contextmanager
def no_more_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- clients that do not read -----------------------------------------------------------------------------------------


@asynccontextmanager
async def deaf(hub, token):
    """A client that logs in and reads no more, with little room in its own buffers."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    await sock.connect(address_of(hub))
    async with trio.SocketStream(sock) as stream:
        client = RawClient(stream)
        assert OK == await client.login(token)
        assert OK == await client.info(buff_in=1024)
        yield client


async def test_pushes_to_a_client_that_does_not_read_are_coalesced(start):
    pushed = 20_000
    async with start(listen()) as hub:
        device, token = await add_device(hub, TEMPLATE)
        _, other = await add_device(hub, TEMPLATE, "Other")
        async with online(hub, other) as undisturbed, deaf(hub, token) as client:
            for number in range(pushed):
                hub.command(device, SetDatastream(0, (f"{number:06}" + "x" * 900,)))
                if number % 1000 == 0:
                    assert [] == await undisturbed.received()
            received = []
            while not received or received[-1] != pushed - 1:
                received.append(int((await client.next())[4][:6]))

    assert sorted(received) == received
    assert len(received) < pushed / 2


@pytest.mark.timeouts(NetTimeouts(stall=0.1))
async def test_a_client_that_takes_nothing_is_given_up(start):
    gone = []
    async with start(listen()) as started:
        started.subscribe(DeviceDisconnected, gone.append)
        device, token = await add_device(started, TEMPLATE)
        async with deaf(started, token):
            number = 0
            while not gone:
                number += 1
                if started.sessions.get(device.id):
                    started.command(device, SetDatastream(0, (f"{number}" + "x" * 900,)))
                await trio.lowlevel.checkpoint()
                assert number < 1_000_000
        assert 1 == len(gone)


@pytest.mark.parametrize("command", [Cmd.HW_LOGIN, Cmd.LOGIN])
@pytest.mark.timeouts(NativeTimeouts(spacing=3600))
async def test_a_client_that_asks_and_does_not_read_is_not_read(start, command):
    """Its answers would have to be kept: the hub leaves the questions where they are."""
    pings = frame(Cmd.PING, 7) * 800
    limit = 16 * 1024 * 1024
    sent = 0
    async with start(listen()) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with open_connection(hub) as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await stream.send_all(frame(command, 1, (token,)))
            while sent < limit:
                with trio.move_on_after(brief(1)) as blocked:
                    await stream.send_all(pings)
                if blocked.cancelled_caught:
                    break
                sent += len(pings)

    assert sent < limit


async def test_a_hub_may_stop_before_it_has_accepted_anybody(start):
    async with start(listen() + listen() + listen(tls="auto")):
        pass


async def test_a_stop_in_the_moment_of_accepting_is_no_failure(start, caplog):
    async with start(listen()) as hub:
        with dialled_at_once(hub, 10):
            while not hub.listener.accepted:
                await trio.lowlevel.checkpoint()
            await hub.listener.drain(5)
            await until(lambda: not hub.listener.connections)

    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


async def test_a_closed_wire_is_at_its_end_however_often_that_happens():
    for _ in range(3):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            wire = hub.net.wire.Wire(ours, lambda fn: None)
            wire.close()
            wire.send(b"x")

            assert b"" == await wire.receive()


async def test_a_stop_does_not_wait_for_clients(start):
    async with start(listen(tls="auto")) as hub:
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token) as device, open_connection(hub) as silent, open_connection(hub) as half:
            await half.send_all(HALF_HELLO)
            await until(lambda: 3 == hub.listener.connections)
            with trio.fail_after(patient(30)):
                await hub.listener.drain(patient(60))

            assert [] == await device.read_to_end()
            assert await closed(silent)
            assert await closed(half)


# -- addresses --------------------------------------------------------------------------------------------------------


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_ipv6(start):
    addresses = []
    async with start(listen("[::1]:0")) as hub:
        hub.subscribe(DeviceConnected, lambda fact: addresses.append(fact.address))
        [(address, tls)] = hub.listener.addresses
        _, token = await add_device(hub, TEMPLATE)
        async with online(hub, token):
            pass

    assert (True, False) == (address.startswith("[::1]:"), tls)
    assert ["::1"] == addresses


async def test_a_name_stands_for_all_its_addresses(start):
    async with start(listen("localhost:0")) as hub:
        assert hub.listener.addresses
        for listener, (address, _) in enumerate(hub.listener.addresses):
            assert address.rpartition(":")[0] in ("127.0.0.1", "[::1]")
            assert await answers(hub, listener=listener)


async def test_port_0_is_reported_as_the_port_it_became_in_the_order_of_the_configuration(start):
    async with start(listen() + listen(tls="on") + listen()) as hub:
        hosts, ports = zip(*(address.split(":") for address, _ in hub.listener.addresses), strict=True)

        assert ("127.0.0.1",) * 3 == hosts
        assert [False, True, False] == [tls for _, tls in hub.listener.addresses]
        assert 3 == len(set(ports) - {"0"})
        assert [True, False, True] == [await answers(hub, listener=n) for n in range(3)]


async def test_every_port_that_is_taken_is_named_with_its_key(start):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        first, second = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (one, two))
        error = await fault(start, listen(first) + listen() + listen(second))

    assert [
        f"configuration: listen[0].address: {first} is taken by another program",
        f"configuration: listen[2].address: {second} is taken by another program",
    ] == list(error.problems)


async def test_hub_whose_port_is_taken_makes_no_certificates(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        error = await fault(start, listen(tls="on") + listen(taken))
    assert [f"configuration: listen[1].address: {taken} is taken by another program"] == list(error.problems)
    assert not (tmp_path / "data" / "tls").exists()


async def test_ports_are_closed_when_the_certificates_cannot_be_loaded(start, mine):
    mine.key.write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    await fault(start, mine.toml)
    assert before == len(os.listdir("/proc/self/fd"))


async def test_a_broker_that_has_the_port_of_mqtt_is_named_with_the_line_to_change(start):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        host, port = broker.getsockname()
        error = await fault(start, listen(f"{host}:{port}") + 'serve = ["mqtt"]\n')
    said = f"configuration: listen[0].address: {host}:{port} is taken by another program (Mosquitto?);"
    assert [f'{said} give it another port, such as address = "{host}:{port + 1}"'] == list(error.problems)


async def test_the_port_that_is_suggested_is_not_one_of_the_same_file(start):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        host, port = broker.getsockname()
        # Whether it is free does not matter.
        remember(port + 1)
        next_one = listen(f"{host}:{port + 1}") + 'serve = ["mqtt"]\n'
        error = await fault(start, listen(f"{host}:{port}") + 'serve = ["mqtt"]\n' + next_one)
    assert f'such as address = "{host}:{port + 2}"' in error.problems[0]


async def test_what_keeps_a_hub_from_starting_comes_bare_as_running_promises(start):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StartupError):
        async with start(listen(f"127.0.0.1:{other.getsockname()[1]}")):
            pass


async def test_an_address_that_is_not_ours_is_named_with_its_key(start):
    error = await fault(start, listen("192.0.2.1:0"))

    assert "listen[0].address: 192.0.2.1:0 " in str(error)
