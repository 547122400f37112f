"""A backup is a tar file: a manifest first, then the databases and TLS keys as they were at one moment. Never code.

The manifest has each file's size and SHA-256, so a damaged or cut-off backup is known as one before anything of it is
used. A backup counts only when it has been unpacked elsewhere and its databases were found whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from hub.datadir import partial_of, publish, sync
from hub.errors import Rejected, RequestError
from hub.storage import inspect
from hub.structuring import ValidationErrors, structure

FORMAT = 1
MANIFEST = "manifest.json"
DATABASES = ("pinwheel.db", "history.db")
#: Bytes copied at once, and a second: who is acknowledged meanwhile must not wait for the disk behind a backup.
PIECE = 1 << 20
PER_SECOND = 32 * PIECE
#: How far the process of a backup stands back behind others.
NICENESS = 10
#: Bytes of a manifest, at the most.
MAX_MANIFEST = 1 << 20
#: What must be free besides what is written.
MARGIN = 32 << 20

#: Seconds between two lines of progress.
SAY_EVERY = 0.2

Progress = Callable[[int, int], None]


class BadBackup(Rejected):
    """The file is no backup, or not all of one."""


@attrs.frozen(kw_only=True)
class Member:
    name: str
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class Manifest:
    """``created`` is milliseconds UTC; ``schemas`` the newest schema change by file and owner."""

    format: int
    version: str
    created: int
    devices: int
    templates: int
    schemas: dict[str, dict[str, int]]
    files: list[Member]

    @property
    def size(self) -> int:
        return sum(member.size for member in self.files)


def tls_files(data: Path) -> list[Path]:
    return sorted(path for path in (data / "tls").glob("*.*") if path.suffix in (".pem", ".key", ".crt"))


def write(target: Path, files: dict[str, Path], about: dict[str, Any], progress: Progress) -> None:
    """Write ``files`` (name in the backup: path) into `partial_of` the target. Raises `RequestError`.

    The manifest comes first and is written last, when the sums are known. The disk is left to others most of the time.
    """
    partial = partial_of(target)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    total, done = sum(sizes.values()), 0
    blank = [Member(name=name, size=size, sha256="0" * 64) for name, size in sizes.items()]
    began = time.monotonic()
    try:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w+b") as out, tarfile.TarFile(fileobj=out, mode="w", copybufsize=PIECE) as tar:
            room = len(_encoded(Manifest(**about, files=blank)))
            tar.addfile(_info(MANIFEST, room), io.BytesIO(b" " * room))
            members = []
            for name, path in files.items():
                with path.open("rb") as source:
                    reader = _Summed(source)

                    def step(count: int) -> None:
                        nonlocal done
                        done += count
                        progress(done, total)
                        _pause(fd, done, began)

                    reader.step = step
                    tar.addfile(_info(name, sizes[name]), reader)
                    members.append(Member(name=name, size=sizes[name], sha256=reader.sum.hexdigest()))
            manifest = Manifest(**about, files=members)
            out.flush()
            os.pwrite(fd, _encoded(manifest), tarfile.BLOCKSIZE)
        sync(partial)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RequestError(f"{target}: {error.strerror or error}") from error


def _pause(fd: int, done: int, began: float) -> None:
    """Write no faster than others can bear."""
    os.fdatasync(fd)
    time.sleep(max(0.0, began + done / PER_SECOND - time.monotonic()))


class _Summed:
    """A file as tarfile reads it, with its sum."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self.sum = hashlib.sha256()
        self.step: Callable[[int], None] = lambda _: None

    def read(self, size: int = PIECE, /) -> bytes:
        data = self._source.read(min(size, PIECE))
        self.sum.update(data)
        self.step(len(data))
        return data


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _encoded(manifest: Manifest) -> bytes:
    return json.dumps(attrs.asdict(manifest), indent=1).encode()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Raises `BadBackup` for whatever is wrong with the file in the block, too."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST:
                raise BadBackup(f"{path}: is not a backup of Pinwheel")
            content = tar.extractfile(first)
            manifest = structure(json.loads(content.read() if content else b""), Manifest)
            if manifest.format != FORMAT:
                raise BadBackup(f"{path}: was made by a newer version ({manifest.version})")
            yield tar, manifest
    except FileNotFoundError as error:
        raise BadBackup(f"{path}: there is no such file") from error
    except (tarfile.TarError, EOFError, ValueError, ValidationErrors) as error:
        raise BadBackup(f"{path}: is truncated or damaged, or no backup of Pinwheel") from error
    except OSError as error:
        raise BadBackup(f"{path}: {error.strerror or error}") from error


