"""The certificate that a listener serves: reload, expiry, and renewal of the hub's own."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from cryptography import x509
from support.certificates import UserCertificate, verifying_context
from support.disk import raise_disk_full
from support.listener import TEXT_TEMPLATE, answers_login, listen, open_stream, startup_error
from support.raw_native import OK, RawClient
from support.times import until

import hub.net.certificates
import hub.net.listener
import hub.net.wire
from hub.clock import Clock
from hub.config import TlsSection
from hub.net.certificates import Certificates
from hub.net.timeouts import NetTimeouts
from hub.testing import add_device


async def test_configured_certificate_is_served(start, tmp_path, certificate):
    async with start(certificate.toml) as hub:
        assert await answers_login(hub, verifying_context(certificate.ca))
        assert not (tmp_path / "data" / "tls").exists()


async def test_missing_certificate_file_prevents_the_start_and_is_named(start, certificate):
    certificate.cert.unlink()

    error = await startup_error(start, certificate.toml)

    assert str(error).startswith(f"[tls] {certificate.cert}, {certificate.key}: ")


async def test_reload_serves_the_new_certificate_and_does_not_end_sessions(start, certificate):
    async with start(certificate.toml) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        before = verifying_context(certificate.ca)
        async with open_stream(hub, before) as stream:
            device = RawClient(stream)
            assert OK == await device.login(token)
            certificate.issue()
            hub.certificates.reload()

            assert await answers_login(hub, verifying_context(certificate.ca))
            assert not await answers_login(hub, before)
            assert [] == await device.received()


@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_changed_certificate_files_are_reloaded(start, certificate):
    async with start(certificate.toml) as started:
        before = started.certificates.context
        certificate.issue()
        await until(lambda: started.certificates.context is not before)
        # While only one of the two files is new, the old pair stays in use.
        assert await answers_login(started, verifying_context(certificate.ca))


@pytest.mark.parametrize("broken", ["cert", "key"])
async def test_previous_certificate_stays_in_use_when_the_new_files_are_invalid(start, certificate, broken, caplog):
    async with start(certificate.toml) as hub:
        getattr(certificate, broken).write_text("-----BEGIN NONSENSE-----\n")
        hub.certificates.reload()

        assert await answers_login(hub, verifying_context(certificate.ca))
    assert "stays in use" in caplog.text


async def test_previous_certificate_stays_in_use_when_the_new_key_does_not_match(start, certificate, tmp_path):
    async with start(certificate.toml) as hub:
        certificate.key.write_bytes(UserCertificate(tmp_path / "other").issue().key.read_bytes())
        hub.certificates.reload()

        assert await answers_login(hub, verifying_context(certificate.ca))


@pytest.mark.parametrize(
    ("days", "warnings", "critical"),
    [(31.5, [], []), (20.5, ["20 days"], [False]), (5.5, ["5 days"], [False]), (0.5, ["0 days"], [True])],
)
async def test_expiry_of_a_certificate_is_logged_and_becomes_an_alarm(
    start, certificate, caplog, days, warnings, critical
):
    certificate.self_sign(timedelta(days=days))
    async with start(certificate.toml) as hub:
        await until(lambda: len(warnings) == caplog.text.count("expires in"))

        assert all(f"expires in {text}" in caplog.text for text in warnings)
        assert critical == [alarm.critical for alarm in hub.active_alarms()]


@pytest.mark.parametrize(
    ("ago", "message"),
    [
        (timedelta(days=3, hours=1), "expired 3 days ago"),
        (timedelta(days=1, hours=1), "expired 1 day ago"),
        (timedelta(hours=1), "expired less than a day ago"),
    ],
)
async def test_expired_certificate_is_a_critical_alarm(start, certificate, caplog, ago, message):
    certificate.self_sign_between(-timedelta(days=9), -ago)
    async with start(certificate.toml) as hub:
        await until(lambda: message in caplog.text)
        [alarm] = hub.active_alarms()
        assert (f"the TLS certificate {message}", True) == (alarm.text, alarm.critical)


async def test_certificate_that_is_not_yet_valid_is_a_critical_alarm(start, certificate, caplog):
    certificate.self_sign_between(timedelta(days=1), timedelta(days=90))
    async with start(certificate.toml) as hub:
        await until(lambda: "is not valid before" in caplog.text)
        [alarm] = hub.active_alarms()
        assert alarm.critical
        assert "is this machine's clock right?" in alarm.text


def test_each_threshold_of_expiry_is_logged_once(tmp_path, certificate, caplog):
    def warnings_at(days):
        certificate.self_sign(timedelta(days=days + 0.5))
        certificates._load()
        caplog.clear()
        certificates.warn()
        certificates.warn()
        return caplog.text.count("expires in")

    certificates = Certificates(TlsSection(cert=str(certificate.cert), key=str(certificate.key)), tmp_path, [], Clock())

    assert [0, 1, 0, 1, 0, 1, 0] == [warnings_at(days) for days in (30, 29, 7, 6, 1, 0, 0)]


def context_without_dates(tmp_path):
    """The TLS context of a client that trusts the hub's CA, and does not check the dates of certificates."""
    context = verifying_context(tmp_path / "data" / "tls" / "ca.pem")
    context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h
    return context


