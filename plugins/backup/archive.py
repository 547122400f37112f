"""The file of a backup: a tar file with a manifest, both databases, TLS keys and blobs as of one moment. Never code.

The manifest comes first and has the size and SHA-256 of every file, so that a damaged or truncated backup is detected
before anything in it is used. A backup gets its name only after `prove` has unpacked it and checked its databases.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from hub import Rejected, RequestError
from hub.datadir import partial_of, publish, sync
from hub.datadir.blobs import is_key, stored_blobs
from hub.parsing.structuring import ValidationErrors, structure
from hub.storage import inspect

#: Backups of format 1 have no blobs.
FORMAT, WITH_BLOBS = 2, 2
MANIFEST = "manifest.json"
DATABASES = ("pinwheel.db", "history.db")
#: Beginning of the names of blobs in a backup, and their folder in the data directory.
BLOBS = "files/"
#: Bytes copied at once, and per second: acknowledgements must not wait for a disk that is busy with a backup.
CHUNK = 1 << 20
BYTES_PER_SECOND = 32 * CHUNK
#: Bytes of a manifest: some 100,000 files.
MAX_MANIFEST = 32 << 20
#: Bytes that stay free on the disk.
MARGIN = 32 << 20

#: Called with the bytes that are done, and their total.
Progress = Callable[[int, int], None]


class BadBackup(Rejected):
    """The file is no backup, or it is damaged or truncated."""


@attrs.frozen(kw_only=True)
class Member:
    """File in a backup; ``size`` is in bytes."""

    name: str
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class Manifest:
    """Contents of a backup; ``created`` is in ms UTC, ``schemas`` the newest schema change by database and owner."""

    format: int
    version: str
    created: int
    devices: int
    templates: int
    schemas: dict[str, dict[str, int]]
    files: list[Member]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(member.size for member in self.files)


def tls_files(data: Path) -> list[Path]:
    return sorted(path for path in (data / "tls").glob("*.*") if path.suffix in (".pem", ".key", ".crt"))


def blob_files(data: Path) -> dict[str, Path]:
    """Return the blobs of a data directory by their names in a backup. Raises OSError."""
    return {BLOBS + key: path for key, path in sorted(stored_blobs(data / BLOBS))}


def total_size(paths: Iterable[Path]) -> int:
    """Return the bytes of those files that exist."""
    size = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def write(target: Path, files: dict[str, Path], about: dict[str, Any], progress: Progress) -> None:
    """Write a backup of ``files`` (path by name in the backup) as `partial_of` the target. Raises `RequestError`.

    ``about`` has the manifest's other fields. The manifest's place is reserved first, and filled when all hashes are
    known. Copying is throttled. A blob that the hub deletes meanwhile is left out.
    """
    partial = partial_of(target)
    blank = [Member(name=name, size=1 << 60, sha256="0" * 64) for name in files]
    transfer = _Transfer(total_size(files.values()), progress)
    try:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w+b") as out, tarfile.TarFile(fileobj=out, mode="w", copybufsize=CHUNK) as tar:
            reserved = len(_encode(Manifest(**about, files=blank)))
            tar.addfile(_tar_info(MANIFEST, reserved), io.BytesIO(b" " * reserved))

            def on_read(count: int) -> None:
                transfer.add(count)
                transfer.throttle(fd)

            members = []
            for name, path in files.items():
                try:
                    source = path.open("rb")
                except FileNotFoundError:
                    if name.startswith(BLOBS):
                        continue
                    raise
                with source:
                    reader, size = _HashingReader(source, on_read), os.fstat(source.fileno()).st_size
                    tar.addfile(_tar_info(name, size), reader)
                members.append(Member(name=name, size=size, sha256=reader.hash.hexdigest()))
            manifest = Manifest(**about, files=members)
            out.flush()
            os.pwrite(fd, _encode(manifest).ljust(reserved), tarfile.BLOCKSIZE)
        sync(partial)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RequestError(f"{target}: {error.strerror or error}") from error


class _Transfer:
    """Bytes copied so far, for progress and for throttling."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._synced = 0
        self._started = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self._total)

    def throttle(self, fd: int) -> None:
        """Write the file to the disk, and sleep until the average is at most `BYTES_PER_SECOND`."""
        if self._done - self._synced < CHUNK and self._done < self._total:
            return
        self._synced = self._done
        os.fdatasync(fd)
        time.sleep(max(0.0, self._started + self._done / BYTES_PER_SECOND - time.monotonic()))


