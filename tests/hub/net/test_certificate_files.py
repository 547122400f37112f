"""Invalid certificate and key files: errors at the start and on a reload; the hub's own files after a power cut or on a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509 import SubjectAlternativeName
from support.disk import raise_disk_full
from support.patience import patient

import hub.net.certificates
from hub.clock import Clock
from hub.config import TlsSection
from hub.errors import StartupError
from hub.net.certificate_files import check, no_passphrase
from hub.net.certificates import Certificates

PINWHEEL = Path(sys.executable).with_name("pinwheel")
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, OPENSSL, OPENSSH = (
    serialization.PrivateFormat.PKCS8,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.PrivateFormat.OpenSSH,
)
PLAIN, ENCRYPTED = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"secret")


class PairOfFiles:
    """The files of a certificate and its key, and their contents to convert: the certificate, its key, the CA's certificate."""

    def __init__(self, folder):
        ca = trustme.CA()
        issued = ca.issue_cert("localhost")
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.own, self.ca = issued.cert_chain_pems[0].bytes(), ca.cert_pem.bytes()
        self.secret = issued.private_key_pem.bytes()
        self.certificate = x509.load_pem_x509_certificate(self.own)
        self.private = serialization.load_pem_private_key(self.secret, None)
        self.put()

    def put(self, cert=None, key=None):
        self.cert.write_bytes(self.own + self.ca if cert is None else cert)
        self.key.write_bytes(self.secret if key is None else key)

    def key_as(self, encoding, form, encryption=PLAIN):
        return self.private.private_bytes(encoding, form, encryption)

    @property
    def section(self):
        return TlsSection(cert=str(self.cert), key=str(self.key))


@pytest.fixture
def files(tmp_path):
    return PairOfFiles(tmp_path)


def _signing_request(files):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(files.private, hashes.SHA256()).public_bytes(PEM)


#: The contents of the two files, None for valid contents, and the message of the error.
INVALID = {
    "encrypted key": (
        None,
        lambda f: f.key_as(PEM, PKCS8, ENCRYPTED),
        "key.pem has a passphrase, which the hub cannot ask for",
    ),
    "encrypted key of OpenSSL": (None, lambda f: f.key_as(PEM, OPENSSL, ENCRYPTED), "key.pem has a passphrase"),
    "empty": (lambda f: b"", None, "cert.pem is empty"),
    "empty key": (None, lambda f: b"\n", "key.pem is empty"),
    "DER": (lambda f: f.certificate.public_bytes(DER), None, "cert.pem is a certificate in DER: openssl x509"),
    "DER key": (None, lambda f: f.key_as(DER, PKCS8), "key.pem is a key in DER: openssl pkey"),
    "PKCS#12": (
        lambda f: pkcs12.serialize_key_and_certificates(b"x", f.private, f.certificate, None, ENCRYPTED),
        None,
        "cert.pem is PKCS#12 (.p12, .pfx): openssl pkcs12",
    ),
    "PKCS#12 as key": (
        None,
        lambda f: pkcs12.serialize_key_and_certificates(b"x", f.private, f.certificate, None, PLAIN),
        "key.pem is PKCS#12 (.p12, .pfx): openssl pkcs12",
    ),
    "PKCS#7": (lambda f: pkcs7.serialize_certificates([f.certificate], PEM), None, "cert.pem is PKCS#7: openssl pkcs7"),
    "PKCS#7 in DER": (lambda f: pkcs7.serialize_certificates([f.certificate], DER), None, "cert.pem is PKCS#7"),
    "other key": (
        None,
        lambda _: trustme.CA().issue_cert("x").private_key_pem.bytes(),
        "is of another certificate than",
    ),
    "CA first": (lambda f: f.ca + f.own, None, "the certificate of the key is number 2 in"),
    "swapped": (lambda f: f.secret, lambda f: f.own, "cert.pem has a private key and no certificate: are cert and key"),
    "no key": (None, lambda f: f.own, "key.pem has a certificate and no private key: are cert and key"),
    "request": (_signing_request, None, "cert.pem is a request for a certificate"),
    "public key": (
        None,
        lambda f: f.private.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "key.pem is a public key",
    ),
    "OpenSSH": (None, lambda f: f.key_as(PEM, OPENSSH), "key.pem is a key of OpenSSH's: ssh-keygen -p -m PEM"),
    "text": (lambda _: b"hello", None, "cert.pem has no certificate: it must be PEM"),
    "UTF-16": (lambda f: f.own.decode().encode("utf-16"), None, "cert.pem begins with a byte order mark"),
    "cut": (lambda f: f.own[:200] + f.own[-30:], None, "a certificate in"),
    "cut key": (None, lambda f: f.secret[:60] + f.secret[-60:], "the private key in"),
    "other binary": (None, lambda _: b"\x30\x03\x02\x01\x05", "key.pem is binary: it must be PEM"),
    "too large": (lambda _: b"x" * 1_000_001, None, "cert.pem has more than 1000000 bytes"),
}


