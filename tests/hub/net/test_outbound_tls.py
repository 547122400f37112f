"""TLS of outbound requests."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from support.outbound import OK, failure, loopback

from hub.errors import StartupError
from hub.net import Outbound


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    """A certificate authority, and the path of its certificate."""
    authority = trustme.CA()
    authority.path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(authority.path))
    return authority


def server_context(authority, *names, **options):
    """The TLS context of a server with a certificate of an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


async def test_https_verifies_the_certificate_and_sends_the_name_of_the_host(serve, resolver, ca):
    server = await serve(OK, server_context(ca, "hook.example"))
    resolver["hook.example"] = [["127.0.0.1"]]

    response = await loopback(ca=ca.path).request("POST", f"https://HOOK.example:{server.port}/in", body=b"x")

    assert (200, b"ok") == (response.status, response.body)
    assert ["hook.example"] == server.names
    assert f"hook.example:{server.port}" == server.requests[0][2]["host"]


async def test_https_verifies_a_certificate_for_an_address(serve, ca):
    server = await serve(OK, server_context(ca, "127.0.0.1"))
    assert 200 == (await loopback(ca=ca.path).request("GET", f"https://127.0.0.1:{server.port}/")).status


async def test_name_in_another_script_is_sent_in_dns_form(serve, resolver, ca):
    server = await serve(OK, server_context(ca, "xn--bcher-kva.example"))
    resolver["xn--bcher-kva.example"] = [["127.0.0.1"]]
    assert 200 == (await loopback(ca=ca.path).request("GET", f"https://Bücher.example:{server.port}/")).status
    assert ["xn--bcher-kva.example"] == server.names


async def test_server_certificate_of_another_name_is_rejected(serve, resolver, ca):
    server = await serve(OK, server_context(ca, "other.example"))
    resolver["hook.example"] = [["127.0.0.1"]]
    error = await failure(f"https://hook.example:{server.port}/", loopback(ca=ca.path))
    assert f"the certificate of hook.example:{server.port} is not valid: Hostname mismatch" in str(error)
    assert not error.temporary
    assert [] == server.requests


async def test_server_certificate_of_an_unknown_authority_is_rejected(serve, ca):
    server = await serve(OK, server_context(ca, "127.0.0.1"))
    error = await failure(f"https://127.0.0.1:{server.port}/")
    assert "is not valid: unable to get local issuer certificate" in str(error)
    assert [] == server.requests


async def test_expired_server_certificate_is_rejected(serve, ca):
    server = await serve(OK, server_context(ca, "127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)))
    error = await failure(f"https://127.0.0.1:{server.port}/", loopback(ca=ca.path))
    assert "is not valid: certificate has expired" in str(error)


async def test_tls_handshake_with_a_plain_server_is_an_error(serve_streams):
    async def plain(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    port = await serve_streams(plain)
    error = await failure(f"https://127.0.0.1:{port}/")
    assert "failed the TLS handshake" in str(error)
    assert not error.temporary


async def test_connection_that_ends_in_the_handshake_is_a_temporary_error(serve_streams):
    async def close(stream):
        await stream.receive_some()

    port = await serve_streams(close)
    error = await failure(f"https://127.0.0.1:{port}/")
    assert "closed the connection during the TLS handshake" in str(error)
    assert error.temporary


async def test_server_with_tls_below_1_2_is_rejected(serve, ca):
    old = server_context(ca, "127.0.0.1")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = await serve(OK, old)
    await failure(f"https://127.0.0.1:{server.port}/", loopback(ca=ca.path))
    assert [] == server.requests


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_invalid_file_of_certificate_authorities_is_rejected_at_the_start(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=r"ca\.pem: cannot load certificate authorities"):
        Outbound(ca=path)
