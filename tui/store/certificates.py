"""The certificate of a hub that no CA vouches for: the user compares its SHA-256 once, and it must stay the same."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl

from client.errors import Unavailable
from client.http_messages import Address

#: Seconds that a hub may take to present its certificate.
TIMEOUT = 10.0


def pinned_context(fingerprint: str) -> ssl.SSLContext:
    """Return a TLS context for connections to a server with the certificate of this SHA-256 (hexadecimal) alone."""

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            # Before anything is sent: the first request has the password.
            certificate = self.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(sha256(certificate), fingerprint):
                raise ssl.SSLCertVerificationError(
                    "its certificate is not the one that you trust"
                    f" (SHA-256 {sha256(certificate)} instead of {fingerprint})"
                )

    context = _unverified_context()
    context.sslobject_class = PinnedObject
    return context


async def fetch_fingerprint(url: str) -> str:
    """Return the SHA-256 of the certificate that a hub presents, for the user to compare.

    Raises `Unavailable`, and `Rejected` for an invalid URL.
    """
    address = Address.parse(url)
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=_unverified_context())
    except OSError as error:
        raise address.no_answer(error) from error
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if not certificate:
        raise Unavailable(f"The hub at {url} has no certificate.")
    return sha256(certificate)


def sha256(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER) in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