async def serial_number(hub, context):
    """The serial number of the certificate that is served to a new connection."""
    async with open_stream(hub, context) as stream:
        await stream.do_handshake()
        return x509.load_der_x509_certificate(stream.getpeercert(binary_form=True)).serial_number


@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_own_certificate_is_renewed_while_the_hub_runs_without_ending_sessions(
    start, tmp_path, advancing, caplog
):
    async with start(listen(tls="on"), advancing.clock) as hub:
        _, token = await add_device(hub, TEXT_TEMPLATE)
        client = context_without_dates(tmp_path)
        served = [await serial_number(hub, client)]
        async with open_stream(hub, client) as stream:
            device = RawClient(stream)
            assert OK == await device.login(token)
            # It is valid for 820 days, of which 2 have passed.
            advancing.advance(818 - 31 - 1)
            await trio.sleep(0.1)
            assert served == [await serial_number(hub, client)]
            for days in (1.5, 788):
                before = hub.certificates.expires
                advancing.advance(days)
                await until(lambda before=before: hub.certificates.expires > before)
                assert await answers_login(hub, client)
                served.append(await serial_number(hub, client))
            assert [] == await device.received()
        assert 3 == len(set(served))
        assert [] == hub.active_alarms()
    assert "expires in" not in caplog.text


@pytest.mark.parametrize("fault", ["full disk", "damaged authority"])
@pytest.mark.timeouts(NetTimeouts(certificate_check=0.01))
async def test_failed_renewal_is_repeated_while_the_certificate_stays_in_use(
    start, tmp_path, advancing, monkeypatch, caplog, fault
):
    key = tmp_path / "data" / "tls" / "ca.key"
    async with start(listen(tls="on"), advancing.clock) as started:
        client = context_without_dates(tmp_path)
        before, first, valid_key = started.certificates.expires, await serial_number(started, client), key.read_bytes()
        with monkeypatch.context() as patch:
            if fault == "full disk":
                patch.setattr(hub.net.certificates, "write_together", raise_disk_full)
            else:
                key.write_bytes(b"-----BEGIN NONSENSE-----\n")
            advancing.advance(818 - 30.5)
            await until(lambda: "no new certificate could be made" in caplog.text)
            await trio.sleep(0.1)
            assert 1 == caplog.text.count("no new certificate could be made")
            assert first == await serial_number(started, client)
            assert [] == started.active_alarms()
            advancing.advance(1)
            assert ["the TLS certificate expires in 29 days"] == [alarm.text for alarm in started.active_alarms()]
        key.write_bytes(valid_key)
        await until(lambda: started.certificates.expires > before)
        assert first != await serial_number(started, client)
        assert [] == started.active_alarms()