def read_manifest(path: Path) -> Manifest:
    """What a backup says is in it. Raises `BadBackup`."""
    with _opened(path) as (_, manifest):
        return manifest


def unpack(path: Path, folder: Path, progress: Progress, *, slow: bool = False) -> Manifest:
    """Unpack a backup into ``folder`` and look at what was unpacked. Raises `BadBackup`."""
    with _opened(path) as (tar, manifest):
        done, began = 0, time.monotonic()
        for member in manifest.files:
            info = tar.next()
            safe = member.name in DATABASES or (Path(member.name).parent == Path("tls") and member.name.isprintable())
            if info is None or info.name != member.name or info.size != member.size or not info.isreg() or not safe:
                raise BadBackup(f"{path}: is truncated or damaged: {member.name} is not as the manifest says")
            source = tar.extractfile(info)
            assert source is not None, "it is a regular file"
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            summed = hashlib.sha256()
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                while data := source.read(PIECE):
                    summed.update(data)
                    out.write(data)
                    done += len(data)
                    progress(done, manifest.size)
                    if slow:
                        out.flush()
                        _pause(out.fileno(), done, began)
                out.flush()
                os.fsync(out.fileno())
            if summed.hexdigest() != member.sha256:
                raise BadBackup(f"{path}: is truncated or damaged: {member.name} is not as the manifest says")
    for name in DATABASES:
        if (folder / name).exists() and (problems := inspect(folder / name)):
            raise BadBackup(f"{path}: {problems[0]}")
    return manifest


def prove(target: Path, progress: Progress) -> Manifest:
    """Restore what `write` made beside it, in a trial, and give it its name. Raises `BadBackup`, `RequestError`."""
    partial = partial_of(target)
    try:
        need_room(target.parent, partial.stat().st_size)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=target.parent) as folder:
            manifest = unpack(partial, Path(folder), progress, slow=True)
            for member in manifest.files:
                _shrink(Path(folder) / member.name)
        publish(target)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _shrink(path: Path) -> None:
    """Give back the disk of a large file bit by bit: at once, others would wait for the file system."""
    size = path.stat().st_size
    while size > 0:
        size = max(0, size - 16 * PIECE)
        os.truncate(path, size)
        time.sleep(0.02)


def need_room(folder: Path, size: int) -> None:
    """Raises `RequestError`."""
    free = shutil.disk_usage(folder).free
    if free < size + MARGIN:
        needed = f"{megabytes(size + MARGIN)} are needed and {megabytes(free)} are free"
        raise RequestError(f"{folder}: {needed} ({megabytes(MARGIN)} must stay free afterwards)")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def main() -> None:
    """The part of a backup that reads the hub's files, in a process of its own: ``write`` or ``prove``, as JSON lines.

    A process that closes any descriptor of a database file loses all its locks on it (POSIX), also SQLite's; in the hub
    that would let the next program which looks into the file delete what the hub has not merged yet.
    """
    os.nice(NICENESS)
    asked = json.load(sys.stdin)
    target = Path(asked["target"])
    last = [0.0]

    def progress(done: int, total: int) -> None:
        if time.monotonic() - last[0] > SAY_EVERY or done == total:
            last[0] = time.monotonic()
            _say({"done": done, "total": total})

    try:
        if asked["step"] == "write":
            write(target, {name: Path(path) for name, path in asked["files"].items()}, asked["about"], progress)
        else:
            _say({"manifest": attrs.asdict(prove(target, progress))})
    except (RequestError, OSError) as error:
        _say({"problem": str(error)})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
