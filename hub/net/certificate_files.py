"""Certificate and key files: checks that name what a wrong file is, and what to do about it.

OpenSSL's own messages ("[SSL] PEM lib", "no certificate assigned") do neither. Nothing here asks for a passphrase.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Bytes of one file; chains have some thousands.
MAX_SIZE = 1_000_000
_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----[ \t\r]*$", re.MULTILINE)


def check(cert: Path, key: Path) -> list[Certificate]:
    """Return the certificates of the PEM chain in ``cert``, the first of which belongs to the key in ``key``.

    Raises OSError, and ValueError with a sentence that names the file, what it is, and what to do.
    """
    chain, numbers = _matched(cert, key)
    if not numbers:
        raise ValueError(f"the key in {key} is of another certificate than {cert}: they must have been made together")
    if numbers[0]:
        raise ValueError(
            f"the certificate of the key is number {numbers[0] + 1} in {cert}: it must be the first, and those of the"
            " authorities that signed it come after it"
        )
    return chain


def is_pair(cert: Path, key: Path) -> bool:
    """Whether the first certificate in ``cert`` belongs to ``key``. Raises OSError, and ValueError as `check`."""
    _, numbers = _matched(cert, key)
    return numbers[:1] == [0]


def _matched(cert: Path, key: Path) -> tuple[list[Certificate], list[int]]:
    """Return the certificates in ``cert``, and the indices of those that belong to ``key``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    chain, secret = _certificates(cert), _key(key)
    try:
        public = serialization.load_pem_private_key(secret, None).public_key()
        return chain, [index for index, certificate in enumerate(chain) if certificate.public_key() == public]
    except UnsupportedAlgorithm:
        # OpenSSL may support it.
        return chain, [0]
    except (ValueError, TypeError) as error:
        raise ValueError(f"the private key in {key} cannot be read: {error}") from None


def no_passphrase() -> str:
    """Raise ValueError: OpenSSL's default would ask on the terminal and block the whole hub."""
    raise ValueError("the key has a passphrase")


def _certificates(path: Path) -> list[Certificate]:
    from cryptography import x509

    data = _read(path, "cert")
    labels = _LABEL.findall(data)
    if b"CERTIFICATE" not in labels:
        raise ValueError(_no_certificate(path, data, labels))
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ValueError(f"a certificate in {path} cannot be read: {error}") from None


def _no_certificate(path: Path, data: bytes, labels: list[bytes]) -> str:
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        return f"{path} has a private key and no certificate: are cert and key the wrong way round?"
    if any(label.endswith(b"CERTIFICATE REQUEST") for label in labels):
        return f"{path} is a request for a certificate: cert is what the authority made of it"
    if b"TRUSTED CERTIFICATE" in labels:
        return f"{path} is a certificate in OpenSSL's own form: openssl x509 -in {path} -out cert.pem"
    if b"PKCS7" in labels:
        return f"{path} is PKCS#7: openssl pkcs7 -print_certs -in {path} -out cert.pem"
    return _binary(path, data) or f"{path} has no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----"


def _key(path: Path) -> bytes:
    data = _read(path, "key")
    labels = _LABEL.findall(data)
    if b"ENCRYPTED PRIVATE KEY" in labels or b"Proc-Type: 4,ENCRYPTED" in data:
        raise ValueError(
            f"the key in {path} has a passphrase, which the hub cannot ask for: openssl pkey -in {path} -out key.pem"
            " makes one without"
        )
    if b"OPENSSH PRIVATE KEY" in labels:
        raise ValueError(f"{path} is a key of OpenSSH's: ssh-keygen -p -m PEM -f {path} makes it PEM")
    if not any(label.endswith(b"PRIVATE KEY") for label in labels):
        if b"CERTIFICATE" in labels:
            raise ValueError(f"{path} has a certificate and no private key: are cert and key the wrong way round?")
        if any(label.endswith(b"PUBLIC KEY") for label in labels):
            raise ValueError(f"{path} is a public key: key is the private one that belongs to it")
        none = f"{path} has no private key: it must be PEM, with -----BEGIN PRIVATE KEY-----"
        raise ValueError(_binary(path, data) or none)
    return data


def _read(path: Path, setting: str) -> bytes:
    # Reading a terminal or a pipe would block.
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file: {setting} must be one")
    with path.open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ValueError(f"{path} has more than {MAX_SIZE} bytes: it is no {setting}")
    if not data.strip():
        raise ValueError(f"{path} is empty")
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise ValueError(f"{path} begins with a byte order mark: save it as plain ASCII text")
    return data


def _binary(path: Path, data: bytes) -> str:
    """Return what a file in DER is and how to convert it to PEM; "" for anything else."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs7

    if not data.startswith(b"\x30"):
        return ""
    unreadable = (ValueError, TypeError, UnsupportedAlgorithm)
    try:
        x509.load_der_x509_certificate(data)
        return f"{path} is a certificate in DER: openssl x509 -inform der -in {path} -out cert.pem makes it PEM"
    except unreadable:
        pass
    try:
        serialization.load_der_private_key(data, None)
        return f"{path} is a key in DER: openssl pkey -inform der -in {path} -out key.pem makes it PEM"
    except unreadable:
        pass
    try:
        pkcs7.load_der_pkcs7_certificates(data)
        return f"{path} is PKCS#7: openssl pkcs7 -inform der -print_certs -in {path} -out cert.pem makes it PEM"
    except unreadable:
        pass
    if _PKCS12 in data[:80]:
        made = f"openssl pkcs12 -in {path} -nokeys -out cert.pem, and -nocerts -nodes -out key.pem, make PEM of it"
        return f"{path} is PKCS#12 (.p12, .pfx): {made}"
    return f"{path} is binary: it must be PEM"


#: The object identifier 1.2.840.113549.1.7.1 (data), which follows the version in PKCS#12 (RFC 7292 §4).
_PKCS12 = bytes.fromhex("06092a864886f70d010701")