def put(files, cert, key):
    files.put(cert(files) if cert else None, key(files) if key else None)


@pytest.mark.parametrize(("cert", "key", "message"), INVALID.values(), ids=INVALID)
def test_invalid_file_prevents_the_start_and_is_named(files, tmp_path, cert, key, message):
    put(files, cert, key)
    with pytest.raises(StartupError) as raised:
        Certificates(files.section, tmp_path, [], Clock()).load()
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(("cert", "key", "message"), INVALID.values(), ids=INVALID)
def test_previous_certificate_stays_in_use_while_a_file_is_invalid(files, tmp_path, caplog, cert, key, message):
    certificates = Certificates(files.section, tmp_path, [], Clock())
    certificates.load()
    before = certificates.context
    put(files, cert, key)
    certificates.reload()
    assert certificates.context is before
    assert message in caplog.text
    assert "the certificate from before stays in use" in caplog.text
    files.put()
    certificates.reload()
    assert certificates.context is not before


@pytest.mark.parametrize("form", [PKCS8, OPENSSL])
@pytest.mark.parametrize("around", ["", "Bag Attributes\n    localKeyID: 01\n", "\r\n"])
def test_valid_files_are_accepted_with_text_around_them(files, form, around):
    text = around.encode()
    files.put(text + files.own + text + files.ca, text + files.key_as(PEM, form))
    assert [files.certificate, x509.load_pem_x509_certificate(files.ca)] == check(files.cert, files.key)


def test_certificate_and_key_may_be_one_file(files, tmp_path):
    files.cert.write_bytes(files.secret + files.own + files.ca)
    Certificates(TlsSection(cert=str(files.cert), key=str(files.cert)), tmp_path, [], Clock()).load()


def test_named_pipe_is_rejected(files, tmp_path):
    files.key.unlink()
    os.mkfifo(files.key)
    with pytest.raises(StartupError, match="is no regular file"):
        Certificates(files.section, tmp_path, [], Clock()).load()


def test_openssl_never_asks_for_a_passphrase(files):
    """Also if the key was encrypted after it was checked."""
    files.put(key=files.key_as(PEM, PKCS8, ENCRYPTED))
    with pytest.raises(ValueError, match="the key has a passphrase"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.cert, files.key, no_passphrase)


#: Runs a command in a terminal of its own, without input, and prints its output.
ON_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:], stdin_read=lambda fd: b'') >> 8)"


def run_on_terminal(*command, folder):
    """The ``pinwheel`` command in a terminal of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, PINWHEEL, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


@pytest.fixture
def folder(files, tmp_path):
    """A directory with the configuration of a hub that uses the files."""
    plain, encrypted = ('[[listen]]\naddress = "127.0.0.1:0"\n' + option for option in ("", 'tls = "on"\n'))
    tls = f'[tls]\ncert = "{files.cert}"\nkey = "{files.key}"\n'
    (tmp_path / "hub.toml").write_text(f'[hub]\ndata = "data"\n{plain}{encrypted}{tls}')
    return tmp_path


@pytest.mark.parametrize("command", ["check", "run"])
def test_start_with_an_encrypted_key_does_not_prompt_on_the_terminal(files, folder, command):
    files.put(key=files.key_as(PEM, PKCS8, ENCRYPTED))
    with run_on_terminal(command, "--config", "hub.toml", folder=folder) as process:
        output = process.stdout.read()
    assert "key.pem has a passphrase, which the hub cannot ask for" in output
    assert "pass phrase" not in output


def test_running_hub_continues_when_its_key_becomes_encrypted(files, folder):
    with run_on_terminal("run", "--config", "hub.toml", folder=folder) as process:
        lines = iter(process.stdout.readline, "")
        ready = next(line for line in lines if line.startswith("ready "))
        hub = int((folder / "data" / "lock").read_text())
        assert hub > 1
        try:
            encrypted = folder / "encrypted.pem"
            encrypted.write_bytes(files.key_as(PEM, PKCS8, ENCRYPTED))
            shutil.copy(encrypted, files.key)
            os.kill(hub, signal.SIGHUP)
            message = next(line for line in lines if "pass" in line)
            assert "key.pem has a passphrase" in message
            assert "the certificate from before stays in use" in message
            address = ready.split()[1].strip(",")
            with urllib.request.urlopen(f"http://{address}/health", timeout=patient(20)) as response:
                assert 200 == response.status
        finally:
            os.kill(hub, signal.SIGTERM)
            process.stdout.read()


def test_existing_certificate_is_served_when_a_full_disk_prevents_its_renewal(tmp_path, monkeypatch, caplog):
    Certificates(TlsSection(), tmp_path, ["old.example.org"], Clock()).load()
    before = (tmp_path / "tls" / "cert.pem").read_bytes()

    monkeypatch.setattr(hub.net.certificates, "write_together", raise_disk_full)
    for _ in range(2):
        Certificates(TlsSection(), tmp_path, ["old.example.org", "new.example.org"], Clock()).load()
    assert before == (tmp_path / "tls" / "cert.pem").read_bytes()
    assert "the one from before stays in use" in caplog.text
    with pytest.raises(StartupError, match="No space left"):
        Certificates(TlsSection(), tmp_path / "other", ["old.example.org"], Clock()).load()


# -- the hub's own files after a power cut or on a full disk ----------------------------------------------------------

OLD = ["old.example.org"]
NEW = [*OLD, "new.example.org"]


def load_own(folder, names):
    """Load the hub's own certificate as a start with these names does."""
    certificates = Certificates(TlsSection(), folder, names, Clock())
    certificates.load()
    return certificates


