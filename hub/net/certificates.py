"""Certificates: the operator's, or a local CA's that the hub makes at its first start; reloaded without a restart."""

from __future__ import annotations

import logging
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from hub.clock import Clock
from hub.config import TlsSection
from hub.datadir import write_together
from hub.errors import StartupError
from hub.net.certificate_files import check, is_pair, no_passphrase
from hub.net.timeouts import DEFAULT_TIMEOUTS, NetTimeouts
from hub.parsing.spellings import host

log = logging.getLogger(__name__)

#: Apple's devices reject server certificates that are valid for more than 825 days.
CERTIFICATE_LIFE = timedelta(days=820)
#: A day before the first warning: a warning means that the certificate could not be renewed.
RENEW_BEFORE = timedelta(days=31)
#: Days before the expiry at which there is a warning; 0 is after it.
WARN_DAYS = (30, 7, 1, 0)


class Certificates:
    """The certificate of the TLS ports. ``context`` serves the next handshake, and is replaced when the files change.

    ``names`` are the host names and addresses for a certificate that the hub makes itself.
    """

    def __init__(
        self, section: TlsSection, data: Path, names: list[str], clock: Clock, timeouts: NetTimeouts = DEFAULT_TIMEOUTS
    ) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._own = not section.cert
        folder = data / "tls"
        self.ca = folder / "ca.pem" if self._own else None
        self._cert = folder / "cert.pem" if self._own else Path(section.cert)
        self._key = folder / "key.pem" if self._own else Path(section.key)
        self._folder = folder
        self._names = names
        self._seen: tuple[float, ...] = ()
        self._loaded = False
        self._warned: int | None = None
        #: The last reason why no certificate could be made; each is logged once.
        self._make_problem = ""
        self.context: ssl.SSLContext
        self.begins: datetime
        self.expires: datetime

    def load(self) -> None:
        """Make missing certificates, and load them. Raises `StartupError`."""
        try:
            if self._own:
                self._names = _certifiable(self._names)
                self._make()
            self._load()
        except (OSError, ValueError, TypeError) as error:
            raise StartupError(f"[tls] {self._cert}, {self._key}: {error}") from error

    def _make(self) -> bool:
        """Make what is missing or expires soon; return False when that fails and the present pair stays in use.

        Raises OSError and ValueError when there is no present pair.
        """
        try:
            make_certificates(self._folder, self._names, self._now())
        except (OSError, ValueError, TypeError) as error:
            if not self._loaded and not (_there(self._cert, self._key) and is_pair(self._cert, self._key)):
                raise
            if str(error) != self._make_problem:
                log.error("tls: no new certificate could be made: %s; the one from before stays in use", error)
                self._make_problem = str(error)
            return False
        self._make_problem = ""
        return True

    def _load(self) -> None:
        [own, *_] = check(self._cert, self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._cert, self._key, no_passphrase)
        self.begins, self.expires = own.not_valid_before_utc, own.not_valid_after_utc
        self.context = context
        self._loaded = True
        self._seen = self._stamps()

    def _stamps(self) -> tuple[float, ...]:
        return tuple(path.stat().st_mtime for path in (self._cert, self._key))

    def reload(self) -> None:
        """Load the files again for new connections; log an error and keep the present certificate if they are bad."""
        try:
            self._load()
        except (OSError, ValueError) as error:
            log.error("tls: %s: %s; the certificate from before stays in use", self._cert, error)
            self._seen = self._stamps() if self._cert.exists() and self._key.exists() else ()
        else:
            log.info("tls: certificate loaded, valid until %s", self.expires.date())
            self._warned = None

    async def watch(self) -> None:
        """Reload changed files, renew the hub's own certificate, and warn before another one expires."""
        while True:
            self.warn()
            await trio.sleep(self._timeouts.certificate_check)
            try:
                changed = self._stamps() != self._seen
            except OSError:
                continue
            if changed or (self._own and self.expires - self._now() < RENEW_BEFORE and self._make()):
                self.reload()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall / 1000, UTC)

    def days_left(self) -> int:
        """Return the whole days until the certificate expires; below 0 when it is not valid now."""
        now = self._now()
        return -1 if now < self.begins else (self.expires - now).days

    def validity(self) -> str:
        """Return how long the certificate is valid, as the end of a sentence that begins with it."""
        now = self._now()
        if now < self.begins:
            return f"is not valid before {self.begins:%Y-%m-%d %H:%M} UTC: is this machine's clock right?"
        if now < self.expires:
            return f"expires in {_days(self.expires - now)}"
        ago = now - self.expires
        return f"expired {_days(ago)} ago" if ago.days else "expired less than a day ago"

    def warn(self) -> None:
        """Log once for each of 30, 7 and 1 days before the certificate expires, and when it is not valid."""
        left = self.days_left()
        due = min((days for days in WARN_DAYS if left < days), default=None)
        if due is not None and due != self._warned:
            self._warned = due
            log.warning("tls: the certificate %s %s", self._cert, self.validity())


