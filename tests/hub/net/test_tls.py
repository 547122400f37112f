"""TLS of a listener: modes, handshakes, rejected clients, and the end of a connection."""

from __future__ import annotations

import socket
import ssl
import warnings
from contextlib import AsyncExitStack

import pytest
import trio
from support.certificates import unverified_context, verifying_context
from support.listener import HALF_HELLO, LOGIN, answers_login, is_closed, listen, open_stream, rejection
from support.raw_http import UPGRADE, request
from support.raw_native import PATIENCE
from support.rejections import rejection_reasons
from support.times import until

from hub.net.timeouts import NetTimeouts
from hub.testing import address_of


@pytest.mark.parametrize(
    ("tls", "plain", "encrypted"), [("off", True, False), ("on", False, True), ("auto", True, True)]
)
async def test_port_accepts_plain_connections_or_tls_or_both_as_configured(start, tls, plain, encrypted):
    async with start(listen(tls=tls)) as hub:
        assert plain == await answers_login(hub)
        assert encrypted == await answers_login(hub, unverified_context())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_certificate_of_the_local_ca_is_verified_for_name_and_address(start, tmp_path, name):
    async with start(listen(tls="on")) as hub:
        assert await answers_login(hub, verifying_context(tmp_path / "data" / "tls" / "ca.pem"), name)


async def test_local_ca_survives_a_restart_and_its_keys_are_private(start, tmp_path):
    folder = tmp_path / "data" / "tls"
    async with start(listen(tls="on")):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
    async with start(listen(tls="on")) as hub:
        assert await answers_login(hub, verifying_context(folder / "ca.pem"))

    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"ca.key": 0o600, "key.pem": 0o600} == {
        path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if "key" in path.name
    }


async def test_rejection_names_tls_on_a_plain_port(start):
    async with start(listen()) as hub:
        [reason] = await rejection(hub, LOGIN, unverified_context())

        assert f"speaks TLS on the plain port {address_of(hub)[1]}" == reason
        assert ["127.0.0.1"] == [rejected.address for rejected in hub.rejections.recent]


@pytest.mark.parametrize("data", [LOGIN, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"])
async def test_rejection_names_a_plain_connection_on_a_tls_port(start, data):
    async with start(listen(tls="on")) as hub:
        [reason] = await rejection(hub, data)

        assert f"speaks without TLS on the TLS port {address_of(hub)[1]}" == reason


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_rejection_names_a_client_that_does_not_trust_the_certificate(start, version):
    context = ssl.create_default_context()
    context.maximum_version = context.minimum_version = version
    async with start(listen(tls="on")) as hub:
        with pytest.raises(ssl.SSLCertVerificationError):
            await trio.to_thread.run_sync(_tls_handshake, address_of(hub), context)
        await until(lambda: hub.rejections.recent and not hub.listener.connections)

        assert ["does not trust this certificate"] == rejection_reasons(hub)


def _tls_handshake(address, context):
    """Use the standard library, which sends an alert that names the error; trio closes the connection without one."""
    with socket.create_connection(address) as sock, context.wrap_socket(sock, server_hostname="localhost"):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_tls_below_1_2_is_rejected(start, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = unverified_context(minimum_version=version, maximum_version=version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with start(listen(tls="on")) as hub:
        [reason] = await rejection(hub, LOGIN, context)

        assert "TLS version older than 1.2" in reason


async def test_rejection_names_a_client_that_disconnects_during_the_handshake(start):
    async with start(listen(tls="on")) as hub:
        async with open_stream(hub) as stream:
            await stream.send_all(HALF_HELLO)
        await until(lambda: hub.rejections.recent and not hub.listener.connections)

        [reason] = rejection_reasons(hub)
        assert "TLS handshake" in reason


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
CONNECT = b"\x10\x0c\0\4MQTT\4\2\0\x2d\0\0"
WEBSOCKET_REQUEST = request("GET", "/websockets", **UPGRADE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n", id="HTTP/1.1"),
        pytest.param(b"GARBAGE\r\n\r\n", id="malformed HTTP"),
        pytest.param(WEBSOCKET_REQUEST + b"\x88\x80\0\0\0\0", id="WebSocket that is closed"),
        pytest.param(WEBSOCKET_REQUEST + b"\xff\xff", id="malformed WebSocket"),
        pytest.param(CONNECT, id="MQTT without a login"),
        pytest.param(b"\x10\0", id="malformed MQTT"),
        pytest.param(b"\x1d\0\1\xff\xff", id="malformed native"),
        pytest.param(b"\x99", id="no protocol"),
    ],
)
async def test_tls_connection_ends_with_close_notify(start, sent, version):
    """RFC 8446 §6.1: without it a client cannot distinguish a complete response from a truncated one."""
    async with start(listen(tls="on")) as hub:
        async with open_stream(hub, unverified_context(maximum_version=version)) as stream:
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
            stream = await stack.enter_async_context(open_stream(hub, unverified_context(maximum_version=version)))
            stream._https_compatible = False
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert await stream.receive_some(4096)
        with trio.fail_after(PATIENCE):
            while await stream.receive_some(4096):
                pass


@pytest.mark.parametrize("version", VERSIONS)
async def test_tls_client_that_sends_close_notify_is_not_reset(start, version):
    """MQTT.js reported ECONNRESET: its own close_notify was unread when the hub closed the connection."""
    async with start(listen(tls="on")) as hub:
        for _ in range(10):
            async with open_stream(hub, unverified_context(maximum_version=version)) as stream:
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
async def test_connection_with_an_unfinished_handshake_is_closed_after_the_deadline(start, tls):
    async with start(listen(tls=tls)) as started, open_stream(started) as stream:
        await stream.send_all(HALF_HELLO)

        assert await is_closed(stream)
        assert ["did not finish the TLS handshake in time"] == rejection_reasons(started)


async def test_unfinished_handshakes_do_not_delay_other_handshakes(start):
    async with start(listen(tls="on") + "[limits]\nhandshakes = 1") as hub:
        async with open_stream(hub) as first, open_stream(hub) as second:
            for stream in (first, second):
                await stream.send_all(HALF_HELLO)
            await until(lambda: 2 == hub.listener.connections)

            assert await answers_login(hub, unverified_context())