def contents(folder):
    """The files by name."""
    return {path.name: path.read_bytes() for path in (folder / "tls").iterdir()}


def interrupt_after(monkeypatch, renames):
    """Interrupt the process as a power cut would, after ``renames`` files were renamed."""
    rename = Path.replace

    def counted(path, target):
        nonlocal renames
        if not renames:
            raise KeyboardInterrupt
        renames -= 1
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", counted)


def assert_consistent(folder, names):
    """The files are a CA and a certificate that it signed, for all names, with their keys."""
    ca_pem, ca_key, cert, key = (folder / "tls" / name for name in ("ca.pem", "ca.key", "cert.pem", "key.pem"))
    [ca], [own, *_] = check(ca_pem, ca_key), check(cert, key)
    own.verify_directly_issued_by(ca)
    assert set(names) == {name.value for name in own.extensions.get_extension_for_class(SubjectAlternativeName).value}


@pytest.mark.parametrize("renames", [0, 1])
def test_power_cut_during_a_renewal_leaves_a_valid_pair_or_a_new_one_is_created(tmp_path, monkeypatch, renames):
    load_own(tmp_path, OLD)
    ca = contents(tmp_path)["ca.pem"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, renames)
        load_own(tmp_path, NEW)
    load_own(tmp_path, OLD)
    assert_consistent(tmp_path, OLD)
    assert ca == contents(tmp_path)["ca.pem"]


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_power_cut_at_the_first_start_is_repaired_by_the_next_start(tmp_path, monkeypatch, renames):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, renames)
        load_own(tmp_path, OLD)
    load_own(tmp_path, OLD)
    assert_consistent(tmp_path, OLD)


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key"])
@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_power_cut_while_a_lost_ca_is_replaced_leaves_no_certificate_of_another_ca(
    tmp_path, monkeypatch, lost, renames
):
    load_own(tmp_path, OLD)
    (tmp_path / "tls" / lost).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, renames)
        load_own(tmp_path, OLD)
    load_own(tmp_path, OLD)
    assert_consistent(tmp_path, OLD)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_full_disk_at_the_first_start_leaves_no_files(tmp_path, monkeypatch, writes):
    with monkeypatch.context() as patch, pytest.raises(StartupError, match="No space left"):
        fill_after(patch, writes)
        load_own(tmp_path, OLD)
    assert {} == contents(tmp_path)
    load_own(tmp_path, OLD)
    assert_consistent(tmp_path, OLD)


@pytest.mark.parametrize("writes", [0, 1])
def test_full_disk_during_a_renewal_leaves_the_previous_pair(tmp_path, monkeypatch, writes):
    load_own(tmp_path, OLD)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        fill_after(patch, writes)
        load_own(tmp_path, NEW)
    assert before == contents(tmp_path)


def fill_after(monkeypatch, writes):
    """A disk with space for ``writes`` files."""
    fsync = os.fsync

    def counted(fd):
        nonlocal writes
        if not writes:
            raise_disk_full()
        writes -= 1
        return fsync(fd)

    monkeypatch.setattr(os, "fsync", counted)


def test_key_of_another_certificate_is_not_served_when_the_disk_is_full(tmp_path, monkeypatch):
    load_own(tmp_path, OLD)
    (tmp_path / "tls" / "key.pem").write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes())
    fill_after(monkeypatch, 0)
    with pytest.raises(StartupError, match="No space left"):
        load_own(tmp_path, OLD)
