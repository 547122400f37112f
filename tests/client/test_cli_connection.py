"""How commands reach a running hub: its listeners and its certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from support.command import CONFIG, TLS, CommandLine


def assert_commands_work_with_invalid_certificate(pinwheel, error):
    with pinwheel.running():
        listed = pinwheel("device", "list", "--json")
        status = pinwheel("status")
    assert (0, []) == (listed.code, listed.json)
    assert 2 == status.code
    assert f"the TLS certificate {error}" in status.out


@pytest.mark.parametrize(
    ("begins", "ends", "error"), [(-9, -3, "expired 3 days ago"), (1, 90, "is not valid before")], ids=["old", "new"]
)
def test_commands_work_while_the_configured_certificate_is_invalid(tmp_path, begins, ends, error):
    begins, ends = (datetime.now(UTC) + timedelta(days=days, hours=-1) for days in (begins, ends))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(trustme.CA().issue_cert("localhost", not_before=begins, not_after=ends), cert, key)
    pinwheel = CommandLine(tmp_path / "pinwheel", f'{TLS}[tls]\ncert = "{cert}"\nkey = "{key}"\n')

    assert_commands_work_with_invalid_certificate(pinwheel, error)


def test_commands_work_before_the_hubs_own_certificate_is_valid_yet(tmp_path):
    """A board without a battery-backed clock may boot with a time before the certificate was made."""
    pinwheel = CommandLine(tmp_path / "pinwheel", TLS)
    with pinwheel.running():
        pass
    folder = pinwheel.data / "tls"
    ca = trustme.CA.from_pem((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())
    before = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    names = [str(name.value) for name in before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    now = datetime.now(UTC)
    certificate = ca.issue_cert(*names, not_before=now + timedelta(days=1), not_after=now + timedelta(days=90))
    write_certificate(certificate, folder / "cert.pem", folder / "key.pem")

    assert_commands_work_with_invalid_certificate(pinwheel, "is not valid before")


def test_status_rejects_a_certificate_other_than_the_hubs(tmp_path):
    pinwheel = CommandLine(tmp_path / "pinwheel", TLS)
    with pinwheel.running():
        other = trustme.CA().issue_cert("localhost")
        write_certificate(other, pinwheel.data / "tls" / "cert.pem", tmp_path / "unused.pem")
        done = pinwheel("status")

    assert 1 == done.code
    assert "CERTIFICATE_VERIFY_FAILED" in done.err


def write_certificate(certificate, cert, key):
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)


NATIVE = CONFIG + 'serve = ["native"]\n'


DEVICES_ONLY = CONFIG + 'serve = ["native", "device-http"]\n'


@pytest.mark.parametrize(
    "config",
    [
        TLS,
        NATIVE + CONFIG,
        DEVICES_ONLY + TLS,
        CONFIG.replace("127.0.0.1", "0.0.0.0"),
        NATIVE.replace("127.0.0.1", "localhost") + CONFIG,
    ],
)
def test_commands_use_a_listener_that_serves_the_api(tmp_path, config):
    pinwheel = CommandLine(tmp_path, config)
    with pinwheel.running():
        assert pinwheel("status", "--json").json["uptime"] >= 0
        assert [] == pinwheel("device", "list", "--json").json


def test_commands_fail_without_a_listener_that_serves_the_api(tmp_path):
    pinwheel = CommandLine(tmp_path, NATIVE)
    with pinwheel.running():
        done = pinwheel("device", "list")

        assert 1 == done.code
        assert done.error


def test_device_list_reports_an_untrusted_certificate(tmp_path):
    pinwheel = CommandLine(tmp_path, TLS)
    with pinwheel.running():
        trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(pinwheel.data / "tls" / "cert.pem")
        done = pinwheel("device", "list")

        assert 1 == done.code
        assert "certificate" in done.error
