"""Certificate files of a user, TLS contexts of clients, and a clock for renewals."""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime, timedelta

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.listener import listen

from hub.clock import Clock


def verifying_context(ca):
    """The TLS context of a client that verifies certificates against a CA."""
    return ssl.create_default_context(cafile=str(ca))


def unverified_context(**attributes):
    """The TLS context of a client that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


class UserCertificate:
    """The files of a user's certificate for localhost, and of the CA that signed it."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.cert, self.key, self.ca = (folder / name for name in ("cert.pem", "key.pem", "root.pem"))

    def issue(self):
        """Write a certificate of a new CA."""
        ca = trustme.CA()
        issued = ca.issue_cert("localhost")
        ca.cert_pem.write_to_path(self.ca)
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        return self

    def self_sign(self, validity):
        """Write a self-signed certificate that has been valid for a day, and expires after ``validity``."""
        return self.self_sign_between(-timedelta(days=1), validity)

    def self_sign_between(self, begin, end):
        """Write a self-signed certificate; ``begin`` and ``end`` are relative to now."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        self.cert.write_bytes(certificate.public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password))
        return self

    @property
    def toml(self):
        """A listener with this certificate."""
        return f'{listen(tls="on")}\n[tls]\ncert = "{self.cert}"\nkey = "{self.key}"\n'


class AdvancingClock:
    """A clock that days are added to."""

    def __init__(self):
        self._passed = 0
        self.clock = Clock(
            wall=lambda: time.time_ns() + self._passed * 1_000_000_000,
            uptime=lambda: time.monotonic() + self._passed,
        )

    def advance(self, days):
        self._passed += int(days * 86_400)