class _HashingReader:
    """File object for tarfile that hashes what is read, and reports the number of bytes of each read."""

    def __init__(self, source: io.BufferedReader, on_read: Callable[[int], None]) -> None:
        self._source = source
        self._on_read = on_read
        self.hash = hashlib.sha256()

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._source.read(min(size, CHUNK))
        self.hash.update(data)
        self._on_read(len(data))
        return data


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _encode(manifest: Manifest) -> bytes:
    return json.dumps(attrs.asdict(manifest), indent=1).encode()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open a backup behind its manifest. Any problem with the file, also within the block, raises `BadBackup`."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST:
                raise BadBackup(f"{path}: is not a backup of Pinwheel")
            content = tar.extractfile(first)
            manifest = structure(json.loads(content.read() if content else b""), Manifest)
            if manifest.format not in range(1, FORMAT + 1):
                raise BadBackup(f"{path}: was made by a newer version ({manifest.version})")
            yield tar, manifest
    except FileNotFoundError as error:
        raise BadBackup(f"{path}: there is no such file") from error
    except (tarfile.TarError, EOFError, ValueError, ValidationErrors) as error:
        raise BadBackup(f"{path}: is truncated or damaged, or no backup of Pinwheel") from error
    except OSError as error:
        raise BadBackup(f"{path}: {error.strerror or error}") from error


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a backup, without checking the files in it. Raises `BadBackup`."""
    with _opened(path) as (_, manifest):
        return manifest


def unpack(path: Path, folder: Path, progress: Progress, *, throttled: bool = False) -> Manifest:
    """Unpack a backup into ``folder``, and check its hashes and databases. Raises `BadBackup`."""
    with _opened(path) as (tar, manifest):
        transfer = _Transfer(manifest.size, progress)
        for member in manifest.files:
            info = tar.next()
            if (
                info is None
                or not _is_expected(info, member)
                or _extract(tar, info, folder / member.name, transfer, throttled=throttled) != member.sha256
            ):
                raise BadBackup(f"{path}: is truncated or damaged: {member.name} is not as the manifest says")
    for name in DATABASES:
        if (folder / name).exists() and (problems := inspect(folder / name)):
            raise BadBackup(f"{path}: {problems[0]}")
    return manifest


def _is_expected(info: tarfile.TarInfo, member: Member) -> bool:
    """Whether a tar entry is the regular file that the manifest has, with a name that cannot lead anywhere else."""
    is_tls_file = Path(member.name).parent == Path("tls") and member.name.isprintable()
    is_blob = member.name.startswith(BLOBS) and is_key(member.name.removeprefix(BLOBS))
    is_safe = member.name in DATABASES or is_tls_file or is_blob
    return is_safe and info.name == member.name and info.size == member.size and info.isreg()


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path, transfer: _Transfer, *, throttled: bool) -> str:
    """Write a tar entry to a new file and to the disk, and return its SHA-256."""
    source = tar.extractfile(info)
    assert source is not None, "it is a regular file"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    hash_ = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while data := source.read(CHUNK):
            hash_.update(data)
            out.write(data)
            transfer.add(len(data))
            if throttled:
                out.flush()
                transfer.throttle(out.fileno())
        out.flush()
        os.fsync(out.fileno())
    return hash_.hexdigest()


def prove(target: Path, progress: Progress) -> Manifest:
    """Unpack what `write` made in a trial beside it, and give it its name. Raises `BadBackup`, `RequestError`."""
    partial = partial_of(target)
    try:
        check_space(target.parent, partial.stat().st_size)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=target.parent) as folder:
            manifest = unpack(partial, Path(folder), progress, throttled=True)
            for member in manifest.files:
                _shrink(Path(folder) / member.name)
        publish(target)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _shrink(path: Path) -> None:
    """Truncate a large file in steps: freeing it at once would block the file system for others."""
    size = path.stat().st_size
    while size > 16 * CHUNK:
        size = max(0, size - 16 * CHUNK)
        os.truncate(path, size)
        time.sleep(0.02)


def check_space(folder: Path, size: int) -> None:
    """Raise `RequestError` unless ``size`` bytes and the `MARGIN` are free."""
    free = shutil.disk_usage(folder).free
    if free < size + MARGIN:
        needed = f"{megabytes(size + MARGIN)} are needed and {megabytes(free)} are free"
        raise RequestError(f"{folder}: {needed} ({megabytes(MARGIN)} must stay free afterwards)")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