def _days(span: timedelta) -> str:
    return "1 day" if span.days == 1 else f"{span.days} days"


def make_certificates(folder: Path, names: list[str], now: datetime) -> None:
    """Make the CA if it is missing, and a certificate if it is missing, expires soon, or lacks one of ``names``.

    A key that does not belong to its certificate, as after a power cut, is replaced with it.
    """
    import trustme

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_pem, ca_key, cert, key = (folder / name for name in ("ca.pem", "ca.key", "cert.pem", "key.pem"))
    files: dict[Path, tuple[bytes, int]] = {}
    if _there(ca_pem, ca_key) and is_pair(ca_pem, ca_key):
        if _there(cert, key) and is_pair(cert, key) and _fits(cert, ca_pem, names, now):
            return
        ca = trustme.CA.from_pem(ca_pem.read_bytes(), ca_key.read_bytes())
    else:
        host = socket.gethostname()
        ca = trustme.CA(path_length=0, organization_name="Pinwheel", organization_unit_name=f"CA of {host}")
        files[ca_key] = ca.private_key_pem.bytes(), 0o600
        files[ca_pem] = ca.cert_pem.bytes(), 0o644
    # A board may connect before its clock, or the hub's, is right.
    start = now - timedelta(days=2)
    made = ca.issue_cert(
        *names,
        common_name=names[0][:64],
        organization_name="Pinwheel",
        organization_unit_name="hub",
        not_before=start,
        not_after=start + CERTIFICATE_LIFE,
    )
    files[key] = made.private_key_pem.bytes(), 0o600
    files[cert] = b"".join(pem.bytes() for pem in made.cert_chain_pems), 0o644
    write_together(files)
    log.info("tls: made a certificate for %s", ", ".join(names))


def _fits(cert: Path, ca: Path, names: list[str], now: datetime) -> bool:
    """Whether a certificate was signed by this CA, does not expire soon, and is for all ``names``."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    current = x509.load_pem_x509_certificate(cert.read_bytes())
    try:
        # A CA that was made again has the same name as before.
        current.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.read_bytes()))
    except (ValueError, InvalidSignature):
        return False
    san = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    certified = {str(name.value) for name in san}
    lasts = current.not_valid_after_utc - now > RENEW_BEFORE
    return lasts and certified >= set(names)


def _there(*paths: Path) -> bool:
    """Whether files exist and are not empty, as a power cut may leave them."""
    return all(path.exists() and path.stat().st_size for path in paths)


#: Addresses for documentation (RFC 5737, RFC 3849): the route to them is the route to the network.
_PROBES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def lan_address(family: socket.AddressFamily) -> str:
    """Return this machine's address in its network; "" when it has none."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((_PROBES[family], 9))  # sends nothing; chooses the local address
        except OSError:
            return ""
        return str(sock.getsockname()[0].partition("%")[0])


def local_names(url: str) -> list[str]:
    """Return the names that devices may use for this machine: host names, addresses, and the host of ``[hub].url``."""
    from urllib.parse import urlsplit

    machine = socket.gethostname() or "pinwheel"
    names = [machine, f"{machine}.local", "localhost", "127.0.0.1", "::1"]
    if public := urlsplit(url).hostname:
        names.append(public)
    names += [address for family in _PROBES if (address := lan_address(family))]
    return list(dict.fromkeys(names))


def _certifiable(names: list[str]) -> list[str]:
    """Return the names that a certificate may have (RFC 5280 §4.2.1.6), in DNS form; log those that it may not."""
    certifiable = []
    for name in names:
        try:
            dns_name = host(name)
            if "_" in dns_name:
                raise ValueError(f"{name!r} has an underscore, which no certificate may have")
            certifiable.append(dns_name)
        except ValueError as error:
            log.warning("tls: left out of the hub's certificate: %s; devices cannot verify this name", error)
    return list(dict.fromkeys(certifiable))
